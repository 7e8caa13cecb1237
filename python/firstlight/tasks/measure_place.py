"""Measure how bright a known place was on one difference image, whether anything was detected there or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat

from firstlight.algorithms.psf_flux import PsfFluxes, measure_psf_flux
from firstlight.errors import AlgorithmError
from firstlight.framework import Config, Struct, Task
from firstlight.images.exposure import Exposure
from firstlight.images.spatial_kernel import MatchingKernel
from firstlight.kernels.arrays import BoolArray, FloatArray


@dataclass(frozen=True)
class PlaceFluxes(Struct):
    """What `MeasurePlaceTask` returns, one entry for each place; NaN where nothing can be measured."""

    flux: NDArray[np.float64]
    """(n,) Flux on the image [its unit]."""

    flux_err: NDArray[np.float64]
    """(n,) Its error by the variance of the pixels."""

    flag: BoolArray
    """(n,) True off the image, at its edge, beside saturated light, and where bad pixels hold much of the light."""


class MeasurePlaceConfig(Config):
    """Settings of `MeasurePlaceTask`."""

    unusable_planes: tuple[str, ...] = ("BAD", "NO_DATA", "SAT", "SAT_TEMPLATE", "CR", "EDGE")
    """Mask planes whose pixels hold no light that can be trusted."""

    core_fwhm: PositiveFloat = 0.5
    """Unusable pixels this near set the flag, in units of the full width at half maximum; further out they are only
    left out."""


class MeasurePlaceTask(Task[MeasurePlaceConfig]):
    """PSF fluxes at places that are known (forced photometry), each by itself."""

    def run(self, exposure: Exposure, *, ra: FloatArray, dec: FloatArray) -> PlaceFluxes:
        """Measure a difference, or a template, without its sky.

        Parameters
        ----------
        exposure
            With WCS and PSF.
        ra, dec : (n,) [deg]

        Raises
        ------
        AlgorithmError
            If WCS or PSF are missing.
        """
        if exposure.wcs is None or exposure.psf is None:
            raise AlgorithmError(f"Fluxes at a place need a {'PSF' if exposure.wcs else 'WCS'}; the image has none.")
        x, y = exposure.wcs.sky_to_pixel(ra=np.asarray(ra, np.float64), dec=np.asarray(dec, np.float64))
        ny, nx = exposure.shape
        inside = np.isfinite(x) & np.isfinite(y) & (np.abs(2 * x + 1 - nx) < nx) & (np.abs(2 * y + 1 - ny) < ny)
        bad = self._unusable(exposure)
        found = measure_psf_flux(
            np.nan_to_num(exposure.image),
            variance=exposure.variance,
            bad=bad,
            psf=exposure.psf,
            x=np.where(inside, x, np.nan),
            y=np.where(inside, y, np.nan),
            together=False,
        )
        near = np.zeros(len(x), dtype=bool)
        for row in np.flatnonzero(inside):
            reach = self.config.core_fwhm * exposure.psf.fwhm(x=float(x[row]), y=float(y[row]))
            near[row] = _any_near(bad, x=float(x[row]), y=float(y[row]), radius=reach)
        return PlaceFluxes(found.flux, found.flux_err, _doubtful(found) | near | ~inside)

    def _unusable(self, exposure: Exposure) -> BoolArray:
        planes = (name for name in self.config.unusable_planes if name in exposure.mask.planes)
        repaired = exposure.mask.any_of("INTRP") if "INTRP" in exposure.mask.planes else np.zeros(exposure.shape, bool)
        with np.errstate(invalid="ignore"):
            lost = ~np.isfinite(exposure.image) | ~(exposure.variance > 0)
        return np.asarray(exposure.mask.any_of(*planes) | repaired | lost)


@dataclass(frozen=True)
class FluxScale:
    """How much brighter stars are on a science exposure than on its template, at some places.

    Parameters
    ----------
    scale : (n,)
    error
        Its relative error, of the mean of the stars by which the images were matched.
    """

    scale: NDArray[np.float64]
    error: float

    @classmethod
    def of(cls, kernel: MatchingKernel, ratios: FloatArray, *, x: FloatArray, y: FloatArray) -> FluxScale:
        """Take the scale of a kernel, and its error from the stars.

        Parameters
        ----------
        kernel
        ratios : (n_stars,)
            Flux of the stars that decided, over that on the matched template.
        x, y : (n,) [pixel]
        """
        total = kernel.kernel.total(x=np.asarray(x, np.float64), y=np.asarray(y, np.float64))
        known = np.asarray(ratios, np.float64)[np.isfinite(ratios)]
        spread = 1.4826 * float(np.median(np.abs(known - np.median(known)))) if len(known) > 1 else np.nan
        # The error of a mean that is robust is that of a median.
        error = 1.2533 * spread / np.sqrt(len(known)) if len(known) > 1 else np.nan
        return cls(np.asarray(total if kernel.convolved == "template" else 1.0 / total), error)


def _doubtful(found: PsfFluxes) -> BoolArray:
    return np.asarray(found.flag | found.edge | found.no_good_pixels | ~np.isfinite(found.flux))


def _any_near(bad: BoolArray, *, x: float, y: float, radius: float) -> bool:
    """Return whether a bad pixel has its middle within the radius, or is the pixel of the place itself."""
    ny, nx = bad.shape
    reach = int(np.ceil(radius))
    column, row = round(x), round(y)
    left, low = max(column - reach, 0), max(row - reach, 0)
    cut = bad[low : min(row + reach + 1, ny), left : min(column + reach + 1, nx)]
    rows, columns = np.nonzero(cut)
    distance = np.hypot(columns + left - x, rows + low - y)
    return bool(np.any((distance <= radius) | ((columns + left == column) & (rows + low == row))))
