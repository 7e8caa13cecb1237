"""A point-spread function that is drawn once in each cell of an image, for models that cost much to draw."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import spline_filter

from firstlight.images.coadd_psf import CoaddPsf
from firstlight.images.psf import Parts, Psf
from firstlight.images.psf_classes import psf_classes
from firstlight.images.warped_psf import WarpedPsf
from firstlight.kernels.arrays import FloatArray
from firstlight.kernels.psf_grid import grid_images

SAMPLES = 3
"""Samples per pixel of the profile, between which a cubic spline interpolates; odd."""

COSTLY_INPUTS = 2
"""The mean of more PSFs than this is worth sampling."""

SMALLEST_CELL = 64
"""Side of the cells at least [pixel]."""


class SampledPsf(Psf):
    """Another model, drawn at the middle of each square cell when a star in that cell is first asked for.

    What is kept of a cell is a finely sampled profile, of which stars at any fraction of a pixel are drawn
    (as Anderson & King 2000, PASP 112, 1360, do with an effective PSF). Within a cell the profile is the same.

    Parameters
    ----------
    psf
        The model that is sampled.
    step : [pixel]
        Side of the cells.
    """

    def __init__(self, psf: Psf, *, step: int) -> None:
        self._psf, self._step = psf, int(step)
        self._profiles: dict[tuple[int, int], NDArray[np.float64]] = {}

    @property
    def psf(self) -> Psf:
        """The model that is sampled."""
        return self._psf

    @property
    def radius(self) -> int:
        """Half size of the stamps [pixel]."""
        return self._psf.radius

    @property
    def average_position(self) -> tuple[float, float]:
        """Mean position (x, y) of the stars that made the model [pixel]."""
        return self._psf.average_position

    def images(self, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return (n, s, s) unit-sum stamps, each as `image` draws it."""
        at_x, at_y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        stamps = np.empty((at_x.size, 2 * self.radius + 1, 2 * self.radius + 1))
        dx, dy = at_x - np.rint(at_x), at_y - np.rint(at_y)
        cells = np.stack([np.floor_divide(axis, self._step) for axis in (at_x, at_y)], axis=1).astype(np.int64)
        for cell in np.unique(cells, axis=0):
            rows = np.flatnonzero((cells == cell).all(axis=1))
            profile = self._profile(int(cell[0]), int(cell[1]))
            ones = np.ones((len(rows), 1))
            stamps[rows] = grid_images(profile[None], SAMPLES, ones, dx[rows], dy[rows], self.radius)
        return np.asarray(stamps / stamps.sum(axis=(1, 2), keepdims=True))

    def stamp_fraction(self, *, x: float, y: float) -> float:
        """Return the fraction of the total flux of a star that falls on its stamp."""
        return self._psf.stamp_fraction(x=x, y=y)

    def wing_flux(self, radius: float, *, x: float, y: float) -> float:
        """Return the fraction of the total flux outside a circle that is no smaller than the stamp's inner circle."""
        return self._psf.wing_flux(radius, x=x, y=y)

    def to_parts(self) -> Parts:
        """Return the arrays and the plain values from which `from_parts` makes an equal model.

        Raises
        ------
        TypeError
            If the model that is sampled is of a class that no package registers in ``firstlight.psfs``.
        """
        names = [name for name, cls in psf_classes().items() if type(self._psf) is cls]
        if not names:
            raise TypeError(f"No package registers {type(self._psf).__name__} in 'firstlight.psfs'.")
        arrays, values = self._psf.to_parts()
        return dict(arrays), {"step": self._step, "psf_class": names[0], "psf": values}

    @classmethod
    def from_parts(cls, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> Self:
        """Make the model that `to_parts` took apart."""
        model: Any = psf_classes()[values["psf_class"]]
        return cls(model.from_parts(arrays, values["psf"]), step=values["step"])

    def _profile(self, column: int, row: int) -> NDArray[np.float64]:
        """Return B-spline coefficients of the profile in a cell, the star on the middle sample."""
        if (column, row) not in self._profiles:
            middle = [(number + 0.5) * self._step for number in (column, row)]
            fine = np.pad(self._psf.oversampled(SAMPLES, x=middle[0], y=middle[1]), 2 * SAMPLES, mode="edge")
            self._profiles[column, row] = np.asarray(spline_filter(fine, order=3, mode="mirror"), dtype=np.float64)
        return self._profiles[column, row]


def quick_psf(psf: Psf | None, shape: tuple[int, int], *, cells: int) -> Psf | None:
    """Return a model that is quick to draw: the same one, or samples of it if it is the mean of many.

    Parameters
    ----------
    psf
        None stays None.
    shape
        Rows and columns of the image.
    cells
        Number of cells along its longer side, which are at least `SMALLEST_CELL` wide.
    """
    inner = psf.psf if isinstance(psf, WarpedPsf) else psf
    if psf is None or not isinstance(inner, CoaddPsf) or len(inner.inputs) <= COSTLY_INPUTS:
        return psf
    return SampledPsf(psf, step=max(SMALLEST_CELL, math.ceil(max(shape) / cells)))
