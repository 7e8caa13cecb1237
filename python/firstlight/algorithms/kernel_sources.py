"""Choose the stars by which two images are matched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from firstlight.kernels.arrays import BoolArray, FloatArray


@dataclass(frozen=True)
class KernelSources:
    """The sources that were chosen, and how many each step left.

    Parameters
    ----------
    index : (n,)
        Which of the sources, the best first.
    steps
        Name of each step and the number left after it.
    """

    index: NDArray[np.int64]
    steps: tuple[tuple[str, int], ...]


def select_kernel_sources(
    *,
    x: FloatArray,
    y: FloatArray,
    snr: FloatArray,
    rejected: BoolArray,
    bad: BoolArray,
    unshared: BoolArray,
    margin: int,
    stamp_radius: int,
    core_radius: int,
    separation: float,
    min_snr: float = 10.0,
    max_snr: float = 500.0,
    cell_size: int = 128,
    per_cell: int = 5,
    max_sources: int = 1000,
) -> KernelSources:
    """Choose bright sources that are good in both images, evenly over the image.

    The brightest of each cell come first, then the second of each, so that every part of the image has its say. Sources
    brighter than ``max_snr`` are taken too where a cell has none between the limits.

    Parameters
    ----------
    x, y : (n,) [pixel]
    snr : (n,)
        Signal-to-noise ratio.
    rejected : (n,)
        Sources that must not be taken, whatever their place.
    bad : (ny, nx)
        Pixels that are not good in one of the images.
    unshared : (ny, nx)
        Pixels that are bright in one of the images only; none may lie in the smaller square.
    margin : [pixel]
        Smallest distance from the edges.
    stamp_radius, core_radius : [pixel]
        Half sizes of the square in which no bad pixel may lie; the smaller one is used when the other leaves fewer than
        a third of the sources.
    separation : [pixel]
        Smallest distance of two chosen sources.
    min_snr, max_snr
    cell_size : [pixel]
    per_cell
        Largest number of sources of a cell.
    max_sources
        Largest number of all.
    """
    ny, nx = bad.shape
    steps = [("sources", len(x))]
    with np.errstate(invalid="ignore"):
        chosen = np.isfinite(x) & np.isfinite(y) & ~rejected
        steps.append(("accepted", int(chosen.sum())))
        chosen &= (x >= margin) & (y >= margin) & (x <= nx - 1 - margin) & (y <= ny - 1 - margin)
        steps.append(("inside", int(chosen.sum())))
        chosen &= snr >= min_snr
        steps.append((f"snr_above_{min_snr:g}", int(chosen.sum())))
    rows = np.flatnonzero(chosen)
    rows = _unmasked(rows, x=x, y=y, bad=bad, radius=stamp_radius, fallback=core_radius)
    steps.append(("good_pixels", len(rows)))
    rows = rows[_clean(rows, x=x, y=y, bad=unshared, radius=core_radius)]
    steps.append(("in_both", len(rows)))
    rows = _ranked(rows, x=x, y=y, snr=snr, max_snr=max_snr, cell_size=cell_size, per_cell=per_cell)
    rows = _apart(rows, x=x, y=y, separation=separation)[:max_sources]
    steps.append(("spread", len(rows)))
    return KernelSources(index=rows, steps=tuple(steps))


def _unmasked(
    rows: NDArray[np.int64], *, x: FloatArray, y: FloatArray, bad: BoolArray, radius: int, fallback: int
) -> NDArray[np.int64]:
    """Return the sources in whose square no pixel is bad."""
    if not bad.any() or not len(rows):
        return rows
    whole = _clean(rows, x=x, y=y, bad=bad, radius=radius)
    return rows[whole] if whole.sum() >= len(rows) / 3 else rows[_clean(rows, x=x, y=y, bad=bad, radius=fallback)]


def _clean(rows: NDArray[np.int64], *, x: FloatArray, y: FloatArray, bad: BoolArray, radius: int) -> BoolArray:
    column, row = np.rint(x[rows]).astype(np.int64), np.rint(y[rows]).astype(np.int64)
    first_row, first_column = np.maximum(row - radius, 0), np.maximum(column - radius, 0)
    places = zip(first_row, first_column, row + radius + 1, column + radius + 1, strict=True)
    return np.array([not bad[y0:y1, x0:x1].any() for y0, x0, y1, x1 in places], dtype=bool)


def _ranked(
    rows: NDArray[np.int64],
    *,
    x: FloatArray,
    y: FloatArray,
    snr: FloatArray,
    max_snr: float,
    cell_size: int,
    per_cell: int,
) -> NDArray[np.int64]:
    """Return the sources by their rank in their cell, then by brightness; those too bright come last in a cell."""
    if not len(rows):
        return rows
    cell = (y[rows] // cell_size).astype(np.int64) * 1_000_000 + (x[rows] // cell_size).astype(np.int64)
    too_bright = snr[rows] > max_snr
    order = np.lexsort((-snr[rows], too_bright, cell))
    _, first, count = np.unique(cell[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(first, count)
    kept = (rank < per_cell) & (~too_bright[order] | (rank == 0))
    ranked = order[kept]
    return np.asarray(rows[ranked[np.lexsort((-snr[rows[ranked]], rank[kept]))]])


def _apart(rows: NDArray[np.int64], *, x: FloatArray, y: FloatArray, separation: float) -> NDArray[np.int64]:
    """Return the sources without those that lie too near to one before them."""
    if separation <= 0.0 or len(rows) < 2:
        return rows
    tree = cKDTree(np.stack([x[rows], y[rows]], axis=1))
    left = np.ones(len(rows), dtype=bool)
    for first, second in sorted(tree.query_pairs(separation)):
        if left[first]:
            left[second] = False
    return rows[left]
