"""Gather the alerts of a night: detections that are kept, the history of their objects, and stamps of the images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table

from firstlight.errors import RepoError
from firstlight.execution.association import SCORES
from firstlight.images.alert_packet import STAMPS, alert_packet, candidate_fields
from firstlight.images.alert_stamps import StampMaker
from firstlight.images.exposure import Exposure
from firstlight.repo.light_curves import DETECTION, FORCED, light_curves
from firstlight.repo.object_schema import associated
from firstlight.repo.objects import VisitKey, detections_of_visit, has_tables, select_rows
from firstlight.repo.records import visits
from firstlight.repo.repo import Repo

TOLD_ELSEWHERE = ("is_negative", "is_real", "kept")
"""Columns of candidates that are no flags of an alert."""


@dataclass(frozen=True)
class AlertSource:
    """Where the parts of alerts are.

    Parameters
    ----------
    collections
        Searched in this order.
    candidates, science, template, difference
        Dataset types; those that a repository does not have are left out of the alerts.
    size : [pixel]
        Side of the stamps; odd.
    history : [d]
        How far back detections are told.
    """

    collections: Sequence[str]
    candidates: str = "dia_source"
    science: str = "visit_image"
    template: str = "template_matched"
    difference: str = "difference_image"
    size: int = 63
    history: float = 365.0


@dataclass(frozen=True)
class AlertSubject:
    """One image whose detections are told.

    Parameters
    ----------
    key
    day_obs
        The night.
    candidates
        Its catalogue, with ``id``; None where there is none.
    images
        Kind of stamp -> image; only those that are there.
    runs
        Collections that made candidates and images.
    """

    key: VisitKey
    day_obs: int
    candidates: Table | None
    images: Mapping[str, Exposure]
    runs: Sequence[str]


def night_alerts(repo: Repo, day_obs: int, source: AlertSource) -> Iterator[dict[str, Any]]:
    """Yield the alerts of a night, in the order of time, detector and number of the detection.

    Raises
    ------
    RepoError
        If nothing of the night was associated.
    """
    with repo.database.read() as connection:
        kept = select_rows(connection, associated) if has_tables(connection) else Table({"visit": np.empty(0, int)})
    night = {(each.instrument, each.visit) for each in visits(repo, f"day_obs = {day_obs}")}
    keys = sorted(
        VisitKey(float(row["mjd"]), str(row["instrument"]), int(row["visit"]), int(row["detector"]))
        for row in kept
        if (str(row["instrument"]), int(row["visit"])) in night
    )
    if not keys:
        raise RepoError(
            f"No detections of the night {day_obs} are kept; 'firstlight associate -b {repo.root}' keeps them."
        )
    for key in keys:
        if not _is_seen(repo, key):
            continue
        images, runs = read_images(repo, key, source)
        table, run = find_product(repo, source.candidates, key, source.collections)
        runs = sorted({*runs, *([run] if run else [])})
        subject = AlertSubject(key, day_obs, table if isinstance(table, Table) else None, images, runs)
        yield from image_alerts(repo, subject, source)


def _is_seen(repo: Repo, key: VisitKey) -> bool:
    with repo.database.read() as connection:
        return len(detections_of_visit(connection, key)) > 0


def image_alerts(repo: Repo, subject: AlertSubject, source: AlertSource) -> Iterator[dict[str, Any]]:
    """Yield the alerts of one image that is associated, in the order of the number of the detection."""
    with repo.database.read() as connection:
        seen = detections_of_visit(connection, subject.key)
    if not len(seen):
        return
    candidates, images = subject.candidates, subject.images
    rows = {} if candidates is None else {int(each): row for row, each in enumerate(candidates["id"])}
    provenance = {
        "day_obs": subject.day_obs,
        "collections": list(source.collections),
        "runs": list(subject.runs),
    }
    makers = {kind: StampMaker(image, source.size) for kind, image in images.items()}
    curves = _curves(repo, seen["object_id"].tolist())
    wcs = next((image.wcs for image in images.values() if image.wcs is not None), None)
    for each in seen[np.argsort(np.asarray(seen["source_id"]), kind="stable")]:
        row = {name: _plain(each[name]) for name in seen.colnames}
        own = rows.get(row["source_id"])
        extra = (
            {} if candidates is None or own is None else dict(zip(candidates.colnames, candidates[own], strict=True))
        )
        # Images share their pixels.
        x, y = (np.nan, np.nan) if wcs is None else wcs.sky_to_pixel(ra=row["ra"], dec=row["dec"])
        row |= {"x": float(x), "y": float(y)}
        yield _alert(row, extra, makers, curves.get(row["object_id"], ()), provenance, source)


def _alert(
    row: Mapping[str, Any],
    extra: Mapping[str, Any],
    makers: Mapping[str, StampMaker],
    curve: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Any],
    source: AlertSource,
) -> dict[str, Any]:
    past = [each for each in curve if row["mjd"] - source.history <= each["mjd"] < row["mjd"]]
    history, forced = ([each for each in past if each["kind"] == kind] for kind in (DETECTION, FORCED))
    scored = next((name for name in SCORES if _known(extra.get(name))), None)
    if scored and not np.isfinite(row["score"]):
        row = {**row, "score": float(extra[scored])}
    flags = [name for name, value in extra.items() if isinstance(value, bool | np.bool_) and value]
    flags = [name for name in flags if name not in TOLD_ELSEWHERE]
    return alert_packet(
        candidate_fields(
            {**row, "score_by": extra.get("score_version", "")},
            history=history,
            flags=flags,
            notes=str(extra.get("notes", "")),
        ),
        object_id=int(row["object_id"]),
        history=history,
        forced=forced,
        stamps={kind: makers[kind].stamp(x=row["x"], y=row["y"]) if kind in makers else None for kind in STAMPS},
        provenance=provenance,
    )


def _curves(repo: Repo, object_ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """Return object -> its detections, with their numbers, and fluxes at its place; none for a body (number 0)."""
    table = light_curves(repo, set(object_ids) - {0})
    curves: dict[int, list[dict[str, Any]]] = {}
    for values in zip(*(table[name].tolist() for name in table.colnames), strict=True):
        row = dict(zip(table.colnames, values, strict=True))
        curves.setdefault(row["object_id"], []).append({**row, "id": row["detection_id"] or None})
    return curves


def read_images(repo: Repo, key: VisitKey, source: AlertSource) -> tuple[dict[str, Exposure], list[str]]:
    """Return the images that are there, by kind of stamp, and the runs that made them."""
    images, runs = {}, []
    for kind, name in zip(STAMPS, (source.science, source.template, source.difference), strict=True):
        found, run = find_product(repo, name, key, source.collections)
        if isinstance(found, Exposure):
            images[kind] = found
            runs.append(run)
    return images, runs


def find_product(repo: Repo, type_name: str, key: VisitKey, collections: Sequence[str]) -> tuple[object, str]:
    """Return what was made of an image, and the run that made it; None where there is nothing."""
    if type_name not in repo.type_names():
        return None, ""
    where = f"instrument = '{key.instrument}' and visit = {key.visit} and detector = {key.detector}"
    rows = repo.datasets(type_name, collections=collections, where=where)
    return (repo.read(rows[0]), rows[0].run) if rows else (None, "")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _known(value: Any) -> bool:
    return isinstance(value, float | np.floating) and bool(np.isfinite(value))
