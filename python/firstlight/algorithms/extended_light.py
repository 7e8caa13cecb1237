"""Mark the light of large galaxies and of the halos of bright stars, that a sky must not be fitted to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.blocks import block_sums

_MIN_GOOD = 0.1
_GROWTH = 3.0


def mark_extended_light(
    residual: FloatArray,
    *,
    bad: BoolArray,
    block: int = 8,
    scales: tuple[float, ...] = (1.0, 2.0, 4.0),
    n_sigma: float = 4.0,
) -> BoolArray:
    """Mark where the mean of many pixels stands above the sky although single pixels do not.

    The means of square blocks are smoothed on several scales; what exceeds its noise is marked together with a border
    three times as wide as the scale, in which a profile that falls off fades. The noise is the robust scatter of the
    smoothed means themselves.

    Parameters
    ----------
    residual : (ny, nx)
        Image without its sky.
    bad : (ny, nx)
        Defects and detected sources; they do not count.
    block : [pixel]
        Side of the blocks.
    scales : [block]
        Standard deviations of the Gaussians.
    n_sigma
        Limit in units of the noise of the smoothed means.

    Returns
    -------
    marked : (ny, nx)
        Without ``bad``, unless it lies within extended light.
    """
    total, number = block_sums(residual, bad, block)
    weight = np.where(number >= _MIN_GOOD * block**2, number, 0.0)
    total = np.where(weight > 0.0, total, 0.0)
    marked = np.zeros(total.shape, dtype=bool)
    for scale in scales:
        excess, known = _excess(total, weight, scale)
        if not known.any():
            continue
        noise = 1.4826 * float(np.median(np.abs(excess[known])))
        found = known & (excess > n_sigma * noise)
        marked |= _grown(found, _GROWTH * scale)
    return _on_pixels(marked, block, residual.shape)


def _excess(
    total: NDArray[np.float64], weight: NDArray[np.float64], scale: float
) -> tuple[NDArray[np.float64], BoolArray]:
    """Return the smoothed mean above its median in units proportional to its noise, and where it is known."""
    sums = ndimage.gaussian_filter(total, scale, mode="constant", truncate=3.0)
    counts = ndimage.gaussian_filter(weight, scale, mode="constant", truncate=3.0)
    known = counts > _MIN_GOOD * max(1.0, float(counts.max()))
    mean = np.divide(sums, counts, out=np.zeros_like(sums), where=known)
    middle = float(np.median(mean[known])) if known.any() else 0.0
    return (mean - middle) * np.sqrt(np.maximum(counts, 0.0)), known


def _grown(found: BoolArray, radius: float) -> BoolArray:
    if not found.any():
        return found
    return np.asarray(ndimage.distance_transform_edt(~found) <= radius)


def _on_pixels(marked: BoolArray, block: int, shape: tuple[int, ...]) -> BoolArray:
    whole = np.repeat(np.repeat(marked, block, axis=0), block, axis=1)
    return np.ascontiguousarray(whole[: shape[0], : shape[1]])
