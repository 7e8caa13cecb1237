"""Relate each kind of flux to the total flux of a star."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from astropy import units as u
from astropy.table import Column, Table
from pydantic import NonNegativeInt, PositiveFloat
from typing_extensions import TypeVar

from firstlight.algorithms.aperture_correction import FluxRatioField, fit_flux_ratio
from firstlight.algorithms.light_shares import aperture_share, quotient, stamp_share
from firstlight.algorithms.psf_stars import find_misfits
from firstlight.errors import ApertureCorrectionError
from firstlight.framework import Config, Gate, Struct, Subtask, Task, subtask
from firstlight.images.aperture_correction import ApertureCorrection, ApertureCorrectionMap, BrightnessTerm
from firstlight.images.exposure import Exposure
from firstlight.images.fields import ChebyshevField
from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray
from firstlight.tasks.calibration_flux import (
    ApertureCalibrationFluxTask,
    CalibrationFluxResult,
    CalibrationFluxTask,
    TophatCalibrationFluxTask,
)
from firstlight.tasks.crowding import CrowdConfig, is_crowd

CALIBRATED = "psf"
"""The flux that becomes the total flux, because it has the smallest error."""

INST_FLUX = "_inst_flux"
"""What the columns of instrumental fluxes end with."""


@dataclass(frozen=True)
class ApertureCorrectionResult(Struct):
    """What an `ApertureCorrectionTask` returns."""

    corrections: ApertureCorrectionMap
    """Name of a flux -> factor to the total flux, over the field."""

    psf_to_total: float
    """Mean factor from the PSF flux to the total flux."""

    n_stars: int
    """Number of stars it was measured on."""

    used: Mapping[str, BoolArray]
    """Name of a flux -> (n_sources,) True for the stars on which its factor was measured."""

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
            All measured sources with ``calib_psf_candidate``: the stars that are fit to model the PSF. The share of
            ``blended`` ones tells whether the field is crowded.
        aperture_radius : [pixel]
            The calibration aperture, in which ``aper_inst_flux`` was summed.

        Raises
        ------
        ApertureCorrectionError
            If no star can be used.
        """


class StarApertureCorrectionConfig(CrowdConfig):
    """Settings of `StarApertureCorrectionTask`.

    In a crowd, light of neighbours is always told apart, not only where the stars prove it, and none of it is held for
    their own. Elsewhere, where nothing is deblended at this point, stars in blends are left out, as long as there is
    another.
    """

    calibration_flux: Subtask[CalibrationFluxTask] = subtask(ApertureCalibrationFluxTask)
    """Measures the total flux of the stars."""

    fluxes: tuple[str, ...] | None = None
    """Fluxes to correct, ``psf`` for ``psf_inst_flux``; None for all that the stars have. The PSF flux always is."""

    order: NonNegativeInt = 2
    """Highest total order of the variation over the field; used as far as the stars support it."""

    min_snr: PositiveFloat = 100.0
    """Smallest signal-to-noise ratio of a star; ignored where no star reaches it."""

    clip: PositiveFloat = 4.0
    """Clipping limit [sigma]."""

    iterations: NonNegativeInt = 4
    """Number of times that outliers are clipped."""

    brightness: bool = True
    """Let the factor change in proportion to the flux where the stars show it, as brighter stars are wider."""

    own_light: Subtask[TophatCalibrationFluxTask] | None = subtask(TophatCalibrationFluxTask)
    """Tells, by a flux that is blind to what lies evenly around the stars, how much of an offset of faint stars is
    their own light, trailed by the readout; empty to hold all of it for light of neighbours and sky."""

    floor: PositiveFloat = 0.001
    """Least error of the ratio of one star, which caps the weight of the brightest."""

    warn_error: PositiveFloat = 0.005
    """A mean correction less certain than this is a warning."""

    warn_scatter: PositiveFloat = 0.02
    """A larger robust scatter of single stars about the correction is a warning."""

    warn_crowding: PositiveFloat = 0.001
    """A mean correction that the light of neighbours would have changed by more than this is a warning."""

    warn_brightness: PositiveFloat = 0.02
    """A correction that differs by more than this between the faintest and the brightest of its stars is a warning."""


