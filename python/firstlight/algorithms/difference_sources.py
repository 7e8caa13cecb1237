"""Sources of a difference image: both signs together, and no more significant than the subtraction is good."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from firstlight.algorithms.detection import Detections, SmoothedImage, detect_sources
from firstlight.algorithms.detection_lists import selected
from firstlight.algorithms.spatial_convolution import convolve
from firstlight.images.spatial_kernel import SpatialKernel
from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray
from firstlight.kernels.matched_filter import grow_mask

_MIN_RING = 0.3
"""Smallest share of a ring that must count for it to say something."""

_LEAST_CORNER = 0.6
"""Peaks are looked for down to this share of the threshold at least; of it, what the middle of a pixel keeps of one in
its corner."""

_CHANGED = 5.0
"""Significance from which on a star is new or has changed [standard deviation]."""

_RING_NOISE = 15.0
"""Excess of the variance, times the root of the number of pixels, that noise hardly reaches."""


@dataclass(frozen=True)
class MergedSigns:
    """Which peaks of a difference image are sources of their own, and which belong to another of the other sign.

    Parameters
    ----------
    positive : (n_positive,)
        Positive peaks that stay.
    negative : (n_negative,)
        Negative peaks that stay.
    positive_partner : (n_positive,)
        Index of the strongest negative peak of the same footprint; -1 where there is none.
    negative_partner : (n_negative,)
        Index of the strongest positive peak of the same footprint; -1 where there is none.
    positive_region, negative_region
        Number of the merged footprint of each peak, from 1.
    area : (n_regions + 1,) [pixel]
        Size of the merged footprints by their number.
    """

    positive: BoolArray
    negative: BoolArray
    positive_partner: NDArray[np.int64]
    negative_partner: NDArray[np.int64]
    positive_region: NDArray[np.int64]
    negative_region: NDArray[np.int64]
    area: NDArray[np.int64]


def detect_changes(
    smoothed: SmoothedImage, *, psf_sigma: float, threshold: float, min_prominence: float, negative: bool
) -> Detections:
    """Return the peaks of one sign that exceed the threshold where they are highest, between pixels too.

    Parameters
    ----------
    smoothed
        Significance of a point source, its noise 1 and what the subtraction leaves behind.
    psf_sigma : [pixel]
    threshold, min_prominence : [standard deviation]
        As `firstlight.algorithms.detection.detect_sources` takes them.
    negative
        Look for what vanished.
    """
    corner = max(math.exp(-0.125 / psf_sigma**2), _LEAST_CORNER)
    found = detect_sources(smoothed, threshold=threshold * corner, negative=negative, min_prominence=min_prominence)
    *_, height = summits(smoothed.flux, x=found.peak_x, y=found.peak_y)
    noise = smoothed.sigma[found.peak_y, found.peak_x]
    # Where most of the noise is what the subtraction leaves, it cuts footprints: their middle is not the source.
    cut = noise**2 > 2.0
    x, y = np.where(cut, found.peak_x, found.x), np.where(cut, found.peak_y, found.y)
    found = replace(found, x=x, y=y, peak_snr=(-height if negative else height) / noise)
    return selected(found, height / noise > threshold)


def merge_signs(positive: Detections, negative: Detections, *, grow: int) -> MergedSigns:
    """Put positive and negative footprints that touch together.

    A footprint with peaks of both signs is one source, at its most significant peak; peaks of one sign in a footprint
    of that sign alone are sources of their own (compare LSST ``DetectAndMeasureTask``).

    Parameters
    ----------
    positive, negative
        From `firstlight.algorithms.detection.detect_sources` on the same image.
    grow : [pixel]
        Footprints that come this near to each other touch.
    """
    above = (positive.labels > 0) | (negative.labels > 0)
    regions, n_regions = ndimage.label(grow_mask(above, grow) if grow else above, np.ones((3, 3)))
    in_region = [np.asarray(regions[found.peak_y, found.peak_x], dtype=np.int64) for found in (positive, negative)]
    snr = [np.abs(found.peak_snr) for found in (positive, negative)]
    strongest = [_strongest(region, height, n_regions) for region, height in zip(in_region, snr, strict=True)]
    heights = [
        np.where(best >= 0, height[best] if len(height) else 0.0, -np.inf)
        for best, height in zip(strongest, snr, strict=True)
    ]
    mixed = (strongest[0] >= 0) & (strongest[1] >= 0)
    keeps = []
    for sign, region in enumerate(in_region):
        own, other = heights[sign][region], heights[1 - sign][region]
        wins = (strongest[sign][region] == np.arange(len(region))) & ((own > other) | ((own == other) & (sign == 0)))
        keeps.append(np.asarray(~mixed[region] | wins))
    return MergedSigns(
        positive=keeps[0],
        negative=keeps[1],
        positive_partner=strongest[1][in_region[0]],
        negative_partner=strongest[0][in_region[1]],
        positive_region=in_region[0],
        negative_region=in_region[1],
        area=np.bincount(regions[above], minlength=n_regions + 1).astype(np.int64),
    )


def bright_centres(
    light: FloatArray, *, min_light: float, cores: BoolArray
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the places x, y [pixel] of bright stars and the light there, infinite where it is saturated.

    The place is the middle of a saturated core, else the brightest pixel.

    Parameters
    ----------
    light : (ny, nx)
        Significance of the light.
    min_light
        What counts as bright.
    cores : (ny, nx)
        Saturated cores, where the light is not known.
    """
    regions, count = ndimage.label((light > min_light) | cores, np.ones((3, 3)))
    if not count:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    # Only the pixels of the regions are sorted, which are few.
    inside = np.flatnonzero(regions)
    numbers, values = regions.ravel()[inside], light.ravel()[inside]
    order = np.lexsort((-values, numbers))
    highest = inside[order[np.flatnonzero(np.diff(numbers[order], prepend=0))]]
    y, x = (place.astype(np.float64) for place in np.divmod(highest, light.shape[1]))
    height = light.ravel()[highest].astype(np.float64)
    core_y, core_x = np.nonzero(cores)
    owner = regions[core_y, core_x] - 1
    size = np.bincount(owner, minlength=count)
    saturated = size > 0
    for place, at in ((x, core_x), (y, core_y)):
        place[saturated] = np.bincount(owner, weights=at, minlength=count)[saturated] / size[saturated]
    height[saturated] = np.inf
    return x, y, height


