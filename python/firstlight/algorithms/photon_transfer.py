"""Measure gain and read noise from how the scatter of differences grows with the light: the photon-transfer curve.

The difference of two images of one scene has no scene in it, only noise. Its variance rises in a straight line with
the number of counts, by one over the gain, from a floor that is the read noise; what rises with the square of the
counts is no noise of photons but a scene that did not cancel (Janesick 2007, Photon Transfer, sections 5.1 and 6.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from firstlight.algorithms.background import truncation_correction
from firstlight.errors import ConstantImageError, TooManyMaskedPixelsError
from firstlight.kernels.arrays import BoolArray, FloatArray

F8 = NDArray[np.float64]

_BOX = 7
"""Side of the square in which light and noise are told apart [pixel]."""

_LEVELS = 30
"""Levels of light at which the noise is told."""

_MEDIAN_SQUARE = 0.4549
"""Median of the square of a standard normal variable."""

_LINEAR_BINS = 16
_CLIP = 3.0
_CLIP_ROUNDS = 20
_CURVES = 3
"""How often the curve is made, each time with the last one as the expected variance."""
_FIT_ROUNDS = 8
_SIGNIFICANT = 3.0
"""A part that goes with the square of the counts is fitted where it is so many times its error."""
_MIN_BINS = 4
_LOWEST_SHARE = 0.1
"""The variance of a pixel is at least this share of that of the faintest bin."""


@dataclass(frozen=True)
class NoiseSample:
    """A difference image and what its variance depends on: ``floor * constant + signal / gain``.

    Parameters
    ----------
    difference : (ny, nx) [count]
        Two images of the same scene, subtracted.
    constant : (ny, nx)
        How many times the variance of a pixel without light is in that of the difference: 2 for two raw images.
    signal : (ny, nx) [count]
        The same for the light: the sum of two raw images. It must not follow the noise of the difference.
    bad : (ny, nx)
        Pixels that do not count.
    """

    difference: FloatArray
    constant: FloatArray
    signal: FloatArray
    bad: BoolArray


@dataclass(frozen=True)
class PhotonTransfer:
    """The noise of a pixel as it grows with its counts.

    Parameters
    ----------
    gain, gain_err : [electron / count]
        Infinite where the variance does not grow.
    floor, floor_err : [count^2]
        Variance of a pixel without counts; negative where the counts hold a bias that is no light.
    mismatch
        Standard deviation, relative to the counts, of what is not noise of photons: flat field, PSF.
    signal, variance, error : (n_bins,) [count, count^2, count^2]
        The curve: mean counts, variance of a pixel and its error.
    reduced_chi2
        Of the curve about the fit.
    n_pixels
        How many there were.
    """

    gain: float
    gain_err: float
    floor: float
    floor_err: float
    mismatch: float
    signal: F8
    variance: F8
    error: F8
    reduced_chi2: float
    n_pixels: int

    @property
    def read_noise(self) -> float:
        """Noise of a pixel without light [electron]; 0 where the floor is negative, NaN without a gain."""
        return self.gain * math.sqrt(max(self.floor, 0.0)) if math.isfinite(self.gain) else math.nan

    def variance_of(self, counts: FloatArray) -> NDArray[np.float32]:
        """Return the variance [count^2] of pixels with their sky in them [count]; NaN stays NaN."""
        lowest = _LOWEST_SHARE * float(self.variance[0])
        model = self.floor + np.maximum(np.asarray(counts, np.float64), 0.0) / self.gain
        return np.asarray(np.maximum(model, lowest), np.float32)


def sample_pair(first: FloatArray, second: FloatArray, *, bad: BoolArray) -> NoiseSample:
    """Return the sample of two raw images of one scene: flats, darks, or snaps, without their bias.

    The second is brought to the level of the first by the ratio of their means. The light is the sum of the two, drawn
    to the mean of its neighbours the more of their scatter is noise (Lee 1980, IEEE Trans. PAMI 2, 165).

    Parameters
    ----------
    first, second : (ny, nx) [count]
    bad : (ny, nx)

    Raises
    ------
    TooManyMaskedPixelsError
        If no pixel is good in both.
    """
    good = ~bad & np.isfinite(first) & np.isfinite(second)
    if not good.any():
        raise TooManyMaskedPixelsError(f"None of the {good.size} pixels is good in both images.", n_pixels=good.size)
    one, two = (np.asarray(image, np.float64) for image in (first, second))
    levels = float(one[good].mean()), float(two[good].mean())
    noise = float(np.std(one[good] - two[good])) / math.sqrt(good.sum())
    ratio = levels[0] / levels[1] if min(levels) > 100.0 * noise else 1.0
    difference = one - ratio * two
    return NoiseSample(
        difference=difference,
        constant=np.full(one.shape, 1.0 + ratio**2),
        signal=_without_noise(one + ratio**2 * two, difference, good=good),
        bad=~good,
    )


def _without_noise(total: F8, difference: F8, *, good: BoolArray) -> F8:
    """Return the sum of two images, smoothed where it scatters no more than their difference."""
    weight = np.maximum(uniform_filter(good.astype(np.float64), _BOX), 1e-9)

    def mean(values: F8) -> F8:
        return np.asarray(uniform_filter(np.where(good, values, 0.0), _BOX) / weight)

    level = mean(total)
    scatter = mean((total - level) ** 2)
    # The noise as it usually is at a level: that of the place itself would sort pixels by their noise.
    order = np.argsort(level[good], kind="stable")
    groups = [part for part in np.array_split(order, _LEVELS) if len(part)]
    levels = [float(level[good][part].mean()) for part in groups]
    noise = [float(np.median(difference[good][part] ** 2)) / _MEDIAN_SQUARE for part in groups]
    share = np.clip(1.0 - np.interp(level, levels, noise) / np.maximum(scatter, 1e-30), 0.0, 1.0)
    return np.asarray(level + share * (total - level))


def fit_photon_transfer(samples: Sequence[NoiseSample], *, min_pixels: int = 200) -> PhotonTransfer:
    """Fit the noise of a detector to differences of its images.

    Pixels are sorted by their light into bins, whose variances are clipped and corrected for the clipping; bins grow
    thinner towards the few bright pixels. A straight line is fitted, and a square where it is significant.

    Parameters
    ----------
    samples
        Any number of differences; their pixels are put together.
    min_pixels
        Fewer pixels make no bin.

    Raises
    ------
    TooManyMaskedPixelsError
        If there are not enough pixels for a fit.
    ConstantImageError
        If the differences do not scatter.

    References
    ----------
    Janesick 2007, Photon Transfer (SPIE), chapters 5 and 6.
    """
    scaled, light = _pixels(samples)
    if len(light) < _MIN_BINS * min_pixels:
        raise TooManyMaskedPixelsError(
            f"A photon-transfer curve needs at least {_MIN_BINS * min_pixels} good pixels; got {len(light)}.",
            n_pixels=len(light),
            min_pixels=_MIN_BINS * min_pixels,
        )
    order = np.argsort(light, kind="stable")
    scaled, light = scaled[order], light[order]
    expected = np.ones(len(light))
    for _ in range(_CURVES):
        signal, variance, error = _curve(scaled, light, expected, min_pixels)
        if not (variance > 0.0).all():
            raise ConstantImageError(
                f"The differences of {len(light)} pixels do not scatter; are the two images the same?",
                n_pixels=len(light),
            )
        smooth, *_ = _fitted(signal, variance, error / variance, terms=3)
        expected = np.maximum(light[:, None] ** np.arange(3) @ smooth, 0.1 * np.interp(light, signal, variance))
    relative = error / variance
    solution, covariance, chi2 = _fitted(signal, variance, relative, terms=2)
    mismatch = 0.0
    if len(signal) > _MIN_BINS:
        bent = _fitted(signal, variance, relative, terms=3)
        if bent[0][2] > _SIGNIFICANT * math.sqrt(bent[1][2, 2]) and bent[0][1] > 0.0:
            (solution, covariance, chi2), mismatch = bent, math.sqrt(bent[0][2])
    slope, slope_err = float(solution[1]), math.sqrt(covariance[1, 1])
    rises = slope > 0.0
    return PhotonTransfer(
        gain=1.0 / slope if rises else math.inf,
        gain_err=slope_err / slope**2 if rises else math.inf,
        floor=float(solution[0]),
        floor_err=math.sqrt(covariance[0, 0]),
        mismatch=mismatch,
        signal=signal,
        variance=variance,
        error=error,
        reduced_chi2=chi2,
        n_pixels=len(light),
    )


def _pixels(samples: Sequence[NoiseSample]) -> tuple[F8, F8]:
    """Return differences and light of all good pixels, in units in which the constant is 1."""
    scaled, light = [], []
    for sample in samples:
        good = ~sample.bad & np.isfinite(sample.difference) & np.isfinite(sample.signal) & (sample.constant > 0.0)
        constant = np.asarray(sample.constant, np.float64)[good]
        scaled.append(np.asarray(sample.difference, np.float64)[good] / np.sqrt(constant))
        light.append(np.asarray(sample.signal, np.float64)[good] / constant)
    return np.concatenate([np.empty(0), *scaled]), np.concatenate([np.empty(0), *light])


def _curve(scaled: F8, light: F8, expected: F8, min_pixels: int) -> tuple[F8, F8, F8]:
    """Return mean light, clipped variance and its error in bins of the sorted light.

    Pixels are clipped in units of the ``expected`` standard deviation, as a bin holds fainter and brighter ones.
    """
    n, pull = len(light), scaled / np.sqrt(expected)
    n_linear = min(_LINEAR_BINS, n // min_pixels)
    edges = [round(n * k / n_linear) for k in range(n_linear)]
    left = n - edges[-1]
    while left >= 2 * min_pixels:
        left //= 2
        edges.append(n - left)
    bins = []
    for low, high in zip(edges, [*edges[1:], n], strict=True):
        variance, error = _clipped_variance(pull[low:high])
        level = float(expected[low:high].mean())
        bins.append((float(light[low:high].mean()), level * variance, level * error))
    signal, variances, errors = np.array(bins).T
    return signal, variances, errors


def _clipped_variance(values: F8) -> tuple[float, float]:
    """Return the variance without outliers, as if the rest were cut from a normal distribution, and its error."""
    away = values - np.median(values)
    spread = 1.4826 * float(np.median(np.abs(away))) or float(np.std(away))
    kept = away
    for _ in range(_CLIP_ROUNDS):
        kept = away[np.abs(away) <= _CLIP * spread]
        before, spread = spread, truncation_correction(_CLIP) * float(np.std(kept))
        if abs(spread - before) <= 1e-6 * before:
            break
    return spread**2, spread**2 * math.sqrt(2.0 / max(len(kept) - 1, 1))


def _fitted(signal: F8, variance: F8, relative: F8, *, terms: int) -> tuple[F8, F8, float]:
    """Return coefficients of powers of the signal, their covariance and the reduced chi-square.

    The error of a variance is a share of the true one, which is that of the fit: weights by the measured one would
    favour the bins that are low by chance.
    """
    unit = float(np.abs(signal).max()) or 1.0
    design = (signal[:, None] / unit) ** np.arange(terms)
    expected = variance
    for _ in range(_FIT_ROUNDS):
        weight = 1.0 / (relative * expected)
        solution, *_ = np.linalg.lstsq(design * weight[:, None], variance * weight, rcond=None)
        expected = np.maximum(design @ solution, 0.1 * variance)
    weight = 1.0 / (relative * expected)
    pull = (variance - design @ solution) * weight
    chi2 = float(np.sum(pull**2)) / max(len(signal) - terms, 1)
    covariance = np.linalg.pinv((design * weight[:, None]).T @ (design * weight[:, None])) * max(chi2, 1.0)
    scale = unit ** -np.arange(terms, dtype=np.float64)
    return solution * scale, covariance * np.outer(scale, scale), chi2
