"""The panels of the page, each drawn into axes that the caller made."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.patheffects import Normal, Stroke

from firstlight.images.wcs import SkyWcs
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.qa.pixels import SkyMap, noise_of

BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE, GREY = (
    "#0072B2",
    "#56B4E9",
    "#009E73",
    "#E69F00",
    "#D55E00",
    "#CC79A7",
    "#7F7F7F",
)
"""Colours that most colour-blind readers can tell apart (Okabe and Ito 2008)."""

SMALL, TINY = 8.0, 6.5
MOST_ARROWS, CELLS = 400, 12
OUTLINE = (Stroke(linewidth=3, foreground="white"), Normal())


def set_title(axes: Axes, words: str) -> None:
    """Write words above a panel, at the left, at a fixed place: to look for a free one takes long."""
    axes.set_title(words, fontsize=SMALL, loc="left", y=1.0)


def draw_nothing(axes: Axes, *, title: str, reason: str) -> None:
    """Say in place why a panel is empty."""
    set_title(axes, title)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_edgecolor("#CCCCCC")
    axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=11)


def draw_image(axes: Axes, shown: FloatArray, *, factor: int, shape: tuple[int, int], unit: str) -> None:
    """Show an image in negative greys, asinh-stretched from the noise of its sky to its bright stars.

    Parameters
    ----------
    shown
        The image with its rows and columns ``shape``, shrunken by ``factor``.
    """
    median, sigma = noise_of(shown)
    finite = shown[np.isfinite(shown)]
    top = float(np.percentile(finite, 99.7)) if len(finite) else 1.0
    sigma = sigma or 1.0
    norm = AsinhNorm(linear_width=3 * sigma, vmin=median - 3 * sigma, vmax=max(top, median + 10 * sigma))
    ny, nx = shown.shape[0] * factor, shown.shape[1] * factor
    extent = (-0.5, nx - 0.5, -0.5, ny - 0.5)
    axes.imshow(shown, origin="lower", cmap="gray_r", norm=norm, extent=extent, interpolation="nearest")
    axes.set_xlim(-0.5, shape[1] - 0.5)
    axes.set_ylim(-0.5, shape[0] - 0.5)
    axes.set_xlabel("x [pixel]", fontsize=SMALL)
    axes.set_ylabel("y [pixel]", fontsize=SMALL)
    axes.tick_params(labelsize=TINY)
    set_title(axes, f"image [{unit}]")


def mark_sources(axes: Axes, *, x: FloatArray, y: FloatArray, color: str, size: float, label: str) -> None:
    """Circle positions on an image; very many get smaller and thinner circles."""
    crowding = min(1.0, max(0.1, 400 / max(1, len(x))))
    axes.scatter(
        x,
        y,
        s=size * crowding**0.5,
        facecolors="none",
        edgecolors=color,
        linewidths=0.8 * crowding**0.25,
        label=label,
        rasterized=True,
    )


def draw_compass(axes: Axes, wcs: SkyWcs, *, shape: tuple[int, int]) -> None:
    """Draw arrows to the north and the east, and a bar of known length."""
    ny, nx = shape
    x, y = 0.88 * nx, 0.88 * ny
    ra, dec = (float(value) for value in wcs.pixel_to_sky(x=x, y=y))
    scale = float(wcs.pixel_scale(x=x, y=y))
    length = 0.06 * min(shape)
    step = length * scale / 3600
    for name, to_ra, to_dec in (("N", ra, dec + step), ("E", ra + step / math.cos(math.radians(dec)), dec)):
        end_x, end_y = (float(value) for value in wcs.sky_to_pixel(ra=to_ra, dec=to_dec))
        axes.annotate(
            "",
            xy=(end_x, end_y),
            xytext=(x, y),
            arrowprops={"arrowstyle": "->", "color": PURPLE, "lw": 1.6, "path_effects": OUTLINE},
            zorder=5,
        )
        axes.text(
            x + 1.4 * (end_x - x),
            y + 1.4 * (end_y - y),
            name,
            color=PURPLE,
            fontsize=9,
            ha="center",
            va="center",
            weight="bold",
            path_effects=OUTLINE,
        )
    bar = _round_angle(0.2 * nx * scale)
    left, low = 0.04 * nx, 0.04 * ny
    axes.plot([left, left + bar / scale], [low, low], color=PURPLE, lw=2, path_effects=OUTLINE)
    words = f"{bar / 60:g}'" if bar >= 60 else f'{bar:g}"'
    axes.text(
        left + bar / scale / 2,
        low + 0.012 * ny,
        words,
        color=PURPLE,
        fontsize=9,
        ha="center",
        weight="bold",
        path_effects=OUTLINE,
    )


def draw_sky_map(axes: Axes, sky: SkyMap, *, shape: tuple[int, int]) -> None:
    """Show what is left of the sky, in units of the noise of one pixel."""
    rows, columns = sky.mean.shape
    extent = (-0.5, columns * sky.bin_size - 0.5, -0.5, rows * sky.bin_size - 0.5)
    finite = sky.mean[np.isfinite(sky.mean)]
    largest = max(0.1, float(np.percentile(np.abs(finite), 98)) if len(finite) else 0.0)
    picture = axes.imshow(
        sky.mean,
        origin="lower",
        cmap="RdBu_r",
        norm=Normalize(-largest, largest),
        extent=extent,
        interpolation="nearest",
    )
    axes.set_facecolor("#DDDDDD")
    axes.set_xlim(-0.5, shape[1] - 0.5)
    axes.set_ylim(-0.5, shape[0] - 0.5)
    axes.tick_params(labelsize=TINY)
    bar = axes.figure.colorbar(picture, ax=axes, fraction=0.046, pad=0.03)
    bar.ax.tick_params(labelsize=TINY)
    rms = float(np.std(finite)) if len(finite) else math.nan
    set_title(axes, f"sky left over [sigma], {sky.bin_size} px bins, rms {rms:.3f}")


def draw_mosaic(
    axes: Axes, stamps: Sequence[Sequence[FloatArray | None]], titles: Sequence[Sequence[str]], *, limit: float | None
) -> None:
    """Show small images side by side, the first row on top, with a line of words above each.

    Parameters
    ----------
    stamps
        Rows of square images of one size; None for one that is missing.
    titles
        Their words.
    limit
        Linear between +-``limit``; None for asinh from zero to the peak of each.
    """
    size = max((len(stamp) for row in stamps for stamp in row if stamp is not None), default=1)
    step_x, step_y = size + 1, round(1.2 * size) + 1
    canvas = np.full((len(stamps) * step_y, len(stamps[0]) * step_x), np.nan)
    for j, (row, words) in enumerate(zip(stamps, titles, strict=True)):
        bottom = (len(stamps) - 1 - j) * step_y
        for i, (stamp, title) in enumerate(zip(row, words, strict=True)):
            if stamp is not None:
                scale = 1.0 if limit is not None else float(np.nanmax(stamp)) or 1.0
                canvas[bottom : bottom + size, i * step_x : i * step_x + size] = stamp / scale
            place = (i * step_x + size / 2 - 0.5, bottom + size)
            axes.text(*place, title, ha="center", va="bottom", fontsize=TINY)
    norm = AsinhNorm(linear_width=0.03, vmin=-0.003, vmax=1.0) if limit is None else Normalize(-limit, limit)
    axes.imshow(
        canvas, origin="lower", cmap="viridis" if limit is None else "RdBu_r", norm=norm, interpolation="nearest"
    )
    axes.set_axis_off()


def draw_offset_field(
    axes: Axes, *, x: FloatArray, y: FloatArray, dx: FloatArray, dy: FloatArray, unit: str, shape: tuple[int, int]
) -> None:
    """Show astrometric residuals as arrows over the field; of many stars, the median of each cell."""
    ny, nx = shape
    title = f"position residuals, {len(dx)} stars"
    if len(dx) > MOST_ARROWS:
        x, y, dx, dy = cell_centers_and_medians(x, y, dx, dy, shape=shape)
        title = f"{len(dx)} residuals, cell medians"
    typical = float(np.median(np.hypot(dx, dy))) if len(dx) else math.nan
    if typical > 0:
        key = round_length(2 * typical)
        scale = key / (0.08 * nx)
        arrows = axes.quiver(
            x, y, dx, dy, angles="xy", scale_units="xy", scale=scale, width=0.003, color=BLUE, headwidth=3.5
        )
        axes.quiverkey(
            arrows, 0.83, 1.03, key, f"{key:g} {unit}", labelpos="E", coordinates="axes", fontproperties={"size": TINY}
        )
    axes.set_xlim(-0.5, nx - 0.5)
    axes.set_ylim(-0.5, ny - 0.5)
    axes.set_aspect("equal")
    axes.tick_params(labelsize=TINY)
    axes.set_xlabel("x [pixel]", fontsize=SMALL)
    axes.set_ylabel("y [pixel]", fontsize=SMALL)
    set_title(axes, title)


def cell_centers_and_medians(
    x: FloatArray, y: FloatArray, dx: FloatArray, dy: FloatArray, *, shape: tuple[int, int]
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the median positions and values in 12 x 12 cells of the field that have any."""
    column = np.clip((np.asarray(x) + 0.5) * CELLS / shape[1], 0, CELLS - 1).astype(int)
    row = np.clip((np.asarray(y) + 0.5) * CELLS / shape[0], 0, CELLS - 1).astype(int)
    cell = row * CELLS + column
    values = np.stack([x, y, dx, dy])
    medians = np.array([np.median(values[:, cell == index], axis=1) for index in np.unique(cell)])
    return medians[:, 0], medians[:, 1], medians[:, 2], medians[:, 3]