class StarApertureCorrectionTask(ApertureCorrectionTask[StarApertureCorrectionConfig]):
    """Compares every flux of bright stars with their total flux, the light beyond the calibration aperture included.

    Each factor is a smooth field over the image, as far as the stars support one (compare LSST `MeasureApCorrTask`).
    That of the PSF flux follows the share of the light on the stamp of the model; the stars show what differs from it.
    Light in the aperture that does not depend on the star, from neighbours and sky, is told apart by stars of different
    brightness. What the detector does to them, brighter stars wider (Antilogus et al. 2014, JINST 9, C03048) and some
    charge of each left behind in the readout (Lacroix et al. 2025, A&A 694, A5, of ZTF), is told by them too and
    becomes part of the factor.
    """

    def __init__(self, config: StarApertureCorrectionConfig | None = None) -> None:
        super().__init__(config)
        self.calibration_flux = self.config.calibration_flux.make()
        self.own_light = self.config.own_light and self.config.own_light.make()

    def run(self, exposure: Exposure, psf_stars: Table, *, aperture_radius: float) -> ApertureCorrectionResult:
        """Compare the fluxes of PSF stars."""
        if exposure.psf is None:
            raise ApertureCorrectionError("The aperture correction needs a PSF and the exposure has none.")
        crowded = is_crowd(_flag(psf_stars, "blended"), self.config)
        rows = self._select(psf_stars, crowded=crowded)
        stars = psf_stars[rows]
        total = self.calibration_flux.run(exposure, stars, aperture_radius=aperture_radius)
        fit = self._fit(CALIBRATED, exposure, stars, total, crowded=crowded)
        own = 0.0 if crowded else self._own_offset(fit, exposure, stars, aperture_radius)
        fit = _less_crowded(fit, own)
        term = _brightness(fit, own, np.asarray(stars[CALIBRATED + INST_FLUX], dtype=np.float64))
        others = {name: self._fit_if_any(name, exposure, stars, total, crowded=crowded) for name in self._others(stars)}
        fits = {CALIBRATED: fit, **{name: other for name, other in others.items() if other is not None}}
        share = aperture_share(exposure.psf, aperture_radius, box=exposure.box)
        mean, n_stars = fit.field.mean(), int(fit.used.sum())
        self.log.info("aperture correction", psf_to_total=mean, error=fit.error, scatter=fit.scatter, n=n_stars)
        return ApertureCorrectionResult(
            corrections=ApertureCorrectionMap(
                {
                    "aper": ApertureCorrection(quotient(ChebyshevField.constant(1.0, box=share.box), share)),
                    **{name: ApertureCorrection(each.field, error=each.error) for name, each in fits.items()},
                    CALIBRATED: ApertureCorrection(fit.field, error=fit.error, brightness=term),
                }
            ),
            psf_to_total=mean,
            n_stars=n_stars,
            used={name: _flags(rows[each.used], len(psf_stars)) for name, each in fits.items()},
            gates=(
                Gate("aperture_correction_error", fit.error, warn=self.config.warn_error, n=n_stars),
                Gate("aperture_correction_scatter", fit.scatter, warn=self.config.warn_scatter, n=n_stars),
                Gate("aperture_correction_crowding", fit.crowding, warn=self.config.warn_crowding, n=n_stars),
                Gate("aperture_correction_brightness", _change(term), warn=self.config.warn_brightness, n=n_stars),
            ),
        )

    def _own_offset(self, fit: FluxRatioField, exposure: Exposure, stars: Table, radius: float) -> float:
        """Return the part of the offset [count] that is light of the stars: what a compensated flux sees of it too."""
        if self.own_light is None or fit.offset == 0.0:
            return 0.0
        try:
            total = self.own_light.run(exposure, stars, aperture_radius=radius)
            compensated = self._fit(CALIBRATED, exposure, stars, total, crowded=False)
        except ApertureCorrectionError:
            return 0.0
        alike = compensated.offset * fit.offset > 0
        return float(np.sign(fit.offset) * min(abs(fit.offset), abs(compensated.offset))) if alike else 0.0

    def _others(self, stars: Table) -> list[str]:
        """Return the names of the fluxes beside those of PSF and calibration aperture."""
        known = [name.removesuffix(INST_FLUX) for name in stars.colnames if name.endswith(INST_FLUX)]
        wanted = known if self.config.fluxes is None else [name for name in self.config.fluxes if name in known]
        return [name for name in wanted if name not in (CALIBRATED, "aper", "calib")]

    def _fit_if_any(
        self, name: str, exposure: Exposure, stars: Table, total: CalibrationFluxResult, *, crowded: bool
    ) -> FluxRatioField | None:
        """Return the correction of a flux; None where no star has it."""
        try:
            return self._fit(name, exposure, stars, total, crowded=crowded)
        except ApertureCorrectionError as error:
            self.log.warning("no aperture correction", flux=name, reason=str(error))
            return None

    def _fit(
        self, name: str, exposure: Exposure, stars: Table, total: CalibrationFluxResult, *, crowded: bool
    ) -> FluxRatioField:
        flux = np.asarray(stars[name + INST_FLUX], dtype=np.float64)
        flag = total.flag | _flag(stars, f"{name}_flux_flag")
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.hypot(total.flux_err / np.abs(flux), self.config.floor)
        x, y = np.asarray(stars["x"]), np.asarray(stars["y"])
        share = self._known_share(name, exposure)
        fit = fit_flux_ratio(
            np.where(flag, np.nan, flux),
            reference=total.flux * share.evaluate(x=x, y=y),
            x=x,
            y=y,
            box=exposure.box,
            error=error,
            order=self.config.order,
            clip=self.config.clip,
            rounds=self.config.iterations,
            with_offset=True,
            crowded=crowded,
            with_slope=self.config.brightness and name == CALIBRATED,
        )
        return fit.over(share)

    def _known_share(self, name: str, exposure: Exposure) -> ChebyshevField:
        """Return the share of the total flux that a flux holds by the model, of which the stars show the rest."""
        if name == CALIBRATED and exposure.psf is not None:
            return stamp_share(exposure.psf, box=exposure.box)
        return ChebyshevField.constant(1.0, box=exposure.box)

    def _select(self, stars: Table, *, crowded: bool) -> IntArray:
        used = np.asarray(stars["calib_psf_candidate"], dtype=bool) & ~np.asarray(stars["aper_flux_flag"], dtype=bool)
        used &= ~np.asarray(stars["psf_flux_flag"], dtype=bool)
        # What does not fit the PSF holds a neighbour, or is no star.
        used[used] = ~find_misfits(np.asarray(stars["psf_chi2"])[used], flux=np.asarray(stars["psf_inst_flux"])[used])
        bright = used & (np.asarray(stars["snr"]) >= self.config.min_snr)
        # Outside of crowds nothing is deblended yet: the aperture of a star in a blend holds light of its neighbour.
        alone = bright if crowded else bright & ~_flag(stars, "blended")
        rows = np.flatnonzero(next((chosen for chosen in (alone, bright) if chosen.any()), used))
        if len(rows) == 0:
            raise ApertureCorrectionError(
                "No star to measure the aperture correction on: none of the stars of the PSF has both fluxes.",
                n_psf_stars=int(np.sum(stars["calib_psf_candidate"])),
            )
        return rows


