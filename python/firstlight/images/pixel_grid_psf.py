"""A point-spread function on an oversampled grid that varies over the image as a polynomial."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import spline_filter

from firstlight.images.psf import Parts, Psf
from firstlight.kernels.arrays import FloatArray
from firstlight.kernels.psf_grid import grid_images


class PixelGridPsf(Psf):
    """A pixel-integrated profile on an oversampled grid that changes over the image.

    The profile is a sum of components, each a grid times a polynomial of the position. Beyond the stamp it is a Moffat
    wing, so that a fraction of the total flux can be told at any radius.

    Parameters
    ----------
    grids : (components, n, n)
        Samples of the components, star on the middle sample; n is odd, ``n >= 2 * oversampling * (radius + 1) + 5``.
    polynomials : (components, terms)
        Coefficients of the products ``u**p * v**q``, by rising total degree, then by rising q.
    oversampling
        Samples per pixel.
    radius : [pixel]
        Half size of the stamps.
    domain : (x_min, x_max, y_min, y_max) [pixel]
        Where u and v run from -1 to 1; the polynomials are held at its border outside.
    stamp_fractions : (components,)
        What each component adds to the fraction of the total flux on a stamp.
    wing : (alpha, beta)
        Scale radius [pixel] and exponent of the Moffat wing.
    average_position : (x, y) [pixel]
        Mean position of the stars that made the model.

    References
    ----------
    Anderson & King 2000, PASP 112, 1360 (effective PSF on an oversampled grid); Bertin 2011, ASPC 442, 435 (PSFEx).
    """

    def __init__(
        self,
        grids: FloatArray,
        *,
        polynomials: FloatArray,
        oversampling: int,
        radius: int,
        domain: tuple[float, float, float, float],
        stamp_fractions: FloatArray,
        wing: tuple[float, float],
        average_position: tuple[float, float],
    ) -> None:
        self._arrays = {
            "grids": np.array(grids, dtype=np.float64),
            "polynomials": np.array(polynomials, dtype=np.float64),
            "stamp_fractions": np.array(stamp_fractions, dtype=np.float64),
        }
        self._oversampling, self._radius = int(oversampling), int(radius)
        self._domain, self._wing, self._average = _floats(domain), _floats(wing), _floats(average_position)
        self._check()
        self._order = polynomial_order(self._arrays["polynomials"].shape[1])
        self._splines = np.stack([spline_filter(grid, order=3, mode="mirror") for grid in self._arrays["grids"]])
        for array in self._arrays.values():
            array.setflags(write=False)

    @property
    def radius(self) -> int:
        """Half size of the stamps [pixel]."""
        return self._radius

    @property
    def order(self) -> int:
        """Total degree of the polynomials."""
        return self._order

    @property
    def oversampling(self) -> int:
        """Samples per pixel."""
        return self._oversampling

    @property
    def wing_beta(self) -> float:
        """Exponent of the Moffat wing."""
        return self._wing[1]

    @property
    def average_position(self) -> tuple[float, float]:
        """Mean position (x, y) of the stars that made the model [pixel]."""
        return self._average[0], self._average[1]

    @property
    def splines(self) -> NDArray[np.float64]:
        """Cubic B-spline coefficients of the grids, (components, n, n)."""
        return self._splines

    def amplitudes(self, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return what each component is multiplied with at the positions, (n, components)."""
        x_min, x_max, y_min, y_max = self._domain
        u = np.clip((2.0 * np.asarray(x, np.float64) - (x_min + x_max)) / (x_max - x_min), -1.0, 1.0)
        v = np.clip((2.0 * np.asarray(y, np.float64) - (y_min + y_max)) / (y_max - y_min), -1.0, 1.0)
        return np.ascontiguousarray(polynomial_basis(self._order, u=u, v=v) @ self._arrays["polynomials"].T)

    def images(self, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return (n, s, s) unit-sum stamps, each as `image` draws it."""
        dx, dy = np.asarray(x - np.rint(x), np.float64), np.asarray(y - np.rint(y), np.float64)
        stamps = grid_images(self._splines, self._oversampling, self.amplitudes(x=x, y=y), dx, dy, self._radius)
        return np.asarray(stamps / stamps.sum(axis=(1, 2), keepdims=True))

    def cores(self, radius: int, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return the middle of the stamps, drawn alone; their flux is that in `images` to 1e-4."""
        dx, dy = np.asarray(x - np.rint(x), np.float64), np.asarray(y - np.rint(y), np.float64)
        amplitudes = self.amplitudes(x=x, y=y)
        cores = grid_images(self._splines, self._oversampling, amplitudes, dx, dy, radius)
        cores /= (amplitudes @ self._arrays["stamp_fractions"])[:, None, None]
        return np.asarray(cores)

    def stamp_fraction(self, *, x: float, y: float) -> float:
        """Return the fraction of the total flux of a star that falls on its stamp."""
        amplitudes = self.amplitudes(x=np.array([x]), y=np.array([y]))[0]
        return min(1.0, float(amplitudes @ self._arrays["stamp_fractions"]))

    def wing_flux(self, radius: float, *, x: float, y: float) -> float:
        """Return the fraction of the total flux outside a circle that is no smaller than the stamp's inner circle."""
        alpha, beta = self._wing
        inner = self._radius + 0.5
        outside = max(0.0, 1.0 - self.aperture_flux(inner, x=x, y=y))
        return float(outside * ((alpha**2 + radius**2) / (alpha**2 + inner**2)) ** (1.0 - beta))

    def to_parts(self) -> Parts:
        """Return the arrays and the plain values from which `from_parts` makes an equal model."""
        values = {
            "oversampling": self._oversampling,
            "radius": self._radius,
            "domain": list(self._domain),
            "wing": list(self._wing),
            "average_position": list(self._average),
        }
        return dict(self._arrays), values

    @classmethod
    def from_parts(cls, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> Self:
        """Make the model that `to_parts` took apart."""
        return cls(
            arrays["grids"],
            polynomials=arrays["polynomials"],
            stamp_fractions=arrays["stamp_fractions"],
            **values,
        )

    def _check(self) -> None:
        shape, components = self._arrays["grids"].shape, len(self._arrays["polynomials"])
        least = 2 * self._oversampling * (self._radius + 1) + 5
        if len(shape) != 3 or shape[1] != shape[2] or shape[1] < least or shape[1] % 2 == 0:
            raise ValueError(f"grids must be (components, n, n) with n odd and at least {least}; got {shape}.")
        if shape[0] != components or len(self._arrays["stamp_fractions"]) != components:
            raise ValueError(f"{shape[0]} grids need as many polynomials and stamp_fractions; got {components}.")
        if not all(np.isfinite(array).all() for array in self._arrays.values()):
            raise ValueError("grids, polynomials and stamp_fractions must be finite.")


def polynomial_basis(order: int, *, u: FloatArray, v: FloatArray) -> NDArray[np.float64]:
    """Return (n, terms) products ``u**p * v**q`` up to a total degree, by rising degree, then by rising q."""
    columns = [u ** (degree - q) * v**q for degree in range(order + 1) for q in range(degree + 1)]
    return np.stack(columns, axis=1).astype(np.float64)


def polynomial_order(terms: int) -> int:
    """Return the total degree of a polynomial of two variables with that many terms."""
    order = (math.isqrt(8 * terms + 1) - 3) // 2
    if terms < 1 or (order + 1) * (order + 2) // 2 != terms:
        raise ValueError(f"No total degree has {terms} terms; allowed are 1, 3, 6, 10, 15, 21...")
    return order


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
