"""Keep what images detected, so that the objects depend on what was seen, and not on the order in which images came.

Objects are defined by the detections alone: images in the order of their time, each associated with the objects that
the earlier ones made. An image that is later than all others is simply associated. For one that comes late, or again
with other detections, the objects around its detections are made anew from their detections in the order of time.
How far "around" reaches is exact: the mean of an object lies within ``reach`` of its latest detection, since that
detection joined it from within ``reach`` and drew it nearer. So two detections matter to each other only if a chain of
detections, each within twice ``reach`` of the next, links them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from astropy.coordinates import angular_separation
from astropy.table import Column, Table, vstack
from numpy.typing import NDArray

from firstlight.algorithms.association import are_near
from firstlight.errors import RepoError
from firstlight.framework import Gate
from firstlight.repo import objects as store
from firstlight.repo.object_schema import detection, sky_object
from firstlight.repo.objects import Connection, VisitKey
from firstlight.repo.repo import Repo

SCORES = ("real_score", "score", "reliability", "rb")
"""Columns of candidates that may hold a probability of being real; the first that there is counts."""

OPTIONAL = ("ra_err", "dec_err", "flux", "flux_err", "snr", "score")
"""Columns of detections that may be missing; they are NaN then."""


class AssociateOutcome(Protocol):
    """What an `Associate` returns, such as an ``AssociateResult``."""

    @property
    def object_ids(self) -> NDArray[np.int64]:
        """(n,) Object of each candidate; 0 for none."""

    @property
    def solar_system(self) -> NDArray[np.str_]:
        """(n,) Body that each candidate is; empty for none."""

    @property
    def objects(self) -> Table:
        """Objects that are new or changed."""

    @property
    def gates(self) -> tuple[Gate, ...]:
        """How well it went."""


class Associate(Protocol):
    """Anything that finds objects of candidates, such as ``AssociateTask``."""

    @property
    def reach(self) -> float:
        """Largest distance of a candidate from its object [arcsec]."""

    @property
    def config(self) -> Any:
        """Its settings."""

    def run(
        self, candidates: Table, objects: Table, *, mjd: float, solar_system: Table | None = None
    ) -> AssociateOutcome:
        """Find the objects of the candidates of one image."""


@dataclass(frozen=True)
class VisitOutcome:
    """What became of the detections of one image."""

    changed: bool
    """False if the same ones had been kept already."""

    n_detections: int
    """How many have a position and are kept."""

    n_new: int
    """How many objects were first seen in this image."""

    n_bodies: int
    """How many are known bodies of the solar system."""

    n_sorted_anew: int
    """How many earlier detections were associated again, because the image came late or again."""

    gates: tuple[Gate, ...] = ()


def add_visit(
    repo: Repo,
    associate: Associate,
    candidates: Table,
    *,
    key: VisitKey,
    band: str | None = None,
    solar_system: Table | None = None,
) -> VisitOutcome:
    """Keep the candidates of one image and find their objects, all in one transaction.

    Parameters
    ----------
    repo
    associate
        Finds the objects.
    candidates
        With ``id``, ``ra`` and ``dec`` [deg] and, where known, ``ra_err``, ``dec_err`` along the sky [deg],
        ``psf_flux`` and ``psf_flux_err`` or ``flux`` and ``flux_err`` [nJy], ``snr``, ``is_negative``
        and one of `SCORES`.
    key
        The image.
    band
    solar_system
        Where known bodies are predicted at that time: ``name``, ``ra``, ``dec`` [deg].

    Raises
    ------
    RepoError
        If other images were associated with other settings.
    """
    detections = _as_detections(candidates, key)
    checksum, settings = _checksum(detections, solar_system), _settings(associate)
    with repo.database.write(exclusive=True) as connection:
        store.make_tables(connection)
        _require_settings(repo, connection, settings)
        kept = store.kept_visit(connection, key)
        if kept == (checksum, settings):
            return VisitOutcome(changed=False, n_detections=len(detections), n_new=0, n_bodies=0, n_sorted_anew=0)
        if kept is None and not store.any_later(connection, key):
            outcome = _append(connection, associate, detections, key, band, solar_system)
        else:
            outcome = _sort_anew(connection, associate, detections, key, band, solar_system)
        store.save_visit(connection, key, band=band, checksum=checksum, settings=settings, n_detections=len(detections))
    return outcome


def require_same_settings(repo: Repo, associate: Associate) -> None:
    """Refuse settings that differ from those by which the objects of a repository were found.

    Raises
    ------
    RepoError
        If they differ.
    """
    with repo.database.read() as connection:
        if store.has_tables(connection):
            _require_settings(repo, connection, _settings(associate))


def _require_settings(repo: Repo, connection: Connection, settings: str) -> None:
    if store.other_settings(connection, settings):
        raise RepoError(
            f"Objects of {repo.root} were found with other settings of association; use the same ones, or keep "
            "objects found with others in another repository."
        )


def _append(
    connection: Connection,
    associate: Associate,
    detections: Table,
    key: VisitKey,
    band: str | None,
    solar_system: Table | None,
) -> VisitOutcome:
    """Associate an image that is later than everything that was kept."""
    ra, dec = np.asarray(detections["ra"]), np.asarray(detections["dec"])
    objects = store.objects_near(connection, ra, dec, radius=associate.reach)
    result = associate.run(detections, objects, mjd=key.mjd, solar_system=solar_system)
    _name(detections, result)
    store.save_detections(connection, detections, key=key, band=band)
    store.save_objects(connection, result.objects)
    return _outcome(detections, result, n_sorted_anew=0)


def _sort_anew(
    connection: Connection,
    associate: Associate,
    detections: Table,
    key: VisitKey,
    band: str | None,
    solar_system: Table | None,
) -> VisitOutcome:
    """Make the objects around the detections of an image anew, in the order of time."""
    before = store.detections_of_visit(connection, key)
    places = [np.concatenate([np.asarray(each[name]) for each in (before, detections)]) for name in ("ra", "dec")]
    around = _linked(connection, places[0], places[1], reach=associate.reach)
    around = around[~_of_visit(around, key)]
    gone = np.concatenate([np.asarray(each["object_id"]) for each in (around, before)])
    store.forget_objects(connection, gone[gone != 0])
    store.forget_detections(connection, key)
    times = {VisitKey(*each) for each in zip(*(around[name] for name in VisitKey._fields), strict=True)}
    objects, result = store.without_rows(sky_object), None
    heirs: list[tuple[int, int]] = []
    for each in sorted(times | {key}):
        if each == key:
            seen, bodies = detections, solar_system
        else:
            seen, bodies = around[_of_visit(around, each)], None
        found = associate.run(seen, objects, mjd=each.mjd, solar_system=bodies)
        objects = _replaced(objects, found.objects)
        if each == key:
            _name(detections, found)
            heirs += _seen_again(before, detections, reach=associate.reach)
            result = found
        else:
            heirs += zip(seen["object_id"].tolist(), found.object_ids.tolist(), strict=True)
            moved = found.object_ids != np.asarray(seen["object_id"])
            store.change_objects(connection, np.asarray(seen["id"])[moved], found.object_ids[moved])
    assert result is not None  # noqa: S101 - the loop runs over `key` too
    store.save_detections(connection, detections, key=key, band=band)
    store.save_objects(connection, objects)
    # An object becomes the one that the earliest of its detections belongs to.
    store.move_fluxes(connection, dict.fromkeys(gone[gone != 0].tolist(), 0) | dict(reversed(heirs)))
    return _outcome(detections, result, n_sorted_anew=len(around))


def _seen_again(before: Table, detections: Table, *, reach: float) -> list[tuple[int, int]]:
    """Return the objects before and now of detections that have the same number and, within ``reach`` [arcsec], place.

    Numbers count the detections of an image: processed again, it may have another star under the same number.
    """
    before = before[np.asarray(before["object_id"]) != 0]
    _, old, new = np.intersect1d(before["id"], detections["id"], assume_unique=True, return_indices=True)
    places = [np.radians(np.asarray(each[name])) for each in (before[old], detections[new]) for name in ("ra", "dec")]
    near = np.degrees(angular_separation(*places)) * 3600.0 <= reach
    return list(zip(before["object_id"][old][near].tolist(), detections["object_id"][new][near].tolist(), strict=True))


def _linked(connection: Connection, ra: NDArray[np.float64], dec: NDArray[np.float64], *, reach: float) -> Table:
    """Return all detections that chains of steps of twice ``reach`` [arcsec] link to places."""
    found = store.without_rows(detection)
    while len(ra):
        near = store.detections_near(connection, ra, dec, radius=2.0 * reach)
        new = are_near(np.asarray(near["ra"]), np.asarray(near["dec"]), to=(ra, dec), radius=2.0 * reach)
        new &= ~np.isin(np.asarray(near["id"]), np.asarray(found["id"]))
        near = near[new]
        found = vstack([found, near], join_type="exact") if len(near) else found
        ra, dec = np.asarray(near["ra"]), np.asarray(near["dec"])
    return found


def _as_detections(candidates: Table, key: VisitKey) -> Table:
    """Return the candidates that have a position, in the columns of the store, in the order of their numbers."""
    ra, dec = (_numbers(candidates, name) for name in ("ra", "dec"))
    rows = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    sources = np.asarray(candidates["id"], dtype=np.int64)[rows] if len(rows) else np.empty(0, np.int64)
    rows, sources = rows[order := np.argsort(sources, kind="stable")], sources[order]
    if len(np.unique(sources)) < len(sources):
        raise RepoError(f"Two candidates of {key.instrument} visit {key.visit} have the same number.")
    names = set(candidates.colnames)
    other = {"flux": "psf_flux", "flux_err": "psf_flux_err"} if "flux" not in names else {}
    other["score"] = next((name for name in SCORES if name in names), "score")
    columns = {name: _numbers(candidates, other.get(name, name))[rows] for name in OPTIONAL}
    negative = (
        np.asarray(candidates["is_negative"], dtype=bool)[rows] if "is_negative" in names else columns["flux"] < 0
    )
    return Table(
        {
            "id": store.detection_ids(key, sources),
            "source_id": sources,
            "ra": Column(ra[rows], unit="deg"),
            "dec": Column(dec[rows], unit="deg"),
            **{name: Column(values, unit=store.UNITS.get(name)) for name, values in columns.items()},
            "is_negative": negative,
        }
    )


def _numbers(table: Table, name: str) -> NDArray[np.float64]:
    """Return a column in the unit of the store; NaN where there is no such column."""
    if name not in table.colnames:
        return np.full(len(table), np.nan)
    column, unit = table[name], store.UNITS.get(name.removeprefix("psf_"))
    values = np.ma.filled(np.ma.asarray(getattr(column, "value", column), dtype=np.float64), np.nan)
    return np.asarray(values) * (column.unit.to(unit) if column.unit and unit else 1.0)


def _name(detections: Table, result: AssociateOutcome) -> None:
    detections["object_id"] = result.object_ids
    detections["solar_system"] = result.solar_system


def _of_visit(table: Table, key: VisitKey) -> NDArray[np.bool_]:
    same = np.ones(len(table), dtype=bool)
    for name in ("instrument", "visit", "detector"):
        same &= np.asarray(table[name]) == getattr(key, name)
    return same


def _replaced(objects: Table, changed: Table) -> Table:
    """Return the objects with those that changed as they are now, and those that are new."""
    stay = objects[~np.isin(np.asarray(objects["id"]), np.asarray(changed["id"]))]
    return vstack([stay[changed.colnames], changed], join_type="exact") if len(stay) else changed


def _outcome(detections: Table, result: AssociateOutcome, *, n_sorted_anew: int) -> VisitOutcome:
    return VisitOutcome(
        changed=True,
        n_detections=len(detections),
        n_new=int(np.sum(result.object_ids == np.asarray(detections["id"]))),
        n_bodies=int(np.sum(result.solar_system != "")),
        n_sorted_anew=n_sorted_anew,
        gates=result.gates,
    )


def _checksum(detections: Table, solar_system: Table | None) -> str:
    """Return a key of what is to be kept; equal keys mean equal content."""
    digest = hashlib.blake2b(digest_size=16)
    for table in (detections,) if solar_system is None else (detections, solar_system):
        for name in sorted(table.colnames):
            values = np.asarray(table[name])
            digest.update(f"{name}:{values.dtype.kind}".encode())
            digest.update(values.tobytes() if values.dtype.kind in "biuf" else "\n".join(map(str, values)).encode())
    return digest.hexdigest()


def _settings(associate: Associate) -> str:
    """Return a key of everything that objects depend on; limits of warnings do not count."""
    name = f"{type(associate).__module__}:{type(associate).__qualname__}"
    values = associate.config.model_dump(mode="json").items()
    settings = json.dumps({name: value for name, value in values if not name.startswith("warn_")}, sort_keys=True)
    return hashlib.blake2b(f"{name} {settings}".encode(), digest_size=16).hexdigest()