def draw_offset_scatter(axes: Axes, *, dx: FloatArray, dy: FloatArray, unit: str) -> None:
    """Show astrometric residuals as points, with the histogram of each axis along the edges."""
    rms = [float(np.sqrt(np.mean(value**2))) for value in (dx, dy)]
    limit = max(1.2 * float(np.percentile(np.abs(np.concatenate([dx, dy])), 99.5)), 3.0 * max(rms), 1e-6)
    axes.scatter(dx, dy, s=5, color=BLUE, alpha=0.6, linewidths=0)
    axes.axhline(0, color=GREY, lw=0.6)
    axes.axvline(0, color=GREY, lw=0.6)
    bins = np.linspace(-limit, limit, int(np.clip(2 * math.sqrt(len(dx)), 9, 41)))
    middle = (bins[1:] + bins[:-1]) / 2
    for values, along_x in ((dx, True), (dy, False)):
        count = np.histogram(values, bins)[0]
        height = -limit + 0.35 * limit * count / max(1, count.max())
        axes.plot(*((middle, height) if along_x else (height, middle)), color=VERMILION, lw=1, drawstyle="default")
    axes.set_xlim(-limit, limit)
    axes.set_ylim(-limit, limit)
    axes.set_aspect("equal")
    axes.tick_params(labelsize=TINY)
    axes.set_xlabel(f"along x [{unit}]", fontsize=SMALL)
    axes.set_ylabel(f"along y [{unit}]", fontsize=SMALL)
    set_title(axes, f"rms {rms[0]:.3g}, {rms[1]:.3g} {unit}")


