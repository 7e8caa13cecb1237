"""Measure how bright a known place was on one difference image, whether anything was detected there or not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat

from firstlight.algorithms.aperture import ApertureFluxes, aperture_fluxes
from firstlight.algorithms.psf_flux import PsfFluxes, measure_psf_flux
from firstlight.errors import AlgorithmError
from firstlight.framework import Config, Struct, Task
from firstlight.images.exposure import Exposure
from firstlight.images.psf import Psf
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
    """(n,) True off the image, where its edge or unusable pixels reach into the core, and where half of the light is
    lost."""

    aperture_flag: BoolArray
    """(n,) True where the circle leaves the image, or has a bad pixel in it."""


class MeasurePlaceConfig(Config):
    """Settings of `MeasurePlaceTask`."""

    unusable_planes: tuple[str, ...] = ("BAD", "NO_DATA", "SAT", "SAT_TEMPLATE", "CR", "EDGE")
    """Mask planes whose pixels hold no light that can be trusted."""

    aperture_fwhm: PositiveFloat | None = 1.5
    """Radius of the circle, in units of the full width at half maximum; None measures in no circle."""

    core_fwhm: PositiveFloat = 0.5
    """Radius of the core, in units of the full width at half maximum, and at least a pixel. Unusable pixels in it set
    the flag; further out they are only left out."""


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
        places = _Places(exposure, self._unusable(exposure), x[inside], y[inside])
        flux, flux_err, circle, circle_err = (np.full(len(x), np.nan) for _ in range(4))
        flag, circle_flag = ~inside, ~inside
        if inside.any():
            fwhm = places.fwhm()
            found = places.psf_fluxes()
            flux[inside], flux_err[inside] = found.flux, found.flux_err
            near = places.circles(max(self.config.core_fwhm * fwhm, 1.0)).masked_fraction > 0
            flag[inside] = found.flag | near
        if inside.any() and self.config.aperture_fwhm is not None:
            radius = self.config.aperture_fwhm * fwhm
            summed, share = places.circles(radius), places.shares(radius)
            circle[inside], circle_err[inside] = summed.flux / share, summed.flux_err / share
            circle_flag[inside] = summed.flag | (summed.masked_fraction > 0)
        return PlaceFluxes(flux, flux_err, circle, circle_err, flag, circle_flag)

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


@dataclass(frozen=True)
class _Places:
    """Places on an image that has a PSF."""

    exposure: Exposure
    bad: BoolArray
    x: NDArray[np.float64]
    y: NDArray[np.float64]

    @property
    def _psf(self) -> Psf:
        assert self.exposure.psf is not None  # noqa: S101 - the task has made sure
        return self.exposure.psf

    @cached_property
    def _light(self) -> FloatArray:
        return np.nan_to_num(self.exposure.image)

    def fwhm(self) -> float:
        """Return that of the PSF in their midst [pixel]."""
        return self._psf.fwhm(x=float(self.x.mean()), y=float(self.y.mean()))

    def psf_fluxes(self) -> PsfFluxes:
        """Fit the PSF, each place by itself."""
        variance, psf = self.exposure.variance, self._psf
        return measure_psf_flux(
            self._light, variance=variance, bad=self.bad, psf=psf, x=self.x, y=self.y, together=False
        )

    def circles(self, radius: float) -> ApertureFluxes:
        """Sum circles [pixel]."""
        variance = self.exposure.variance
        return aperture_fluxes(self._light, variance=variance, bad=self.bad, x=self.x, y=self.y, radius=radius)

    def shares(self, radius: float) -> NDArray[np.float64]:
        """Return the share of the light of a star that is within a circle [pixel]."""
        places = zip(self.x.tolist(), self.y.tolist(), strict=True)
        return np.array([self._psf.aperture_flux(radius, x=x, y=y) for x, y in places])
