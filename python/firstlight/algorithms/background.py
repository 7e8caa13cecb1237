"""Fit the sky as a smooth surface through robust means of square bins."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from firstlight.algorithms.extended_light import mark_extended_light
from firstlight.errors import TooManyMaskedPixelsError
from firstlight.images.background import (
    MeshBackground,
    Surface,
    bin_centers,
    bin_edges,
    chebyshev_basis,
    spline_coefficients,
)
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.mesh import clipped_bins, mark_extended_outliers
from firstlight.kernels.planes import as_plane

_MIN_GOOD_FRACTION = 0.03
_FILLED_WEIGHT = 0.1
_CLIP_ITERATIONS = 5
_FEW_ROWS, _MANY_ROWS, _MANY_BINS = 32, 64, 256
_STEEP = 0.3
_ROBUST_ITERATIONS = 5
_ROBUST_SIGMA = 3.0


def fit_mesh_background(
    image: FloatArray,
    *,
    bad: BoolArray,
    bin_size: int = 128,
    order: int = 6,
    method: Surface = "chebyshev",
    n_sigma: float = 2.5,
    source_sigma: float = 2.5,
    source_box: int = 3,
    source_passes: int = 2,
    extended_passes: int = 0,
) -> MeshBackground:
    """Fit the sky as a surface through clipped means of square bins.

    Stars too faint to be masked pull a clipped mean up. So every place where the mean of a small box of pixels stands
    out from a first estimate of the sky is left out too; places that stand out downwards are treated alike, so that
    pure noise keeps its mean.

    Parameters
    ----------
    image : (ny, nx) [count]
    bad : (ny, nx)
        True where a pixel must not be used.
    bin_size : [pixel]
        Side of a bin; the bins are stretched a little so that they cover the image evenly.
    order
        Total order of the Chebyshev surface; lowered when there are too few bins.
    method
        ``chebyshev`` smooths the bins (LSST `SubtractBackgroundTask`); ``spline`` goes through every bin.
    n_sigma
        Clipping limit of single pixels.
    source_sigma
        Limit on the mean of ``source_box``-sized boxes in units of its noise.
    source_box : [pixel]
        Side of the boxes, odd; about one seeing disk. What stands out is left out with as much around it.
    source_passes
        How often they are looked for, each time with a better sky; 0 leaves this out.
    extended_passes
        How often the light of large galaxies and halos is looked for and left out; it needs ``bad`` to hold the
        detected sources.

    Raises
    ------
    TooManyMaskedPixelsError
        If no bin has a usable pixel.
    """
    image = as_plane(image)
    edges = bin_edges(image.shape[0], bin_size), bin_edges(image.shape[1], bin_size)
    correction = truncation_correction(n_sigma)
    finite = np.isfinite(image)
    unusable = bad if finite.all() else bad | ~finite
    sample = _row_samples(image.shape[0], edges, source_box)
    start = clipped_bins(image, unusable, *edges, n_sigma, correction, _CLIP_ITERATIONS, sample.few)
    slope, slope_values = _steep_slope(start, image)
    flat = image if slope is None else image - slope
    if slope is not None:
        start = clipped_bins(flat, unusable, *edges, n_sigma, correction, _CLIP_ITERATIONS, sample.few)
    mean, sigma, _ = start
    marked = unusable
    for left in reversed(range(source_passes)):
        centres = sample.centres & sample.few if left else sample.centres
        marked = mark_extended_outliers(
            flat, unusable, *edges, mean, sigma, source_box // 2, source_sigma, source_box, centres
        )
        if left:
            mean, sigma, _ = clipped_bins(flat, marked, *edges, n_sigma, correction, _CLIP_ITERATIONS, sample.few)
    statistics = clipped_bins(flat, marked, *edges, n_sigma, correction, _CLIP_ITERATIONS, sample.many)
    model = _surface(statistics, slope_values, edges, image.shape, method, order)
    for _ in range(extended_passes):
        left_out = marked | mark_extended_light(model.subtracted_from(image), bad=unusable)
        if left_out.all():
            break
        statistics = clipped_bins(flat, left_out, *edges, n_sigma, correction, _CLIP_ITERATIONS, sample.many)
        model = _surface(statistics, slope_values, edges, image.shape, method, order)
    return model


def _surface(
    statistics: NDArray[np.float64],
    slope_values: NDArray[np.float64] | float,
    edges: tuple[NDArray[np.int64], NDArray[np.int64]],
    shape: tuple[int, ...],
    method: Surface,
    order: int,
) -> MeshBackground:
    """Return the surface through the bins."""
    values, variance = _usable_bins(statistics, edges, shape)
    values = values + slope_values
    if method == "spline":
        coefficients = spline_coefficients(_filled(values), (shape[0], shape[1]))
    else:
        coefficients = _fit_chebyshev(values, variance, order, (shape[0], shape[1]))
    return MeshBackground(
        shape=(shape[0], shape[1]), values=values, variance=variance, method=method, coefficients=coefficients
    )


class _RowSample(NamedTuple):
    """Which rows serve for what; they come in groups as high as a box, so that sources in them can be marked."""

    few: BoolArray
    """Enough for a first estimate in every bin."""

    many: BoolArray
    """Enough for the final one."""

    centres: BoolArray
    """The middle of every group."""


def _row_samples(n_rows: int, edges: tuple[NDArray[np.int64], NDArray[np.int64]], group: int) -> _RowSample:
    n_bins = int(np.prod([len(axis) - 1 for axis in edges]))
    smallest = min(int(np.diff(axis).min()) for axis in edges)
    rows = np.arange(n_rows)
    # A surface through many bins averages them: half of the rows tell the sky well enough.
    least = _MANY_ROWS if n_bins >= _MANY_BINS else max(1, smallest)
    few, many = (
        rows // group % max(1, min(smallest // wanted, smallest // (2 * group))) == 0 for wanted in (_FEW_ROWS, least)
    )
    return _RowSample(few=few, many=many, centres=rows % group == group // 2)


def _steep_slope(
    start: NDArray[np.float64], image: FloatArray
) -> tuple[NDArray[np.float32] | None, NDArray[np.float64] | float]:
    """Return a first sky on the pixels and on the bins where it changes much from bin to bin, else None and 0."""
    mean, sigma, _ = start
    if not np.isfinite(mean).any():
        return None, 0.0
    filled = _filled(mean)
    changes = [np.abs(np.diff(filled, axis=axis)) for axis in (0, 1) if filled.shape[axis] > 1]
    if max((float(np.median(change)) for change in changes), default=0.0) <= _STEEP * float(np.nanmedian(sigma)):
        return None, 0.0
    shape = (image.shape[0], image.shape[1])
    first = MeshBackground(
        shape=shape,
        values=mean,
        variance=np.ones_like(mean),
        method="spline",
        coefficients=spline_coefficients(filled, shape),
    )
    return first.evaluate(), filled


def truncation_correction(n_sigma: float) -> float:
    """Return true over measured standard deviation of a normal distribution cut at ``n_sigma`` on both sides."""
    inside = 1.0 - 2.0 * ndtr(-n_sigma)
    density = np.exp(-(n_sigma**2) / 2.0) / np.sqrt(2.0 * np.pi)
    return float(1.0 / np.sqrt(1.0 - 2.0 * n_sigma * density / inside))


def _usable_bins(
    statistics: NDArray[np.float64], edges: tuple[NDArray[np.int64], NDArray[np.int64]], shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the means and their variances, NaN in bins with hardly a good pixel unless all are like that."""
    mean, sigma, count = statistics
    if not np.any(count > 0):
        raise TooManyMaskedPixelsError(
            f"None of the {count.size} background bins has a usable pixel; the image is {shape[0]} x {shape[1]}.",
            n_bins=count.size,
            n_pixels=int(np.prod(shape)),
        )
    area = np.diff(edges[0])[:, None] * np.diff(edges[1])[None, :]
    enough = count > _MIN_GOOD_FRACTION * area
    if not enough.any():
        enough = count > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(enough, sigma**2 / count, np.nan)
    return np.where(enough, mean, np.nan), variance


