"""The work of ``firstlight associate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from astropy.table import Table

from firstlight.cli.pipeline_options import SettingsOptions, layers_of
from firstlight.errors import InputError, NoWorkFound, ReferenceCatalogError, RepoError
from firstlight.execution.association import VisitOutcome, add_visit
from firstlight.execution.forced_fluxes import add_forced_fluxes
from firstlight.framework import Config, Subtask, build_config, plugins_of, subtask
from firstlight.images.catalog import read_catalog
from firstlight.images.exposure import Exposure
from firstlight.refcats.known_objects import (
    GEOCENTRE,
    MINOR_PLANETS,
    FirstKnownObjects,
    KnownObjects,
    LocalKnownObjects,
    OnlineKnownObjects,
)
from firstlight.repo.objects import VisitKey
from firstlight.repo.records import VisitRecord, visits
from firstlight.repo.repo import Repo
from firstlight.repo.rows import DatasetRow
from firstlight.tasks.associate import AssociateTask
from firstlight.tasks.candidate_checks import (
    FlagsCheckTask,
    KnownGalaxiesCheckTask,
    KnownStarsCheckTask,
    VariableStarsCheckTask,
)
from firstlight.tasks.filter_candidates import FilterCandidatesResult, FilterCandidatesTask, region_of

Counts = dict[str, object]


class AssociateImagesConfig(Config):
    """Settings of ``firstlight associate``, one label for each task."""

    filter: Subtask[FilterCandidatesTask] | None = subtask(
        FilterCandidatesTask,
        checks=plugins_of(
            flags=subtask(FlagsCheckTask),
            variable_stars=subtask(VariableStarsCheckTask, radius=2.0),
            stars=subtask(KnownStarsCheckTask),
            galaxies=subtask(KnownGalaxiesCheckTask, rejects=False),
        ),
    )
    """Says which candidates are worth associating; empty to take all. Bodies of the solar system are not rejected but
    kept under their names, without objects."""

    observatory: str = GEOCENTRE
    """Code of the Minor Planet Center of the telescope; from the geocentre an asteroid is off by arcseconds."""

    associate: Subtask[AssociateTask] = subtask(AssociateTask)
    """Finds objects."""


@dataclass(frozen=True)
class ImagesToAssociate:
    """Where the catalogues are.

    Parameters
    ----------
    collections
        Searched in this order.
    type_name
        Dataset type of the catalogues.
    where
        Condition on them; empty for all.
    forced
        Dataset type of the images that are measured at all objects; None for none.
    """

    collections: Sequence[str]
    type_name: str
    where: str = ""
    forced: str | None = None


def known_objects(given: Sequence[str], *, online: bool) -> KnownObjects:
    """Return what ``KIND=FILE`` and the network tell.

    Raises
    ------
    InputError
        If a text has another form, or a file cannot be read.
    """
    tables: dict[str, Table] = {}
    for text in given:
        kind, sign, path = text.partition("=")
        if not (kind and sign and path):
            raise InputError(f"--known takes KIND=FILE, such as stars=gaia.parquet; got {text!r}.")
        tables[kind] = read_catalog(Path(path))
    local = LocalKnownObjects(tables)
    return FirstKnownObjects([local, OnlineKnownObjects()]) if online else local


def associate_images(
    repo: Repo, images: ImagesToAssociate, given: SettingsOptions, known: KnownObjects
) -> tuple[list[Counts], list[str]]:
    """Associate all catalogues, in the order of time; return one row of counts for each and what a person must know.

    Raises
    ------
    NoWorkFound
        If there is no catalogue.
    RepoError
        If the time of a visit is not known.
    """
    config = build_config(AssociateImagesConfig, layers_of(given.config_files, given.settings))
    task, check = config.associate.make(), config.filter and config.filter.make()
    found = repo.datasets(images.type_name, collections=images.collections, where=images.where)
    if not found:
        raise NoWorkFound(f"There is no {images.type_name} in {', '.join(images.collections) or 'any run'}.")
    records = {(each.instrument, each.visit): each for each in visits(repo)}
    known_keys = [(_key(row, records), row) for row in found]
    rows: list[Counts] = []
    reasons: dict[str, str] = {}
    for key, row in sorted(known_keys, key=lambda pair: pair[0]):
        candidates = repo.read(row)
        if not isinstance(candidates, Table):
            raise InputError(f"{images.type_name} holds no catalogues.")
        filtered = check.run(candidates, mjd=key.mjd, known=known) if check else None
        kept = candidates if filtered is None else filtered.candidates[filtered.kept]
        bodies, why = _bodies(candidates, known, mjd=key.mjd, observatory=config.observatory)
        band = records[key.instrument, key.visit].band
        outcome = add_visit(repo, task, kept, key=key, band=band, solar_system=bodies)
        rows.append(_counts(key, len(candidates), outcome))
        reasons |= _rejections(filtered, rows[-1]) | ({MINOR_PLANETS: why} if why else {})
    notes = [f"{name} not checked: {why}" for name, why in reasons.items()]
    if images.forced:
        notes.append(_measured(repo, images.forced, images, records))
    return rows, notes


def _bodies(candidates: Table, known: KnownObjects, *, mjd: float, observatory: str) -> tuple[Table | None, str]:
    """Return the bodies of the solar system that are known around candidates, or None and why they are not known."""
    try:
        return known.find(MINOR_PLANETS, region_of(candidates, mjd=mjd, observatory=observatory)), ""
    except ReferenceCatalogError as error:
        return None, str(error)


def _measured(
    repo: Repo, type_name: str, images: ImagesToAssociate, records: dict[tuple[str, int], VisitRecord]
) -> str:
    """Measure images at all objects, once these are all there; return how much was done."""
    total = 0
    found = repo.datasets(type_name, collections=images.collections, where=images.where)
    for row in found:
        key, image = _key(row, records), repo.read(row)
        if not isinstance(image, Exposure):
            raise InputError(f"{type_name} holds no images.")
        total += add_forced_fluxes(repo, key, image, band=records[key.instrument, key.visit].band)
    return f"{total} fluxes measured at the places of objects, on {len(found)} images"


def _key(row: DatasetRow, records: dict[tuple[str, int], VisitRecord]) -> VisitKey:
    instrument, visit = str(row.data_id.get("instrument", "")), int(row.data_id.get("visit") or 0)
    record = records.get((instrument, visit))
    if record is None or record.mjd_tai is None:
        raise RepoError(f"The time of {instrument} visit {visit} is not known, so its candidates cannot be associated.")
    return VisitKey(record.mjd_tai, instrument, visit, int(row.data_id.get("detector") or 0))


def _counts(key: VisitKey, n_candidates: int, outcome: VisitOutcome) -> Counts:
    counts: Counts = {**key._asdict(), "candidates": n_candidates, "kept": outcome.n_detections}
    return {"mjd_tai": counts.pop("mjd"), **counts} | {
        "bodies": outcome.n_bodies,
        "new_objects": outcome.n_new,
        "sorted_anew": outcome.n_sorted_anew,
        "state": "done" if outcome.changed else "was there",
        "gates": ", ".join(gate.name for gate in outcome.gates if gate.status != "ok"),
    }


def _rejections(filtered: FilterCandidatesResult | None, counts: Counts) -> dict[str, str]:
    """Add how many candidates each check rejected to the counts; return the checks that could not be made."""
    by = "" if filtered is None else ",".join(filtered.candidates["rejected_by"])
    names = [name for name in by.split(",") if name]
    counts["rejected_by"] = " ".join(f"{name}={names.count(name)}" for name in sorted(set(names)))
    return {} if filtered is None else dict(filtered.not_done)
