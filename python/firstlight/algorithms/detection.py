"""Find sources as peaks of a matched filter, at two levels of significance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray

from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.matched_filter import grow_mask, matched_filter, touching_labels

_MERGED = 1
_KERNEL_REACH = 3.5
_LIMIT_DOUBLINGS = 6
_PIXEL_BUFFER = 1_000_000
_SUB_OBJECTS = 4096


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
    """What `detect_sources` found: one entry per peak, in the order of the labels."""

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
    """Deblending found a second peak, too weak to be kept apart."""

    edge: BoolArray
    """The peak lies where the smoothing kernel reaches beyond the image."""

    labels: NDArray[np.int32]
    """Label image [y, x]: 0 sky, i + 1 the pixels above the threshold of entry i."""

    footprints: BoolArray
    """Pixels of all footprints, grown [y, x]: the DETECTED plane."""

    not_deblended: bool
    """Deblending was given up because there were too many peaks."""

    @property
    def n_peaks(self) -> int:
        """Number of peaks."""
        return len(self.x)

    @property
    def n_footprints(self) -> int:
        """Number of connected footprints."""
        return len(np.unique(self.parent))


def smooth_for_detection(
    image: FloatArray, *, variance: FloatArray, bad: BoolArray, psf_sigma: float
) -> SmoothedImage:
    """Smooth an image with a Gaussian as wide as its stars.

    The noise is the variance convolved with the square of the kernel (LSST `SourceDetectionTask`).

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
    flux, sigma = matched_filter(image, variance, unknown, (taps / taps.sum()).astype(np.float32))
    return SmoothedImage(flux=flux, sigma=sigma, reach=reach)


def detect_sources(
    smoothed: SmoothedImage,
    *,
    threshold: float = 5.0,
    multiplier: float = 1.0,
    negative: bool = False,
    min_area: int = 1,
    grow: int = 0,
    deblend_levels: int = 32,
    deblend_contrast: float = 0.0005,
    clean: bool = False,
) -> Detections:
    """Find connected regions above a threshold that hold a peak above a second one.

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
    grow : [pixel]
        By how much the footprints are grown in `Detections.footprints`.
    deblend_levels, deblend_contrast
        Number of levels, and least share of the flux of a peak of its own (Bertin & Arnouts 1996, section 6).
    clean
        Drop peaks that the wings of a brighter neighbour explain (the same, section 7).
    """
    flux = -smoothed.flux if negative else smoothed.flux
    objects, labels, given_up = _extract(
        flux,
        smoothed.sigma,
        threshold,
        minarea=min_area,
        deblend_nthresh=deblend_levels,
        deblend_cont=deblend_contrast,
        clean=clean,
    )
    parent = touching_labels(labels, len(objects))[1:]
    snr = (flux[objects["ypeak"], objects["xpeak"]] / smoothed.sigma[objects["ypeak"], objects["xpeak"]]).astype(float)
    keep = _peak_of_family(snr, parent) >= threshold * multiplier
    labels = _relabelled(labels, keep)
    footprints = grow_mask(labels > 0, grow) if grow > 0 else labels > 0
    return _collect(
        objects[keep], snr[keep] * (-1.0 if negative else 1.0), parent[keep], labels, footprints, smoothed.reach, given_up
    )


def _extract(
    flux: NDArray[np.float32], sigma: NDArray[np.float32], threshold: float, **options: float
) -> tuple[NDArray[np.void], NDArray[np.int32], bool]:
    """Run `sep.extract`, giving it more room until the objects fit; without deblending if they never do."""
    before = sep.get_extract_pixstack(), sep.get_sub_object_limit()
    pixels, sub_objects = _PIXEL_BUFFER, _SUB_OBJECTS
    try:
        for _ in range(_LIMIT_DOUBLINGS):
            sep.set_extract_pixstack(pixels)
            sep.set_sub_object_limit(sub_objects)
            try:
                return *_run_sep(flux, sigma, threshold, options), False
            except Exception as problem:  # noqa: BLE001 - sep raises the bare class for both of its limits
                if "buffer" in str(problem):
                    pixels = min(4 * pixels, flux.size + 1)
                elif "overflow" in str(problem):
                    sub_objects *= 4
                else:
                    raise
        return *_run_sep(flux, sigma, threshold, {**options, "deblend_cont": 1.0}), True
    finally:
        sep.set_extract_pixstack(before[0])
        sep.set_sub_object_limit(before[1])


def _run_sep(
    flux: NDArray[np.float32], sigma: NDArray[np.float32], threshold: float, options: dict[str, float]
) -> tuple[NDArray[np.void], NDArray[np.int32]]:
    objects, labels = sep.extract(flux, threshold, err=sigma, filter_kernel=None, segmentation_map=True, **options)
    return objects, labels


def _peak_of_family(snr: NDArray[np.float64], parent: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return for every peak the highest significance in its footprint."""
    best = np.full(len(parent) + 1, -np.inf)
    np.maximum.at(best, parent, snr)
    return best[parent]


def _relabelled(labels: NDArray[np.int32], keep: BoolArray) -> NDArray[np.int32]:
    if keep.all():
        return labels
    table = np.zeros(len(keep) + 1, dtype=np.int32)
    table[1:][keep] = np.arange(1, int(keep.sum()) + 1, dtype=np.int32)
    return table[labels]


def _collect(
    objects: NDArray[np.void],
    snr: NDArray[np.float64],
    parent: NDArray[np.int64],
    labels: NDArray[np.int32],
    footprints: BoolArray,
    reach: int,
    given_up: bool,  # noqa: FBT001 - internal
) -> Detections:
    ny, nx = labels.shape
    peak_x, peak_y = objects["xpeak"].astype(np.int64), objects["ypeak"].astype(np.int64)
    _, family, size = np.unique(parent, return_inverse=True, return_counts=True)
    return Detections(
        x=objects["x"].astype(np.float64),
        y=objects["y"].astype(np.float64),
        peak_x=peak_x,
        peak_y=peak_y,
        peak_snr=snr,
        x_min=objects["xmin"].astype(np.int64),
        x_max=objects["xmax"].astype(np.int64),
        y_min=objects["ymin"].astype(np.int64),
        y_max=objects["ymax"].astype(np.int64),
        area=objects["npix"].astype(np.int64),
        flux=objects["flux"].astype(np.float64),
        a=objects["a"].astype(np.float64),
        b=objects["b"].astype(np.float64),
        theta=np.degrees(objects["theta"].astype(np.float64)),
        parent=family.astype(np.int64),
        blended=size[family] > 1,
        merged=(objects["flag"] & _MERGED) != 0,
        edge=(peak_x < reach) | (peak_y < reach) | (peak_x >= nx - reach) | (peak_y >= ny - reach),
        labels=labels,
        footprints=footprints,
        not_deblended=given_up,
    )
