"""The point-spread function: how the light of a star falls on the pixels at any position."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from firstlight.errors import PsfError
from firstlight.kernels.arrays import FloatArray
from firstlight.kernels.moments import adaptive_moments_stamp, adaptive_moments_stamps
from firstlight.kernels.psf_profiles import flux_in_circle, moffat_images

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
"""Full width at half maximum of a Gaussian of unit standard deviation."""

_PHASES = 9
_SHAPE_REACH = 5.0
_SHAPE_TOLERANCE = 1e-6
_MOMENT_SAMPLES = 5
"""Positions per pixel (odd) at which a profile is sampled to find where it falls to half its peak."""

Parts = tuple[dict[str, NDArray[Any]], dict[str, Any]]
"""Arrays and plain JSON values that a model is saved as."""


@dataclass(frozen=True)
class Moments:
    """Second moments of an image [pixel^2]."""

    ixx: float
    iyy: float
    ixy: float

    @property
    def sigma(self) -> float:
        """Fourth root of the determinant [pixel]."""
        return float((self.ixx * self.iyy - self.ixy**2) ** 0.25)

    @property
    def trace_radius(self) -> float:
        """Root of half the trace [pixel]."""
        return math.sqrt(0.5 * (self.ixx + self.iyy))

    @property
    def e1(self) -> float:
        """Ellipticity along the axes: (ixx - iyy) / (ixx + iyy)."""
        return (self.ixx - self.iyy) / (self.ixx + self.iyy)

    @property
    def e2(self) -> float:
        """Ellipticity along the diagonals: 2 ixy / (ixx + iyy)."""
        return 2.0 * self.ixy / (self.ixx + self.iyy)


class Psf(ABC):
    """Interface: anything that can draw a star at a position of an image.

    Positions are zero-based pixels of the image, pixel centres on integers. A stamp has ``2 * radius + 1`` pixels on a
    side, sums to 1, and holds flux per pixel: the profile is integrated over the pixels.
    """

    @property
    @abstractmethod
    def radius(self) -> int:
        """Half size of the stamps [pixel]."""

    @property
    @abstractmethod
    def average_position(self) -> tuple[float, float]:
        """Mean position (x, y) of the stars that made the model [pixel]."""

    @abstractmethod
    def images(self, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return (n, s, s) unit-sum stamps, each as `image` draws it."""

    @abstractmethod
    def stamp_fraction(self, *, x: float, y: float) -> float:
        """Return the fraction of the total flux of a star that falls on its stamp."""

    @abstractmethod
    def wing_flux(self, radius: float, *, x: float, y: float) -> float:
        """Return the fraction of the total flux outside a circle that is no smaller than the stamp's inner circle."""

    @abstractmethod
    def to_parts(self) -> Parts:
        """Return the arrays and the plain values from which `from_parts` makes an equal model."""

    @classmethod
    @abstractmethod
    def from_parts(cls, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> Self:
        """Make the model that `to_parts` took apart."""

    def image(self, *, x: float, y: float) -> NDArray[np.float64]:
        """Return the unit-sum stamp of a star at its exact position.

        Pixel [0, 0] of the stamp is pixel ``[round(y) - radius, round(x) - radius]`` of the image.
        """
        return np.asarray(self.images(x=np.array([x], dtype=np.float64), y=np.array([y], dtype=np.float64))[0])

    def cores(self, radius: int, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return the middle of the stamps, (n, 2 * radius + 1, 2 * radius + 1), with the flux they have in `images`.

        Parameters
        ----------
        radius : [pixel]
            Half size, at most that of the stamps.
        """
        cut = slice(self.radius - radius, self.radius + radius + 1)
        return np.ascontiguousarray(self.images(x=x, y=y)[:, cut, cut])

    def kernel_image(self, *, x: float, y: float) -> NDArray[np.float64]:
        """Return the unit-sum stamp of a star near the position, centred on the middle pixel."""
        return self.image(x=float(np.rint(x)), y=float(np.rint(y)))

    def moments(self, *, x: float, y: float) -> Moments:
        """Measure the adaptive moments of the pixel-integrated profile at the position.

        The profile is sampled finely: moments of a star on whole pixels (`shapes`) depend by some tenths of a per cent
        on where its centre falls.

        Raises
        ------
        PsfError
            If the moments are not finite.
        """
        fine = np.ascontiguousarray(self.oversampled(_MOMENT_SAMPLES, x=x, y=y))
        middle = float(fine.shape[0] // 2)
        guess = self._sigma_guess() * _MOMENT_SAMPLES
        ixx, iyy, ixy, *_, status = adaptive_moments_stamp(fine, middle, middle, guess)
        if status != 0:
            raise PsfError(f"The PSF at x={x:.1f}, y={y:.1f} has no finite moments.", x=float(x), y=float(y))
        return Moments(*(float(value) / _MOMENT_SAMPLES**2 for value in (ixx, iyy, ixy)))

    def shapes(self, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return (n, 3) adaptive moments ixx, iyy, ixy [pixel^2] of stars drawn there; NaN where none are found."""
        guess = self._sigma_guess()
        radius = min(self.radius, math.ceil(_SHAPE_REACH * guess))
        at_x, at_y = (radius + (np.asarray(axis, dtype=np.float64) - np.rint(axis)) for axis in (x, y))
        stamps = self.cores(radius, x=np.asarray(x), y=np.asarray(y))
        return np.asarray(adaptive_moments_stamps(stamps, at_x, at_y, guess, _SHAPE_TOLERANCE))

    def aperture_flux(self, radius: float, *, x: float, y: float) -> float:
        """Return the fraction of the total flux, wings beyond the stamp included, within a circle about the star.

        Parameters
        ----------
        radius : [pixel]
        """
        if radius > self.radius + 0.5:
            return 1.0 - self.wing_flux(radius, x=x, y=y)
        dx, dy = float(x - np.rint(x)), float(y - np.rint(y))
        inside = flux_in_circle(self.image(x=x, y=y), self.radius + dx, self.radius + dy, float(radius))
        return float(inside * self.stamp_fraction(x=x, y=y))

    def fwhm(self, *, x: float, y: float) -> float:
        """Return the FWHM of the pixel-integrated profile: of the circle with the area above half the peak [pixel]."""
        fine = self.oversampled(_PHASES, x=x, y=y)
        half = 0.5 * fine.max()
        steep = np.maximum(np.hypot(*np.gradient(fine)), 1e-12 * half)
        area = np.clip((fine - half) / steep + 0.5, 0.0, 1.0).sum() / _PHASES**2
        return float(2.0 * np.sqrt(area / np.pi))

    def oversampled(self, factor: int, *, x: float, y: float) -> NDArray[np.float64]:
        """Return what pixels centred at every ``1 / factor`` of a pixel would hold, the star in the middle pixel.

        Parameters
        ----------
        factor
            Samples per pixel; odd, so that no star lies on the border of two pixels.
        """
        if factor % 2 == 0:
            raise ValueError(f"The number of samples per pixel must be odd; got {factor}.")
        near_x, near_y = np.rint(x), np.rint(y)
        size, half = 2 * self.radius + 1, factor // 2
        steps = np.arange(factor) - half
        shift_y, shift_x = np.meshgrid(steps / factor, steps / factor, indexing="ij")
        stamps = self.images(x=near_x - shift_x.ravel(), y=near_y - shift_y.ravel())
        woven = stamps.reshape(factor, factor, size, size).transpose(2, 0, 3, 1).reshape(size * factor, size * factor)
        inner = slice(half, half + 2 * self.radius * factor + 1)
        return np.ascontiguousarray(woven[inner, inner])

    def _sigma_guess(self) -> float:
        x, y = self.average_position
        peak = float(self.kernel_image(x=x, y=y).max())
        return max(0.5, math.sqrt(1.0 / (2.0 * math.pi * peak)))

    def __repr__(self) -> str:
        x, y = self.average_position
        return f"{type(self).__name__}(fwhm={self.fwhm(x=x, y=y):.3f}, radius={self.radius})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Psf) or type(other) is not type(self):
            return NotImplemented
        (arrays, values), (other_arrays, other_values) = self.to_parts(), other.to_parts()
        same = all(np.array_equal(array, other_arrays[name]) for name, array in arrays.items())
        return same and values == other_values

    def __hash__(self) -> int:
        arrays, values = self.to_parts()
        return hash((type(self).__name__, repr(values), *(array.tobytes() for array in arrays.values())))


class GaussianPsf(Psf):
    """A circular Gaussian, the same everywhere, integrated over pixels.

    Parameters
    ----------
    sigma : [pixel]
        Standard deviation before the integration.
    radius : [pixel]
        Half size of the stamps.
    """

    def __init__(self, *, sigma: float, radius: int) -> None:
        _require_positive("sigma", sigma)
        _require_positive("radius", radius)
        self._sigma, self._radius = float(sigma), int(radius)

    @property
    def sigma(self) -> float:
        """Standard deviation before the integration over pixels [pixel]."""
        return self._sigma

    @property
    def radius(self) -> int:
        """Half size of the stamps [pixel]."""
        return self._radius

    @property
    def average_position(self) -> tuple[float, float]:
        """The origin: the model is the same everywhere."""
        return 0.0, 0.0

    def images(self, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return (n, s, s) unit-sum stamps, each as `image` draws it."""
        along_x, along_y = self._strip(np.asarray(x)), self._strip(np.asarray(y))
        stamps = along_y[:, :, None] * along_x[:, None, :]
        return np.asarray(stamps / stamps.sum(axis=(1, 2), keepdims=True))

    def stamp_fraction(self, *, x: float, y: float) -> float:
        """Return the fraction of the total flux of a star that falls on its stamp."""
        return float(self._strip(np.array([x])).sum() * self._strip(np.array([y])).sum())

    def wing_flux(self, radius: float, *, x: float, y: float) -> float:
        """Return the fraction of the total flux outside a circle."""
        return math.exp(-0.5 * (radius / self.sigma) ** 2)

    def to_parts(self) -> Parts:
        """Return the arrays and the plain values from which `from_parts` makes an equal model."""
        return {}, {"sigma": self.sigma, "radius": self.radius}

    @classmethod
    def from_parts(cls, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> Self:
        """Make the model that `to_parts` took apart."""
        return cls(sigma=float(values["sigma"]), radius=int(values["radius"]))

    def _strip(self, position: FloatArray) -> NDArray[np.float64]:
        edges = np.arange(-self.radius - 0.5, self.radius + 1.0)
        offsets = edges - (position - np.rint(position))[:, None]
        return np.asarray(0.5 * np.diff(erf(offsets / (math.sqrt(2.0) * self.sigma)), axis=1))


class MoffatPsf(Psf):
    """An elliptical Moffat profile, the same everywhere, integrated over pixels.

    Parameters
    ----------
    fwhm : [pixel]
        Full width at half maximum before the integration, of the circle with the area of the ellipse.
    beta
        Exponent of the profile; above 1.
    radius : [pixel]
        Half size of the stamps.
    e1, e2
        Ellipticity (a^2 - b^2) / (a^2 + b^2) along the axes and along the diagonals.
    """

    def __init__(self, *, fwhm: float, beta: float, radius: int, e1: float = 0.0, e2: float = 0.0) -> None:
        _require_positive("fwhm", fwhm)
        _require_positive("beta - 1", beta - 1.0)
        _require_positive("radius", radius)
        _require_positive("1 - e1^2 - e2^2", 1.0 - e1**2 - e2**2)
        self._values = {
            "fwhm": float(fwhm),
            "beta": float(beta),
            "radius": int(radius),
            "e1": float(e1),
            "e2": float(e2),
        }
        self._radius, self._beta = int(radius), float(beta)
        self._shape = (moffat_alpha(fwhm, beta=beta), float(e1), float(e2))

    @property
    def alpha(self) -> float:
        """Scale radius [pixel]."""
        return self._shape[0]

    @property
    def beta(self) -> float:
        """Exponent of the profile."""
        return self._beta

    @property
    def radius(self) -> int:
        """Half size of the stamps [pixel]."""
        return self._radius

    @property
    def average_position(self) -> tuple[float, float]:
        """The origin: the model is the same everywhere."""
        return 0.0, 0.0

    def images(self, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return (n, s, s) unit-sum stamps, each as `image` draws it."""
        stamps = self._stamps(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
        return np.asarray(stamps / stamps.sum(axis=(1, 2), keepdims=True))

    def stamp_fraction(self, *, x: float, y: float) -> float:
        """Return the fraction of the total flux of a star that falls on its stamp."""
        return float(self._stamps(np.array([float(x)]), np.array([float(y)])).sum())

    def wing_flux(self, radius: float, *, x: float, y: float) -> float:
        """Return the fraction of the total flux outside a circle."""
        return float((1.0 + (radius / self.alpha) ** 2) ** (1.0 - self._beta))

    def to_parts(self) -> Parts:
        """Return the arrays and the plain values from which `from_parts` makes an equal model."""
        return {}, dict(self._values)

    @classmethod
    def from_parts(cls, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> Self:
        """Make the model that `to_parts` took apart."""
        return cls(**values)

    def _stamps(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        shapes = np.tile(self._shape, (len(x), 1))
        stamps: NDArray[np.float64] = moffat_images(
            x - np.rint(x), y - np.rint(y), shapes, self._beta, self._radius, 1.0
        )
        return stamps


def moffat_alpha(fwhm: float, *, beta: float) -> float:
    """Return the scale radius of a Moffat profile [unit of ``fwhm``]."""
    return float(0.5 * fwhm / math.sqrt(2.0 ** (1.0 / beta) - 1.0))


def _require_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be positive; got {value}.")