def halo_floor(
    score: FloatArray,
    *,
    x: FloatArray,
    y: FloatArray,
    radius: IntArray,
    bad: BoolArray,
    inner: int,
    width: int,
    about: FloatArray,
) -> NDArray[np.float32]:
    """Return what the subtraction leaves in rings about bright stars beyond the noise, in standard deviations.

    Where kernels end the wings of very bright stars stay; they are no larger than those of faint stars, and only tell
    themselves by going all around. So the robust scatter of a ring about zero is taken, which a source that covers less
    than half of it does not change. Where a star is new or has changed, its own light is taken off first.

    Parameters
    ----------
    score : (ny, nx)
        Significance of a point source in the difference.
    x, y : (n,) [pixel]
        The bright stars.
    radius : (n,) [pixel]
        Where the last ring of each ends.
    bad : (ny, nx)
        Pixels that do not count.
    inner : [pixel]
        Where the first ring begins.
    width : [pixel]
        Of the rings.
    about : (s, s)
        From `significance_about`.
    """
    floor = np.zeros(score.shape, dtype=np.float32)
    rows, columns = (np.rint(at).astype(int) for at in (y, x))
    own = _own_light(score, about, rows, columns)
    for k, (row, column, reach) in enumerate(zip(rows, columns, np.asarray(radius, dtype=int), strict=True)):
        square = np.s_[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
        found, there = score[square], ~bad[square]
        down = np.arange(square[0].start, square[0].start + found.shape[0]) - row
        along = np.arange(square[1].start, square[1].start + found.shape[1]) - column
        found = np.abs(found - own(k, down + row, along + column))
        rings = (np.hypot(down[:, None], along) - inner) // width
        for number in range(max((reach - inner) // width, 0)):
            on = rings == number
            values = found[on & there]
            if len(values) < _MIN_RING * on.sum() or not len(values):
                continue
            excess = (1.4826 * float(np.median(values))) ** 2 - 1.0
            # The median of n correlated pixels scatters; what it takes for an excess is 3 times that.
            if excess > _RING_NOISE / math.sqrt(len(values)):
                floor[square][on] = np.maximum(floor[square][on], np.float32(math.sqrt(excess)))
    return floor


def _own_light(
    score: FloatArray, about: FloatArray, rows: IntArray, columns: IntArray
) -> Callable[[int, IntArray, IntArray], FloatArray | float]:
    """Return a function of star, rows and columns that tells the significance of what is new at the star itself."""
    down, along = (offset.ravel() - 1 for offset in np.indices((3, 3)))
    at = np.clip(rows[:, None] + down, 0, score.shape[0] - 1), np.clip(columns[:, None] + along, 0, score.shape[1] - 1)
    best = np.arange(len(rows)), np.abs(score[at]).argmax(axis=1)
    peak_y, peak_x = at[0][best], at[1][best]
    x, y, height = summits(score, x=peak_x, y=peak_y)
    height = np.where(height > _CHANGED, np.copysign(height, score[peak_y, peak_x]), 0.0)
    smooth, middle = ndimage.spline_filter(about), len(about) // 2

    def own(star: int, row: IntArray, column: IntArray) -> FloatArray | float:
        if height[star] == 0.0:
            return 0.0
        place = np.meshgrid(row - y[star] + middle, column - x[star] + middle, indexing="ij")
        return np.asarray(height[star] * ndimage.map_coordinates(smooth, place, prefilter=False))

    return own


def lost_light(light: FloatArray, *, lost: BoolArray, kernel: SpatialKernel) -> NDArray[np.float32]:
    """Return the light that a convolution misses at each pixel because an image has no value where the light lies.

    Parameters
    ----------
    light : (ny, nx)
        Of the image that does have values there; NaN counts as none.
    lost : (ny, nx)
        Where the image that is convolved has none.
    kernel
        Its absolute value at the centre of the image counts.
    """
    if not lost.any():
        return np.zeros(lost.shape, dtype=np.float32)
    ny, nx = kernel.shape
    weights = np.abs(kernel.image(x=(nx - 1) / 2, y=(ny - 1) / 2))
    missing = np.where(lost, np.maximum(np.nan_to_num(light), 0.0), 0.0).astype(np.float32)
    return convolve(missing, SpatialKernel.constant(weights, shape=kernel.shape))


def noise_with_floor(floor: FloatArray) -> NDArray[np.float32]:
    """Return the standard deviation of a significance with an error of another kind added to its noise.

    It stands beside the significance, which is not divided by it before its peaks are known: the floor goes up and down
    in steps, and would cut a source in pieces.

    Parameters
    ----------
    floor : (ny, nx)
        Significance that a source as bright as the error would have; what is negative counts as none.
    """
    return np.asarray(np.sqrt(1.0 + np.maximum(floor, 0.0) ** 2), dtype=np.float32)


def summits(
    score: FloatArray, *, x: IntArray, y: IntArray
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return place x, y [pixel] and height of maxima that lie between pixels, by a parabola along either axis.

    A source half a pixel off both ways has lost a tenth of its significance in the middle of the pixel, more if the
    image is undersampled.

    Parameters
    ----------
    score : (ny, nx)
    x, y : (n,) [pixel]
        The highest pixels, or where they are negative the lowest ones, whose depth is told.
    """
    ny, nx = score.shape
    sign = np.where(score[y, x] < 0.0, -1.0, 1.0)
    centre = (sign * score[y, x]).astype(np.float64)
    height, places = centre.copy(), []
    for at, dx, dy in ((x, 1, 0), (y, 0, 1)):
        low = sign * score[np.clip(y - dy, 0, ny - 1), np.clip(x - dx, 0, nx - 1)]
        high = sign * score[np.clip(y + dy, 0, ny - 1), np.clip(x + dx, 0, nx - 1)]
        curvature = 2.0 * centre - low - high
        # A neighbour of exactly 0 is masked.
        usable = (curvature > 0.0) & (low != 0.0) & (high != 0.0) & (np.maximum(low, high) <= centre)
        curvature = np.where(usable, curvature, np.inf)
        height += (high - low) ** 2 / (8.0 * curvature)
        places.append(at + (high - low) / (2.0 * curvature))
    return places[0], places[1], height


def significance_about(profile: FloatArray) -> NDArray[np.float64]:
    """Return the significance that a source has about its place over that in the middle: its PSF, matched with itself.

    Parameters
    ----------
    profile : (s, s)
        The PSF.

    Returns
    -------
    (2 s - 1, 2 s - 1)
    """
    size = 2 * len(profile) - 1
    power = np.abs(fft.rfft2(profile, s=(size, size))) ** 2
    return np.asarray(fft.fftshift(fft.irfft2(power, s=(size, size))) / (profile**2).sum())


def _strongest(region: NDArray[np.int64], height: FloatArray, n_regions: int) -> NDArray[np.int64]:
    """Return the index of the highest peak of each region, 0 not used; -1 for none."""
    best = np.full(n_regions + 1, -1, dtype=np.int64)
    order = np.argsort(height, kind="stable")
    best[region[order]] = order
    best[0] = -1
    return best
