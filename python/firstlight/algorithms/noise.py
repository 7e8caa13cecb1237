"""The noise of the sky, measured on the pixels themselves."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.background import truncation_correction
from firstlight.errors import ConstantImageError, TooManyMaskedPixelsError
from firstlight.images.background import bin_edges
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.mesh import clipped_bins
from firstlight.kernels.planes import as_plane, row_blocks

_N_SIGMA = 2.5
_ITERATIONS = 6
_MIN_PIXELS = 16
_SAMPLE = 1 << 20


@dataclass(frozen=True)
class SkyNoise:
    """Noise of the sky pixels of an image."""

    level: float
    """Median of the clipped means of the bins [unit of the image]."""

    sigma: float
    """Median of the clipped standard deviations of the bins [unit of the image]."""

    variance_ratio: float
    """Measured variance over that of the variance plane, median of the bins; NaN without a variance plane."""

    n_bins: int
    """Number of bins used."""


@dataclass(frozen=True)
class VarianceEstimate:
    """A variance plane made from the image alone."""

    variance: NDArray[np.float32]
    """[y, x], square of the unit of the image."""

    gain: float
    """[electron/count]; where not given, as if all noise of the sky were photon noise, NaN without a positive sky."""

    sky_sigma: float
    """Noise of the sky [unit of the image]."""


def typical_value(plane: FloatArray, *, bad: BoolArray | None = None) -> float:
    """Return the median of the good pixels, of every n-th where there are more than two million of them.

    The n-th pixels share no column with their neighbours in the sample, so that no bad column fills it. The error of
    the median of a million pixels is a thousandth of their scatter.

    Parameters
    ----------
    plane : (ny, nx)
        Finite where it is good.
    bad : (ny, nx)
        NaN is returned if all are, or if there are none.
    """
    step = max(1, plane.size // _SAMPLE)
    while step > 1 and gcd(step, plane.shape[1]) > 1:
        step += 1
    good = slice(None) if bad is None else ~bad.ravel()[::step]
    values = plane.ravel()[::step][good]
    if not values.size and step > 1:
        values = plane.ravel() if bad is None else plane[~bad]
    return float(np.median(values)) if values.size else float("nan")


def measure_sky_noise(
    image: FloatArray, *, bad: BoolArray, variance: FloatArray | None = None, bin_size: int = 64
) -> SkyNoise:
    """Measure the noise of the sky as clipped standard deviations in bins, free of the gradients between them.

    Parameters
    ----------
    image : (ny, nx)
    bad : (ny, nx)
        Defects, and detected sources where they are known.
    variance : (ny, nx)
        The variance plane to compare with.
    bin_size : [pixel]

    Raises
    ------
    TooManyMaskedPixelsError
        If no pixel is usable.
    ConstantImageError
        If the pixels do not differ.
    """
    require_varying(image, bad=bad)
    unusable = bad | ~np.isfinite(image)
    mean, sigma, count = _bins(image, unusable, bin_size)
    used = count >= min(_MIN_PIXELS, int(count.max()))
    ratio = np.nan
    if variance is not None:
        expected, _, _ = _bins(variance, unusable, bin_size)
        ratio = float(np.median(sigma[used] ** 2 / expected[used]))
    return SkyNoise(
        level=float(np.median(mean[used])),
        sigma=float(np.median(sigma[used])),
        variance_ratio=ratio,
        n_bins=int(used.sum()),
    )


def measure_significance_scale(snr: FloatArray, *, bad: BoolArray, bin_size: int = 128) -> float:
    """Return the standard deviation of a map of significance on the empty sky: 1 if its noise is right.

    It is larger where the noise of neighbouring pixels is correlated, as on resampled images and scanned plates, or
    where the variance is too small; multiply a detection threshold by it.

    Parameters
    ----------
    snr : (ny, nx)
    bad : (ny, nx)
        Defects, and detected sources where they are known.
    bin_size : [pixel]

    Raises
    ------
    TooManyMaskedPixelsError
        If no pixel is usable.
    """
    require_varying(snr, bad=bad)
    _, sigma, count = _bins(snr, bad | ~np.isfinite(snr), bin_size)
    return float(np.median(sigma[count >= min(_MIN_PIXELS, int(count.max()))]))


def require_varying(image: FloatArray, *, bad: BoolArray) -> None:
    """Raise unless the usable pixels of an image differ.

    Raises
    ------
    TooManyMaskedPixelsError
        If no pixel is usable.
    ConstantImageError
        If all usable pixels have one value.
    """
    count, low, high = 0, np.inf, -np.inf
    for rows in row_blocks(len(image)):
        usable = image[rows][~bad[rows] & np.isfinite(image[rows])]
        count += usable.size
        low, high = float(usable.min(initial=low)), float(usable.max(initial=high))
        if low < high:
            return
    if count == 0:
        raise TooManyMaskedPixelsError(
            f"None of the {image.size} pixels is usable; all are masked or not finite.", n_pixels=image.size
        )
    raise ConstantImageError(
        f"All {count} usable pixels have the value {low:.6g}; there is no noise and no signal.",
        n_pixels=count,
        value=low,
    )


def estimate_variance(
    image: FloatArray,
    *,
    bad: BoolArray,
    background: FloatArray | None = None,
    gain: float | None = None,
    read_noise: float = 0.0,
    max_gain: float = 10.0,
) -> VarianceEstimate:
    """Make a variance plane, from the gain where it is known and from the measured noise of the sky where it is not.

    With a gain the variance is ``max(image, 0) / gain + (read_noise / gain)^2``. Without one it is the measured
    variance of the sky plus the light above ``background`` over the gain that the sky implies.

    Parameters
    ----------
    image : (ny, nx) [count]
        With the sky still in it.
    bad : (ny, nx)
    background : (ny, nx) [count]
        The sky, used only without a gain; its measured level where not given.
    gain : [electron/count]
    read_noise : [electron]
    max_gain : [electron/count]
        Limit on the gain that the sky implies: with a bias still in the image the sky looks too quiet for its level.

    Raises
    ------
    TooManyMaskedPixelsError, ConstantImageError
        As `measure_sky_noise`.
    """
    noise = measure_sky_noise(image, bad=bad)
    if gain is not None:
        known = np.maximum(image, 0.0) / gain + (read_noise / gain) ** 2
        return VarianceEstimate(variance=np.asarray(known, dtype=np.float32), gain=gain, sky_sigma=noise.sigma)
    sky = noise.level if background is None else background
    level = float(np.median(sky))
    implied = min(level / noise.sigma**2, max_gain) if level > 0.0 else np.nan
    variance = np.full(image.shape, noise.sigma**2, dtype=np.float32)
    if np.isfinite(implied):
        variance += np.maximum(np.nan_to_num(image - sky), 0.0).astype(np.float32) / np.float32(implied)
    return VarianceEstimate(variance=variance, gain=float(implied), sky_sigma=noise.sigma)


def _bins(image: FloatArray, bad: BoolArray, bin_size: int) -> NDArray[np.float64]:
    """Return clipped mean, standard deviation and number of pixels of the bins."""
    y_edges, x_edges = bin_edges(image.shape[0], bin_size), bin_edges(image.shape[1], bin_size)
    every_row = np.ones(image.shape[0], dtype=bool)
    return clipped_bins(
        as_plane(image), bad, y_edges, x_edges, _N_SIGMA, truncation_correction(_N_SIGMA), _ITERATIONS, every_row
    )