def draw_sizes(
    axes: Axes, *, magnitude: FloatArray, size: FloatArray, is_psf_star: BoolArray, psf_size: float, label: str
) -> None:
    """Show size against magnitude; the stars of the PSF model stand out."""
    good = np.isfinite(magnitude) & np.isfinite(size)
    star = is_psf_star & good
    axes.scatter(magnitude[good & ~star], size[good & ~star], s=4, color=GREY, alpha=0.5, linewidths=0, label="sources")
    if star.any():
        axes.scatter(magnitude[star], size[star], s=8, color=ORANGE, linewidths=0, label=f"PSF stars {star.sum()}")
    if math.isfinite(psf_size):
        axes.axhline(psf_size, color=BLUE, lw=0.8)
        axes.set_ylim(0, 2.5 * psf_size)
    axes.tick_params(labelsize=TINY)
    axes.set_xlabel(label, fontsize=SMALL)
    axes.set_ylabel("size (trace radius) [pixel]", fontsize=SMALL)
    axes.legend(fontsize=TINY, loc="upper left", frameon=False)
    set_title(axes, f"size against magnitude; line: PSF {psf_size:.2f} px")


def _round_angle(arcsec: float) -> float:
    """Return the nearest handy length below ``arcsec``."""
    handy = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000]
    return float(max((value for value in handy if value <= arcsec), default=handy[0]))


def round_length(value: float) -> float:
    """Return ``value`` rounded to one digit of 1, 2 or 5."""
    power = 10.0 ** math.floor(math.log10(value))
    return float(min((1, 2, 5, 10), key=lambda digit: abs(digit * power - value)) * power)
