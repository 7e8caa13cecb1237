"""Tell which known object each new candidate belongs to, and make objects of those that belong to none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import Column, MaskedColumn, Table
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from typing_extensions import TypeVar

from firstlight.algorithms.association import SkyPositions, associate, combine_positions, sky_positions
from firstlight.errors import InputError
from firstlight.framework import Config, Funnel, Gate, Struct, Task

OBJECT_COLUMNS = {
    "id": (np.int64, None),
    "ra": (np.float64, "deg"),
    "dec": (np.float64, "deg"),
    "ra_err": (np.float64, "deg"),
    "dec_err": (np.float64, "deg"),
    "n_detections": (np.int64, None),
    "first_mjd": (np.float64, "d"),
    "last_mjd": (np.float64, "d"),
}
"""Name -> type and unit of the columns of a table of objects."""


@dataclass(frozen=True)
class AssociateResult(Struct):
    """What `AssociateTask.run` returns."""

    object_ids: NDArray[np.int64]
    """(n_candidates,) Number of the object of each candidate; 0 for those of the solar system or without a position."""

    solar_system: NDArray[np.str_]
    """(n_candidates,) Name of the known body of the solar system that each candidate is; empty for none."""

    separation: NDArray[np.float64]
    """(n_candidates,) Distance from the object or body before it took part [arcsec]; NaN for what is new."""

    objects: Table
    """Objects that are new or were seen again, as they are now; the columns are those of `OBJECT_COLUMNS`."""

    gates: tuple[Gate, ...]
    """Whether suspiciously many are new."""

    funnel: Funnel
    """How many candidates each step left."""


class AssociateConfig(Config):
    """Settings of `AssociateTask`."""

    radius: PositiveFloat = 2.5
    """Largest distance of a candidate from its object [arcsec]; mostly `max_sigma` is the narrower limit."""

    max_sigma: PositiveFloat = 5.0
    """Largest distance of a candidate from its object in units of both their errors."""

    error_floor: NonNegativeFloat = 0.05
    """Added in quadrature to the errors of each candidate: what the WCS of one image is off [arcsec]."""

    fallback_error: PositiveFloat = 0.2
    """Error of each coordinate of a candidate whose own is not known [arcsec]."""

    solar_system_radius: PositiveFloat = 1.0
    """Largest distance of a candidate from where a body of the solar system is predicted [arcsec]."""

    solar_system_error: PositiveFloat = 0.5
    """Error of each coordinate of a prediction that states none [arcsec]."""

    warn_new: PositiveInt = 1000
    """More new objects than this in one image are a warning: so many are artefacts."""


AssociateConfigT = TypeVar("AssociateConfigT", bound=AssociateConfig, covariant=True, default=AssociateConfig)


class AssociateTask(Task[AssociateConfigT]):
    """One-to-one pairs of the largest likelihood, those with the solar system first.

    Errors are those along the sky (`firstlight.algorithms.association`). An object lies at the weighted mean of its
    detections. Images must come in the order of their time; whoever keeps the objects sees to that.
    """

    @property
    def reach(self) -> float:
        """Largest distance of a candidate from its object [arcsec]."""
        return self.config.radius

    def run(
        self, candidates: Table, objects: Table, *, mjd: float, solar_system: Table | None = None
    ) -> AssociateResult:
        """Find the objects of the candidates of one image.

        Parameters
        ----------
        candidates
            With ``id`` (positive; an object gets that of its first candidate), ``ra``, ``dec`` and, where known,
            ``ra_err`` and ``dec_err`` along the sky [deg]. Those whose position is not finite are left alone.
        objects
            At least those within `reach` of a candidate, with the columns of `OBJECT_COLUMNS`.
        mjd : [d]
            Middle of the exposure, TAI.
        solar_system
            Where bodies are predicted at that time: ``name``, ``ra``, ``dec`` [deg] and, where known,
            ``position_error`` [arcsec].

        Raises
        ------
        InputError
            If a table has no positions, or an object with the number of a candidate is there already.
        """
        funnel = Funnel("association").then("candidates", len(candidates))
        ids = np.asarray(candidates["id"], dtype=np.int64) if len(candidates) else np.empty(0, np.int64)
        seen = self._positions(candidates, "candidates")
        rows = np.flatnonzero(np.isfinite(seen.ra) & np.isfinite(seen.dec))
        funnel = funnel.then("with a position", len(rows))
        names, separation = np.full(len(ids), "", dtype=object), np.full(len(ids), np.nan)
        if solar_system is not None and len(solar_system):
            taken = self._match_bodies(seen[rows], solar_system, names, separation, rows)
            rows = rows[~taken]
        funnel = funnel.then("not of the solar system", len(rows))
        known = self._objects(objects)
        found = associate(seen[rows], known, radius=self.config.radius, max_sigma=self.config.max_sigma)
        separation[rows] = found.separation
        again, new = np.flatnonzero(found.object_row >= 0), np.flatnonzero(found.object_row < 0)
        object_ids = np.zeros(len(ids), dtype=np.int64)
        object_ids[rows[again]] = np.asarray(objects["id"], dtype=np.int64)[found.object_row[again]]
        object_ids[rows[new]] = ids[rows[new]]
        if len(objects) and (both := np.intersect1d(ids[rows[new]], np.asarray(objects["id"]))).size:
            raise InputError(f"An object {both[0]} is there already, and a candidate of this image has its number.")
        changed = _updated(objects, known, seen[rows], found.object_row, mjd=mjd)
        made = _new_objects(ids[rows[new]], seen[rows[new]], mjd=mjd)
        self.metadata.count("new_objects", len(new))
        self.log.info(
            "associated", candidates=len(ids), bodies=int(np.sum(names != "")), again=len(again), new=len(new)
        )
        return AssociateResult(
            object_ids=object_ids,
            solar_system=names.astype(str) if len(names) else np.empty(0, dtype="U1"),
            separation=separation,
            objects=_joined(changed, made),
            gates=(Gate("new_objects", float(len(new)), sense="max", warn=float(self.config.warn_new), n=len(ids)),),
            funnel=funnel.then("new", len(new)),
        )

    def _positions(self, table: Table, what: str) -> SkyPositions:
        ra, dec = (column_values(table, name, "deg", of=what) for name in ("ra", "dec"))
        errors = [
            column_values(table, name, "deg", of=what) if name in table.colnames else np.full(len(table), np.nan)
            for name in ("ra_err", "dec_err")
        ]
        return sky_positions(ra, dec, *errors, floor=self.config.error_floor, fallback=self.config.fallback_error)

    def _objects(self, objects: Table) -> SkyPositions:
        """Return where objects are; their errors contain the floor already."""
        values = [column_values(objects, name, "deg", of="objects") for name in ("ra", "dec", "ra_err", "dec_err")]
        return sky_positions(*values, floor=0.0, fallback=self.config.fallback_error)

    def _match_bodies(
        self,
        seen: SkyPositions,
        bodies: Table,
        names: NDArray[np.object_],
        separation: NDArray[np.float64],
        rows: NDArray[np.intp],
    ) -> NDArray[np.bool_]:
        """Write names and separations of bodies into those of ``rows``; return which were one."""
        ra, dec = (column_values(bodies, name, "deg", of="bodies of the solar system") for name in ("ra", "dec"))
        stated = (
            column_values(bodies, "position_error", "arcsec", of="bodies of the solar system") / 3600.0
            if "position_error" in bodies.colnames
            else np.full(len(bodies), np.nan)
        )
        good = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
        predicted = sky_positions(
            ra[good], dec[good], stated[good], stated[good], floor=0.0, fallback=self.config.solar_system_error
        )
        found = associate(seen, predicted, radius=self.config.solar_system_radius, max_sigma=self.config.max_sigma)
        taken = found.object_row >= 0
        names[rows[taken]] = np.asarray(bodies["name"], dtype=str)[good[found.object_row[taken]]]
        separation[rows[taken]] = found.separation[taken]
        return taken


def column_values(table: Table, name: str, unit: str, *, of: str) -> NDArray[np.float64]:
    """Return a column as numbers in a unit; what is masked is NaN, and a column without a unit has it already.

    Parameters
    ----------
    table
    name
    unit
        In astropy's spelling.
    of
        What the table holds, in the plural, for the error.

    Raises
    ------
    InputError
        If there is no such column, or its unit is of another kind.
    """
    if name not in table.colnames:
        raise InputError(f"The table of {of} has no column {name!r}; it has {', '.join(table.colnames) or 'none'}.")
    column = table[name]
    values = column.filled(np.nan) if isinstance(column, MaskedColumn) and column.dtype.kind == "f" else column
    numbers = np.array(getattr(values, "value", values), dtype=np.float64)
    try:
        factor = 1.0 if not column.unit else u.Unit(column.unit).to(unit)
    except u.UnitConversionError as error:
        raise InputError(f"The column {name!r} of the table of {of} is in {column.unit}, not in {unit}.") from error
    return numbers * factor


def empty_objects() -> Table:
    """Return a table of objects without rows."""
    return _table({name: np.empty(0) for name in OBJECT_COLUMNS})


def _updated(
    objects: Table, known: SkyPositions, seen: SkyPositions, object_row: NDArray[np.int64], *, mjd: float
) -> Table:
    again = np.flatnonzero(object_row >= 0)
    rows = object_row[again]
    mean = combine_positions(known[rows], seen[again])
    before = {
        name: np.asarray(objects[name])[rows] if len(objects) else np.empty(0)
        for name in ("id", "n_detections", "first_mjd", "last_mjd")
    }
    return _table(
        {
            "id": before["id"],
            **_placed(mean),
            "n_detections": before["n_detections"] + 1,
            "first_mjd": np.fmin(before["first_mjd"], mjd),
            "last_mjd": np.fmax(before["last_mjd"], mjd),
        }
    )


def _new_objects(ids: NDArray[np.int64], seen: SkyPositions, *, mjd: float) -> Table:
    n = len(ids)
    times = {"first_mjd": np.full(n, mjd), "last_mjd": np.full(n, mjd)}
    return _table({"id": ids, **_placed(seen), "n_detections": np.ones(n), **times})


def _placed(places: SkyPositions) -> dict[str, NDArray[np.float64]]:
    errors = [np.sqrt(variance) / 3600.0 for variance in (places.east_variance, places.north_variance)]
    return {"ra": places.ra, "dec": places.dec, "ra_err": errors[0], "dec_err": errors[1]}


def _table(values: dict[str, NDArray[np.generic]]) -> Table:
    return Table(
        [
            Column(np.asarray(values[name]).astype(kind), name=name, unit=unit)
            for name, (kind, unit) in OBJECT_COLUMNS.items()
        ]
    )


def _joined(first: Table, second: Table) -> Table:
    both = {name: np.concatenate([np.asarray(first[name]), np.asarray(second[name])]) for name in OBJECT_COLUMNS}
    return _table(both)
