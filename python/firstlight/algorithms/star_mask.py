"""How much around the stars to leave out, so that enough sky is left in every part of the detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from firstlight.kernels.arrays import BoolArray, FloatArray

_CELL = 8
_FEW = 3
_NEAR = 0.05


@dataclass(frozen=True)
class MaskLimits:
    """What `choose_star_mask` aims at."""

    start: float = 2.0
    """Significance at which the search begins [standard deviation]."""

    min_fraction: float = 0.02
    """Least share of the image that is left out."""

    max_fraction: float = 0.6
    """Greatest share of the image that is left out."""

    iterations: int = 40
    """How many thresholds are tried."""

    sections: tuple[int, int] = (2, 2)
    """Rows and columns of parts of the image, such as amplifiers, each of which needs some sky."""


@dataclass(frozen=True)
class StarMask:
    """Where the light of stars reaches."""

    mask: BoolArray
    """Pixels to leave out [y, x]."""

    threshold: float
    """Significance of the stars whose surroundings they are; NaN if no threshold served [standard deviation]."""


def choose_star_mask(
    snr: FloatArray, *, known: BoolArray, bad: BoolArray, radius: float, limits: MaskLimits
) -> StarMask:
    """Choose the threshold above which stars are masked with a wide border, and return the mask.

    The search is that of LSST's ``CalibrateImageTask._remeasure_star_background``, made on cells of 8 pixels: the
    threshold rises while too much is covered and falls while too little is.

    Parameters
    ----------
    snr : (ny, nx)
        Significance map of the image without its sky.
    known : (ny, nx)
        What is masked in any case: the detected stars with a narrow border.
    bad : (ny, nx)
        Pixels without meaning.
    radius : [pixel]
        Width of the border.
    limits

    Returns
    -------
    star_mask
        ``known`` alone where no threshold served.
    """
    height = _cell_maxima(np.where(bad, -np.inf, snr))
    covered = _cell_maxima(known.astype(np.float32)) > 0.0
    threshold = limits.start
    for _ in range(limits.iterations):
        stars = height > threshold
        grown = covered | (ndimage.distance_transform_edt(~stars) * _CELL <= radius if stars.any() else stars)
        factor = _next_factor(stars, grown, limits)
        if factor == 1.0:
            whole = np.repeat(np.repeat(grown, _CELL, axis=0), _CELL, axis=1)[: snr.shape[0], : snr.shape[1]]
            return StarMask(mask=known | whole, threshold=threshold)
        threshold *= factor
    return StarMask(mask=known, threshold=np.nan)


def _next_factor(stars: BoolArray, grown: BoolArray, limits: MaskLimits) -> float:
    """Return by what to multiply the threshold; 1 when it serves."""
    fraction = float(grown.mean())
    parts = [
        part.mean()
        for rows in np.array_split(grown, limits.sections[0])
        for part in np.array_split(rows, limits.sections[1], axis=1)
    ]
    peaks = int(ndimage.label(stars, np.ones((3, 3)))[1])
    footprints = int(ndimage.label(grown, np.ones((3, 3)))[1])
    full = sum(part > min(0.998, max(0.8, 3.0 * fraction)) for part in parts)
    if peaks == 0:
        return 0.9
    if fraction >= limits.max_fraction:
        far = fraction > limits.max_fraction + _NEAR
        return 1.4 if footprints == 1 else 1.2 if far or footprints < _FEW else 1.07
    if fraction <= limits.min_fraction:
        return 0.8
    if full >= 0.75 * len(parts):
        return 1.1
    if min(parts) == 0.0:
        return 0.95
    return 1.07 if footprints < _FEW < peaks else 1.0


def _cell_maxima(values: FloatArray) -> NDArray[np.float32]:
    """Return the greatest value in each cell."""
    rows, columns = (np.arange(0, n, _CELL) for n in values.shape)
    return np.asarray(np.maximum.reduceat(np.maximum.reduceat(values, rows, axis=0), columns, axis=1), dtype=np.float32)
