"""One page that an astronomer looks at before trusting a processed image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec

from firstlight.framework import Gate
from firstlight.images.atomic import write_atomically
from firstlight.images.exposure import Exposure
from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray
from firstlight.qa import plots
from firstlight.qa.pixels import residual_sky, stack_stars

SIZE_INCHES = (16.0, 11.0)
DPI = 100
MOST_MARKS = 4000
NOT_SKY = ("BAD", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "NO_DATA", "SAT", "SUSPECT", "SPIKE", "CR")


@dataclass(frozen=True)
class PageContent:
    """What there is to show; what is None or empty is shown as missing.

    Parameters
    ----------
    exposure
        Background-subtracted exposure.
    title
        First line of the page: file, filter, exposure time.
    note
        Second line, for a result that is not complete.
    stars, psf_stars, sources
        Catalogues of `SingleFrameTask`.
    astrometry_matches, photometry_matches
        Tables of matched pairs.
    summary
        Name -> value of the summary statistics.
    gates
        How good each step was.
    """

    exposure: Exposure
    title: str
    note: str = ""
    stars: Table | None = None
    psf_stars: Table | None = None
    sources: Table | None = None
    astrometry_matches: Table | None = None
    photometry_matches: Table | None = None
    summary: Mapping[str, float] | None = None
    gates: tuple[Gate, ...] = ()


def draw_page(content: PageContent) -> Figure:
    """Draw the page: image, left-over sky, PSF and its residuals, astrometry, zero point, sizes, numbers and gates."""
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    grid = GridSpec(
        3, 4, figure=figure, left=0.045, right=0.985, bottom=0.05, top=0.915, hspace=0.27, wspace=0.26,
        width_ratios=(0.9, 0.9, 1.05, 1.05), height_ratios=(1, 1, 0.95),
    )  # fmt: skip
    figure.text(0.045, 0.974, content.title, fontsize=14, weight="bold", va="center")
    figure.text(0.045, 0.95, content.note, fontsize=11, color=plots.VERMILION, va="center")
    _image_panel(figure.add_subplot(grid[0:2, 0:2]), content)
    _sky_panel(figure.add_subplot(grid[0, 2]), content.exposure)
    _psf_panel(figure, grid[1, 2], content)
    plots.draw_gates(figure.add_subplot(grid[0:2, 3]), content.gates, numbers=main_numbers(content.summary or {}))
    _astrometry_panels(figure.add_subplot(grid[2, 0]), figure.add_subplot(grid[2, 1]), content)
    _zero_point_panel(figure.add_subplot(grid[2, 2]), content)
    _size_panel(figure.add_subplot(grid[2, 3]), content)
    return figure


def write_page(content: PageContent, path: Path) -> None:
    """Draw the page into a PNG file of 1600 x 1100 pixels that holds no time and no software version.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    figure = draw_page(content)
    write_atomically(path, lambda file: figure.savefig(file, format="png", metadata={"Software": None}))


def main_numbers(summary: Mapping[str, float]) -> dict[str, str]:
    """Return the numbers to read first, formatted with their units; those that are not known are left out."""
    chosen = (
        ("FWHM", "psf_fwhm", "{:.2f} px"),
        ("pixel scale", "pixel_scale", '{:.4f} "/px'),
        ("centre RA", "ra", "{:.5f} deg"),
        ("centre Dec", "dec", "{:+.5f} deg"),
        ("zero point", "zero_point", "{:.3f} mag"),
        ("limiting magnitude (5 sigma)", "mag_lim", "{:.2f} mag"),
        ("sky", "sky_bg", "{:.1f} counts"),
        ("sky noise", "sky_noise", "{:.2f} counts"),
        ("PSF stars", "n_psf_star", "{:.0f}"),
    )
    return {
        label: form.format(summary[name]) for label, name, form in chosen if math.isfinite(summary.get(name, math.nan))
    }


def _image_panel(axes: Axes, content: PageContent) -> None:
    exposure = content.exposure
    plots.draw_image(axes, exposure.image, unit=exposure.unit)
    detections = next(
        (table for table in (content.sources, content.stars, content.psf_stars) if table is not None), None
    )
    if detections is not None:
        rows = _brightest(detections)
        label = f"detections ({len(detections)})"
        plots.mark_sources(axes, **_positions(detections, rows), color=plots.BLUE, size=12, label=label)
    psf_stars = content.psf_stars
    if psf_stars is not None:
        used = _flag(psf_stars, "calib_psf_used")
        plots.mark_sources(
            axes, **_positions(psf_stars, used), color=plots.ORANGE, size=45, label=f"PSF stars ({used.sum()})"
        )
    matches = content.astrometry_matches
    if matches is not None:
        used = _flag(matches, "used")
        label = f"matched to the reference ({used.sum()})"
        place = _positions(matches, used, prefix="src_")
        plots.mark_sources(axes, **place, color=plots.VERMILION, size=110, label=label)
    if exposure.wcs is not None:
        plots.draw_compass(axes, exposure.wcs, shape=exposure.image.shape)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=plots.SMALL, loc="upper left", framealpha=0.85, ncols=3)
    else:
        axes.text(0.02, 0.97, "no detections", transform=axes.transAxes, va="top", color=plots.VERMILION, fontsize=11)


def _sky_panel(axes: Axes, exposure: Exposure) -> None:
    title = "sky left over"
    if len(exposure.background) == 0:
        plots.draw_nothing(axes, title=title, reason="no background")
        return
    sky = residual_sky(exposure.image, bad=exposure.mask.any_of(*NOT_SKY))
    if sky is None:
        plots.draw_nothing(axes, title=title, reason="no free sky")
        return
    plots.draw_sky_map(axes, sky, shape=exposure.image.shape)


