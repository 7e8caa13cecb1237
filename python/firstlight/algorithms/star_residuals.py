"""Which share of the light of bright stars a subtraction leaves behind, beyond the noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray

_EMPTY_LIGHT = 5.0
"""Places with no more light than this are empty [standard deviation]."""

_EMPTY_PLACES = 2000
"""About so many places are tried on a grid for being empty."""

_LEAST_EMPTY = 50

_EXTENT = 10.0
"""Median absolute deviations from the median to what is 5 standard deviations of a normal law: 10.8 for its absolute
value, 9 to 10 for the largest of ten of them. So it matters little over how many pixels a star leaves the same."""

_MOST_OF_A_STAR = 0.5
"""Light of which more is left is in one image only: a cosmic ray that nobody repaired, or a new source."""

_LEAST_INEXACT = 3
"""So many stars tell the share where the PSF is inexact: their median leaves one aside. Three tell half of it, on
average."""

_BISECTIONS = 20
_MAX_ROUNDS = 5


@dataclass(frozen=True)
class ResidualShare:
    """What a subtraction leaves of stars.

    Parameters
    ----------
    share
        Of the light of a star; 0 where noise explains all, or too few stars tell.
    inexact_share
        The same of stars whose PSF is not known exactly, no less than of the others.
    n_stars
        Bright stars that were looked at.
    n_outliers
        Those of them that left more than the others lead to expect: variable stars, or worse subtraction.
    """

    share: float
    inexact_share: float
    n_stars: int
    n_outliers: int


def residual_share(
    score: FloatArray,
    light: FloatArray,
    *,
    bad: BoolArray,
    inexact: BoolArray,
    radius: int,
    min_light: float,
    min_stars: int,
    threshold: float,
) -> ResidualShare:
    """Measure the share of their light that bright stars leave on a difference.

    What a star leaves is the largest ``|score|`` within ``radius`` of it. The share is such that, over
    ``sqrt(1 + (share light)^2)`` with the light of its peak, this reaches as far as the largest ``|score|`` about empty
    places does: noise. How far is told by median and scatter, so that the few that go further do not count. Stars above
    the threshold even so are left out, and the share is measured again: variable stars are outliers, as long as fewer
    than half of the bright stars vary. Peaks that leave most of their light are no stars and tell nothing, however many
    they are. What all stars leave alike takes a smaller share than what some leave and others do not: as much as hides
    it.

    Parameters
    ----------
    score : (ny, nx)
        Significance of a point source in the difference.
    light : (ny, nx)
        Significance that the light of the images themselves would have there.
    bad : (ny, nx)
        Pixels without a significance; a star with one of them within ``radius`` does not count.
    inexact : (ny, nx)
        Where the PSF is not known exactly; three stars and more there have a share of their own, none left out.
    radius : [pixel]
        How far from the peak of a star its residual is looked for.
    min_light
        Peak of the light of a bright star.
    min_stars
        With fewer stars the share is 0: nothing can be said, and a variable star would hide itself.
    threshold
        Significance from which on a star has changed.
    """
    row, column = _peaks(light, radius, min_light)
    good, left = _largest(score, bad, row, column, radius)
    row, column = row[good], column[good]
    height = light[row, column].astype(np.float64)
    empty = _empty_maxima(score, light, bad, radius)
    stars = left < _MOST_OF_A_STAR * height
    if stars.sum() < min_stars or len(empty) < _LEAST_EMPTY:
        return ResidualShare(0.0, 0.0, len(left), 0)

    vague = inexact[row, column]
    told = stars & ~vague if (stars & ~vague).sum() >= min_stars else stars
    exact_share = _share_of_usual(left[told], height[told], empty, min_stars=min_stars, threshold=threshold)
    inexact_share = exact_share
    if (stars & vague).sum() >= _LEAST_INEXACT:  # what is usual there, few stars that fit badly do not tell
        inexact_share = max(exact_share, _share(left[stars & vague], height[stars & vague], empty))
    changed = _reduced(left, height, np.where(vague, inexact_share, exact_share)) > threshold
    return ResidualShare(exact_share, inexact_share, len(left), int(changed.sum()))


def residual_floor(light: FloatArray, left: ResidualShare, *, inexact: BoolArray, radius: int) -> NDArray[np.float32]:
    """Return the significance of what stars leave about each pixel: the share of the brightest light near it.

    Wrong widths and places of stars leave rings and pairs of a dark and a bright half, which are where the star itself
    is faint already. So the light is that of the peak, not that of the pixel.

    Parameters
    ----------
    light : (ny, nx)
        Significance that the light of the images themselves would have there.
    left
    inexact : (ny, nx)
        Where the PSF is not known exactly.
    radius : [pixel]
        How far from the peak of a star its residual reaches, along either axis.
    """
    if not left.inexact_share:
        return np.zeros(light.shape, dtype=np.float32)
    share = np.where(inexact, np.float32(left.inexact_share), np.float32(left.share))
    return np.asarray(share * ndimage.maximum_filter(light, 2 * radius + 1), dtype=np.float32)


def _share_of_usual(
    left: FloatArray, height: FloatArray, empty: FloatArray, *, min_stars: int, threshold: float
) -> float:
    """Return the share that stars leave, without those that go above the threshold even so."""
    used, share = np.ones(len(left), dtype=bool), 0.0
    for _ in range(_MAX_ROUNDS):
        share = _share(left[used], height[used], empty)
        usual = _reduced(left, height, share) <= threshold
        if usual.sum() < min_stars or (usual == used).all():
            break
        used = usual
    return share


def _share(left: FloatArray, height: FloatArray, empty: FloatArray) -> float:
    """Return the share with which the significances of stars extend as far as those of empty places, by bisection."""
    low, high, expected = 0.0, 1.0, _extent(empty)
    if _extent(left) <= expected:
        return low
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        too_small = _extent(_reduced(left, height, middle)) > expected
        low, high = (middle, high) if too_small else (low, middle)
    return 0.5 * (low + high)


def _extent(largest: FloatArray) -> float:
    """Return how far noise that has such a median and such a scatter goes in a few million places."""
    median = float(np.median(largest))
    return median + _EXTENT * float(np.median(np.abs(largest - median)))


def _reduced(left: FloatArray, height: FloatArray, share: float | FloatArray) -> NDArray[np.float64]:
    """Return significances of what stars are left with, with a share of their light as noise beside it, (stars,)."""
    return np.asarray(left / np.sqrt(1.0 + (share * height) ** 2), dtype=np.float64)


def _peaks(light: FloatArray, radius: int, min_light: float) -> tuple[IntArray, IntArray]:
    """Return row and column of what is brightest within a radius."""
    row, column = (at + radius for at in np.nonzero(_inner(light, radius) > min_light))
    for reach in (1, radius):  # few pixels are left for the wider look
        down, along = _disc(reach)
        top = light[row, column] >= light[row[:, None] + down, column[:, None] + along].max(axis=1, initial=0.0)
        row, column = row[top], column[top]
    return row, column


def _largest(
    image: FloatArray, bad: BoolArray, row: IntArray, column: IntArray, radius: int
) -> tuple[BoolArray, NDArray[np.float64]]:
    """Return about which places no pixel is bad, (places,), and the largest absolute value about each of those."""
    down, along = _disc(radius)
    at = row[:, None] + down, column[:, None] + along
    good = ~bad[at].any(axis=1)
    return good, np.abs(image[at[0][good], at[1][good]]).max(axis=1, initial=0.0).astype(np.float64)


def _empty_maxima(score: FloatArray, light: FloatArray, bad: BoolArray, radius: int) -> NDArray[np.float64]:
    """Return the largest absolute score about each place of a grid where there is no light."""
    ny, nx = light.shape
    step = max(2 * radius + 1, math.isqrt(ny * nx // _EMPTY_PLACES))
    row, column = (at.ravel() for at in np.mgrid[radius : ny - radius : step, radius : nx - radius : step])
    return _largest(score, bad | (light >= _EMPTY_LIGHT), row, column, radius)[1]


def _inner(image: FloatArray, radius: int) -> FloatArray:
    return image[radius : image.shape[0] - radius, radius : image.shape[1] - radius]


def _disc(radius: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the offsets along y and x of the pixels within a radius."""
    offsets = np.arange(-radius, radius + 1)
    down, along = np.meshgrid(offsets, offsets, indexing="ij")
    inside = np.hypot(down, along) <= radius
    return down[inside], along[inside]
