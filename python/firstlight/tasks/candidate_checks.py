"""Checks of candidates: bad pixels, and what is known to shine at their places."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat
from typing_extensions import TypeVar

from firstlight.algorithms.association import associate, sky_positions
from firstlight.errors import ConfigError, ReferenceCatalogError
from firstlight.framework import Config, Struct, Task
from firstlight.refcats.known_objects import KnownObjects, SkyRegion
from firstlight.tasks.associate import column_values


@dataclass(frozen=True)
class CheckResult(Struct):
    """What a `CandidateCheckTask` returns."""

    reasons: NDArray[np.str_]
    """(n_candidates,) Why each candidate is rejected, or what it is; empty where the check says nothing."""

    not_done: str = ""
    """Why the check could not be made; empty if it was."""


class CandidateCheckConfig(Config):
    """What every check of candidates can be told."""

    rejects: bool = True
    """Whether a candidate that the check finds is rejected; otherwise what it is is only noted."""


CandidateCheckConfigT = TypeVar(
    "CandidateCheckConfigT", bound=CandidateCheckConfig, covariant=True, default=CandidateCheckConfig
)


class CandidateCheckTask(Task[CandidateCheckConfigT], ABC):
    """Interface: anything that tells which candidates are not what is looked for."""

    @abstractmethod
    def run(self, candidates: Table, *, known: KnownObjects, region: SkyRegion) -> CheckResult:
        """Check the candidates of one image.

        Parameters
        ----------
        candidates
            From a `DetectDifferenceTask`.
        known
            What shines in a region.
        region
            Holds all candidates that have a position, at the time of the image.

        Raises
        ------
        ReferenceCatalogError
            If what must be known is not.
        """


class FlagsCheckConfig(CandidateCheckConfig):
    """Settings of `FlagsCheckTask`; a flag or column that a catalogue does not have rejects nothing."""

    bad_flags: tuple[str, ...] = (
        "sky_source",
        "off_image",
        "edge",
        "no_data_center",
        "saturated_center",
        "cr_center",
        "suspect_center",
        "streak_center",
        "high_variance_center",
        "psf_flux_flag_no_psf",
        "psf_flux_flag_no_good_pixels",
        "psf_flux_flag_failed",
    )
    """A candidate with any of these is rejected, and the reason names it. A flux at a peak, or shared, rejects none."""

    min_science_snr: float | None = -2.0
    """The flux on the science image must not be more negative than this [standard deviation]; empty to allow all."""

    needs_position: bool = True
    """Whether a candidate without a place on the sky is rejected."""


class FlagsCheckTask(CandidateCheckTask[FlagsCheckConfig]):
    """Bad pixels, no position, no light in the science image (LSST `FilterDiaSourceCatalogTask`)."""

    def run(self, candidates: Table, *, known: KnownObjects, region: SkyRegion) -> CheckResult:
        """Check flags."""
        reasons = np.full(len(candidates), "", dtype=object)
        for name in self.config.bad_flags:
            if name in candidates.colnames:
                bad = np.asarray(candidates[name], dtype=bool)
                reasons[bad] = [f"{each}, {name}" if each else name for each in reasons[bad]]
        if self.config.needs_position:
            bad = ~_placed(candidates)
            reasons[bad] = [f"{each}, no position" if each else "no position" for each in reasons[bad]]
        if self.config.min_science_snr is not None:
            snr = _science_snr(candidates)
            for row in np.flatnonzero(snr < self.config.min_science_snr):
                text = f"science flux at {snr[row]:.1f} errors"
                reasons[row] = f"{reasons[row]}, {text}" if reasons[row] else text
        return CheckResult(reasons=_texts(reasons))


class ScoreCheckConfig(CandidateCheckConfig):
    """Settings of `ScoreCheckTask`."""

    column: str = "real_score"
    """Column with the probability of being real."""

    min_score: float = Field(default=0.02, ge=0.0, le=1.0)
    """A candidate that is less probable is found; one without a score is not."""


class ScoreCheckTask(CandidateCheckTask[ScoreCheckConfig]):
    """Candidates that a `VetTask` holds for artefacts."""

    def run(self, candidates: Table, *, known: KnownObjects, region: SkyRegion) -> CheckResult:
        """Check the probability of being real."""
        reasons = np.full(len(candidates), "", dtype=object)
        name = self.config.column
        if name not in candidates.colnames:
            return CheckResult(reasons=_texts(reasons), not_done=f"The candidates have no column {name!r}.")
        scores = _plain(candidates, name)
        for row in np.flatnonzero(scores < self.config.min_score):
            reasons[row] = f"{name} {scores[row]:.4f}"
        return CheckResult(reasons=_texts(reasons))


class KnownObjectsCheckConfig(CandidateCheckConfig):
    """What every check against a catalogue can be told."""

    catalog: str = ""
    """Kind of objects that are asked for; empty: those that the check is made for."""

    radius: PositiveFloat = 1.0
    """Largest distance of a candidate from an object [arcsec]."""

    catalog_error: PositiveFloat = 0.3
    """Error of each coordinate of an object that states none [arcsec]."""

    max_sigma: PositiveFloat = 5.0
    """Largest distance in units of the errors of candidate and object."""

    required: bool = False
    """Whether a catalogue that is out of reach is an error; otherwise the check is noted as not done."""


KnownObjectsCheckConfigT = TypeVar(
    "KnownObjectsCheckConfigT", bound=KnownObjectsCheckConfig, covariant=True, default=KnownObjectsCheckConfig
)


class KnownObjectsCheckTask(CandidateCheckTask[KnownObjectsCheckConfigT]):
    """A candidate at the place of an object of a catalogue is that object; `catalog` names one of your own."""

    kind: ClassVar[str] = ""
    """Kind of objects that are asked for where `catalog` is empty."""

    one_to_one: ClassVar[bool] = False
    """Whether an object explains one candidate only."""

    def run(self, candidates: Table, *, known: KnownObjects, region: SkyRegion) -> CheckResult:
        """Check the places of the candidates."""
        kind = self.config.catalog or self.kind
        if not kind:
            raise ConfigError("KnownObjectsCheckTask needs to know what to ask for; set 'catalog', such as 'stars'.")
        reasons = np.full(len(candidates), "", dtype=object)
        rows = np.flatnonzero(_placed(candidates))
        if not len(rows):
            return CheckResult(reasons=_texts(reasons))
        try:
            found = known.find(kind, region)
        except ReferenceCatalogError as error:
            if self.config.required:
                raise
            self.log.info("check not done", kind=kind, reason=str(error))
            return CheckResult(reasons=_texts(reasons), not_done=str(error))
        if not len(found):
            return CheckResult(reasons=_texts(reasons))
        for row, other, separation in self._near(candidates[rows], found):
            reasons[rows[row]] = f"{found['name'][other]} at {separation:.2f} arcsec"
        self.metadata.count("known", int(np.sum(reasons != "")))
        return CheckResult(reasons=_texts(reasons))

    def _near(self, candidates: Table, found: Table) -> list[tuple[int, int, float]]:
        """Return rows of candidates, rows of objects and separations [arcsec]."""
        missing = np.full(len(candidates), np.nan)
        own = [
            column_values(candidates, name, "deg", of="candidates") if name in candidates.colnames else missing
            for name in ("ra", "dec", "ra_err", "dec_err")
        ]
        error = self.config.catalog_error
        seen = sky_positions(own[0], own[1], own[2], own[3], floor=0.0, fallback=error)
        stated = (
            column_values(found, "position_error", "arcsec", of=self.kind) / 3600.0
            if "position_error" in found.colnames
            else np.full(len(found), np.nan)
        )
        places = [column_values(found, name, "deg", of=self.kind) for name in ("ra", "dec")]
        good = np.flatnonzero(np.isfinite(places[0]) & np.isfinite(places[1]))
        ra, dec, wide = places[0][good], places[1][good], stated[good]
        objects = sky_positions(ra, dec, wide, wide, floor=0.0, fallback=error)
        groups = [np.arange(len(seen))] if self.one_to_one else [np.array([row]) for row in range(len(seen))]
        pairs = []
        for group in groups:
            matched = associate(seen[group], objects, radius=self.config.radius, max_sigma=self.config.max_sigma)
            pairs += [
                (int(group[row]), int(good[matched.object_row[row]]), float(matched.separation[row]))
                for row in np.flatnonzero(matched.object_row >= 0)
            ]
        return pairs


class KnownStarsCheckTask(KnownObjectsCheckTask):
    """Stars whose light a subtraction leaves, or that vary."""

    kind: ClassVar[str] = "stars"


class KnownGalaxiesCheckTask(KnownObjectsCheckTask):
    """Nuclei of galaxies; by default they are noted, for a supernova may be near."""

    kind: ClassVar[str] = "galaxies"


class VariableStarsCheckTask(KnownObjectsCheckTask):
    """Variable stars of VSX."""

    kind: ClassVar[str] = "variable_stars"


class MinorPlanetsCheckTask(KnownObjectsCheckTask):
    """Bodies of the solar system at the time of the image, as SkyBoT predicts them."""

    kind: ClassVar[str] = "minor_planets"
    one_to_one: ClassVar[bool] = True


def _placed(candidates: Table) -> NDArray[np.bool_]:
    places = [column_values(candidates, name, "deg", of="candidates") for name in ("ra", "dec")]
    return np.asarray(np.isfinite(places[0]) & np.isfinite(places[1]))


def _science_snr(candidates: Table) -> NDArray[np.float64]:
    """Return the flux on the science image over its error; NaN where it was not measured."""
    for name in ("science_psf_flux", "science_psf_inst_flux"):
        if {name, f"{name}_err"} <= set(candidates.colnames):
            flux, error = (_plain(candidates, each) for each in (name, f"{name}_err"))
            return np.asarray(np.where(error > 0, flux / np.where(error > 0, error, 1.0), np.nan))
    return np.full(len(candidates), np.nan)


def _plain(candidates: Table, name: str) -> NDArray[np.float64]:
    return np.asarray(np.ma.filled(np.ma.asarray(candidates[name], dtype=np.float64), np.nan))


def _texts(reasons: NDArray[np.object_]) -> NDArray[np.str_]:
    return np.asarray(reasons.astype(str) if len(reasons) else np.empty(0, dtype="U1"))
