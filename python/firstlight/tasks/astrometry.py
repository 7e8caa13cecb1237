"""Fit the WCS of an exposure to a reference catalogue."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from astropy.table import QTable, Table
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from typing_extensions import TypeVar

from firstlight.algorithms.astrometry import AstrometricSolution, SolveSettings, solve_field
from firstlight.algorithms.star_lists import Detections, References
from firstlight.algorithms.wcs_fit import WcsFitSettings
from firstlight.errors import AstrometryError
from firstlight.framework import Config, Funnel, Gate, Struct, Task
from firstlight.images.exposure import Exposure
from firstlight.images.wcs import SkyWcs
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.refcats import ReferenceCatalog, ReferenceStars

ARCSEC_PER_DEGREE = 3600.0
ARCMIN_PER_DEGREE = 60.0
ANY_SCALE = (0.05, 100.0)
WIDER = 2.0
"""A pointing that is wrong is searched again within this many times its stated error."""


@dataclass(frozen=True)
class Pointing:
    """Where an exposure may lie on the sky, said by a person.

    Parameters
    ----------
    ra, dec : [deg]
        None: from the header.
    radius : [deg]
        How far the centre of the exposure may be from there; None: from the instrument.
    scale_low, scale_high : [arcsec / pixel]
        Range of the pixel scale; None: from the header.
    """

    ra: float | None = None
    dec: float | None = None
    radius: float | None = None
    scale_low: float | None = None
    scale_high: float | None = None


@dataclass(frozen=True)
class AstrometryResult(Struct):
    """What an `AstrometryTask` returns."""

    wcs: SkyWcs
    """The fitted WCS."""

    matches: Table
    """One row per matched pair: ids, positions, residuals; ``src_id`` joins to ``sources.id``."""

    used: BoolArray
    """(n_sources,) True for the sources that define the fit."""

    measured: Mapping[str, float]
    """Name -> number for the summary."""

    gates: tuple[Gate, ...]
    """How good the fit is."""

    funnel: Funnel
    """How many stars each selection left."""


class AstrometryConfig(Config):
    """What every astrometric calibration can be told."""

    band: str | None = None
    """Reference magnitude that ranks the stars; empty: the band of the exposure's filter, or the nearest there is."""

    reference_columns: Mapping[str, str] = Field(default_factory=dict)
    """Meaning -> column of the reference table, for tables whose names are not known."""


AstrometryConfigT = TypeVar("AstrometryConfigT", bound=AstrometryConfig, covariant=True, default=AstrometryConfig)


class AstrometryTask(Task[AstrometryConfigT], ABC):
    """Interface: anything that finds the WCS of an exposure."""

    @abstractmethod
    def run(
        self, exposure: Exposure, sources: Table, *, reference: ReferenceCatalog, pointing: Pointing | None = None
    ) -> AstrometryResult:
        """Find the WCS from measured sources (``x``, ``y``, their errors and fluxes) and a reference catalogue.

        Raises
        ------
        AstrometryError
            If there is no pointing, no solution that chance would not make, or a fit beyond its limits.
        """


class PatternAstrometryConfig(AstrometryConfig):
    """Settings of `PatternAstrometryTask`."""

    min_snr: PositiveFloat = 10.0
    """Smallest signal-to-noise ratio of a source."""

    required_flags: tuple[str, ...] = ()
    """Flags that a source must have, such as ``calib_psf_candidate`` to fit only those chosen to make the PSF."""

    search_radius: PositiveFloat = 0.3
    """How far the centre may be from its pointing, where the instrument states no error [deg]."""

    scale_tolerance: PositiveFloat = 0.2
    """Relative error of the pixel scale in the header."""

    max_tries: PositiveInt = 5_000_000
    """Placements that are tried before a search is given up; a search takes about a second for a million."""

    max_references: PositiveInt = 50_000
    """The brightest reference stars are used, at most this many."""

    max_order: NonNegativeInt = 5
    """Highest total order of the distortion; the data decide how much of it is used."""

    max_rms_pixels: PositiveFloat = 1.0
    """A fit with a larger two-dimensional rms is refused [pixel]."""

    warn_rms_pixels: PositiveFloat = 0.5
    """A larger two-dimensional rms is a warning [pixel]."""

    warn_held_out_ratio: PositiveFloat = 1.3
    """A larger ratio of the rms of held-out stars to that of fitted ones is a warning: the fit has too much freedom."""

    warn_n_matches: PositiveInt = 20
    """Fewer matches than this are a warning."""


