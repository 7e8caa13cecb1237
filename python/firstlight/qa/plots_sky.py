"""Panels of the sky and of the pixels that were rejected."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgb
from matplotlib.patches import Patch
from numpy.typing import NDArray

from firstlight.images.mask import Mask
from firstlight.kernels.arrays import BoolArray
from firstlight.qa import plots
from firstlight.qa.pixels import any_of_blocks
from firstlight.qa.statistics import CellMedians, SkySurface

REJECTED = {
    "NO_DATA": plots.GREY,
    "BAD": plots.PURPLE,
    "SAT": plots.VERMILION,
    "SPIKE": plots.ORANGE,
    "STREAK": plots.GREEN,
    "CR": plots.BLUE,
    "SUSPECT": "#F0E442",
    "EDGE": "#66C2A5",
    "VIGNETTED": "#8C6D31",
    "CROSSTALK": "#56B4E9",
    "GHOST": "#6A3D9A",
    "NOT_DEBLENDED": "#17BECF",
    "UNMASKEDNAN": "#333333",
}
"""Mask plane -> colour on the image, of the planes whose pixels were not used; later ones lie above earlier ones."""

SMALLEST_MARK = 5


def draw_rejected(axes: Axes, mask: Mask, *, factor: int) -> None:
    """Colour the pixels of the planes in `REJECTED` on a picture shrunken by ``factor``; small marks are enlarged."""
    patches = []
    overlay = np.zeros((-(-mask.shape[0] // factor), -(-mask.shape[1] // factor), 4), dtype=np.float32)
    for name in (name for name in REJECTED if name in mask.in_use()):
        overlay[_seen(mask.any_of(name), factor=factor)] = (*to_rgb(REJECTED[name]), 0.75)
        patches.append(Patch(color=REJECTED[name], label=f"{name} {100 * mask.fraction(name):.3g} %"))
    if patches:
        extent = (-0.5, overlay.shape[1] * factor - 0.5, -0.5, overlay.shape[0] * factor - 0.5)
        axes.imshow(overlay, origin="lower", extent=extent, interpolation="nearest")
        axes.legend(handles=patches, fontsize=plots.TINY, loc="upper left", framealpha=0.85, ncols=3)
    axes.set_xlim(-0.5, mask.shape[1] - 0.5)
    axes.set_ylim(-0.5, mask.shape[0] - 0.5)
    plots.set_title(axes, "rejected pixels" if patches else "no rejected pixels")


def _seen(plane: BoolArray, *, factor: int) -> BoolArray:
    """Return the plane at the size of the picture; a thin plane is widened to a few dots."""
    shown = any_of_blocks(plane, factor)
    if shown.mean() < 0.001:
        half = SMALLEST_MARK // 2
        for axis in (0, 1):
            padded = np.pad(shown, [(half, half) if each == axis else (0, 0) for each in (0, 1)])
            windows = np.lib.stride_tricks.sliding_window_view(padded, SMALLEST_MARK, axis=axis)
            shown = np.asarray(windows.any(axis=-1), dtype=bool)
    return shown


def draw_sky_surface(axes: Axes, sky: SkySurface, *, unit: str, shape: tuple[int, int]) -> None:
    """Show one model of the sky around its level, from blue to red by the number after the sign."""
    values = sky.values - sky.level
    largest = float(np.max(np.abs(values))) or 1.0
    extent = (-0.5, shape[1] - 0.5, -0.5, shape[0] - 0.5)
    axes.imshow(values, origin="lower", cmap="RdBu_r", norm=Normalize(-largest, largest), extent=extent)
    axes.set_xticks([])
    axes.set_yticks([])
    plots.set_title(axes, f"{sky.name}: {sky.level:.6g} \u00b1 {largest:.4g} {unit}")


def draw_cells(axes: Axes, cells: CellMedians, *, shape: tuple[int, int], title: str, form: str = "{:+.1f}") -> None:
    """Show the medians of cells with their errors, coloured by how significant they are: full colour at 5 sigma."""
    with np.errstate(invalid="ignore", divide="ignore"):
        significance = cells.value / np.where(cells.error > 0, cells.error, np.nan)
    extent = (-0.5, shape[1] - 0.5, -0.5, shape[0] - 0.5)
    axes.set_facecolor("#EEEEEE")
    axes.imshow(
        significance, origin="lower", cmap="RdBu_r", alpha=0.6, norm=Normalize(-5, 5), extent=extent,
        interpolation="nearest",
    )  # fmt: skip
    rows, columns = cells.value.shape
    for (j, i), value in np.ndenumerate(cells.value):
        x, y = (i + 0.5) * shape[1] / columns - 0.5, (j + 0.5) * shape[0] / rows - 0.5
        error = form.replace("+", "").format(cells.error[j, i])
        words = f"{form.format(value)}\n\u00b1{error}" if np.isfinite(value) else f"{cells.count[j, i]} star(s)"
        axes.text(x, y, words, ha="center", va="center", fontsize=plots.TINY)
    axes.set_xlim(-0.5, shape[1] - 0.5)
    axes.set_ylim(-0.5, shape[0] - 0.5)
    axes.tick_params(labelsize=plots.TINY)
    plots.set_title(axes, title)


def draw_quality(axes: Axes, values: NDArray[np.float64], *, shape: tuple[int, int]) -> None:
    """Show mean separations in cells in units of half the FWHM: above 1, stars would be taken for their neighbours."""
    extent = (-0.5, shape[1] - 0.5, -0.5, shape[0] - 0.5)
    axes.set_facecolor("#EEEEEE")
    picture = axes.imshow(
        values, origin="lower", cmap="viridis", norm=Normalize(0, 1), extent=extent, interpolation="nearest"
    )
    bar = axes.figure.colorbar(picture, ax=axes, fraction=0.046, pad=0.03)
    bar.ax.tick_params(labelsize=plots.TINY)
    axes.set_xlim(-0.5, shape[1] - 0.5)
    axes.set_ylim(-0.5, shape[0] - 0.5)
    axes.tick_params(labelsize=plots.TINY)
    finite = values[np.isfinite(values)]
    words = f"mean, FWHM / 2: {np.count_nonzero(finite > 1)} of {len(finite)} cells > 1"
    plots.set_title(axes, words)
