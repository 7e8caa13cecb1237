"""Draw alerts as people look at them: three stamps and the history of the object, one row for each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from firstlight.images.alert_file import STAMP_NAMES, Alert, AlertPoint
from firstlight.qa.light_curve import BAND_COLORS
from firstlight.qa.pixels import noise_of
from firstlight.qa.plots import GREY, SMALL, TINY, VERMILION, draw_nothing

ROW_HEIGHT, WIDTH = 1.9, 9.5
LOW, HIGH, TOP = 2.0, 10.0, 99.5
CROSS = (0.06, 0.16)
"""Ends of the two strokes that point at the candidate, in shares of the side."""


def draw_alerts(alerts: Sequence[Alert]) -> Figure:
    """Return a figure with one row for each alert: science, template, difference, magnitudes against time."""
    figure = Figure(figsize=(WIDTH, ROW_HEIGHT * len(alerts) + 0.3), dpi=130, layout="constrained")
    rows = figure.subplots(len(alerts), 4, squeeze=False, width_ratios=(1, 1, 1, 2.2))
    for axes, alert in zip(rows, alerts, strict=True):
        for each, name in zip(axes, STAMP_NAMES, strict=False):
            if name in alert.stamps:
                _draw_stamp(each, alert.stamps[name], title=name)
            else:
                draw_nothing(each, title=name, reason="none")
        axes[0].set_ylabel(f"{alert.object_id}", fontsize=TINY)
        _draw_history(axes[3], alert)
    return figure


def _draw_stamp(axes: Axes, image: NDArray[np.float32], *, title: str) -> None:
    median, sigma = noise_of(image)
    finite = image[np.isfinite(image)]
    sigma = sigma or 1.0
    top = max(float(np.percentile(finite, TOP)) if len(finite) else 0.0, median + HIGH * sigma)
    norm = Normalize(median - LOW * sigma, top)
    if title == "difference":
        wide = max(top - median, median - float(np.percentile(finite, 100 - TOP)) if len(finite) else 0.0)
        norm = Normalize(median - wide, median + wide)
    axes.set_facecolor("#DDE6EE")
    axes.imshow(image, origin="lower", cmap="gray_r", norm=norm, interpolation="nearest")
    ny, nx = image.shape
    inner, outer = (share * min(nx, ny) for share in CROSS)
    x, y = (nx - 1) / 2, (ny - 1) / 2
    axes.plot([x + inner, x + outer], [y, y], color=VERMILION, linewidth=1)
    axes.plot([x, x], [y + inner, y + outer], color=VERMILION, linewidth=1)
    axes.set_title(f"{title}, {nx} px", fontsize=TINY, loc="left", pad=2)
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_history(axes: Axes, alert: Alert) -> None:
    """Draw magnitudes before the alert and at it, which has a ring; triangles are limits."""
    bands = sorted({point.band for point in (*alert.history, alert.now)})
    for band in bands:
        color = BAND_COLORS.get(band, GREY)
        points = [point for point in (*alert.history, alert.now) if point.band == band]
        seen = [point for point in points if math.isfinite(point.magnitude)]
        limits = [point for point in points if not math.isfinite(point.magnitude) and math.isfinite(point.limit)]
        for positive, face in ((True, color), (False, "white")):
            some = [point for point in seen if (point.is_positive is not False) is positive]
            if some:
                axes.errorbar(
                    [point.jd - alert.now.jd for point in some],
                    [point.magnitude for point in some],
                    yerr=[_finite(point.error) for point in some],
                    fmt="o",
                    color=color,
                    markerfacecolor=face,
                    markersize=4,
                    elinewidth=0.8,
                    label=f"{band or 'no band'}{'' if positive else ' fainter'}",
                )
        days, depth = [p.jd - alert.now.jd for p in limits], [p.limit for p in limits]
        axes.scatter(days, depth, marker="v", s=10, facecolors="none", edgecolors=color, linewidths=0.6)
    if math.isfinite(alert.now.magnitude):
        axes.scatter([0.0], [alert.now.magnitude], s=70, facecolors="none", edgecolors="black", linewidths=0.8)
    axes.invert_yaxis()
    axes.tick_params(labelsize=TINY)
    axes.set_title(_said(alert, alert.now), fontsize=TINY, loc="left", pad=2)
    axes.set_xlabel("days before the alert", fontsize=TINY)
    axes.set_ylabel("magnitude", fontsize=SMALL)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=TINY - 1, frameon=False, loc="best")


def _said(alert: Alert, now: AlertPoint) -> str:
    scores = "".join(f", {name} {value:.2f}" for name, value in alert.scores.items())
    magnitude = f"{now.band} {now.magnitude:.2f}" if math.isfinite(now.magnitude) else f"{now.band} below 3 errors"
    return f"{alert.ra:.5f} {alert.dec:+.5f}, {magnitude}{scores}"


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0
