"""Find pixels that stand out on images of a sky that moves: what stays while the stars go on is the detector."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from firstlight.algorithms.combine import clipped_moments
from firstlight.algorithms.defects import local_median
from firstlight.kernels.arrays import BoolArray, FloatArray

CORE = 3
"""Side of the square whose median shows stars and no single pixels [pixel]."""

CORE_SIGMA = 10.0
"""The square stands out by this where there is a star [standard deviation of a pixel]."""

QUARTERS, SHORTEST_QUARTER = 4, 32
"""Whole lines are judged by so many parts, each of so many pixels at least."""

TINY = 1e-30


@dataclass(frozen=True)
class PixelVotes:
    """How many images have shown each pixel, and what they said of it; sums of two add images.

    Parameters
    ----------
    seen : (ny, nx)
        Number of images in which the pixel is good.
    high, low : (ny, nx)
        Number of those in which it is brighter, or darker, than its surroundings.
    star : (ny, nx)
        Number of those in which the core of a star covers it.
    high_rows, low_rows : (ny,)
        Number of images in which a whole row is brighter, or darker, than the rows about it.
    high_columns, low_columns : (nx,)
    n
        Number of images.
    """

    seen: NDArray[np.int32]
    high: NDArray[np.int32]
    low: NDArray[np.int32]
    star: NDArray[np.int32]
    high_rows: NDArray[np.int32]
    low_rows: NDArray[np.int32]
    high_columns: NDArray[np.int32]
    low_columns: NDArray[np.int32]
    n: int

    def __add__(self, other: PixelVotes) -> PixelVotes:
        """Return the votes of both."""
        return PixelVotes(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True)
class FixedPixels:
    """Pixels that stand out most of the time.

    Parameters
    ----------
    hot, cold : (ny, nx)
    lines : (ny, nx)
        Whole rows and columns, as at the edges of many detectors.
    star_share
        Share of the light of stars that lies on them: about that of their area where the sky has moved, and about 1
        where it stood still, so that stars were taken for defects. 0 without stars.
    """

    hot: BoolArray
    cold: BoolArray
    lines: BoolArray
    star_share: float


def vote(image: FloatArray, *, bad: BoolArray, n_sigma: float, line_sigma: float, size: int) -> PixelVotes:
    """Return which pixels of one image stand out from their surroundings.

    Parameters
    ----------
    image : (ny, nx)
        With its sky, of any gradient that is smooth.
    bad : (ny, nx)
        Pixels that say nothing.
    n_sigma
        Limit in units of the scatter of the pixels of this image about their surroundings.
    line_sigma
        Limit of the median of a row or column, in the same units. What all pixels of a line have in common adds up
        under a star, so that little does harm.
    size : [pixel]
        Side of the surroundings, whose median counts: more than twice the width of a defect.
    """
    good = ~bad & np.isfinite(image)
    excess = np.where(good, image, 0.0) - local_median(image, bad=bad, size=size)
    scatter = clipped_moments(excess[good])[1] if good.any() else 0.0
    excess = np.where(good, excess, 0.0)
    limit, core_limit = n_sigma * scatter, CORE_SIGMA * scatter
    core = median_filter(excess, size=CORE, mode="nearest") > core_limit
    known = good & (scatter > 0.0)
    rows, columns = (_line_excess(image, good, axis=axis, size=size) for axis in (1, 0))
    least = max(line_sigma * scatter, TINY)
    return PixelVotes(
        seen=_votes(known),
        high=_votes(known & (excess > limit)),
        low=_votes(known & (excess < -limit)),
        star=_votes(known & core),
        high_rows=_votes(rows > least),
        low_rows=_votes(rows < -least),
        high_columns=_votes(columns > least),
        low_columns=_votes(columns < -least),
        n=1,
    )


def find_fixed_pixels(votes: PixelVotes, *, min_share: float, min_seen: int) -> FixedPixels:
    """Return the pixels that stand out in most images, with the same sign.

    A star that passes over a pixel makes it stand out for as long as it takes, and noise once in a while; a defect
    does so all the time. That holds without any dark, and is the idea of median filtering a dithered sequence, with
    votes in place of values, so that faint images count as much as bright ones and none need be kept.

    Parameters
    ----------
    votes
        Of all images together.
    min_share
        Share of the images that show the pixel in which it stands out.
    min_seen
        Pixels that fewer images show are not judged.
    """
    enough = votes.seen >= max(1, min_seen)
    needed = min_share * np.maximum(votes.seen, 1)
    hot, cold = (np.asarray(enough & (each >= needed)) for each in (votes.high, votes.low))
    least = max(1, min_seen, min_share * votes.n)
    rows, columns = (
        (high >= least) | (low >= least)
        for high, low in ((votes.high_rows, votes.low_rows), (votes.high_columns, votes.low_columns))
    )
    stars = int(votes.star.sum())
    share = float(votes.star[hot].sum() / stars) if stars else 0.0
    return FixedPixels(hot, cold, np.asarray(rows[:, None] | columns[None, :]), share)


def _line_excess(image: FloatArray, good: BoolArray, *, axis: int, size: int) -> NDArray[np.float64]:
    """Return how much each row (axis 1) or column (axis 0) exceeds the lines about it, where it does least.

    Of the quarters of a line the one counts that differs least: a galaxy or a crowd of stars does not fill all. At an
    edge the lines about it are those inside, as many as elsewhere: what is odd there often is so on several. 0 for
    lines that are too short to tell.
    """
    lines = np.where(good, image, np.nan) if axis == 1 else np.where(good, image, np.nan).T
    length = lines.shape[1] // QUARTERS
    if length < SHORTEST_QUARTER:
        return np.zeros(len(lines))
    half = min(size, (len(lines) - 1) // 2)
    starts = np.clip(np.arange(len(lines)) - half, 0, len(lines) - 2 * half - 1)
    excess = np.empty((QUARTERS, len(lines)))
    for number in range(QUARTERS):
        medians = np.array([_median(line[number * length : (number + 1) * length]) for line in lines])
        about = np.array([_median(medians[start : start + 2 * half + 1]) for start in starts])
        excess[number] = np.nan_to_num(medians - about)
    return np.asarray(np.where(excess.min(axis=0) > 0, excess.min(axis=0), np.minimum(excess.max(axis=0), 0.0)))


def _votes(said: BoolArray) -> NDArray[np.int32]:
    return np.asarray(said, dtype=np.int32)


def _median(values: FloatArray) -> float:
    """Return the median of what is finite; NaN if nothing is."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")
