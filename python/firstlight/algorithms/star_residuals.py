"""Which share of the light of bright stars a subtraction leaves behind, beyond the noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray

_EMPTY_LIGHT = 5.0
"""Places with no more light than this are empty [standard deviation]."""

_EMPTY_PLACES = 2000
"""About so many places are tried on a grid for being empty."""

_LEAST_EMPTY = 50

_EXTENT = 10.0
"""Median absolute deviations from the median to what is 5 standard deviations of a normal law: 10.8 for its absolute
value, 9 to 10 for the largest of ten of them. So it matters little over how many pixels a star leaves the same."""

_SCATTER_ERROR = 1.17
"""Standard error of a median absolute deviation of n values, relative, times the root of n (normal law)."""

_BISECTIONS = 20
_MAX_ROUNDS = 5


@dataclass(frozen=True)
class ResidualShare:
    """What a subtraction leaves of stars.

    Parameters
    ----------
    share
        Of the light of a star; 0 where noise explains all, or too few stars tell.
    n_stars
        Bright stars that were looked at.
    n_outliers
        Those of them that left more than the others lead to expect: variable stars, or worse subtraction.
    """

    share: float
    n_stars: int
    n_outliers: int


def residual_share(
    score: FloatArray,
    light: FloatArray,
    *,
    bad: BoolArray,
    radius: int,
    min_light: float,
    min_stars: int,
    threshold: float,
) -> ResidualShare:
    """Measure the share of their light that bright stars leave on a difference.

    The share is such that ``|score| / sqrt(1 + (share light)^2)`` at its largest within ``radius`` of a star reaches as
    far as the largest ``|score|`` about empty places does: noise. How far is told by median and scatter, so that the
    few that go further do not count; a share within its standard error of none is none. Stars above the threshold even
    so are left out, and the share is measured again: variable stars are outliers, as long as fewer than half of the
    bright stars vary.

    Parameters
    ----------
    score : (ny, nx)
        Significance of a point source in the difference.
    light : (ny, nx)
        Significance that the light of the images themselves would have there.
    bad : (ny, nx)
        Pixels without a significance; a star with one of them within ``radius`` does not count.
    radius : [pixel]
        How far from the peak of a star its residual is looked for.
    min_light
        Peak of the light of a bright star.
    min_stars
        With fewer stars the share is 0: nothing can be said, and a variable star would hide itself.
    threshold
        Significance from which on a star has changed.
    """
    stars = _around(score, light, bad, *_peaks(light, radius, min_light), radius)
    empty = _empty_maxima(score, light, bad, radius)
    if len(stars[0]) < min_stars or len(empty) < _LEAST_EMPTY:
        return ResidualShare(0.0, len(stars[0]), 0)
    used = np.ones(len(stars[0]), dtype=bool)
    share = 0.0
    for _ in range(_MAX_ROUNDS):
        share = _share(stars[0][used], stars[1][used], empty)
        usual = _largest(*stars, share) <= threshold
        if usual.sum() < min_stars or (usual == used).all():
            break
        used = usual
    return ResidualShare(share, len(used), int((~used).sum()))


def _share(score: FloatArray, light: FloatArray, empty: FloatArray) -> float:
    """Return the share with which the significances of stars extend as far as those of empty places, by bisection.

    It is 0 where they go no further than so many values of noise may by their standard error.
    """
    low, high = 0.0, 1.0
    if _extent(_largest(score, light, low)) <= _extent(empty, n=len(score)):
        return low
    expected = _extent(empty)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        too_small = _extent(_largest(score, light, middle)) > expected
        low, high = (middle, high) if too_small else (low, middle)
    return 0.5 * (low + high)


def _extent(largest: FloatArray, *, n: int | None = None) -> float:
    """Return how far noise that has such a median and such a scatter goes in a few million places.

    With ``n``, the same and the standard error that n values would give it with.
    """
    median = float(np.median(largest))
    scatter = float(np.median(np.abs(largest - median)))
    return median + _EXTENT * scatter * (1.0 if n is None else 1.0 + _SCATTER_ERROR / math.sqrt(n))


def _largest(score: FloatArray, light: FloatArray, share: float) -> NDArray[np.float64]:
    """Return the largest significance of each star, (stars,), of the (stars, pixels) about it."""
    return np.asarray((score / np.sqrt(1.0 + (share * light) ** 2)).max(axis=1), dtype=np.float64)


def _peaks(light: FloatArray, radius: int, min_light: float) -> tuple[IntArray, IntArray]:
    """Return row and column of what is brightest within a radius."""
    row, column = (at + radius for at in np.nonzero(_inner(light, radius) > min_light))
    for reach in (1, radius):  # few pixels are left for the wider look
        down, along = _disc(reach)
        top = light[row, column] >= light[row[:, None] + down, column[:, None] + along].max(axis=1, initial=0.0)
        row, column = row[top], column[top]
    return row, column


def _around(
    score: FloatArray, light: FloatArray, bad: BoolArray, row: IntArray, column: IntArray, radius: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the absolute score and the light of the pixels about places, (places, pixels), where none is bad."""
    down, along = _disc(radius)
    at = row[:, None] + down, column[:, None] + along
    good = ~bad[at].any(axis=1)
    pixels = at[0][good], at[1][good]
    return np.abs(score[pixels]).astype(np.float64), np.maximum(light[pixels], 0.0).astype(np.float64)


def _empty_maxima(score: FloatArray, light: FloatArray, bad: BoolArray, radius: int) -> NDArray[np.float64]:
    """Return the largest absolute score about each place of a grid where there is no light."""
    ny, nx = light.shape
    step = max(2 * radius + 1, math.isqrt(ny * nx // _EMPTY_PLACES))
    row, column = (at.ravel() for at in np.mgrid[radius : ny - radius : step, radius : nx - radius : step])
    found, lit = _around(score, light, bad, row, column, radius)
    return np.asarray(found[lit.max(axis=1, initial=0.0) < _EMPTY_LIGHT].max(axis=1, initial=0.0))


def _inner(image: FloatArray, radius: int) -> FloatArray:
    return image[radius : image.shape[0] - radius, radius : image.shape[1] - radius]


def _disc(radius: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the offsets along y and x of the pixels within a radius."""
    offsets = np.arange(-radius, radius + 1)
    down, along = np.meshgrid(offsets, offsets, indexing="ij")
    inside = np.hypot(down, along) <= radius
    return down[inside], along[inside]