def _psf_panel(figure: Figure, place: SubplotSpec, content: PageContent) -> None:
    psf = content.exposure.psf
    if psf is None:
        plots.draw_nothing(figure.add_subplot(place), title="PSF", reason="no PSF")
        return
    halves = place.subgridspec(1, 2, width_ratios=(3, 1.1), wspace=0.08)
    cells = halves[0, 0].subgridspec(3, 3, wspace=0.02, hspace=0.18)
    panels = [[figure.add_subplot(cells[row, column]) for column in range(3)] for row in range(3)]
    plots.draw_psf_grid(panels, psf, shape=content.exposure.image.shape)
    stars = content.psf_stars
    used = np.zeros(0, dtype=bool) if stars is None else _flag(stars, "calib_psf_used")
    stack = None
    if stars is not None and used.any():
        place_of = _positions(stars, used)
        stack = stack_stars(content.exposure.image, psf=psf, x=place_of["x"], y=place_of["y"])
    if stack is None:
        plots.draw_nothing(figure.add_subplot(halves[0, 1]), title="", reason="no\nPSF stars")
        return
    strip = halves[0, 1].subgridspec(3, 1, hspace=0.18)
    plots.draw_star_stack([figure.add_subplot(strip[row]) for row in range(3)], stack)


def _astrometry_panels(field: Axes, scatter: Axes, content: PageContent) -> None:
    matches = content.astrometry_matches
    if matches is None or len(matches) == 0:
        kept = "no WCS" if content.exposure.wcs is None else "the WCS is that of the header"
        reason = f"no astrometric solution:\n{kept}"
        plots.draw_nothing(field, title="position residuals", reason=reason)
        plots.draw_nothing(scatter, title="position residuals", reason=reason)
        return
    used = _flag(matches, "used")
    scale = (content.summary or {}).get("pixel_scale", math.nan)
    factor, unit = (1000 * scale, "mas") if math.isfinite(scale) else (1.0, "px")
    dx, dy = (factor * np.asarray(matches[name], dtype=float)[used] for name in ("dx", "dy"))
    shape = content.exposure.image.shape
    plots.draw_offset_field(field, **_positions(matches, used, prefix="src_"), dx=dx, dy=dy, unit=unit, shape=shape)
    plots.draw_offset_scatter(scatter, dx=dx, dy=dy, unit=unit)


def _zero_point_panel(axes: Axes, content: PageContent) -> None:
    matches = content.photometry_matches
    if matches is None or len(matches) == 0:
        plots.draw_nothing(axes, title="zero point", reason="no photometry")
        return
    plots.draw_zero_point(
        axes,
        magnitude=np.asarray(matches["ref_mag"], dtype=float),
        residual=np.asarray(matches["residual"], dtype=float),
        used=_flag(matches, "used"),
        value=(content.summary or {}).get("zero_point", math.nan),
        band=str(matches.meta.get("band", "")),
    )


def _size_panel(axes: Axes, content: PageContent) -> None:
    table = next((t for t in (content.stars, content.psf_stars) if t is not None and "ixx" in t.colnames), None)
    if table is None or len(table) == 0:
        plots.draw_nothing(axes, title="size against magnitude", reason="no stars")
        return
    psf = content.exposure.psf
    ny, nx = content.exposure.image.shape
    moments = None if psf is None else psf.moments(x=(nx - 1) / 2, y=(ny - 1) / 2)
    magnitude, label = _magnitudes(table)
    plots.draw_sizes(
        axes,
        magnitude=magnitude,
        size=_trace_radius(table),
        is_psf_star=_flag(table, "calib_psf_used"),
        psf_size=math.nan if moments is None else math.sqrt(max(0.0, (moments.ixx + moments.iyy) / 2)),
        label=label,
    )


def _magnitudes(table: Table) -> tuple[FloatArray, str]:
    for name, zero, label in (
        ("psf_flux", 31.4, "PSF magnitude [AB]"),
        ("psf_inst_flux", 0.0, "-2.5 log10(PSF counts)"),
    ):
        if name in table.colnames:
            flux = np.asarray(table[name], dtype=float)
            return zero - 2.5 * np.log10(np.where(flux > 0, flux, np.nan)), label
    return np.full(len(table), np.nan), "no PSF flux"


def _trace_radius(table: Table) -> FloatArray:
    trace = (np.asarray(table["ixx"], dtype=float) + np.asarray(table["iyy"], dtype=float)) / 2
    return np.sqrt(np.where(trace > 0, trace, np.nan))


def _brightest(table: Table) -> IntArray:
    """Return the rows to mark: real sources, the brightest of them if there are very many."""
    real = ~_flag(table, "sky_source", default=False)
    rows = np.flatnonzero(real)
    if len(rows) > MOST_MARKS and "snr" in table.colnames:
        rows = rows[np.argsort(-np.nan_to_num(np.asarray(table["snr"])[rows]))[:MOST_MARKS]]
    return rows


def _positions(table: Table, rows: IntArray | BoolArray, *, prefix: str = "") -> dict[str, FloatArray]:
    return {name: np.asarray(table[f"{prefix}{name}"], dtype=float)[rows] for name in ("x", "y")}


def _flag(table: Table, name: str, *, default: bool = True) -> BoolArray:
    if name not in table.colnames:
        return np.full(len(table), default)
    return np.asarray(table[name], dtype=bool)
