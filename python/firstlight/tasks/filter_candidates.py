"""Say which candidates are worth a look, and why the others are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from astropy.coordinates import angular_separation
from astropy.table import Table
from numpy.typing import NDArray

from firstlight.framework import Config, Funnel, Gate, Struct, Subtask, Task, plugins_of, subtask
from firstlight.refcats.known_objects import GEOCENTRE, KnownObjects, LocalKnownObjects, SkyRegion
from firstlight.tasks.associate import column_values
from firstlight.tasks.candidate_checks import (
    CandidateCheckTask,
    FlagsCheckTask,
    KnownGalaxiesCheckTask,
    KnownStarsCheckTask,
    MinorPlanetsCheckTask,
    VariableStarsCheckTask,
)

BORDER_DEG = 30.0 / 3600.0


@dataclass(frozen=True)
class FilterCandidatesResult(Struct):
    """What `FilterCandidatesTask.run` returns."""

    candidates: Table
    """All that came in, in their order, with ``kept``, ``rejected_by`` (names of checks), ``notes`` and a column
    ``check_NAME`` for each check with what it said."""

    kept: NDArray[np.bool_]
    """(n_candidates,) True where no check rejects."""

    not_done: Mapping[str, str]
    """Name of each check that could not be made -> why."""

    gates: tuple[Gate, ...]
    """How many checks could not be made."""

    funnel: Funnel
    """How many candidates each check left."""


class FilterCandidatesConfig(Config):
    """Settings of `FilterCandidatesTask`."""

    checks: Mapping[str, Subtask[CandidateCheckTask]] = plugins_of(
        flags=subtask(FlagsCheckTask),
        minor_planets=subtask(MinorPlanetsCheckTask, radius=5.0),
        variable_stars=subtask(VariableStarsCheckTask, radius=2.0),
        stars=subtask(KnownStarsCheckTask),
        galaxies=subtask(KnownGalaxiesCheckTask, rejects=False),
    )
    """Checks by name; null takes one out. The order changes no result, only the funnel."""

    observatory: str = GEOCENTRE
    """Code of the Minor Planet Center of the telescope; from the geocentre an asteroid is off by arcseconds."""


class FilterCandidatesTask(Task[FilterCandidatesConfig]):
    """Every check looks at every candidate, and all that they say is kept; no row is dropped."""

    def __init__(self, config: FilterCandidatesConfig | None = None) -> None:
        super().__init__(config)
        self.checks = {name: slot.make() for name, slot in self.config.checks.items()}

    def run(self, candidates: Table, *, mjd: float, known: KnownObjects | None = None) -> FilterCandidatesResult:
        """Check the candidates of one image.

        Parameters
        ----------
        candidates
            With ``ra`` and ``dec`` [deg].
        mjd : [d]
            Middle of the exposure, TAI.
        known
            What shines in a region; None knows nothing, and the checks that ask are noted as not done.

        Raises
        ------
        InputError
            If the candidates have no columns of positions.
        ReferenceCatalogError
            If a catalogue that a check requires is out of reach.
        """
        n = len(candidates)
        region = region_of(candidates, mjd=mjd, observatory=self.config.observatory)
        kept = np.ones(n, dtype=bool)
        rejected_by, notes = [""] * n, [""] * n
        checked, not_done = candidates.copy(copy_data=False), {}
        funnel = Funnel("candidates").then("candidates", n)
        for name, check in self.checks.items():
            result = check.run(candidates, known=known or LocalKnownObjects({}), region=region)
            if result.not_done:
                not_done[name] = result.not_done
            said = result.reasons != ""
            for row in np.flatnonzero(said):
                notes[row] = _added(notes[row], f"{name}: {result.reasons[row]}", "; ")
                if check.config.rejects:
                    rejected_by[row] = _added(rejected_by[row], name, ",")
            if check.config.rejects:
                kept &= ~said
            checked[f"check_{name}"] = result.reasons
            funnel = funnel.then(name if not result.not_done else f"{name} (not done)", int(kept.sum()))
        checked["kept"] = kept
        checked["rejected_by"], checked["notes"] = np.array(rejected_by, dtype=str), np.array(notes, dtype=str)
        self.metadata.count("kept", int(kept.sum()))
        self.log.info("filtered", candidates=n, kept=int(kept.sum()), not_done=", ".join(not_done) or "none")
        gate = Gate("checks_not_done", float(len(not_done)), warn=0.0, n=len(self.checks))
        return FilterCandidatesResult(candidates=checked, kept=kept, not_done=not_done, gates=(gate,), funnel=funnel)


def region_of(candidates: Table, *, mjd: float, observatory: str) -> SkyRegion:
    """Return a circle around all candidates that have a position, with a border for matches outside.

    Parameters
    ----------
    candidates
        With ``ra`` and ``dec`` [deg].
    mjd : [d]
        TAI.
    observatory
        Code of the Minor Planet Center.

    Raises
    ------
    InputError
        If there are no columns of positions.
    """
    ra, dec = (np.radians(column_values(candidates, name, "deg", of="candidates")) for name in ("ra", "dec"))
    good = np.isfinite(ra) & np.isfinite(dec)
    if not good.any():
        return SkyRegion(0.0, 0.0, 0.0, mjd, observatory)
    ra, dec = ra[good], dec[good]
    x, y, z = np.mean([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    centre = np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))
    radius = float(np.degrees(np.max(angular_separation(*centre, ra, dec)))) + BORDER_DEG
    return SkyRegion(float(np.degrees(centre[0])) % 360.0, float(np.degrees(centre[1])), radius, mjd, observatory)


def _added(text: str, more: str, separator: str) -> str:
    return f"{text}{separator}{more}" if text else more