class PatternAstrometryTask(AstrometryTask[PatternAstrometryConfig]):
    """Pattern matching at any rotation, parity and shift, then a clipped, weighted TAN-SIP fit."""

    def run(
        self, exposure: Exposure, sources: Table, *, reference: ReferenceCatalog, pointing: Pointing | None = None
    ) -> AstrometryResult:
        """Find the WCS of ``exposure``."""
        rows = np.flatnonzero(self._select(sources))
        search = self._search(exposure, pointing or Pointing())
        stars = self._reference_stars(exposure, reference, search)
        solution = self._solve(exposure, sources[rows], stars, search)
        self._require_good(solution, n_sources=len(rows), n_reference=len(stars))
        self.log.info(
            "astrometry", matches=solution.n_matched, rms_px=solution.rms_px, order=solution.order, how=solution.how
        )
        used = np.zeros(len(sources), dtype=bool)
        used[rows[solution.detection[solution.used]]] = True
        return AstrometryResult(
            wcs=SkyWcs.from_tan_sip(solution.tan_sip),
            matches=_match_table(sources, rows, stars, solution),
            used=used,
            measured=_measured(exposure, solution),
            gates=self._gates(solution),
            funnel=Funnel("astrometry", (("sources", len(sources)), *solution.funnel)),
        )

    def _select(self, sources: Table) -> BoolArray:
        good = np.isfinite(np.asarray(sources["x"])) & np.isfinite(np.asarray(sources["y"]))
        for flag in ("no_data", "bad_center", "cr_center", "streak_center"):
            if flag in sources.colnames:
                good &= ~np.asarray(sources[flag], dtype=bool)
        if "centroid_flag" in sources.colnames:
            # Saturated stars have no centroid either, but carry an error of their own.
            good &= ~np.asarray(sources["centroid_flag"], dtype=bool) | np.asarray(sources["saturated"], dtype=bool)
        for flag in self.config.required_flags:
            good &= np.asarray(sources[flag], dtype=bool)
        return np.asarray(good & (np.asarray(sources["peak_snr"]) >= self.config.min_snr))

    def _search(self, exposure: Exposure, pointing: Pointing) -> _Search:
        wcs = exposure.wcs
        said = pointing.ra is not None and pointing.dec is not None
        seen = exposure.observation
        ny, nx = exposure.shape
        if said:
            center = (float(pointing.ra or 0.0), float(pointing.dec or 0.0))
        elif wcs is not None:
            ra, dec = wcs.pixel_to_sky(x=(nx - 1) / 2, y=(ny - 1) / 2)
            center = (float(ra), float(dec))
        elif seen.ra is not None and seen.dec is not None:
            center = (seen.ra, seen.dec)
        else:
            raise AstrometryError("Neither the header nor the command says where the image lies; give --ra and --dec.")
        scales = self._scales(exposure, pointing)
        stated = seen.pointing_error / ARCMIN_PER_DEGREE if seen.pointing_error else self.config.search_radius
        radius = pointing.radius or stated
        use_wcs = wcs is not None and not said and pointing.scale_low is None
        diagonal = float(np.hypot(nx, ny)) * (min(scales[-1][1], 60.0) if len(scales) == 1 else scales[0][1])
        return _Search(
            center=center,
            radius=radius,
            scales=scales,
            initial=wcs if use_wcs else None,
            reach=WIDER * radius + diagonal / 2 / ARCSEC_PER_DEGREE,
        )

    def _scales(self, exposure: Exposure, pointing: Pointing) -> tuple[tuple[float, float], ...]:
        """Ranges of the pixel scale [arcsec / pixel] to try, one after the other."""
        if pointing.scale_low is not None or pointing.scale_high is not None:
            return ((pointing.scale_low or ANY_SCALE[0], pointing.scale_high or ANY_SCALE[1]),)
        ny, nx = exposure.shape
        hint = exposure.detector.pixel_scale
        if exposure.wcs is not None:
            hint = float(exposure.wcs.pixel_scale(x=nx / 2, y=ny / 2))
        if hint is None:
            return (ANY_SCALE,)
        tolerance = 1.0 + self.config.scale_tolerance
        return ((hint / tolerance, hint * tolerance), ANY_SCALE)

    def _reference_stars(self, exposure: Exposure, reference: ReferenceCatalog, search: _Search) -> ReferenceStars:
        stars = reference.stars(
            ra=search.center[0],
            dec=search.center[1],
            radius=search.reach,
            epoch=exposure.observation.epoch,
            columns=self.config.reference_columns,
        )
        if len(stars) == 0:
            raise AstrometryError(
                f"The reference table has no star within {search.reach:.2f} deg of RA {search.center[0]:.4f} "
                f"Dec {search.center[1]:+.4f}; is it the right field?",
                n_reference=0,
            )
        magnitude = stars.magnitudes[stars.choose_band(self.config.band or exposure.observation.band)]
        brightest = np.argsort(np.where(np.isfinite(magnitude), magnitude, np.inf), kind="stable")
        return stars[np.sort(brightest[: self.config.max_references])]

    def _solve(self, exposure: Exposure, sources: Table, stars: ReferenceStars, search: _Search) -> AstrometricSolution:
        detections = Detections(
            x=np.asarray(sources["x"]),
            y=np.asarray(sources["y"]),
            flux=_ranking_flux(sources),
            x_err=np.asarray(sources["x_err"]),
            y_err=np.asarray(sources["y_err"]),
            saturated=np.asarray(sources["saturated"], dtype=bool),
        )
        references = References(
            ra=stars.ra,
            dec=stars.dec,
            mag=stars.magnitudes[stars.choose_band(self.config.band or exposure.observation.band)],
            sky_err=stars.position_error / 1000.0,
        )
        settings = SolveSettings(fit=WcsFitSettings(max_order=self.config.max_order), max_tries=self.config.max_tries)
        attempts = search.attempts()
        for number, (radius, scale_range) in enumerate(attempts, start=1):
            try:
                return solve_field(
                    detections,
                    references,
                    shape=exposure.shape,
                    initial_wcs=search.initial if number == 1 else None,
                    center=search.center,
                    radius_deg=radius,
                    scale_range=scale_range,
                    settings=settings,
                )
            except AstrometryError as error:
                self.log.info("no placement", radius_deg=radius, scale_range=scale_range, reason=str(error))
                if number == len(attempts):
                    raise
        raise AssertionError("There is at least one attempt.")

    def _require_good(self, solution: AstrometricSolution, *, n_sources: int, n_reference: int) -> None:
        """Refuse a fit whose stars scatter too much, or by what is not a number."""
        if solution.rms_px <= self.config.max_rms_pixels:
            return
        separation = np.hypot(solution.d_ra, solution.d_dec)[solution.used]
        raise AstrometryError(
            f"The astrometric fit is bad: rms {solution.rms_px:.2f} pixel of {solution.n_used} stars, of "
            f"{solution.n_matched} matched among {n_sources} sources and {n_reference} references; the limit is "
            f"{self.config.max_rms_pixels:g} pixel.",
            rms_px=solution.rms_px,
            max_rms_px=self.config.max_rms_pixels,
            offset_mean_arcsec=float(np.mean(separation)) if len(separation) else None,
            offset_median_arcsec=float(np.median(separation)) if len(separation) else None,
            n_sources=n_sources,
            n_reference=n_reference,
            n_matched=solution.n_matched,
            n_used=solution.n_used,
        )

    def _gates(self, solution: AstrometricSolution) -> tuple[Gate, ...]:
        config, n, free = self.config, solution.n_used, solution.n_parameters
        ratio = solution.held_out_rms_px / solution.rms_px if solution.rms_px > 0 else np.nan
        return (
            Gate("astrometry_n_matches", solution.n_matched, sense="min", warn=config.warn_n_matches, fail=3),
            Gate("astrometry_degrees_of_freedom", n - free, sense="min", warn=free, fail=1, n=n),
            Gate(
                "astrometry_rms", solution.rms_px, "pixel", warn=config.warn_rms_pixels, fail=config.max_rms_pixels, n=n
            ),
            Gate("astrometry_held_out_ratio", ratio, warn=config.warn_held_out_ratio, n=n),
            Gate("astrometry_stated_error", solution.stated_error_arcsec, "arcsec", n=n),
        )


