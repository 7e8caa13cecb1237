"""Relate each kind of flux to the total flux of a star."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import Column, Table
from pydantic import NonNegativeInt, PositiveFloat
from typing_extensions import TypeVar

from firstlight.algorithms.aperture_correction import fit_flux_ratio
from firstlight.errors import ApertureCorrectionError
from firstlight.framework import Config, Gate, Struct, Task
from firstlight.images.aperture_correction import ApertureCorrection, ApertureCorrectionMap
from firstlight.images.exposure import Exposure
from firstlight.images.fields import ChebyshevField
from firstlight.kernels.arrays import FloatArray, IntArray

CALIBRATED = "psf"
"""The flux that becomes the total flux, because it has the smallest error."""


@dataclass(frozen=True)
class ApertureCorrectionResult(Struct):
    """What an `ApertureCorrectionTask` returns."""

    corrections: ApertureCorrectionMap
    """Name of a flux -> factor to the total flux, over the field."""

    psf_to_total: float
    """Mean factor from the PSF flux to the total flux."""

    n_stars: int
    """Number of stars it was measured on."""

    gates: tuple[Gate, ...]
    """How good the correction is."""


ApertureCorrectionConfigT = TypeVar("ApertureCorrectionConfigT", bound=Config, covariant=True, default=Config)


class ApertureCorrectionTask(Task[ApertureCorrectionConfigT], ABC):
    """Interface: anything that finds the factors from fluxes to total fluxes."""

    @abstractmethod
    def run(self, exposure: Exposure, psf_stars: Table, *, aperture_radius: float) -> ApertureCorrectionResult:
        """Compare the fluxes of PSF stars.

        Parameters
        ----------
        exposure
            With its final PSF.
        psf_stars
            Measured sources with ``calib_psf_used``.
        aperture_radius : [pixel]
            The calibration aperture, in which ``aper_inst_flux`` was summed.

        Raises
        ------
        ApertureCorrectionError
            If no star can be used.
        """


class StarApertureCorrectionConfig(Config):
    """Settings of `StarApertureCorrectionTask`."""

    order: NonNegativeInt = 2
    """Highest total order of the variation over the field; used as far as the stars support it."""

    min_snr: PositiveFloat = 100.0
    """Smallest signal-to-noise ratio of a star; ignored where no star reaches it."""

    clip: PositiveFloat = 4.0
    """Clipping limit [sigma]."""

    iterations: NonNegativeInt = 4
    """Number of times that outliers are clipped."""

    floor: PositiveFloat = 0.001
    """Least error of the ratio of one star, which caps the weight of the brightest."""

    warn_error: PositiveFloat = 0.005
    """A mean correction less certain than this is a warning."""


class StarApertureCorrectionTask(ApertureCorrectionTask[StarApertureCorrectionConfig]):
    """Compares the PSF flux with the calibration aperture of bright stars and the wings of the PSF beyond it.

    The flux in the aperture is divided by the share of the total flux that the PSF model, with its wings, puts there
    (compare LSST `MeasureApCorrTask`).
    """

    def run(self, exposure: Exposure, psf_stars: Table, *, aperture_radius: float) -> ApertureCorrectionResult:
        """Compare the fluxes of PSF stars."""
        inside = _share_of_aperture(exposure, aperture_radius)
        stars = psf_stars[self._select(psf_stars)]
        x, y = np.asarray(stars["x"]), np.asarray(stars["y"])
        psf_flux = np.asarray(stars["psf_inst_flux"])
        fit = fit_flux_ratio(
            psf_flux,
            reference=np.asarray(stars["aper_inst_flux"]) / inside.evaluate(x=x, y=y),
            x=x,
            y=y,
            box=exposure.box,
            error=np.hypot(np.asarray(stars["aper_inst_flux_err"]) / psf_flux, self.config.floor),
            order=self.config.order,
            clip=self.config.clip,
            rounds=self.config.iterations,
        )
        mean, n_stars = fit.field.mean(), int(fit.used.sum())
        self.log.info("aperture correction", psf_to_total=mean, error=fit.error, n=n_stars)
        return ApertureCorrectionResult(
            corrections=ApertureCorrectionMap(
                {
                    CALIBRATED: ApertureCorrection(fit.field, error=fit.error),
                    "aper": ApertureCorrection(_inverse(exposure, inside)),
                }
            ),
            psf_to_total=mean,
            n_stars=n_stars,
            gates=(Gate("aperture_correction_error", fit.error, warn=self.config.warn_error, n=n_stars),),
        )

    def _select(self, stars: Table) -> IntArray:
        used = np.asarray(stars["calib_psf_used"], dtype=bool) & ~np.asarray(stars["aper_flux_flag"], dtype=bool)
        used &= ~np.asarray(stars["psf_flux_flag"], dtype=bool)
        bright = used & (np.asarray(stars["snr"]) >= self.config.min_snr)
        rows = np.flatnonzero(bright if bright.any() else used)
        if len(rows) == 0:
            raise ApertureCorrectionError(
                "No star to measure the aperture correction on: none of the stars of the PSF has both fluxes.",
                n_psf_stars=int(np.sum(stars["calib_psf_used"])),
            )
        return rows


def with_total_flux(catalog: Table, exposure: Exposure) -> Table:
    """Return the catalogue with ``calib_inst_flux`` and its error: PSF flux times its correction to the total flux."""
    result = catalog.copy(copy_data=False)
    flux, error = np.asarray(catalog["psf_inst_flux"]), np.asarray(catalog["psf_inst_flux_err"])
    factor: FloatArray = np.full(len(catalog), np.nan)
    if exposure.aperture_corrections and CALIBRATED in exposure.aperture_corrections:
        factor, _ = exposure.aperture_corrections.evaluate(
            CALIBRATED, x=np.asarray(catalog["x"]), y=np.asarray(catalog["y"])
        )
    unit = catalog["psf_inst_flux"].unit or u.ct
    result["calib_inst_flux"] = Column(flux * factor, unit=unit)
    result["calib_inst_flux_err"] = Column(error * factor, unit=unit)
    return result


def _share_of_aperture(exposure: Exposure, aperture_radius: float) -> ChebyshevField:
    """Return the share of the total flux inside the aperture, as a field through a grid of points."""
    if exposure.psf is None:
        raise ApertureCorrectionError("The aperture correction needs a PSF and the exposure has none.")
    ny, nx = exposure.shape
    grid_y, grid_x = (axis.ravel() for axis in np.meshgrid(np.linspace(0, ny - 1, 5), np.linspace(0, nx - 1, 5)))
    share = [exposure.psf.aperture_flux(aperture_radius, x=a, y=b) for a, b in zip(grid_x, grid_y, strict=True)]
    return ChebyshevField.fit(np.array(share), x=grid_x, y=grid_y, box=exposure.box, order=2)


def _inverse(exposure: Exposure, field: ChebyshevField) -> ChebyshevField:
    ny, nx = exposure.shape
    y, x = (axis.ravel() for axis in np.meshgrid(np.linspace(0, ny - 1, 5), np.linspace(0, nx - 1, 5)))
    return ChebyshevField.fit(1.0 / field.evaluate(x=x, y=y), x=x, y=y, box=exposure.box, order=2)