def with_total_flux(catalog: Table, exposure: Exposure) -> Table:
    """Return the catalogue with ``calib_inst_flux``, its error and flag: PSF flux times its correction to the total.

    The flag is set where the PSF flux has one, and where no positive correction is known; there, the flux is NaN.
    """
    result = catalog.copy(copy_data=False)
    flux, error = np.asarray(catalog["psf_inst_flux"]), np.asarray(catalog["psf_inst_flux_err"])
    factor: FloatArray = np.full(len(catalog), np.nan)
    corrections = exposure.aperture_corrections
    if corrections and CALIBRATED in corrections:
        x, y = np.asarray(catalog["x"], dtype=np.float64), np.asarray(catalog["y"], dtype=np.float64)
        valid = corrections[CALIBRATED].valid(x=x, y=y)
        factor[valid] = corrections[CALIBRATED].evaluate(x=x[valid], y=y[valid], flux=flux[valid])
    unit = catalog["psf_inst_flux"].unit or u.ct
    result["calib_inst_flux"] = Column(flux * factor, unit=unit)
    result["calib_inst_flux_err"] = Column(error * factor, unit=unit)
    result["calib_flux_flag"] = _flag(catalog, "psf_flux_flag") | ~np.isfinite(factor)
    return result


def _less_crowded(fit: FluxRatioField, own: float) -> FluxRatioField:
    """Return the fit with the doubt that the offset leaves, now that ``own`` [count] of it is known to be of stars."""
    if own == 0.0:
        return fit
    crowding = fit.crowding * (1.0 - own / fit.offset)
    statistical = np.sqrt(max(fit.error**2 - fit.crowding**2, 0.0))
    return replace(fit, crowding=crowding, error=float(np.hypot(statistical, crowding)))


def _brightness(fit: FluxRatioField, own: float, flux: FloatArray) -> BrightnessTerm | None:
    """Return how the factor changes with the flux, on the range of the stars that it was measured on."""
    if own == 0.0 and fit.slope == 0.0:
        return None
    used = flux[fit.used]
    return BrightnessTerm(fit.slope, own, float(used.min()), float(used.max()))


def _change(term: BrightnessTerm | None) -> float:
    """Return by how much a factor differs between stars of different brightness."""
    if term is None:
        return 0.0
    values = term.evaluate(np.geomspace(term.faintest, term.brightest, 50))
    return float(np.ptp(values))


def _flags(rows: IntArray, size: int) -> BoolArray:
    """Return a column of flags that are set in some rows."""
    flags = np.zeros(size, dtype=bool)
    flags[rows] = True
    return flags


def _flag(table: Table, column: str) -> BoolArray:
    """Return a column of flags; none is set where the table lacks it."""
    known = column in table.colnames
    return np.array(table[column], dtype=np.bool_) if known else np.zeros(len(table), dtype=np.bool_)
