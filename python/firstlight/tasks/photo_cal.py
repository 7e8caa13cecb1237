"""Calibrate fluxes against a reference catalogue."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from astropy.table import QTable, Table
from pydantic import Field, PositiveFloat, PositiveInt
from typing_extensions import TypeVar

from firstlight.algorithms.matching import match_sky
from firstlight.algorithms.zero_point import MAG_PER_RELATIVE_FLUX, ZeroPoint, fit_zero_point
from firstlight.errors import PhotometryError
from firstlight.framework import Config, Funnel, Gate, Struct, Task
from firstlight.images.exposure import Exposure
from firstlight.images.photo_calib import PhotoCalib
from firstlight.kernels.arrays import BoolArray, IntArray
from firstlight.refcats import ReferenceCatalog, ReferenceStars
from firstlight.tasks.aperture_correction import CALIBRATED

REJECTED = ("centroid_flag", "psf_flux_flag", "edge", "no_data", "saturated", "bad", "interpolated_center", "cr_center")


@dataclass(frozen=True)
class PhotoCalResult(Struct):
    """What a `PhotoCalTask` returns."""

    photo_calib: PhotoCalib
    """nJy per count."""

    zero_point: ZeroPoint
    """The fit: value, error, residuals."""

    matches: Table
    """One row per matched calibrator: ids, magnitudes, residual [mag], whether it was used."""

    used: BoolArray
    """(n_sources,) True for the sources that define the zero point."""

    reserved: BoolArray
    """(n_sources,) True for the matched sources that were kept back, to test it."""

    band: str
    """Reference magnitude that was used."""

    gates: tuple[Gate, ...]
    """How good the zero point is."""

    funnel: Funnel
    """How many stars each selection left."""


class PhotoCalConfig(Config):
    """What every photometric calibration can be told."""

    band: str | None = None
    """Reference magnitude to calibrate to; empty: the band of the exposure's filter, or the nearest there is."""

    reference_columns: Mapping[str, str] = Field(default_factory=dict)
    """Meaning -> column of the reference table, for tables whose names are not known."""

    reserve_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the matched calibrators that is kept back, to test the zero point."""


PhotoCalConfigT = TypeVar("PhotoCalConfigT", bound=PhotoCalConfig, covariant=True, default=PhotoCalConfig)


class PhotoCalTask(Task[PhotoCalConfigT], ABC):
    """Interface: anything that finds how many nJy one count is."""

    @abstractmethod
    def run(self, exposure: Exposure, sources: Table, *, reference: ReferenceCatalog) -> PhotoCalResult:
        """Calibrate ``sources`` (with ``calib_inst_flux``, ``ra`` and ``dec``) against a reference catalogue.

        Raises
        ------
        PhotometryError
            If no source matches a reference star, or no zero point can be computed.
        """


class ZeroPointPhotoCalConfig(PhotoCalConfig):
    """Settings of `ZeroPointPhotoCalTask`."""

    match_radius: PositiveFloat = 1.0
    """Largest separation of a source and its reference star [arcsec]; at least `match_radius_pixels`."""

    match_radius_pixels: PositiveFloat = 0.75
    """The same in pixels; the larger of the two counts."""

    min_snr: PositiveFloat = 15.0
    """Smallest signal-to-noise ratio of a calibrator, as its reference magnitude promises it."""

    max_extendedness: PositiveFloat = 0.5
    """Sources more extended than this are left out."""

    clip: PositiveFloat = 3.0
    """Clipping limit [sigma]."""

    max_sigma: PositiveFloat = 0.25
    """Largest scatter that the clipping believes [mag]."""

    warn_error: PositiveFloat = 0.01
    """A zero point less certain than this is a warning [mag]."""

    max_error: PositiveFloat = 0.5
    """A zero point less certain than this is refused [mag]."""

    warn_scatter: PositiveFloat = 0.1
    """A scatter of the calibrators above this is a warning [mag]."""

    warn_n_calibrators: PositiveInt = 10
    """Fewer calibrators than this are a warning."""


class ZeroPointPhotoCalTask(PhotoCalTask[ZeroPointPhotoCalConfig]):
    """One zero point from clipped, weighted residuals of point sources (compare LSST `PhotoCalTask`)."""

    def run(self, exposure: Exposure, sources: Table, *, reference: ReferenceCatalog) -> PhotoCalResult:
        """Calibrate ``sources`` against ``reference``."""
        candidate = self._select(sources)
        stars = self._reference(exposure, sources, reference)
        band = stars.choose_band(self.config.band or _band_of(exposure))
        source_index, star_index = self._match(exposure, sources, candidate, stars)
        funnel = Funnel(
            "photometry",
            (
                ("sources", len(sources)),
                ("selected", int(candidate.sum())),
                ("reference stars", len(stars)),
                ("matched", len(source_index)),
            ),
        )
        if len(source_index) == 0:
            raise PhotometryError(
                f"No calibrator: none of the {int(candidate.sum())} selected sources (of {len(sources)}) lies within "
                f"{self._radius(exposure):.2f} arcsec of one of the {len(stars)} reference stars.",
                n_sources=len(sources),
                n_selected=int(candidate.sum()),
                n_reference=len(stars),
            )
        reserved = self._reserve(len(source_index), seed=exposure.observation.exposure_id)
        fit = self._fit(sources[source_index], stars, star_index, band, reserved)
        fit = replace(fit, error=float(np.hypot(fit.error, _total_flux_error(exposure))))
        if not fit.error <= self.config.max_error:
            raise PhotometryError(
                f"The zero point is uncertain by {fit.error:.2f} mag ({fit.n_used} of {len(source_index)} calibrators "
                f"used), the limit is {self.config.max_error:g} mag; are they saturated, or is the PSF wrong?",
                n_used=fit.n_used,
                zero_point_error=fit.error,
                scatter=fit.scatter,
            )
        used, kept_back = (np.zeros(len(sources), dtype=bool) for _ in range(2))
        used[source_index[fit.used]] = True
        kept_back[source_index[reserved]] = True
        self.log.info("zero point", value=fit.value, error=fit.error, n=fit.n_used, band=band)
        return PhotoCalResult(
            photo_calib=PhotoCalib.from_zero_point(fit.value, error=fit.error),
            zero_point=fit,
            matches=_match_table(sources, source_index, stars, star_index, band, fit, reserved),
            used=used,
            reserved=kept_back,
            band=band,
            gates=self._gates(fit, reserved),
            funnel=funnel.then("used", fit.n_used),
        )

    def _reserve(self, n_matched: int, *, seed: int) -> BoolArray:
        reserved = np.zeros(n_matched, dtype=bool)
        number = int(self.config.reserve_fraction * n_matched)
        reserved[np.random.default_rng(abs(seed)).choice(n_matched, number, replace=False)] = True
        return reserved

    def _fit(
        self, matched: Table, stars: ReferenceStars, star_index: IntArray, band: str, reserved: BoolArray
    ) -> ZeroPoint:
        """Fit the zero point to the matched sources that are not reserved; residuals are those of all."""
        flux, error = np.asarray(matched["calib_inst_flux"]), np.asarray(matched["calib_inst_flux_err"])
        magnitude, magnitude_error = stars.magnitudes[band][star_index], stars.magnitude_errors[band][star_index]
        fitted = ~reserved
        fit = fit_zero_point(
            flux[fitted],
            error[fitted],
            magnitude[fitted],
            magnitude_error[fitted],
            clip=self.config.clip,
            max_sigma=self.config.max_sigma,
            min_snr=self.config.min_snr,
        )
        used, residual = np.zeros(len(matched), dtype=bool), np.full(len(matched), np.nan)
        used[fitted], residual[fitted] = fit.used, fit.residual
        net = np.where(flux > fit.flux_offset, flux - fit.flux_offset, np.nan)[reserved]
        residual[reserved] = magnitude[reserved] + 2.5 * np.log10(net) - fit.value
        return replace(fit, used=used, residual=residual)

    def _select(self, sources: Table) -> BoolArray:
        good = np.asarray(sources["calib_inst_flux"]) > 0
        for flag in REJECTED:
            if flag in sources.colnames:
                good &= ~np.asarray(sources[flag], dtype=bool)
        if "sky_source" in sources.colnames:
            good &= ~np.asarray(sources["sky_source"], dtype=bool)
        if "extendedness" in sources.colnames:
            extended = np.asarray(sources["extendedness"])
            good &= ~(extended > self.config.max_extendedness)
        return np.asarray(good & np.isfinite(np.asarray(sources["ra"])))

    def _reference(self, exposure: Exposure, sources: Table, reference: ReferenceCatalog) -> ReferenceStars:
        centre_ra, centre_dec, radius = exposure.sky_circle()
        return reference.stars(
            ra=centre_ra,
            dec=centre_dec,
            radius=radius + self._radius(exposure) / 3600,
            epoch=exposure.observation.epoch,
            columns=self.config.reference_columns,
        )

    def _radius(self, exposure: Exposure) -> float:
        ny, nx = exposure.image.shape
        scale = float(exposure.wcs.pixel_scale(x=nx / 2, y=ny / 2)) if exposure.wcs else 0.0
        return max(self.config.match_radius, self.config.match_radius_pixels * scale)

    def _match(
        self, exposure: Exposure, sources: Table, candidate: BoolArray, stars: ReferenceStars
    ) -> tuple[IntArray, IntArray]:
        rows = np.flatnonzero(candidate)
        pairs = match_sky(
            np.asarray(sources["ra"])[rows],
            np.asarray(sources["dec"])[rows],
            stars.ra,
            stars.dec,
            radius_arcsec=self._radius(exposure),
        )
        return rows[pairs.first], pairs.second

    def _gates(self, fit: ZeroPoint, reserved: BoolArray) -> tuple[Gate, ...]:
        config = self.config
        return (
            Gate("photometry_n_calibrators", fit.n_used, sense="min", warn=config.warn_n_calibrators, fail=1),
            Gate("zero_point_error", fit.error, "mag", warn=config.warn_error, fail=config.max_error, n=fit.n_used),
            Gate("zero_point_scatter", fit.scatter, "mag", warn=config.warn_scatter, n=fit.n_used),
            *_held_out_gates(fit, reserved),
        )


def _held_out_gates(fit: ZeroPoint, reserved: BoolArray) -> tuple[Gate, ...]:
    """Return how far the reserved calibrators are from the zero point, where there are any."""
    offset = fit.residual[reserved & np.isfinite(fit.residual)]
    if len(offset) == 0:
        return ()
    return (Gate("zero_point_reserved_offset", float(np.median(offset)), "mag", n=len(offset)),)


def _total_flux_error(exposure: Exposure) -> float:
    """Return the error of the correction to total flux [mag], which all stars share."""
    if not exposure.aperture_corrections or CALIBRATED not in exposure.aperture_corrections:
        return 0.0
    return MAG_PER_RELATIVE_FLUX * exposure.aperture_corrections[CALIBRATED].error


def _band_of(exposure: Exposure) -> str | None:
    return exposure.observation.reference_column or (exposure.filter.band if exposure.filter else None)


def _match_table(
    sources: Table,
    source_index: IntArray,
    stars: ReferenceStars,
    star_index: IntArray,
    band: str,
    fit: ZeroPoint,
    reserved: BoolArray,
) -> Table:
    """Tabulate matched calibrators; ``src_id`` joins to ``stars.id``, ``src_psf_id`` to ``psf_stars.id``."""
    flux, error = sources["calib_inst_flux"][source_index], sources["calib_inst_flux_err"][source_index]
    with np.errstate(invalid="ignore", divide="ignore"):
        magnitude_error = 2.5 / math.log(10) * np.asarray(error) / np.asarray(flux)
    psf_id = np.asarray(sources["psf_id"]) if "psf_id" in sources.colnames else np.zeros(len(sources), dtype=np.int64)
    matches = QTable(
        {
            "src_id": np.asarray(sources["id"])[source_index],
            "src_psf_id": psf_id[source_index],
            "ref_row": stars.row[star_index],
            "ref_ra": stars.ra[star_index],
            "ref_dec": stars.dec[star_index],
            "ref_mag": stars.magnitudes[band][star_index],
            "ref_mag_err": stars.magnitude_errors[band][star_index],
            "src_inst_flux": np.asarray(flux),
            "src_inst_flux_err": np.asarray(error),
            "src_mag_err": magnitude_error,
            "residual": fit.residual,
            "used": fit.used,
            "reserved": reserved,
        },
        units={
            "ref_ra": "deg",
            "ref_dec": "deg",
            "ref_mag": "mag",
            "ref_mag_err": "mag",
            "src_mag_err": "mag",
            "residual": "mag",
        },
    )
    matches.meta["band"] = band
    return Table(matches)
