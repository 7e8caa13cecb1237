"""Where the pixels of an image to be made lie on the sky."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from firstlight.images.exposure import Exposure, separation
from firstlight.images.parts import Arrays, Values
from firstlight.images.wcs import ARCSEC_PER_DEGREE, SkyWcs, TanSip


@dataclass(frozen=True)
class PixelGrid:
    """Shape and WCS of an image, without its pixels."""

    shape: tuple[int, int]
    """Rows and columns."""

    wcs: SkyWcs
    """Position of each pixel on the sky."""

    @classmethod
    def of(cls, exposure: Exposure) -> PixelGrid:
        """Return the grid of an exposure.

        Raises
        ------
        ValueError
            If it has no WCS.
        """
        if exposure.wcs is None:
            raise ValueError("The exposure has no WCS, so that its pixels have no place on the sky.")
        return cls(exposure.shape, exposure.wcs)

    @classmethod
    def covering(cls, grids: Sequence[PixelGrid], *, pixel_scale: float | None = None, border: int = 20) -> PixelGrid:
        """Return a gnomonic grid, north up and east left, that holds all of several grids.

        Parameters
        ----------
        grids
            At least one.
        pixel_scale : [arcsec]
            The median of theirs when left out.
        border : [pixel]
            Room around them.
        """
        edges = [grid.edge() for grid in grids]
        ra, dec = (np.concatenate([edge[axis] for edge in edges]) for axis in (0, 1))
        vector = _unit_vectors(ra, dec).mean(axis=0)
        middle = (
            math.degrees(math.atan2(vector[1], vector[0])) % 360.0,
            math.degrees(math.asin(vector[2] / float(np.linalg.norm(vector)))),
        )
        scale = float(np.median([grid.pixel_scale for grid in grids])) if pixel_scale is None else pixel_scale
        step = scale / ARCSEC_PER_DEGREE
        plain = SkyWcs.from_tan_sip(TanSip(middle, (0.0, 0.0), np.array([[-step, 0.0], [0.0, step]])))
        x, y = plain.sky_to_pixel(ra=ra, dec=dec)
        low_x, low_y = (math.floor(float(np.min(axis))) - border for axis in (x, y))
        shape = tuple(math.ceil(float(np.max(axis))) + border + 1 - low for axis, low in ((y, low_y), (x, low_x)))
        return cls((shape[0], shape[1]), plain.shifted(x=low_x, y=low_y))

    @property
    def pixel_scale(self) -> float:
        """Side of a pixel in the middle [arcsec]."""
        return float(self.wcs.pixel_scale(x=(self.shape[1] - 1) / 2, y=(self.shape[0] - 1) / 2))

    def edge(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return right ascension and declination [deg] of points along the edge."""
        ny, nx = self.shape
        along_x, along_y = np.linspace(-0.5, nx - 0.5, 9), np.linspace(-0.5, ny - 0.5, 9)
        x = np.concatenate([along_x, along_x, np.full(9, -0.5), np.full(9, nx - 0.5)])
        y = np.concatenate([np.full(9, -0.5), np.full(9, ny - 0.5), along_y, along_y])
        return self.wcs.pixel_to_sky(x=x, y=y)

    def sky_circle(self) -> tuple[float, float, float]:
        """Return right ascension, declination and radius [deg] of a circle on the sky that holds the grid."""
        ra, dec = self.wcs.pixel_to_sky(x=(self.shape[1] - 1) / 2, y=(self.shape[0] - 1) / 2)
        return float(ra), float(dec), float(np.max(separation(float(ra), float(dec), *self.edge())))

    def to_parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays and the plain values from which `from_parts` makes an equal grid."""
        arrays, values = self.wcs.to_parts()
        return arrays, {"shape": list(self.shape), "wcs": values}

    @classmethod
    def from_parts(cls, arrays: Arrays, values: Values) -> Self:
        """Make the grid that `to_parts` took apart."""
        ny, nx = values["shape"]
        return cls((int(ny), int(nx)), SkyWcs.from_parts(arrays, values["wcs"]))


def _unit_vectors(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    lon, lat = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
