"""Grow the mask of every source outwards until its light has faded into the sky."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray


def grow_to_sky(
    residual: FloatArray, *, segments: IntArray, bad: BoolArray, max_growth: int = 100, extra: int = 0
) -> BoolArray:
    """Return the mask of sources whose segments grew ring by ring until the light in the ring is gone.

    The growth of a segment ends at the first ring of one pixel whose mean is not above the sky, or is higher than that
    of the ring before by more than its noise: there a neighbour begins (the curve of growth of the sky masks of
    GalfitS, Li & Ho 2025).

    Parameters
    ----------
    residual : (ny, nx)
        Image without its sky.
    segments : (ny, nx)
        0 on the sky, else the number of the source.
    bad : (ny, nx)
        Pixels that do not count in the means.
    max_growth : [pixel]
        No segment grows by more.
    extra : [pixel]
        Every segment grows by so much more in the end.

    Returns
    -------
    mask : (ny, nx)
        True within the grown segments.
    """
    if not segments.any():
        return np.zeros(segments.shape, dtype=bool)
    distance, nearest = ndimage.distance_transform_edt(segments == 0, return_indices=True)
    owner = segments[tuple(nearest)]
    ring = np.ceil(distance - 0.5).astype(np.int64)
    reach = _growth(residual, owner, ring, bad, max_growth)
    return np.asarray(ring <= reach[owner] + extra)


def _growth(
    residual: FloatArray, owner: IntArray, ring: NDArray[np.int64], bad: BoolArray, max_growth: int
) -> NDArray[np.int64]:
    """Return by how many rings each segment grows, indexed by its number."""
    used = (ring >= 1) & (ring <= max_growth) & ~bad & np.isfinite(residual)
    n_segments = int(owner.max()) + 1
    cell = owner[used].astype(np.int64) * max_growth + ring[used] - 1
    size = n_segments * max_growth
    value = np.asarray(residual[used], dtype=np.float64)
    number = np.bincount(cell, minlength=size).reshape(n_segments, max_growth)
    total = np.bincount(cell, weights=value, minlength=size).reshape(n_segments, max_growth)
    square = np.bincount(cell, weights=value**2, minlength=size).reshape(n_segments, max_growth)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / number
        error = np.sqrt(np.maximum(square / number - mean**2, 0.0) / number)
    rising = np.zeros(mean.shape, dtype=bool)
    rising[:, 1:] = mean[:, 1:] > mean[:, :-1] + error[:, 1:]
    ended = ~(mean > 0.0) | rising
    return np.where(ended.any(axis=1), np.argmax(ended, axis=1), max_growth)
