"""Combine frames of one kind, pixel by pixel: outliers are rejected by the noise that the frames themselves show.

What has to be known of whole frames, their relative noise and how far it is from the variance planes, is measured on a
sample of rows; every pixel is then combined by itself. So frames can be combined in bands of rows of any height, and
give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from firstlight.errors import CalibrationError
from firstlight.kernels.arrays import BoolArray, FloatArray

CLIP_SIGMA = 3.0
CLIPPED_STD = 0.98654
"""Standard deviation of a unit Gaussian cut at three sigma."""

N_CLIPS = 20
TOLERANCE = 1e-4
TINY = 1e-30
SEGMENT = 32
"""Length of the pieces of rows whose medians show structure [pixel]."""

MEDIAN_VARIANCE = np.pi / 2
"""Variance of a median over that of a mean, for Gaussian noise and many values."""

LARGE_QUANTILE, LARGE_SIGMAS = 0.95, 1.96
"""A part of the absolute values of a Gaussian, and its limit in standard deviations."""


@dataclass(frozen=True)
class StackNoise:
    """How noisy the frames of a stack are."""

    relative: NDArray[np.float64]
    """(n,) Typical variance of a pixel of each frame [unit^2]."""

    ratio: float
    """Measured scatter between frames over that of their variance planes."""


@dataclass(frozen=True)
class Combined:
    """Some rows of the mean of a stack."""

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    """Of the mean."""

    count: NDArray[np.int32]
    """Number of values that were used."""

    rejected: NDArray[np.int32]
    """Number of values that were rejected as outliers."""


@dataclass(frozen=True)
class Structure:
    """How much frames differ from their mean, other than by noise."""

    ratio: float
    """Scatter of medians of pieces of rows over that of noise; 1 if there is nothing but noise."""

    amplitude: float
    """Standard deviation of what is not noise [unit]."""


def clipped_moments(values: FloatArray) -> tuple[float, float]:
    """Return mean and standard deviation of what is within three sigma, the latter as of a whole Gaussian.

    Parameters
    ----------
    values
        Of any shape, all finite.
    """
    flat = values.ravel().astype(np.float64)
    if not flat.size:
        return np.nan, np.nan
    center = float(np.median(flat))
    spread = 1.4826 * float(np.median(np.abs(flat - center))) or float(flat.std())
    for _ in range(N_CLIPS):
        kept = flat[np.abs(flat - center) <= CLIP_SIGMA * spread]
        before = spread
        center, spread = float(kept.mean()), float(kept.std()) / CLIPPED_STD
        if abs(spread - before) <= TOLERANCE * before:
            break
    return center, spread


def stack_median(values: FloatArray, *, bad: BoolArray, lower: bool = False) -> NDArray[np.float32]:
    """Return the median along the first axis of what is not bad; of all where everything is.

    Parameters
    ----------
    values : (n, ...)
    bad : (n, ...)
    lower
        Whether an even number has the lower one of the two in the middle, not their mean: hits of cosmic rays and stars
        are always positive.
    """
    count = np.count_nonzero(~bad, axis=0)
    count = np.where(count == 0, len(values), count)
    ordered = np.sort(np.where(bad & ~bad.all(axis=0), np.inf, values).astype(np.float32), axis=0)
    low = np.take_along_axis(ordered, ((count - 1) // 2)[None], axis=0)[0]
    if lower:
        return np.asarray(low)
    high = np.take_along_axis(ordered, (count // 2)[None], axis=0)[0]
    return np.asarray(np.where(low == high, low, 0.5 * (low + high)))


def measure_stack_noise(image: FloatArray, *, variance: FloatArray, bad: BoolArray) -> StackNoise:
    """Measure how noisy each frame is, and compare it with the scatter between frames.

    Parameters
    ----------
    image, variance : (n, n_rows, nx)
        A sample of rows of each of at least two frames, brought to one scale.
    bad : (n, n_rows, nx)

    Raises
    ------
    CalibrationError
        If a frame has no usable pixel.
    """
    relative = np.empty(len(image))
    for index, frame in enumerate(variance):
        good = frame[~bad[index]]
        if not good.size:
            raise CalibrationError(f"Frame {index + 1} of {len(image)} has no usable pixel.", n_frames=len(image))
        relative[index] = max(float(np.median(good)), TINY)
    typical = _typical_variance(variance, bad, relative)
    pulls = [
        ((image[j + 1] - image[j]) / np.sqrt(np.maximum(typical * (relative[j] + relative[j + 1]), TINY)))[
            ~(bad[j] | bad[j + 1])
        ]
        for j in range(len(image) - 1)
    ]
    values = np.concatenate(pulls)
    ratio = clipped_moments(values)[1] if values.size else 1.0
    return StackNoise(relative, float(ratio) if ratio > 0 else 1.0)


def combine_frames(
    image: FloatArray, *, variance: FloatArray, bad: BoolArray, noise: StackNoise, n_sigma: float, grow: int = 0
) -> Combined:
    """Return the weighted mean of frames without outliers.

    An outlier is ``n_sigma`` from the median, and then from the mean of what is left; its noise is that of its frame at
    the median brightness of its pixel, so that an outlier does not excuse itself. Pixels that no frame has good are the
    median of all, with ``count`` 0.

    Parameters
    ----------
    image, variance : (n, n_rows, nx)
        Rows of every frame, brought to one scale.
    bad : (n, n_rows, nx)
    noise
        What `measure_stack_noise` found.
    n_sigma
        Limit of outliers.
    grow : [pixel]
        Neighbours of outliers that are rejected too; exact only this far from the first and last row.
    """
    relative = noise.relative.astype(np.float32)[:, None, None]
    typical = _typical_variance(variance, bad, noise.relative) * np.float32(noise.ratio**2)
    limit = np.float32(n_sigma) * np.sqrt(np.maximum(typical * relative, TINY))
    center = stack_median(image, bad=bad, lower=True)
    of_center = np.float32(MEDIAN_VARIANCE / len(image) * relative.max())
    kept = ~bad & (np.abs(image - center) <= np.float32(n_sigma) * np.sqrt(typical * (relative + of_center) + TINY))
    mean, _ = _weighted_mean(image, kept, relative, center)
    hit = ~bad & (np.abs(image - mean) > limit)
    if grow:
        y, x = np.mgrid[-grow : grow + 1, -grow : grow + 1]
        hit = binary_dilation(hit, structure=(x**2 + y**2 <= grow**2 + 0.5)[None]) & ~bad
    kept = ~bad & ~hit
    # Where growth leaves nothing, the outliers alone are left out.
    nothing = ~kept.any(axis=0)
    kept |= nothing & ~bad & (np.abs(image - mean) <= limit)
    mean, weight = _weighted_mean(image, kept, relative, center)
    count = np.count_nonzero(kept, axis=0)
    return Combined(
        image=mean.astype(np.float32),
        variance=np.where(count > 0, typical / np.maximum(weight, TINY), typical * relative.max()).astype(np.float32),
        count=count.astype(np.int32),
        rejected=np.count_nonzero(~bad & ~kept, axis=0).astype(np.int32),
    )


def measure_structure(image: FloatArray, combined: FloatArray, *, bad: BoolArray) -> Structure:
    """Measure how much frames differ from their mean over pieces of rows, in the worst frame.

    Medians of pieces do not feel single pixels; structure over a twentieth of the image is enough to be seen, the stars
    of a sky flat are not.

    Parameters
    ----------
    image : (n, n_rows, nx)
        The sample of rows of which the noise was measured.
    combined : (n_rows, nx)
        The mean of the stack there.
    bad : (n, n_rows, nx)
    """
    found = [_structure_of(frame - combined, ~unusable) for frame, unusable in zip(image, bad, strict=True)]
    return Structure(max(each.ratio for each in found), max(each.amplitude for each in found))


def _structure_of(residual: FloatArray, good: BoolArray) -> Structure:
    difference = np.diff(residual.astype(np.float64), axis=1)[good[:, 1:] & good[:, :-1]]
    noise = clipped_moments(difference)[1] / np.sqrt(2.0)
    length = min(SEGMENT, residual.shape[1])
    end = residual.shape[1] // length * length
    pieces = np.where(good, residual, np.nan)[:, :end].reshape(-1, length)
    full = pieces[np.isfinite(pieces).sum(axis=1) >= max(1, length // 2)]
    if not len(full) or not noise > 0:
        return Structure(0.0, 0.0)
    medians = np.nanmedian(full, axis=1)
    expected = noise * np.sqrt(MEDIAN_VARIANCE / length)
    measured = float(np.quantile(np.abs(medians - np.median(medians)), LARGE_QUANTILE)) / LARGE_SIGMAS
    return Structure(float(measured / expected), float(np.sqrt(max(measured**2 - expected**2, 0.0))))


def _typical_variance(variance: FloatArray, bad: BoolArray, relative: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the variance of each pixel in units of that of its frame."""
    return stack_median(variance / relative.astype(np.float32)[:, None, None], bad=bad)


def _weighted_mean(
    image: FloatArray, kept: BoolArray, relative: NDArray[np.float32], fallback: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and sum of the weights of what is kept; the fallback where nothing is."""
    weights = kept / relative
    total = weights.sum(axis=0, dtype=np.float32)
    mean = (np.where(kept, image, 0) * weights).sum(axis=0, dtype=np.float32) / np.maximum(total, TINY)
    return np.where(total > 0, mean, fallback), total
