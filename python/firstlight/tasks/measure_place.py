"""Measure how bright a known place was on one difference image, whether anything was detected there or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat

from firstlight.algorithms.aperture import aperture_fluxes
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
    """(n,) Flux of the PSF on the image [its unit]: the best for what is faint."""

    flux_err: NDArray[np.float64]
    """(n,) Its error by the variance of the pixels."""

    aperture_flux: NDArray[np.float64]
    """(n,) Flux in a circle, with what the PSF has outside of it [its unit]. On a difference it is the better one where
    a bright star was: what a kernel leaves of a core sums up to nothing in a circle."""

    aperture_flux_err: NDArray[np.float64]
    """(n,) Its error by the variance of the pixels."""

    flag: BoolArray
    """(n,) True off the image, at its edge, beside saturated light, and where bad pixels hold much of the light."""

    aperture_flag: BoolArray
    """(n,) True where the circle leaves the image, or has a bad pixel in it."""


class MeasurePlaceConfig(Config):
    """Settings of `MeasurePlaceTask`."""

    unusable_planes: tuple[str, ...] = ("BAD", "NO_DATA", "SAT", "SAT_TEMPLATE", "CR", "EDGE")
    """Mask planes whose pixels hold no light that can be trusted."""

    aperture_fwhm: PositiveFloat = 1.5
    """Radius of the circle, in units of the full width at half maximum."""

    core_fwhm: PositiveFloat = 0.5
    """Unusable pixels this near set the flag, in units of the full width at half maximum; further out they are only
    left out."""


class MeasurePlaceTask(Task[MeasurePlaceConfig]):
    """Fluxes of the PSF and in circles at places that are known (forced photometry), each by itself."""

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
        near, spoilt = np.zeros(len(x), dtype=bool), ~inside
        aperture, aperture_err = np.full(len(x), np.nan), np.full(len(x), np.nan)
        for row in np.flatnonzero(inside):
            at = {"x": float(x[row]), "y": float(y[row])}
            fwhm = exposure.psf.fwhm(**at)
            near[row] = _any_near(bad, **at, radius=self.config.core_fwhm * fwhm)
            aperture[row], aperture_err[row], spoilt[row] = self._in_circle(exposure, bad, **at, fwhm=fwhm)
        doubtful = _doubtful(found) | near | ~inside
        return PlaceFluxes(found.flux, found.flux_err, aperture, aperture_err, doubtful, spoilt)

    def _in_circle(
        self, exposure: Exposure, bad: BoolArray, *, x: float, y: float, fwhm: float
    ) -> tuple[float, float, bool]:
        """Return flux and error in a circle about one place, and whether a bad pixel is in it."""
        assert exposure.psf is not None  # noqa: S101 - run has made sure
        radius = self.config.aperture_fwhm * fwhm
        summed = aperture_fluxes(
            np.nan_to_num(exposure.image),
            variance=exposure.variance,
            bad=bad,
            x=np.array([x]),
            y=np.array([y]),
            radius=radius,
        )
        inside = exposure.psf.aperture_flux(radius, x=x, y=y)
        spoilt = bool(summed.flag[0]) or bool(summed.masked_fraction[0] > 0)
        return float(summed.flux[0]) / inside, float(summed.flux_err[0]) / inside, spoilt

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
