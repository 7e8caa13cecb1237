"""The weights with which pixels are resampled, tabulated by the fraction of a pixel.

Windowed sinc functions (Lanczos; Duchon 1979, J. Appl. Meteor. 18, 1016) are the sharpest. As they stand they leave
something of the frequencies with which the pixels of input and output repeat. Where the pixels of the two differ by
some per cent, or are turned by some degrees, that beats against the light of a star: its flux comes out too large or
too small by up to half a per cent, depending on where it falls. Here a small correction makes the response zero at
these frequencies, with its slope (the conditions of Strang & Fix 1971 for first-order accuracy), and at twice these
frequencies, which keeps the fluxes of stars to some 1e-4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.kernels.arrays import FloatArray

Profile = Callable[[FloatArray], FloatArray]
"""Distance along an axis [pixel] -> weight."""

_PHASES = 256
_SAME_SIZE = 0.02
_SAMPLES_PER_PIXEL = 400


@dataclass(frozen=True, eq=False)
class WarpKernel:
    """The weights of neighbouring input pixels, tabulated by the fraction of a pixel."""

    along_x: NDArray[np.float32]
    """(phases + 1, taps); each row sums to 1."""

    along_y: NDArray[np.float32]
    """The same for the other axis."""

    @property
    def reach(self) -> int:
        """Half the number of taps of the longer axis [input pixel]."""
        return int(max(self.along_x.shape[1], self.along_y.shape[1])) // 2

    @property
    def power(self) -> float:
        """Mean over all fractions of a pixel of the sum of the squared weights: variance that white noise keeps."""
        sums = [np.sum(table[:-1].astype(np.float64) ** 2, axis=1) for table in (self.along_x, self.along_y)]
        return float(np.mean(sums[0]) * np.mean(sums[1]))


def warp_kernel(order: int, *, lengths: tuple[float, float] = (1.0, 1.0)) -> WarpKernel:
    """Tabulate a Lanczos kernel that keeps fluxes, or for order 1 linear interpolation.

    Where output pixels are larger than input pixels it is stretched by their ratio, which averages over the output
    pixel and keeps out frequencies that it cannot hold.

    Parameters
    ----------
    order
        Number of lobes of the Lanczos kernel, 2 to 5; 1 for linear interpolation.
    lengths : [input pixel]
        Length of an output pixel along x and y.
    """
    if not 1 <= order <= 5:
        raise ValueError(f"The order of a warp is 1 (linear) to 5 lobes; got {order}.")
    return WarpKernel(along_x=_lanczos(order, lengths[0]), along_y=_lanczos(order, lengths[1]))


def gaussian_kernel(sigma: float, *, reach: float, stretch: tuple[float, float]) -> WarpKernel:
    """Tabulate a Gaussian that ends at ``reach``.

    Parameters
    ----------
    sigma : [pixel]
        Standard deviation before it is stretched.
    reach : [pixel]
        Pixels further off get no weight.
    stretch
        Factor by which it is longer along x and y.
    """
    return _kernel(
        lambda d: np.where(np.abs(d) <= reach, np.exp(-0.5 * (d / sigma) ** 2), 0.0), reach=reach, stretch=stretch
    )


def hann_kernel(*, stretch: tuple[float, float]) -> WarpKernel:
    """Tabulate a Hann window, which falls from 1 to 0 within a pixel.

    Parameters
    ----------
    stretch
        Factor by which it is longer along x and y.
    """
    return _kernel(lambda d: np.where(np.abs(d) < 1.0, 0.5 + 0.5 * np.cos(np.pi * d), 0.0), reach=1.0, stretch=stretch)


def overlap_kernel(lengths: tuple[float, float]) -> WarpKernel:
    """Tabulate the share of an output pixel that each input pixel covers, for axes that are parallel.

    Axes that are turned against each other share the second moments of this kernel, not its exact shape.

    Parameters
    ----------
    lengths : [input pixel]
        Length of an output pixel along x and y.
    """

    def table(length: float) -> NDArray[np.float32]:
        def covered(d: FloatArray) -> FloatArray:
            ends = np.minimum(0.5, d + length / 2) - np.maximum(-0.5, d - length / 2)
            return np.asarray(np.maximum(ends, 0.0))

        return _table(covered, reach=(1.0 + length) / 2)

    return WarpKernel(along_x=table(lengths[0]), along_y=table(lengths[1]))


def _lanczos(order: int, length: float) -> NDArray[np.float32]:
    stretch = length if length > 1.0 + _SAME_SIZE else 1.0
    reach = order * stretch

    def plain(distance: FloatArray) -> NDArray[np.float64]:
        scaled = distance / stretch
        raw = 1.0 - np.abs(scaled) if order == 1 else np.sinc(scaled) * np.sinc(scaled / order)
        return np.asarray(np.where(np.abs(distance) < reach, raw, 0.0), np.float64)

    if order == 1:
        return _table(plain, reach=reach)
    correction = _correction(plain, reach=reach, length=length)
    return _table(lambda distance: plain(distance) + correction(distance), reach=reach)


def _correction(plain: Profile, *, reach: float, length: float) -> Profile:
    """Return what a profile lacks to have no response, and no slope of it, at the frequencies of both kinds of pixels.

    The added waves have these frequencies and lie in the outer lobes, where they change the shape of a star least. For
    pixels of one size the response is zero already, as the weights are made to sum to 1 at each fraction; only the
    slope is corrected, by a wave that vanishes at whole pixels: an image on its own pixels comes back as it is.
    """
    same = abs(length - 1.0) <= _SAME_SIZE

    def taper(x: FloatArray) -> NDArray[np.float64]:
        inner = np.minimum((x / reach) ** 2, 1.0)
        return np.asarray(inner * (1.0 - inner))

    def waves(x: FloatArray) -> NDArray[np.float64]:
        """Return along a new first axis the waves of each frequency, and the derivative by frequency of the lowest."""
        frequencies = (1.0,) if same else (1.0, 1.0 / length)
        angles = [2.0 * np.pi * x * frequency for frequency in frequencies]
        values = [] if same else [np.cos(harmonic * angle) for angle in angles for harmonic in (1, 2)]
        return np.stack([*values, *(x * np.sin(angle) for angle in angles)])

    x = np.linspace(-reach, reach, 2 * math.ceil(reach * _SAMPLES_PER_PIXEL) + 1)
    probes = waves(x)
    response = probes @ (taper(x) * probes).T
    amplitudes = np.linalg.lstsq(response, -probes @ plain(x), rcond=1e-6)[0]
    return lambda distance: np.asarray(taper(distance) * np.tensordot(amplitudes, waves(distance), axes=1))


def _kernel(profile: Profile, *, reach: float, stretch: tuple[float, float]) -> WarpKernel:
    def table(factor: float) -> NDArray[np.float32]:
        return _table(lambda distance: profile(distance / factor), reach=reach * factor)

    return WarpKernel(along_x=table(stretch[0]), along_y=table(stretch[1]))


def _table(profile: Profile, *, reach: float) -> NDArray[np.float32]:
    """Tabulate a profile of the distance [input pixel] that is 0 beyond ``reach``; the rows sum to 1."""
    half = max(1, math.ceil(reach))
    distance = np.arange(1 - half, half + 1)[None, :] - np.linspace(0.0, 1.0, _PHASES + 1)[:, None]
    weights = profile(distance)
    return np.ascontiguousarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)
