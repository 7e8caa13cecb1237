"""A point-spread function on an oversampled grid that varies over the image as a polynomial."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import spline_filter

from firstlight.images.psf import Parts, Psf
from firstlight.kernels.arrays import FloatArray
from firstlight.kernels.psf_grid import grid_images, polynomial_terms


class PixelGridPsf(Psf):
    """A pixel-integrated profile on an oversampled grid, each sample a polynomial of the position.

    Beyond the stamp the profile is a Moffat wing, so that a fraction of the total flux can be told at any radius.

    Parameters
    ----------
    grids : (terms, n, n)
        Samples of the profile, star on the middle sample, for each term ``u**p * v**q`` of the polynomial by rising
        total degree, then by rising q; ``n >= 2 * oversampling * (radius + 1) + 5``.
    oversampling
        Samples per pixel.
    radius : [pixel]
        Half size of the stamps.
    domain : (x_min, x_max, y_min, y_max) [pixel]
        Where u and v run from -1 to 1; the polynomial is held at its border outside.
    stamp_fractions : (terms,)
        Fraction of the total flux on a stamp, as a polynomial of the same terms.
    wing_alpha, wing_beta
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
        oversampling: int,
        radius: int,
        domain: tuple[float, float, float, float],
        stamp_fractions: FloatArray,
        wing_alpha: float,
        wing_beta: float,
        average_position: tuple[float, float],
    ) -> None:
        self._grids = np.array(grids, dtype=np.float64)
        self._stamp_fractions = np.array(stamp_fractions, dtype=np.float64)
        self._oversampling, self._radius = int(oversampling), int(radius)
        self._order = polynomial_order(len(self._grids))
        self._domain = tuple(float(edge) for edge in domain)
        self._wing = (float(wing_alpha), float(wing_beta))
        self._average = (float(average_position[0]), float(average_position[1]))
        least = 2 * self._oversampling * (self._radius + 1) + 5
        if self._grids.ndim != 3 or self._grids.shape[1] < least or self._grids.shape[1] % 2 == 0:
            raise ValueError(f"grids must be (terms, n, n) with n odd and at least {least}; got {self._grids.shape}.")
        if not np.isfinite(self._grids).all():
            raise ValueError("grids must be finite.")
        self._splines = np.stack([spline_filter(grid, order=3, mode="mirror") for grid in self._grids])
        for array in (self._grids, self._stamp_fractions, self._splines):
            array.setflags(write=False)

    @property
    def radius(self) -> int:
        """Half size of the stamps [pixel]."""
        return self._radius

    @property
    def order(self) -> int:
        """Total degree of the polynomial."""
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
        return self._average

    @property
    def splines(self) -> NDArray[np.float64]:
        """Cubic B-spline coefficients of the grids, (terms, n, n)."""
        return self._splines

    def scaled_position(self, *, x: FloatArray, y: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the positions scaled to [-1, 1] over the domain and held at its border outside."""
        x_min, x_max, y_min, y_max = self._domain
        u = (2.0 * np.asarray(x, dtype=np.float64) - (x_min + x_max)) / (x_max - x_min)
        v = (2.0 * np.asarray(y, dtype=np.float64) - (y_min + y_max)) / (y_max - y_min)
        return np.clip(u, -1.0, 1.0), np.clip(v, -1.0, 1.0)

    def images(self, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return (n, s, s) unit-sum stamps, each as `image` draws it."""
        u, v = self.scaled_position(x=x, y=y)
        dx, dy = np.asarray(x - np.rint(x), np.float64), np.asarray(y - np.rint(y), np.float64)
        stamps = grid_images(self._splines, self._oversampling, self._order, u, v, dx, dy, self._radius)
        return np.asarray(stamps / stamps.sum(axis=(1, 2), keepdims=True))

    def stamp_fraction(self, *, x: float, y: float) -> float:
        """Return the fraction of the total flux of a star that falls on its stamp."""
        u, v = self.scaled_position(x=np.array([x]), y=np.array([y]))
        terms = np.empty(len(self._grids))
        polynomial_terms(u[0], v[0], self._order, terms)
        return float(terms @ self._stamp_fractions)

    def wing_flux(self, radius: float, *, x: float, y: float) -> float:
        """Return the fraction of the total flux outside a circle that encloses the stamp's inner circle."""
        alpha, beta = self._wing
        inner = self._radius + 0.5
        outside = 1.0 - self.aperture_flux(inner, x=x, y=y)
        return float(outside * ((alpha**2 + radius**2) / (alpha**2 + inner**2)) ** (1.0 - beta))

    def to_parts(self) -> Parts:
        """Return the arrays and the plain values from which `from_parts` makes an equal model."""
        values = {
            "oversampling": self._oversampling,
            "radius": self._radius,
            "domain": list(self._domain),
            "wing_alpha": self._wing[0],
            "wing_beta": self._wing[1],
            "average_position": list(self._average),
        }
        return {"grids": self._grids, "stamp_fractions": self._stamp_fractions}, values

    @classmethod
    def from_parts(cls, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> Self:
        """Make the model that `to_parts` took apart."""
        return cls(arrays["grids"], stamp_fractions=arrays["stamp_fractions"], **values)


def polynomial_order(terms: int) -> int:
    """Return the total degree of a polynomial of two variables with that many terms."""
    order = (math.isqrt(8 * terms + 1) - 3) // 2
    if terms < 1 or (order + 1) * (order + 2) // 2 != terms:
        raise ValueError(f"No total degree has {terms} terms; allowed are 1, 3, 6, 10, 15, 21...")
    return order
