"""Small plots as SVG text, drawn in the colours of the page: readable in light and dark, and quick to make."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from firstlight.qa.night import CurvePoint

LEFT, RIGHT, TOP, BOTTOM = 52.0, 10.0, 10.0, 26.0
"""Borders around the frame of a plot [CSS pixel]."""

TICKS = 5
LIMIT_SIGMA, FAINT_SIGMA = 5.0, 3.0
"""Below so many errors a flux is shown by the limit of so many."""


class PlotPoint(NamedTuple):
    """One point of a plot."""

    x: float
    y: float
    group: str
    """Becomes part of its class, and so its colour: a band, or a state."""

    words: str
    """What is shown when the pointer is on it."""


class Scale(NamedTuple):
    """Values onto pixels along one axis."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def scatter_plot(
    points: Sequence[PlotPoint],
    *,
    title: str,
    unit: str,
    x_label: str,
    size: tuple[int, int] = (400, 170),
) -> str:
    """Return values against time.

    Parameters
    ----------
    points
        Those that are not finite are left out.
    title, unit
        Of the values.
    x_label
    size : [CSS pixel]
        Width and height.
    """
    known = [point for point in points if math.isfinite(point.x) and math.isfinite(point.y)]
    width, height = size
    head = _head("plot", title, size)
    if not known:
        return f'{head}<text x="{width / 2}" y="{height / 2}" class="none">{escape(title)}: not known</text></svg>'
    across, up = _scales(known, size)
    marks = [
        f'<circle cx="{across(p.x):.1f}" cy="{up(p.y):.1f}" r="3.2" class="{css_class(p.group)}">'
        f"<title>{escape(p.words)}</title></circle>"
        for p in known
    ]
    caption = (
        f'<text x="{LEFT}" y="{TOP - 1}" class="caption">{escape(title)}{f" [{escape(unit)}]" if unit else ""}</text>'
    )
    return head + _axes(across, up, size, x_label) + "".join(marks) + caption + "</svg>"


def light_curve_plot(
    curve: Sequence[CurvePoint], *, now: float | None = None, size: tuple[int, int] = (1080, 300)
) -> str:
    """Return a light curve: filled circles are detections, open ones fluxes at the place, triangles limits.

    Parameters
    ----------
    curve
    now : [MJD TAI]
        Where a line is drawn; None for none.
    size : [CSS pixel]
        Width and height.
    """
    marks = _marks(curve)
    width, height = size
    head = _head("plot", "light curve", size)
    if not marks:
        return f'{head}<text x="{width / 2}" y="{height / 2}" class="none">no fluxes</text></svg>'
    zero = math.floor(min(point.mjd for point, _ in marks))
    ends = [PlotPoint(point.mjd - zero, value, "", "") for point, shown in marks for value in (shown.low, shown.high)]
    across, up = _scales([*ends, PlotPoint(ends[0].x, 0.0, "", "")], size)
    parts = [_axes(across, up, size, f"MJD (TAI) - {zero} [d]")]
    parts.append(f'<line x1="{LEFT}" x2="{width - RIGHT}" y1="{up(0):.1f}" y2="{up(0):.1f}" class="zero"/>')
    if now is not None and across.low <= now - zero <= across.high:
        x = across(now - zero)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - BOTTOM}" class="now"/>')
    parts += [_mark(point, shown, across(point.mjd - zero), up) for point, shown in marks]
    caption = f'<text x="{LEFT}" y="{TOP - 1}" class="caption">flux of the difference [nJy]</text>'
    return head + "".join(parts) + caption + "</svg>"


def spark_line(curve: Sequence[CurvePoint], *, now: float, size: tuple[int, int] = (150, 60)) -> str:
    """Return a light curve without axes; a ring marks the present point, the dashed line is no change."""
    shown = _marks(curve)
    width, height = size
    head = _head("spark", "light curve", size)
    if not shown:
        return head + "</svg>"
    times = [point.mjd for point, _ in shown]
    levels = [value for _, each in shown for value in (each.low, each.high)] + [0.0]
    across = _padded(min(times), max(times), 6.0, width - 6.0)
    up = _padded(min(levels), max(levels), height - 6.0, 6.0)
    parts = [f'<line x1="0" x2="{width}" y1="{up(0):.1f}" y2="{up(0):.1f}" class="zero"/>']
    parts += [_mark(point, each, across(point.mjd), up, small=True) for point, each in shown]
    nearest = min(shown, key=lambda pair: (abs(pair[0].mjd - now), not pair[0].detected))
    parts.append(f'<circle cx="{across(nearest[0].mjd):.1f}" cy="{up(nearest[1].middle):.1f}" r="5" class="ring"/>')
    return head + "".join(parts) + "</svg>"


