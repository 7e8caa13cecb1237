"""Calibrate fluxes against a reference catalogue."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table
from pydantic import Field, PositiveFloat, PositiveInt
from typing_extensions import TypeVar

from firstlight.algorithms.color_terms import StarColors
from firstlight.algorithms.crowding import least_crowded, neighbour_shares
from firstlight.algorithms.matching import match_sky
from firstlight.algorithms.tangent_plane import sky_to_plane
from firstlight.algorithms.zero_point import MAG_PER_RELATIVE_FLUX, ZeroPoint, fit_zero_point
from firstlight.errors import PhotometryError
from firstlight.framework import Config, Funnel, Gate, Struct, Task
from firstlight.images.exposure import Exposure
from firstlight.images.photo_calib import PhotoCalib
from firstlight.kernels.arrays import BoolArray, IntArray
from firstlight.refcats import ReferenceCatalog, ReferenceStars
from firstlight.tasks.aperture_correction import CALIBRATED
from firstlight.tasks.color_terms import ColorTerm, read_color_terms
from firstlight.tasks.measurement_scene import psf_sigma
from firstlight.tasks.reference_magnitudes import ReferenceMagnitudes, match_table, with_color, with_known_term

REJECTED = (
    *("centroid_flag", "psf_flux_flag", "edge", "no_data", "saturated", "bad", "streak"),
    *("interpolated_center", "cr_center"),
)


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

    max_neighbour_share: PositiveFloat | None = 0.002
    """Calibrators whose PSF flux would take more light than this of other stars of the reference, in units of their
    own, are left out: not all neighbours are told apart on the image. Empty to keep them."""

    min_uncrowded: float = Field(default=0.5, ge=0.0, le=1.0)
    """Least share of the matched calibrators that stays; where all are crowded, those that are crowded least."""

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

    color_terms: str | None = None
    """Library of colour terms: its name or the path of a YAML file; empty for none. A term applies where the reference
    has both its magnitudes."""

    catalog: str | None = None
    """Name by which colour terms are looked up; empty: the name of the reference catalogue."""

    min_stars_for_color: PositiveInt | None = Field(default=50, ge=10)
    """Where no colour term is known, one is fitted if at least so many calibrators have colours; empty to fit none."""

    second_band: str | None = None
    """Reference magnitude that makes the colour of a fitted term with `band`; empty: the best there is."""

    color_significance: PositiveFloat = 4.0
    """A fitted colour term that is not further from zero than this is left out [sigma]."""

    max_color_noise: float = Field(default=0.25, gt=0.0, lt=1.0)
    """No colour term is fitted where noise makes more than this share of the variance of the colours."""

    max_color_error: PositiveFloat = 0.1
    """A fitted colour term less certain than this is left out."""

    warn_color_error: PositiveFloat = 0.02
    """A fitted colour term less certain than this is a warning."""


class ZeroPointPhotoCalTask(PhotoCalTask[ZeroPointPhotoCalConfig]):
    """One zero point from clipped, weighted residuals of point sources (compare LSST `PhotoCalTask`).

    It is that of the camera's own system. How this differs from the catalogue's with the colour of a star comes from a
    library of colour terms, or is fitted along where the stars show it; else both are taken to be the same.
    """

    def __init__(self, config: ZeroPointPhotoCalConfig | None = None) -> None:
        super().__init__(config)
        self.color_terms = read_color_terms(self.config.color_terms) if self.config.color_terms else None

    def run(self, exposure: Exposure, sources: Table, *, reference: ReferenceCatalog) -> PhotoCalResult:
        """Calibrate ``sources`` against ``reference``."""
        candidate = self._select(sources)
        stars = self._reference(exposure, sources, reference)
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
                f"{self._radius(exposure):.2f} arcsec of one of the {len(stars)} reference stars; if these are all "
                "saturated, 'calibrate:photometry=null' leaves the image in counts.",
                n_sources=len(sources),
                n_selected=int(candidate.sum()),
                n_reference=len(stars),
            )
        alone = self._uncrowded(exposure, stars, star_index)
        source_index, star_index, funnel = source_index[alone], star_index[alone], funnel.then("uncrowded", alone.sum())
        reserved = self._reserve(len(source_index), seed=exposure.observation.exposure_id)
        matched = self._magnitudes(exposure, stars, star_index, catalog=self.config.catalog or reference.name)
        fit = self._fit(sources[source_index], matched, reserved)
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
        self.log.info("zero point", value=fit.value, error=fit.error, n=fit.n_used, **matched.facts(fit))
        return PhotoCalResult(
            photo_calib=PhotoCalib.from_zero_point(fit.value, error=fit.error),
            zero_point=fit,
            matches=match_table(sources, source_index, stars, star_index, matched, fit, reserved),
            used=used,
            reserved=kept_back,
            band=matched.band,
            gates=self._gates(fit, reserved),
            funnel=funnel.then("used", fit.n_used),
        )

    def _reserve(self, n_matched: int, *, seed: int) -> BoolArray:
        reserved = np.zeros(n_matched, dtype=bool)
        number = int(self.config.reserve_fraction * n_matched)
        reserved[np.random.default_rng(abs(seed)).choice(n_matched, number, replace=False)] = True
        return reserved

    def _magnitudes(
        self, exposure: Exposure, stars: ReferenceStars, star_index: IntArray, *, catalog: str
    ) -> ReferenceMagnitudes:
        """Return the reference magnitudes of the matched stars, with the colour term that is known."""
        term = self._known_term(exposure, stars, catalog)
        if term is not None:
            return with_known_term(stars[star_index], term)
        band = stars.choose_band(self.config.band or _band_of(exposure))
        return with_color(stars[star_index], band, self.config.second_band)

    def _known_term(self, exposure: Exposure, stars: ReferenceStars, catalog: str) -> ColorTerm | None:
        """Return the colour term of the library for catalogue and filter; None if a magnitude for it is missing."""
        if self.color_terms is None or exposure.filter is None:
            return None
        term = self.color_terms.find(catalog=catalog, physical_filter=exposure.filter.physical)
        if term is None:
            self.log.warning("no colour term", catalog=catalog, filter=exposure.filter.physical)
        elif not {term.primary, term.secondary} <= set(stars.magnitudes):
            self.log.warning("no magnitudes for the colour term", needed=(term.primary, term.secondary))
            return None
        return term

    def _fit(self, matched: Table, reference: ReferenceMagnitudes, reserved: BoolArray) -> ZeroPoint:
        """Fit the zero point to the matched sources that are not reserved; residuals are those of all."""
        flux = np.asarray(matched["calib_inst_flux"])
        fitted = ~reserved
        color = self._colors_to_fit(reference, fitted)
        fit = self._fit_to(matched, reference, fitted, color)
        if color is not None and not self._is_color_term(fit):
            color = None
            fit = self._fit_to(matched, reference, fitted, None)
        used, residual = np.zeros(len(matched), dtype=bool), np.full(len(matched), np.nan)
        used[fitted], residual[fitted] = fit.used, fit.residual
        net = np.where(flux > fit.flux_offset, flux - fit.flux_offset, np.nan)[reserved]
        bluer = 0.0 if color is None else fit.color_term * color.value[reserved]
        residual[reserved] = reference.magnitude[reserved] + bluer + 2.5 * np.log10(net) - fit.value
        known = reference.term.c1 if reference.term else fit.color_term
        return replace(fit, used=used, residual=residual, color_term=known)

    def _fit_to(
        self, matched: Table, reference: ReferenceMagnitudes, fitted: BoolArray, color: StarColors | None
    ) -> ZeroPoint:
        return fit_zero_point(
            np.asarray(matched["calib_inst_flux"])[fitted],
            np.asarray(matched["calib_inst_flux_err"])[fitted],
            reference.magnitude[fitted],
            reference.error[fitted],
            clip=self.config.clip,
            max_sigma=self.config.max_sigma,
            min_snr=self.config.min_snr,
            color=None if color is None else color[fitted],
        )

    def _colors_to_fit(self, reference: ReferenceMagnitudes, fitted: BoolArray) -> StarColors | None:
        """Return the colours of the stars where a colour term can be fitted to them and none is known."""
        color, floor = reference.color, self.config.min_stars_for_color
        if color is None or reference.term is not None or floor is None:
            return None
        enough = np.count_nonzero(color.known & fitted) >= floor
        return color if enough and color[fitted].noise_share <= self.config.max_color_noise else None

    def _is_color_term(self, fit: ZeroPoint) -> bool:
        enough = fit.n_used >= (self.config.min_stars_for_color or 0)
        sure = 0 < fit.color_term_error <= self.config.max_color_error
        return enough and sure and abs(fit.color_term) > self.config.color_significance * fit.color_term_error

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

    def _uncrowded(self, exposure: Exposure, stars: ReferenceStars, star_index: IntArray) -> BoolArray:
        """Return which of the matched stars have their light for themselves, as far as the reference knows."""
        if self.config.max_neighbour_share is None or exposure.psf is None or exposure.wcs is None:
            return np.ones(len(star_index), dtype=bool)
        ra0, dec0, _ = exposure.sky_circle()
        ny, nx = exposure.image.shape
        x, y = sky_to_plane(stars.ra, stars.dec, ra0=ra0, dec0=dec0)
        shares = neighbour_shares(
            x,
            y,
            magnitude=stars.magnitudes[stars.choose_band(self.config.band or _band_of(exposure))],
            sigma=psf_sigma(exposure) * float(exposure.wcs.pixel_scale(x=nx / 2, y=ny / 2)) / 3600,
        )
        limit, least = self.config.max_neighbour_share, self.config.min_uncrowded
        return least_crowded(shares[star_index], limit=limit, least=least)

    def _gates(self, fit: ZeroPoint, reserved: BoolArray) -> tuple[Gate, ...]:
        config = self.config
        return (
            Gate("photometry_n_calibrators", fit.n_used, sense="min", warn=config.warn_n_calibrators, fail=1),
            Gate("zero_point_error", fit.error, "mag", warn=config.warn_error, fail=config.max_error, n=fit.n_used),
            Gate("zero_point_scatter", fit.scatter, "mag", warn=config.warn_scatter, n=fit.n_used),
            *self._color_gates(fit),
            *_held_out_gates(fit, reserved),
        )

    def _color_gates(self, fit: ZeroPoint) -> tuple[Gate, ...]:
        """Return how well the colour term is known, where one was fitted."""
        if fit.color_term_error == 0:
            return ()
        return (Gate("color_term_error", fit.color_term_error, "", warn=self.config.warn_color_error, n=fit.n_used),)


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