@dataclass(frozen=True)
class _Search:
    center: tuple[float, float]
    radius: float
    scales: tuple[tuple[float, float], ...]
    initial: SkyWcs | None
    reach: float

    def attempts(self) -> tuple[tuple[float, tuple[float, float]], ...]:
        """Return the radii [deg] and ranges of scale to search, the likeliest first."""
        wider = (WIDER * self.radius, self.scales[0])
        return ((self.radius, self.scales[0]), wider, *((self.radius, scales) for scales in self.scales[1:]))


def _ranking_flux(sources: Table) -> FloatArray:
    flux = np.asarray(sources["aper_inst_flux" if "aper_inst_flux" in sources.colnames else "peak_snr"], dtype=float)
    return np.where(np.isfinite(flux), flux, 0.0)


def _measured(exposure: Exposure, solution: AstrometricSolution) -> dict[str, float]:
    separation = np.hypot(solution.d_ra, solution.d_dec)[solution.used]
    measured = {
        "astrometry_matches_count": float(solution.n_matched),
        "astrometry_references_in_frame": float(solution.n_references_in_frame),
        "astrom_offset_mean": float(np.mean(separation)),
        "astrom_offset_median": float(np.median(separation)),
        "astrom_offset_std": float(np.std(separation)),
        "astrom_rms_2d_px": solution.rms_px,
        "astrom_rms_2d": solution.rms_arcsec,
        "astrom_held_out_rms_2d_px": solution.held_out_rms_px,
        "astrom_stated_error": solution.stated_error_arcsec,
        "astrom_order": float(solution.order),
        "parity": float(solution.parity),
        "ref_cat_source_density": solution.n_references_in_frame / _area(exposure, solution),
    }
    if exposure.wcs is not None:
        ny, nx = exposure.shape
        x, y = (nx - 1) / 2, (ny - 1) / 2
        before = exposure.wcs.pixel_to_sky(x=x, y=y)
        after = SkyWcs.from_tan_sip(solution.tan_sip).pixel_to_sky(x=x, y=y)
        east = (after[0] - before[0] + 180) % 360 - 180
        measured["initial_to_final_wcs"] = ARCSEC_PER_DEGREE * float(
            np.hypot(east * np.cos(np.deg2rad(after[1])), after[1] - before[1])
        )
    return measured


