"""Positions of sources: centroids with a Gaussian window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.kernels import centroids as kernel
from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray
from firstlight.kernels.planes import as_plane

_MIN_WINDOW = 1.15
_BRIGHT_SNR = 50.0
_BRIGHT_WIDENING = 0.25
_MAX_WIDENING = 5.0
_TOLERANCE = 1e-4
_WIDER_WINDOWS = (2.0, 4.0)


@dataclass(frozen=True)
class Centroids:
    """Positions of sources; where `flag` is set they are those that the measurement started from."""

    x: NDArray[np.float64]
    """[pixel]."""

    y: NDArray[np.float64]

    x_err: NDArray[np.float64]
    """Standard error from the noise of sky and source [pixel]; width of the window over S/N where `flag` is set."""

    y_err: NDArray[np.float64]

    flag: BoolArray
    """The position was reset to where it started."""

    status: IntArray
    """0 if the iteration converged, else a constant of `firstlight.kernels.centroids`."""


def measure_centroids(
    image: FloatArray,
    *,
    variance: FloatArray,
    bad: BoolArray,
    x: FloatArray,
    y: FloatArray,
    snr: FloatArray,
    psf_sigma: FloatArray | float,
    size: FloatArray | None = None,
    labels: IntArray | None = None,
    own_label: IntArray | None = None,
    max_shift: float | None = None,
) -> Centroids:
    """Measure positions by moving a Gaussian window until its weighted mean is its centre.

    This is XWIN_IMAGE of SExtractor (its manual, section 10.2.3), close to the photon limit when the window is as wide
    as the source. Here the window is a little wider for bright stars, where sampling matters more than the sky, and
    never below 1.15 pixels. Bad pixels and those of other sources are left out together with those opposite to them,
    so that a symmetric source keeps its centre; the window is widened where too few remain.

    Parameters
    ----------
    image, variance : (ny, nx) [count], [count^2]
        Without sky.
    bad : (ny, nx)
        Saturated and defective pixels.
    x, y : (n,) [pixel]
        Peaks or isophotal centroids.
    snr : (n,)
        Significance of the sources.
    psf_sigma : [pixel]
        Determinant radius of the stars, one or one for each source.
    size : (n,) [pixel]
        Determinant radius of the sources where they may be wider than stars (galaxies, plates); NaN if unknown.
    labels, own_label : (ny, nx), (n,)
        Label image and the label of each source.
    max_shift : [pixel]
        A centroid that moves further is reset; the default is the larger of 1.5 pixels and the width of the window.
    """
    start_x, start_y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    sigma = _source_sigma(np.broadcast_to(np.asarray(psf_sigma, dtype=np.float64), start_x.shape), size)
    brightness = np.clip(np.log10(np.maximum(snr, 1.0) / _BRIGHT_SNR), 0.0, 1.0)
    window = np.maximum(sigma * (1.0 + _BRIGHT_WIDENING * brightness), _MIN_WINDOW)
    own = np.zeros(start_x.shape, dtype=np.int64) if own_label is None else np.asarray(own_label, dtype=np.int64)
    label_image = np.zeros(image.shape, dtype=np.int32) if labels is None else np.asarray(labels, dtype=np.int32)
    planes = as_plane(image), as_plane(variance)
    values = np.full((start_x.size, 4), np.nan)
    status = np.full(start_x.shape, kernel.MASKED)
    for widening in (1.0, *_WIDER_WINDOWS):
        todo = np.flatnonzero(status == kernel.MASKED)
        wide = widening * window[todo]
        limit = np.maximum(1.5, wide) if max_shift is None else np.full(todo.shape, max_shift)
        values[todo], status[todo] = kernel.windowed_centroids(
            *planes,
            bad,
            label_image,
            own[todo],
            start_x[todo],
            start_y[todo],
            sigma[todo],
            wide,
            limit,
            _TOLERANCE,
        )
    reset = (status != kernel.OK) | ~np.isfinite(values).all(axis=1)
    fallback_err = window / np.maximum(snr, 1.0)
    return Centroids(
        x=np.where(reset, start_x, values[:, 0]),
        y=np.where(reset, start_y, values[:, 1]),
        x_err=np.where(reset, fallback_err, values[:, 2]),
        y_err=np.where(reset, fallback_err, values[:, 3]),
        flag=reset,
        status=status,
    )


def _source_sigma(psf_sigma: NDArray[np.float64], size: FloatArray | None) -> NDArray[np.float64]:
    """Return the width of each source: that of a star unless it is known to be wider."""
    if size is None:
        return np.array(psf_sigma)
    known = np.where(np.isfinite(size), size, 0.0)
    return np.asarray(np.clip(known, psf_sigma, _MAX_WIDENING * psf_sigma))