def _head(kind: str, title: str, size: tuple[int, int]) -> str:
    """Return the begin of a plot, which a wide page does not blow up."""
    width, height = size
    return (
        f'<svg viewBox="0 0 {width} {height}" class="{kind}" style="max-width: {1.2 * width:.0f}px" role="img">'
        f"<title>{escape(title)}</title>"
    )


def css_class(group: str) -> str:
    """Return the class of a band or state; others than those known look like the text."""
    return f"g-{group}" if group.isalnum() else "g-other"


class _Shown(NamedTuple):
    low: float
    middle: float
    high: float
    is_limit: bool


def _marks(curve: Sequence[CurvePoint]) -> list[tuple[CurvePoint, _Shown]]:
    """Return what is drawn: where an image has a detection, the flux at the known place says nothing new."""
    detected = {(point.mjd, point.band) for point in curve if point.detected}
    return [
        (point, _shown(point))
        for point in curve
        if math.isfinite(point.flux) and (point.detected or (point.mjd, point.band) not in detected)
    ]


def _shown(point: CurvePoint) -> _Shown:
    error = point.flux_err if math.isfinite(point.flux_err) else 0.0
    if not point.detected and abs(point.flux) < FAINT_SIGMA * error:
        limit = LIMIT_SIGMA * error
        return _Shown(0.0, limit, limit, is_limit=True)
    return _Shown(point.flux - error, point.flux, point.flux + error, is_limit=False)


def _mark(point: CurvePoint, shown: _Shown, x: float, up: Scale, *, small: bool = False) -> str:
    y, radius, group = up(shown.middle), 2.4 if small else 3.6, css_class(point.band)
    words = f"{point.mjd:.4f} {point.band}: {point.flux:.0f} +- {point.flux_err:.0f} nJy"
    title = f"<title>{escape(words)}</title>"
    if shown.is_limit:
        r = radius
        corners = f"{x - r:.1f},{y - r:.1f} {x + r:.1f},{y - r:.1f} {x:.1f},{y + r:.1f}"
        return f'<polygon points="{corners}" class="limit">{title}</polygon>'
    kind = group if point.detected else f"{group} open"
    bar = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{up(shown.low):.1f}" y2="{up(shown.high):.1f}" class="bar {group}"/>'
    return f'{bar}<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" class="{kind}">{title}</circle>'


def _scales(points: Sequence[PlotPoint], size: tuple[int, int]) -> tuple[Scale, Scale]:
    width, height = size
    across = _padded(min(p.x for p in points), max(p.x for p in points), LEFT, width - RIGHT)
    return across, _padded(min(p.y for p in points), max(p.y for p in points), height - BOTTOM, TOP + 6.0)


def _padded(low: float, high: float, start: float, end: float) -> Scale:
    room = 0.06 * (high - low) or 0.5 * max(abs(high), 1.0) * 0.1
    return Scale(low - room, high + room, start, end)


def _axes(across: Scale, up: Scale, size: tuple[int, int], x_label: str) -> str:
    width, height = size
    bottom = height - BOTTOM
    parts = [f'<path d="M{LEFT} {TOP}V{bottom}H{width - RIGHT}" class="frame"/>']
    for value in nice_ticks(across.low, across.high):
        x = across(value)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}" class="frame"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 13}" class="across">{value:.10g}</text>')
    for value in nice_ticks(up.low, up.high):
        y = up(value)
        parts.append(f'<line x1="{LEFT}" x2="{width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 3.5:.1f}" class="up">{value:.10g}</text>')
    parts.append(f'<text x="{width - RIGHT}" y="{height - 2}" class="label">{escape(x_label)}</text>')
    return "".join(parts)


def nice_ticks(low: float, high: float) -> list[float]:
    """Return about `TICKS` round numbers between two limits."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((factor * power for factor in (1, 2, 2.5, 5, 10)), key=lambda each: abs(each - rough))
    first = math.ceil(low / step)
    return [round(each * step, 12) for each in range(first, math.floor(high / step) + 1)]
