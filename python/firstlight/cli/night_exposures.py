"""The exposures of a night, from the log of `watch` where there is one, and from the records of the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from firstlight.execution.follow_log import FollowedImage, FollowLog, alerts_of
from firstlight.execution.night_log import NightEntry, NightLog
from firstlight.execution.run import runs_of
from firstlight.execution.run_folder import RunFolder
from firstlight.execution.watch import ILL, OBJECTS
from firstlight.qa.night import DONE, FAILED, SET_ASIDE, NightExposure
from firstlight.repo.records import VisitRecord, exposures, visits
from firstlight.repo.repo import Repo
from firstlight.repo.rows import QuantumRow
from firstlight.repo.summaries import VisitSummary, visit_summaries

Place = tuple[str, int]
"""Instrument and number of a visit, or of an exposure that is one."""

HALF_A_DAY_S = 43200.0
"""A file that nobody can read belongs to the night whose files arrived within so long of it."""


def night_exposures(
    repo: Repo, output: str, day_obs: int, *, night: NightLog, followed: FollowLog
) -> list[NightExposure]:
    """Return what became of each exposure of a night.

    Parameters
    ----------
    repo, output, day_obs
    night
        The log of `watch`; empty where nobody watched.
    followed
        What was done with the candidates.
    """
    where = f"day_obs = {day_obs}"
    records = {(each.instrument, each.visit): each for each in visits(repo, where)}
    mine = set(records) | {(each.instrument, each.exposure) for each in exposures(repo, where)}
    summaries = visit_summaries(repo, {number for _, number in mine})
    images: dict[Place, list[FollowedImage]] = {}
    for image in followed.entries.values():
        images.setdefault((image.instrument, image.visit), []).append(image)
    found: list[NightExposure] = []
    watched = {place: entry for entry in night.entries.values() if (place := _place(entry)) in mine}
    for place, entry in watched.items():
        exposure = _of_entry(entry)
        found.append(_with_facts(exposure, records.get(place), summaries.get(place), images.get(place, ())))
    found += [_of_entry(entry) for entry in _set_aside(night, list(watched.values()))]
    for place, rows in _quanta(repo, output, mine - set(watched)).items():
        exposure = _of_quanta(place, rows)
        found.append(_with_facts(exposure, records.get(place), summaries.get(place), images.get(place, ())))
    return found


def _place(entry: NightEntry) -> Place:
    return entry.instrument, -1 if entry.exposure is None else entry.exposure


def _set_aside(night: NightLog, own: Sequence[NightEntry]) -> list[NightEntry]:
    """Return the files without a night of their own that arrived when those of the night did."""
    if not own:
        return []
    begin, end = (choose(each.arrived for each in own) for choose in (min, max))
    unknown = [each for each in night.entries.values() if each.status == SET_ASIDE]
    return [each for each in unknown if begin - HALF_A_DAY_S <= each.arrived <= end + HALF_A_DAY_S]


def _of_entry(entry: NightEntry) -> NightExposure:
    return NightExposure(
        entry.file, latency=entry.latency, status=entry.status, reason=entry.reason, seconds=dict(entry.seconds)
    )


def _quanta(repo: Repo, output: str, places: set[Place]) -> dict[Place, list[QuantumRow]]:
    """Return what was done for exposures in the order of the steps, each piece of work in its newest state."""
    if not places or not repo.collections(output):
        return {}
    found: dict[Place, dict[tuple[str, str], QuantumRow]] = {}
    for run in runs_of(repo, output):
        for row in repo.quanta(run):
            about: Mapping[str, object] = row.record.get("data_id", {})
            number = about.get("visit", about.get("exposure"))
            place = (str(about.get("instrument", "")), number if isinstance(number, int) else -1)
            if place in places:
                found.setdefault(place, {}).setdefault((row.label, row.data_key), row)
    order = [label for run in runs_of(repo, output) for label in RunFolder(repo.root, run).about().get("steps", {})]
    return {
        place: sorted(rows.values(), key=lambda row: order.index(row.label) if row.label in order else len(order))
        for place, rows in found.items()
    }


def _of_quanta(place: Place, rows: Sequence[QuantumRow]) -> NightExposure:
    ill = [row for row in rows if row.status in ILL]
    first = next((row for row in ill if row.status != "blocked"), None)
    error = {} if first is None else first.record.get("error") or {}
    seconds: dict[str, float] = {}
    for row in rows:
        seconds[row.label] = seconds.get(row.label, 0.0) + float(row.record.get("wall_s", 0.0))
    return NightExposure(
        str(place[1]),
        status=FAILED if ill else DONE,
        reason=f"{first.label}: {error.get('message', first.status)}" if first is not None else "",
        seconds=seconds,
    )


def _with_facts(
    exposure: NightExposure, record: VisitRecord | None, summary: VisitSummary | None, images: Sequence[FollowedImage]
) -> NightExposure:
    trouble = next((image.trouble for image in images if image.trouble), "")
    if trouble and exposure.status == DONE:
        exposure = replace(exposure, status=FAILED, reason=f"{OBJECTS}{trouble}")
    images = [image for image in images if not image.error]
    if record is not None:
        exposure = replace(
            exposure,
            mjd=record.mjd_tai,
            band=record.band or record.physical_filter or "",
            target=record.object_name or "",
        )
    if summary is not None:
        exposure = replace(exposure, seeing=summary.seeing, zero_point=summary.zero_point, depth=summary.depth)
    if images:
        seconds = dict(exposure.seconds)
        for image in images:
            for step, spent in image.seconds.items():
                seconds.setdefault(step, spent)
        exposure = replace(
            exposure,
            n_candidates=sum(image.n_candidates for image in images),
            n_kept=sum(image.n_kept for image in images),
            n_new=sum(image.n_new for image in images),
            n_alerts=alerts_of(images),
            seconds=seconds,
        )
    return exposure