def _filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the grid with its gaps filled by the inverse-square-distance mean of the other bins."""
    good = np.isfinite(values)
    if good.all():
        return values
    known, missing = np.argwhere(good), np.argwhere(~good)
    weight = 1.0 / ((missing[:, None, :] - known[None, :, :]) ** 2).sum(axis=2) ** 2
    filled = values.copy()
    filled[~good] = weight @ values[good] / weight.sum(axis=1)
    return filled


def _fit_chebyshev(
    values: NDArray[np.float64], variance: NDArray[np.float64], order: int, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return the coefficients of the weighted, outlier-resistant Chebyshev surface of total order ``order`` or less."""
    order = _affordable_order(order, values)
    powers_y, powers_x = np.nonzero(np.add.outer(np.arange(order + 1), np.arange(order + 1)) <= order)
    basis_y = chebyshev_basis(bin_centers(shape[0], values.shape[0]), shape[0], order + 1)
    basis_x = chebyshev_basis(bin_centers(shape[1], values.shape[1]), shape[1], order + 1)
    design = (basis_y[:, None, powers_y] * basis_x[None, :, powers_x]).reshape(values.size, -1)
    offset = float(np.nanmedian(values))
    target = _filled(values).ravel() - offset
    solution = _robust_least_squares(design, target, variance.ravel())
    coefficients = np.zeros((order + 1, order + 1))
    coefficients[powers_y, powers_x] = solution
    coefficients[0, 0] += offset
    return coefficients


def _affordable_order(order: int, values: NDArray[np.float64]) -> int:
    order = min(order, *(count - 1 for count in values.shape))
    n_good = int(np.isfinite(values).sum())
    while order > 0 and (order + 1) * (order + 2) // 2 > n_good:
        order -= 1
    return order


def _robust_least_squares(
    design: NDArray[np.float64], target: NDArray[np.float64], variance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the solution of a least-squares fit whose outliers lose weight (Huber); gaps count only a little."""
    known = np.isfinite(variance)
    floor = np.median(variance[known])
    statistical = np.where(known, np.maximum(variance, 0.1 * floor), floor / _FILLED_WEIGHT)
    if floor <= 0.0:
        statistical = np.where(known, 1.0, 1.0 / _FILLED_WEIGHT)
    weight = 1.0 / statistical
    solution = _solve(design, target, weight)
    for _ in range(_ROBUST_ITERATIONS):
        residual = target - design @ solution
        spread = 1.4826 * float(np.median(np.abs(residual[known])))
        limit = _ROBUST_SIGMA * np.sqrt(statistical + spread**2)
        softened = np.minimum(1.0, limit / np.maximum(np.abs(residual), 1e-30))
        solution = _solve(design, target, weight * softened)
    return solution


def _solve(
    design: NDArray[np.float64], target: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    weighted = design * (weight / weight.max())[:, None]
    return np.asarray(np.linalg.solve(weighted.T @ design, weighted.T @ target))
