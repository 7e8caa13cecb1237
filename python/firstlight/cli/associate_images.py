"""The work of ``firstlight associate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from firstlight.cli.candidate_steps import AssociateImagesConfig, candidate_check
from firstlight.cli.pipeline_options import SettingsOptions, layers_of
from firstlight.errors import InputError, NoWorkFound
from firstlight.execution.association import VisitOutcome
from firstlight.execution.follow import associate_candidates, key_of, read_candidates, rejected_counts
from firstlight.execution.forced_fluxes import add_forced_fluxes
from firstlight.framework import build_config
from firstlight.images.exposure import Exposure
from firstlight.refcats.known_objects import KnownObjects
from firstlight.repo.objects import VisitKey
from firstlight.repo.records import VisitRecord, visits
from firstlight.repo.repo import Repo
from firstlight.tasks.measure_place import MeasurePlaceTask

Counts = dict[str, object]


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
    task, check = config.associate.make(), candidate_check(config, known)
    found = repo.datasets(images.type_name, collections=images.collections, where=images.where)
    if not found:
        raise NoWorkFound(f"There is no {images.type_name} in {', '.join(images.collections) or 'any run'}.")
    records = {(each.instrument, each.visit): each for each in visits(repo)}
    known_keys = [(key_of(row, records), row) for row in found]
    rows: list[Counts] = []
    reasons: dict[str, str] = {}
    for key, row in sorted(known_keys, key=lambda pair: pair[0]):
        checked = check(read_candidates(repo, row), key.mjd)
        band = records[key.instrument, key.visit].band
        outcome = associate_candidates(repo, task, checked, key=key, band=band)
        rows.append(_counts(key, len(checked.candidates), outcome, rejected_counts(checked)))
        reasons |= checked.not_done
    notes = [f"{name} not checked: {why}" for name, why in reasons.items()]
    if images.forced:
        notes.append(_measured(repo, config.forced_fluxes.make(), images.forced, images, records))
    return rows, notes


def _measured(
    repo: Repo,
    measure: MeasurePlaceTask,
    type_name: str,
    images: ImagesToAssociate,
    records: dict[tuple[str, int], VisitRecord],
) -> str:
    """Measure images at all objects, once these are all there; return how much was done."""
    total = 0
    found = repo.datasets(type_name, collections=images.collections, where=images.where)
    for row in found:
        key, image = key_of(row, records), repo.read(row)
        if not isinstance(image, Exposure):
            raise InputError(f"{type_name} holds no images.")
        total += add_forced_fluxes(repo, measure, key, image, band=records[key.instrument, key.visit].band)
    return f"{total} fluxes measured at the places of objects, on {len(found)} images"


def _counts(key: VisitKey, n_candidates: int, outcome: VisitOutcome, rejected: Mapping[str, int]) -> Counts:
    counts: Counts = {**key._asdict(), "candidates": n_candidates, "kept": outcome.n_detections}
    return {"mjd_tai": counts.pop("mjd"), **counts} | {
        "bodies": outcome.n_bodies,
        "new_objects": outcome.n_new,
        "sorted_anew": outcome.n_sorted_anew,
        "state": "done" if outcome.changed else "was there",
        "gates": ", ".join(gate.name for gate in outcome.gates if gate.status != "ok"),
        "rejected_by": " ".join(f"{name}={number}" for name, number in rejected.items()),
    }
