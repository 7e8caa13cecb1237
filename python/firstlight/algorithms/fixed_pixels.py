"""Find pixels that stand out on images of a sky that moves: what stays while the stars go on is the detector."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    seen: NDArray[np.int32]
    high: NDArray[np.int32]
    low: NDArray[np.int32]
    star: NDArray[np.int32]

    def __add__(self, other: PixelVotes) -> PixelVotes:
        """Return the votes of both."""
        return PixelVotes(self.seen + other.seen, self.high + other.high, self.low + other.low, self.star + other.star)


@dataclass(frozen=True)
class FixedPixels:
    """Pixels that stand out most of the time.

    Parameters
    ----------
    hot, cold : (ny, nx)
    star_share
        Share of the light of stars that lies on them: about that of their area where the sky has moved, and about 1
        where it stood still, so that stars were taken for defects. 0 without stars.
    """

    hot: BoolArray
    cold: BoolArray
    star_share: float


def vote(image: FloatArray, *, bad: BoolArray, n_sigma: float, size: int) -> PixelVotes:
    """Return which pixels of one image stand out from their surroundings.

    Parameters
    ----------
    image : (ny, nx)
        With its sky, of any gradient that is smooth.
    bad : (ny, nx)
        Pixels that say nothing.
    n_sigma
        Limit in units of the scatter of the pixels of this image about their surroundings.
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
    return PixelVotes(
        *(np.asarray(known & said, dtype=np.int32) for said in (good, excess > limit, excess < -limit, core))
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
    stars = int(votes.star.sum())
    return FixedPixels(hot, cold, float(votes.star[hot].sum() / stars) if stars else 0.0)
