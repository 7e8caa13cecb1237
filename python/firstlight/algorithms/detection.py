"""Find sources as peaks of a matched filter, at two levels of significance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray
from firstlight.kernels.matched_filter import grow_mask, matched_filter
from firstlight.kernels.planes import as_plane, row_blocks
from firstlight.kernels.watershed import region_moments, watershed

_KERNEL_REACH = 3.5
_PIXEL_VARIANCE = 1.0 / 12.0
_FAINT = 5.0
_SLOPE_SAMPLE = 40_000
_LEVELS = 20


@dataclass(frozen=True)
class SmoothedImage:
    """An image smoothed by the point-spread function, with the noise that is left in it."""

    flux: NDArray[np.float32]
    """Smoothed image [y, x]; 0 where nothing is known."""

    sigma: NDArray[np.float32]
    """Its standard deviation [y, x]."""

    reach: int
    """Half side of the smoothing kernel [pixel]: the width of the border that sees less than the whole kernel."""

    @property
    def snr(self) -> NDArray[np.float32]:
        """Significance of a point source centred on each pixel."""
        return self.flux / self.sigma


@dataclass(frozen=True)
class Detections:
    """What `detect_sources` found: one entry per peak, brightest first, in the order of the labels.

    Holes follow the sources, and empty positions both, where `firstlight.algorithms.detection_lists` added them.
    """

    x: NDArray[np.float64]
    """Isophotal centroid [pixel]."""

    y: NDArray[np.float64]

    peak_x: NDArray[np.int64]
    """Brightest pixel of the smoothed image."""

    peak_y: NDArray[np.int64]

    peak_snr: NDArray[np.float64]
    """Significance of a point source at the peak; negative for holes."""

    x_min: NDArray[np.int64]
    """Box around the pixels above the threshold, borders included."""

    x_max: NDArray[np.int64]
    y_min: NDArray[np.int64]
    y_max: NDArray[np.int64]

    area: NDArray[np.int64]
    """Number of pixels above the threshold."""

    flux: NDArray[np.float64]
    """Sum of the smoothed image over them [unit of the image]."""

    a: NDArray[np.float64]
    """Semi-major axis, rms along it in the smoothed image [pixel]."""

    b: NDArray[np.float64]
    """Semi-minor axis [pixel]."""

    theta: NDArray[np.float64]
    """Angle of the major axis from +x towards +y [degree]."""

    parent: NDArray[np.int64]
    """Number of the footprint, from 0; peaks of one footprint share it."""

    blended: BoolArray
    """The footprint holds more than one peak."""

    merged: BoolArray
    """A second peak was too weak to be kept apart."""

    edge: BoolArray
    """The peak lies where the smoothing kernel reaches beyond the image."""

    sky: BoolArray
    """An empty position for the noise, not a source; it has no labelled pixels."""

    labels: NDArray[np.int32]
    """Label image [y, x]: 0 sky, i + 1 the pixels above the threshold of entry i."""

    footprints: BoolArray
    """Pixels of all footprints, grown [y, x]: the DETECTED plane."""

    @property
    def n_peaks(self) -> int:
        """Number of peaks."""
        return len(self.x)

    @property
    def n_footprints(self) -> int:
        """Number of connected footprints."""
        return len(np.unique(self.parent))

    @property
    def n_isolated(self) -> int:
        """Number of footprints with a single peak."""
        return int(np.sum(~self.blended))


def smooth_for_detection(image: FloatArray, *, variance: FloatArray, bad: BoolArray, psf_sigma: float) -> SmoothedImage:
    """Smooth an image with a Gaussian as wide as its stars.

    The noise is the variance convolved with the square of the kernel (LSST `SourceDetectionTask`), less what the light
    under the kernel itself adds to it: a source stands out from a sky without it. Both the light of a faint star and a
    fluctuation of the sky add ``sum(k^3) / sum(k^2)`` of their smoothed value, times the slope of the variance over the
    image. Otherwise fewer faint stars than holes would be found where the sky is dark. Only as much is taken off as a
    source of 5 standard deviations adds, so that the noise under bright stars stays.

    Parameters
    ----------
    image, variance : (ny, nx) [count], [count^2]
    bad : (ny, nx)
        Pixels that carry nothing.
    psf_sigma : [pixel]
    """
    reach = max(1, int(np.ceil(_KERNEL_REACH * psf_sigma)))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / psf_sigma) ** 2)
    unknown = bad | ~np.isfinite(image) | ~np.isfinite(variance)
    taps = (taps / taps.sum()).astype(np.float32)
    image, variance = as_plane(image), as_plane(variance)
    own_noise = variance_slope(image, variance, unknown) * float((taps**3).sum() / (taps**2).sum()) ** 2
    flux, sigma = matched_filter(image, variance, unknown, taps, own_noise, _FAINT)
    return SmoothedImage(flux=flux, sigma=sigma, reach=reach)


def variance_slope(image: FloatArray, variance: FloatArray, unknown: BoolArray) -> float:
    """Return by how much the variance rises with the light of a pixel: one over the gain for photon noise.

    From a sample of pixels within some standard deviations of the sky, so that saturation and flat fields play no part.
    The line goes through the medians of the variance at each level of the light: the few pixels beside defects and
    saturated stars whose variance is thousands of times larger would otherwise make all of the slope.

    Parameters
    ----------
    image, variance : (ny, nx) [unit], [unit^2]
    unknown : (ny, nx)
        Pixels that carry nothing.
    """
    step = max(1, image.size // _SLOPE_SAMPLE)
    chosen = np.flatnonzero(~unknown.ravel()[::step]) * step
    light, noise = image.ravel()[chosen].astype(np.float64), variance.ravel()[chosen].astype(np.float64)
    if len(chosen) < 2:
        return 0.0
    reach = 2.0 * _FAINT * np.sqrt(np.median(noise))
    near = np.abs(light) < reach
    light, noise = light[near], noise[near]
    level = np.floor(0.5 * _LEVELS * light / reach)
    light, noise = _medians_of_levels(light, level), _medians_of_levels(noise, level)
    spread = float(np.var(light)) if len(light) > 1 else 0.0
    return max(0.0, float(np.mean((light - light.mean()) * (noise - noise.mean()))) / spread) if spread > 0.0 else 0.0


def _medians_of_levels(values: NDArray[np.float64], level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each pixel the median of the values of its level."""
    _, index, count = np.unique(level, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - count + count // 2
    return np.asarray(values[np.lexsort((values, level))][middle][index])


def detect_sources(
    smoothed: SmoothedImage,
    *,
    threshold: float = 5.0,
    multiplier: float = 1.0,
    negative: bool = False,
    min_area: int = 1,
    grow: int = 0,
    min_prominence: float = 2.0,
    deblend_contrast: float = 0.005,
    deblend_levels: int = 0,
) -> Detections:
    """Find connected regions above a threshold that hold a peak above a second one, and the peaks in them.

    Peaks of one region are kept apart by flooding from the top: a peak stays one of its own if it rises far enough
    above the saddle to a higher one. Unlike a share of the flux of the whole region (Bertin & Arnouts 1996), this does
    not depend on how far a crowded field has grown together.

    Parameters
    ----------
    smoothed
        From `smooth_for_detection`.
    threshold : [standard deviation]
        Where a footprint ends.
    multiplier
        A footprint needs a peak above ``threshold`` times this.
    negative
        Look for holes instead of peaks.
    min_area : [pixel]
        Least number of pixels of a peak.
    grow : [pixel]
        By how much the footprints are grown in `Detections.footprints`.
    min_prominence : [standard deviation]
        Least height of a peak above the saddle.
    deblend_contrast
        Least height above the saddle over the height of the saddle; raise it where bright stars have spikes or rings.
    deblend_levels
        Has no effect.
    """
    flux = -smoothed.flux if negative else smoothed.flux
    above = _pixels_above(flux, smoothed.sigma, np.float32(threshold))
    order = above[brightest_first(flux.ravel()[above])]
    labels, peaks, parent, merged = watershed(flux, smoothed.sigma, order, min_prominence, deblend_contrast)
    moments, boxes = region_moments(flux, labels, len(peaks))
    snr = (flux.ravel()[peaks] / smoothed.sigma.ravel()[peaks]).astype(np.float64)
    keep = (_peak_of_family(snr, parent) >= threshold * multiplier) & (boxes[:, 0] >= min_area)
    labels = _relabelled(labels, keep)
    footprints = grow_mask(labels > 0, grow) if grow > 0 else labels > 0
    return _collect(
        peaks[keep],
        moments[keep],
        boxes[keep],
        snr=-snr[keep] if negative else snr[keep],
        parent=parent[keep],
        merged=merged[keep],
        labels=labels,
        footprints=footprints,
        reach=smoothed.reach,
    )


def brightest_first(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the order of values from the greatest down, equal ones as they come; (n,), none of them NaN.

    It is that of whole numbers made of the bits of a value, which rise with it but for the sign, and its place: they
    all differ, and are sorted four times faster than numbers whose ties must keep their order.
    """
    bits = values.view(np.uint32)
    falling = np.where(bits < np.uint32(0x80000000), bits ^ np.uint32(0x7FFFFFFF), bits).astype(np.uint64)
    keys = (falling << np.uint64(32)) | np.arange(len(values), dtype=np.uint64)
    keys.sort()
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)


def _pixels_above(flux: NDArray[np.float32], sigma: NDArray[np.float32], threshold: np.float32) -> NDArray[np.int64]:
    """Return the flat indices of the pixels above ``threshold``, from few rows at a time: they stay in the cache."""
    width = flux.shape[1]
    found = [
        np.flatnonzero(flux[rows] > threshold * sigma[rows]) + rows.start * width for rows in row_blocks(len(flux))
    ]
    return np.concatenate(found)


def _peak_of_family(snr: NDArray[np.float64], parent: IntArray) -> NDArray[np.float64]:
    """Return for every peak the highest significance in its footprint."""
    best = np.full(len(parent), -np.inf)
    np.maximum.at(best, parent, snr)
    return best[parent]


def _relabelled(labels: NDArray[np.int32], keep: BoolArray) -> NDArray[np.int32]:
    if keep.all():
        return labels
    table = np.zeros(len(keep) + 1, dtype=np.int32)
    table[1:][keep] = np.arange(1, int(keep.sum()) + 1, dtype=np.int32)
    return table[labels]


def _collect(
    peaks: NDArray[np.int64],
    moments: NDArray[np.float64],
    boxes: NDArray[np.int64],
    *,
    snr: NDArray[np.float64],
    parent: IntArray,
    merged: BoolArray,
    labels: NDArray[np.int32],
    footprints: BoolArray,
    reach: int,
) -> Detections:
    ny, nx = labels.shape
    peak_y, peak_x = np.divmod(peaks, nx)
    flux, x, y, xx, yy, xy = moments.T
    _, family, size = np.unique(parent, return_inverse=True, return_counts=True)
    middle, spread = 0.5 * (xx + yy), np.hypot(0.5 * (xx - yy), xy)
    return Detections(
        x=x,
        y=y,
        peak_x=peak_x,
        peak_y=peak_y,
        peak_snr=snr,
        x_min=boxes[:, 1],
        x_max=boxes[:, 2],
        y_min=boxes[:, 3],
        y_max=boxes[:, 4],
        area=boxes[:, 0],
        flux=flux,
        a=np.sqrt(np.maximum(middle + spread, _PIXEL_VARIANCE)),
        b=np.sqrt(np.maximum(middle - spread, _PIXEL_VARIANCE)),
        theta=np.degrees(0.5 * np.arctan2(2.0 * xy, xx - yy)),
        parent=family.astype(np.int64),
        blended=np.asarray(size[family] > 1),
        merged=merged,
        edge=(peak_x < reach) | (peak_y < reach) | (peak_x >= nx - reach) | (peak_y >= ny - reach),
        sky=np.zeros(len(peaks), dtype=bool),
        labels=labels,
        footprints=footprints,
    )
