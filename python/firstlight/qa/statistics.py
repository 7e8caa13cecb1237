"""Robust numbers of scattered points: medians along an axis and in cells of the field, slopes of a sky, counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.images.background import MeshBackground
from firstlight.kernels.arrays import FloatArray

MEDIAN_ERROR = 1.2533 * 1.4826
"""Error of the median of n Gaussian values in units of their median absolute deviation over the root of n."""

SAMPLES = 65


@dataclass(frozen=True)
class BinnedMedians:
    """Medians of groups of points, with their errors.

    Parameters
    ----------
    at, value, error : (n_bins,)
    """

    at: NDArray[np.float64]
    value: NDArray[np.float64]
    error: NDArray[np.float64]


def binned_medians(at: FloatArray, values: FloatArray, *, n_bins: int = 8, least: int = 5) -> BinnedMedians:
    """Return medians of groups of equal number along ``at``; fewer groups where one would have under ``least``."""
    good = np.isfinite(at) & np.isfinite(values)
    order = np.argsort(at[good], kind="stable")
    n_groups = min(n_bins, len(order) // least)
    groups = np.array_split(order, n_groups) if n_groups else []
    made = [(float(np.median(at[good][rows])), *median_of(values[good][rows])) for rows in groups]
    columns = np.array(made).reshape(-1, 3).T
    return BinnedMedians(*columns)


def median_of(values: FloatArray) -> tuple[float, float]:
    """Return the median of finite values and its error from their scatter; NaN for none, no error for one."""
    if len(values) == 0:
        return math.nan, math.nan
    median = float(np.median(values))
    if len(values) == 1:
        return median, math.nan
    return median, float(MEDIAN_ERROR * np.median(np.abs(values - median)) / math.sqrt(len(values)))


@dataclass(frozen=True)
class CellMedians:
    """Medians of points in the cells of a field.

    Parameters
    ----------
    value, error : (n, n)
        [y, x]; NaN where a cell has too few points.
    count : (n, n)
    """

    value: NDArray[np.float64]
    error: NDArray[np.float64]
    count: NDArray[np.int64]


def cell_medians(
    place: Mapping[str, FloatArray], values: FloatArray, *, shape: tuple[int, int], n: int = 4, least: int = 3
) -> CellMedians:
    """Return the medians of ``values`` in n x n cells of an image.

    Parameters
    ----------
    place
        ``x`` and ``y`` of the points [pixel].
    values : (n_points,)
        What was measured there; points that are not finite are left out.
    shape
        Rows and columns of the image.
    least
        A cell with fewer points has no median.
    """
    x, y = place["x"], place["y"]
    good = np.isfinite(x) & np.isfinite(y) & np.isfinite(values)
    row, column = _cells(x[good], y[good], shape, n)
    value, error = np.full((n, n), np.nan), np.full((n, n), np.nan)
    count = np.zeros((n, n), dtype=np.int64)
    for j, i in np.ndindex(n, n):
        inside = values[good][(row == j) & (column == i)]
        count[j, i] = len(inside)
        if len(inside) >= least:
            value[j, i], error[j, i] = median_of(inside)
    return CellMedians(value, error, count)


def cell_means(
    place: Mapping[str, FloatArray], values: FloatArray, *, shape: tuple[int, int], n: int = 10
) -> NDArray[np.float64]:
    """Return the means of finite ``values`` in n x n cells of an image, [y, x]; NaN in an empty cell."""
    x, y = place["x"], place["y"]
    good = np.isfinite(x) & np.isfinite(y) & np.isfinite(values)
    row, column = _cells(x[good], y[good], shape, n)
    total, count = np.zeros((n, n)), np.zeros((n, n))
    np.add.at(total, (row, column), values[good])
    np.add.at(count, (row, column), 1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _cells(x: FloatArray, y: FloatArray, shape: tuple[int, int], n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return row and column of the cell that each point lies in; points outside belong to the nearest."""
    row = np.clip((y + 0.5) * n / shape[0], 0, n - 1).astype(np.int64)
    return row, np.clip((x + 0.5) * n / shape[1], 0, n - 1).astype(np.int64)


def excess_scatter(cells: CellMedians) -> float:
    """Return how much more the medians of the cells scatter than their errors allow, rms; NaN for under two cells."""
    known = np.isfinite(cells.value) & np.isfinite(cells.error)
    if known.sum() < 2:
        return math.nan
    variance = float(np.var(cells.value[known], ddof=1) - np.mean(cells.error[known] ** 2))
    return math.sqrt(max(0.0, variance))


@dataclass(frozen=True)
class SkySurface:
    """A sky model in a few numbers.

    Parameters
    ----------
    name
        What it is called on the page.
    values : (65, 65) [unit of the image]
        From edge to edge, [y, x].
    bins
        Columns x rows of its bins; empty for a sum.
    """

    name: str
    values: NDArray[np.float64]
    bins: str = ""

    @property
    def level(self) -> float:
        """Median [unit of the image]."""
        return float(np.median(self.values))

    @property
    def span(self) -> float:
        """Largest minus smallest [unit of the image]."""
        return float(np.ptp(self.values))

    @property
    def slope_x(self) -> float:
        """Change of the best plane along x, from edge to edge [unit of the image]."""
        return _slope(self.values.mean(axis=0))

    @property
    def slope_y(self) -> float:
        """Change of the best plane along y, from edge to edge [unit of the image]."""
        return _slope(self.values.mean(axis=1))


def sky_surface(name: str, model: MeshBackground) -> SkySurface:
    """Sample a model from edge to edge."""
    ny, nx = model.shape
    x, y = (np.linspace(0.0, length - 1.0, SAMPLES) for length in (nx, ny))
    bins = f"{model.values.shape[1]} x {model.values.shape[0]} bins, {model.method}"
    return SkySurface(name, model.evaluate_grid(x=x, y=y).astype(np.float64), bins)


def _slope(profile: NDArray[np.float64]) -> float:
    """Return the change of the best straight line over equally spaced values, from first to last."""
    position = np.linspace(-0.5, 0.5, len(profile))
    return float(position @ profile / (position @ position))


@dataclass(frozen=True)
class NumberCounts:
    """Sources for each magnitude.

    Parameters
    ----------
    edges : (n + 1,) [mag]
    count : (n,)
    """

    edges: NDArray[np.float64]
    count: NDArray[np.int64]


def number_counts(magnitude: FloatArray, *, width: float = 0.5) -> NumberCounts | None:
    """Count sources in bins of ``width`` magnitudes; None if there is none."""
    finite = magnitude[np.isfinite(magnitude)]
    if len(finite) == 0:
        return None
    low, high = np.percentile(finite, [0.2, 99.8])
    first, last = math.floor(low / width), max(math.floor(low / width) + 1, math.ceil(high / width))
    edges = width * np.arange(first, last + 1)
    return NumberCounts(edges, np.histogram(finite, edges)[0])