def _area(exposure: Exposure, solution: AstrometricSolution) -> float:
    """Return the area of the frame [deg^2]."""
    return exposure.box.width * exposure.box.height * (solution.scale_arcsec / ARCSEC_PER_DEGREE) ** 2


def _match_table(sources: Table, rows: np.ndarray, stars: ReferenceStars, solution: AstrometricSolution) -> Table:
    index = rows[solution.detection]
    matches = QTable(
        {
            "src_id": np.asarray(sources["id"])[index],
            "src_x": np.asarray(sources["x"])[index],
            "src_y": np.asarray(sources["y"])[index],
            "src_peak_snr": np.asarray(sources["peak_snr"])[index],
            "ref_row": stars.row[solution.reference],
            "ref_ra": stars.ra[solution.reference],
            "ref_dec": stars.dec[solution.reference],
            "dx": solution.dx,
            "dy": solution.dy,
            "d_ra": solution.d_ra,
            "d_dec": solution.d_dec,
            "used": solution.used,
        },
        units={
            "src_x": "pix",
            "src_y": "pix",
            "ref_ra": "deg",
            "ref_dec": "deg",
            "dx": "pix",
            "dy": "pix",
            "d_ra": "arcsec",
            "d_dec": "arcsec",
        },
    )
    return Table(matches)
