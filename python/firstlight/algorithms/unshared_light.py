"""Find what only one of two images shows: cosmic rays that nobody repaired, and whatever moved or flared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.background import fit_mesh_background
from firstlight.errors import TooManyMaskedPixelsError
from firstlight.kernels.arrays import BoolArray, FloatArray

_MIN_SIGMA = 6.0
_MAX_EXCESS = 2.0
_NEIGHBOURS = 2
_FAINTEST = 5.0
_FEWEST = 3
_BIN = 8
"""Side of the bins of the sky, in units of the radius that holds most of the light of a star."""


@dataclass(frozen=True)
class UnsharedLight:
    """Pixels that are bright in one image only, with their neighbours.

    Parameters
    ----------
    science, template : (ny, nx)
        True where only this image is bright.
    """

    science: BoolArray
    template: BoolArray


def find_unshared_light(
    science: FloatArray,
    template: FloatArray,
    *,
    science_variance: FloatArray,
    template_variance: FloatArray,
    bad: BoolArray,
    peaks: tuple[float, float],
    x: FloatArray,
    y: FloatArray,
    radius: int,
) -> UnsharedLight:
    """Find the pixels where one image is brighter than the other can explain, and those within two pixels of them.

    Such a pixel stands out by 6 standard deviations and is twice as bright as the brightest pixel of the other image
    within two pixels, at the flux and the sharpness of stars, so that neither the seeing nor a registration that is off
    by a pixel explains it. Nearly always it is a cosmic ray. Fainter ones in the core of a star are not found.
    What is smooth over many stars, such as a nebula or sky that was taken off one image only, is none.
    Nothing is found where the images have fewer than three peaks in common, or hardly a good pixel.

    Parameters
    ----------
    science, template : (ny, nx) [unit of each]
        On the same pixels, finite.
    science_variance, template_variance : (ny, nx)
    bad : (ny, nx)
        Pixels that say nothing; none of them is found.
    peaks
        Share of the light of a star that falls on its brightest pixel, in each image.
    x, y : (n,) [pixel]
        Bright peaks of the science image, stars or not.
    radius : [pixel]
        Half size of the square that holds most of the light of a star.

    References
    ----------
    Fruchter & Hook 2002, PASP 114, 144, section 4 (an image compared with the extremes of a better one about the pixel,
    so that the flanks of stars are no cosmic rays).
    """
    nothing = UnsharedLight(*np.zeros((2, *science.shape), dtype=bool))
    try:
        science, template = (_without_sky(image, bad=bad, bin_size=_BIN * radius) for image in (science, template))
    except TooManyMaskedPixelsError:
        return nothing
    ratio = _flux_ratio(science, template, template_variance=template_variance, x=x, y=y, radius=radius)
    if np.isnan(ratio):
        return nothing
    sharper = peaks[0] / peaks[1]
    return UnsharedLight(
        _unshared(science, template, variance=science_variance, bad=bad, scale=ratio * max(sharper, 1.0)),
        _unshared(template, science, variance=template_variance, bad=bad, scale=max(1.0 / sharper, 1.0) / ratio),
    )


def _without_sky(image: FloatArray, *, bad: BoolArray, bin_size: int) -> FloatArray:
    return image - fit_mesh_background(image, bad=bad, bin_size=bin_size, method="spline", source_passes=0).evaluate()


def _flux_ratio(
    science: FloatArray,
    template: FloatArray,
    *,
    template_variance: FloatArray,
    x: FloatArray,
    y: FloatArray,
    radius: int,
) -> float:
    """Return the median of the ratio of the light in squares about peaks that both images show; NaN for too few."""
    ny, nx = science.shape
    column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    inside = (column >= radius) & (row >= radius) & (column < nx - radius) & (row < ny - radius)
    reach = np.arange(-radius, radius + 1)
    at = row[inside, None, None] + reach[:, None], column[inside, None, None] + reach
    light, other, noise = (each[at].sum(axis=(1, 2), dtype=float) for each in (science, template, template_variance))
    both = (other > _FAINTEST * np.sqrt(noise)) & (light > 0.0)
    return float(np.median(light[both] / other[both])) if both.sum() >= _FEWEST else np.nan


def _unshared(
    image: FloatArray, other: FloatArray, *, variance: FloatArray, bad: BoolArray, scale: float
) -> NDArray[np.bool_]:
    ny, nx = image.shape
    limit = _MAX_EXCESS * scale
    row, column = np.nonzero((image > _MIN_SIGMA * np.sqrt(variance)) & (image > limit * other) & ~bad)
    reach = np.arange(-_NEIGHBOURS, _NEIGHBOURS + 1)
    rows = np.clip(row[:, None, None] + reach[:, None], 0, ny - 1)
    columns = np.clip(column[:, None, None] + reach, 0, nx - 1)
    alone = image[row, column] > limit * other[rows, columns].max(axis=(1, 2), initial=0.0)
    found = np.zeros(image.shape, dtype=bool)
    found[rows[alone], columns[alone]] = True
    return found
