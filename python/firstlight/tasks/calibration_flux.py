"""The total flux of bright stars, to which all other fluxes are related."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveFloat
from typing_extensions import TypeVar

from firstlight.algorithms.aperture import compensated_fluxes
from firstlight.algorithms.aperture_correction import fit_flux_ratio
from firstlight.algorithms.light_shares import aperture_share
from firstlight.errors import ApertureCorrectionError
from firstlight.framework import Config, Struct, Task
from firstlight.images.exposure import Exposure
from firstlight.kernels.arrays import BoolArray

UNUSABLE = ("BAD", "NO_DATA", "SAT", "CR")


@dataclass(frozen=True)
class CalibrationFluxResult(Struct):
    """What a `CalibrationFluxTask` returns."""

    flux: NDArray[np.float64]
    """(n_stars,) total flux [count]; NaN where it is not known."""

    flux_err: NDArray[np.float64]
    """(n_stars,) [count]."""

    flag: BoolArray
    """(n_stars,) True where the flux is not to be used."""

    normalization: float
    """What the measured flux was multiplied with, in the mean over the stars."""


CalibrationFluxConfigT = TypeVar("CalibrationFluxConfigT", bound=Config, covariant=True, default=Config)


class CalibrationFluxTask(Task[CalibrationFluxConfigT], ABC):
    """Interface: anything that measures the total flux of bright stars."""

    @abstractmethod
    def run(self, exposure: Exposure, stars: Table, *, aperture_radius: float) -> CalibrationFluxResult:
        """Measure the total flux of ``stars``, which have fluxes in an aperture of ``aperture_radius`` [pixel].

        Raises
        ------
        ApertureCorrectionError
            If the exposure has no PSF, or no star has a flux to normalise with.
        """


class ApertureCalibrationFluxTask(CalibrationFluxTask):
    """The flux in the calibration aperture over the share of the total flux that the PSF model puts there."""

    def run(self, exposure: Exposure, stars: Table, *, aperture_radius: float) -> CalibrationFluxResult:
        """Measure the total flux of ``stars``."""
        psf = exposure.psf
        if psf is None:
            raise ApertureCorrectionError("The aperture correction needs a PSF and the exposure has none.")
        share = aperture_share(psf, aperture_radius, box=exposure.box)
        factor = 1.0 / share.evaluate(x=np.asarray(stars["x"]), y=np.asarray(stars["y"]))
        return CalibrationFluxResult(
            flux=np.asarray(stars["aper_inst_flux"]) * factor,
            flux_err=np.asarray(stars["aper_inst_flux_err"]) * factor,
            flag=np.asarray(stars["aper_flux_flag"], dtype=bool),
            normalization=1.0 / share.mean(),
        )


class TophatCalibrationFluxConfig(Config):
    """Settings of `TophatCalibrationFluxTask`."""

    radius_scale: PositiveFloat = 1.0
    """Radius of the top-hat in units of that of the calibration aperture."""

    inner_scale: PositiveFloat = 1.0
    """Inner radius of the ring that is subtracted in units of the radius of the top-hat."""

    outer_scale: float = Field(default=1.7, gt=1.0)
    """Outer radius of the ring in units of the radius of the top-hat."""

    min_snr: NonNegativeFloat = 200.0
    """Smallest signal-to-noise ratio of the stars that normalise; ignored where no star reaches it."""

    clip: PositiveFloat = 4.0
    """Stars further from the mean ratio than this are left out [sigma]."""


class TophatCalibrationFluxTask(CalibrationFluxTask[TophatCalibrationFluxConfig]):
    """A compensated top-hat, blind to an error of the local sky, brought to the total flux by one factor.

    The factor is the ratio of the total flux by the calibration aperture to the top-hat for the brightest stars, for
    which no error of the sky matters (LSST ``NormalizedCalibrationFluxTask``).
    """

    def run(self, exposure: Exposure, stars: Table, *, aperture_radius: float) -> CalibrationFluxResult:
        """Measure the total flux of ``stars``."""
        total = ApertureCalibrationFluxTask().run(exposure, stars, aperture_radius=aperture_radius)
        x, y = np.asarray(stars["x"]), np.asarray(stars["y"])
        tophat = compensated_fluxes(
            exposure.image,
            variance=exposure.variance,
            bad=exposure.mask.any_of(*UNUSABLE),
            x=x,
            y=y,
            radius=self.config.radius_scale * aperture_radius,
            inner_scale=self.config.inner_scale,
            outer_scale=self.config.outer_scale,
        )
        flag = total.flag | np.asarray(tophat.flag)
        usable = ~flag & (tophat.flux > 0) & (total.flux > 0)
        bright = usable & (tophat.flux >= self.config.min_snr * tophat.flux_err)
        chosen = bright if bright.any() else usable
        if not chosen.any():
            raise ApertureCorrectionError(
                f"None of {len(stars)} stars has both a top-hat and an aperture flux to normalise with.",
                n_psf_stars=len(stars),
                n_flagged=int(flag.sum()),
            )
        factor = fit_flux_ratio(
            tophat.flux[chosen],
            reference=total.flux[chosen],
            x=x[chosen],
            y=y[chosen],
            box=exposure.box,
            order=0,
            clip=self.config.clip,
        ).field.mean()
        self.log.info("calibration flux", factor=factor, n=int(chosen.sum()))
        return CalibrationFluxResult(
            flux=tophat.flux * factor,
            flux_err=tophat.flux_err * abs(factor),
            flag=np.asarray(flag | (not factor > 0), dtype=np.bool_),
            normalization=factor,
        )
