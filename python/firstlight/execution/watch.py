"""Take the images of a night as they arrive: bring them into a repository and run a pipeline over them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from firstlight.execution.driver import BAD, DriverOptions
from firstlight.execution.executor import Executor
from firstlight.execution.follow import LATE, Follower
from firstlight.execution.follow_log import FollowedImage, alerts_of
from firstlight.execution.inbox import Inbox
from firstlight.execution.night_log import DONE, FAILED, SET_ASIDE, WAITING, NightEntry, NightLog
from firstlight.execution.plan import Plan
from firstlight.execution.run import Prepared, RunRequest, plan_for, run_pipeline, runs_of
from firstlight.execution.run_folder import RunFolder
from firstlight.execution.schedule import Place, place_of
from firstlight.execution.stopping import StopRequest
from firstlight.execution.work import Record
from firstlight.framework import BuiltPipeline
from firstlight.repo.ingest import Mode, ingest
from firstlight.repo.repo import Repo
from firstlight.repo.summaries import visit_summaries
from firstlight.repo.translated import Translate, Translated

ILL = frozenset({*BAD, "partial", "blocked"})
"""How work ends on an image that something is wrong with."""

NO_STEP = "no step of the pipeline takes it"
"""Why an image waits of which nothing says why it is left out."""

OBJECTS = "objects: "
"""Stands before the reason why an image could not be followed."""


@dataclass(frozen=True)
class WatchSettings:
    """What is done with the images.

    Parameters
    ----------
    pipeline, output, inputs, where, source
        As for `firstlight.execution.run.plan_for`.
    options
        Of the driver.
    ingest_mode
        As for `firstlight.repo.ingest.ingest`.
    """

    pipeline: BuiltPipeline
    output: str
    inputs: tuple[str, ...]
    where: str
    source: str
    options: DriverOptions
    ingest_mode: Mode = "copy"


@dataclass
class Watcher:
    """The state of a night; each `look` does what there is to do.

    Killed at any moment it goes on where it was: what is ingested is in the repository, what is done is done.

    Parameters
    ----------
    repo, inbox, log, settings
    translate
        Reads headers.
    executor
        Makes an executor for a round of work.
    tell
        Called with each entry whose status has changed.
    follower
        Finds objects and writes alerts; None where nothing follows the tasks.
    changed
        Called with the entries whose status has changed, once their results are kept.
    stop
        Whether somebody wants the end.
    """

    repo: Repo
    inbox: Inbox
    log: NightLog
    settings: WatchSettings
    translate: Translate
    executor: Callable[[], Executor]
    tell: Callable[[NightEntry], None]
    follower: Follower | None = None
    changed: Callable[[Sequence[NightEntry]], None] | None = None
    stop: StopRequest = field(default_factory=StopRequest)
    plan: Plan | None = None
    """The last one that was made."""

    _headers: dict[Path, Sequence[Translated]] = field(default_factory=dict)
    _is_first: bool = True
    _is_late_left: bool = True

    def look(self) -> int:
        """Take in what has arrived and run the pipeline over it; return the number of new images.

        Where there are none, and what an earlier night left for later is not done yet, that is done until some come.

        Raises
        ------
        UserError
            If the pipeline cannot be planned, or another driver holds the output.
        OSError
            If the folder cannot be read.
        """
        files = self.inbox.finished(time.time())
        added = self._ingest(files) if files else 0
        if added or (self._is_first and self.repo.collections("raw/*")):
            self._run()
        self._is_first = False
        if not added and self._is_late_left:
            late = self._measure_late(lambda: self.stop.is_asked() or self.inbox.has_new())
            self._changed([entry for entry in self.log.entries.values() if _place_of(entry) in late])
        return added

    def close(self) -> None:
        """Say that the night is over: the RUN is finished, and what comes later goes into another one.

        Images are measured at the objects that were found after them; one that cannot be has failed. Where the end is
        asked for this is left to the next start.
        """
        self._measure_late(self.stop.is_asked)
        self._changed(list(self.log.entries.values()))
        for run in runs_of(self.repo, self.settings.output)[:1]:
            folder = RunFolder(self.repo.root, run)
            if not folder.is_finished:
                folder.finish(self.log.counts())

    def _measure_late(self, stop: Callable[[], bool]) -> set[Place]:
        """Measure images at the objects that were found after them, and return the exposures they belong to."""
        if self.follower is None:
            return set()
        places = {(image.instrument, image.visit) for image in self.follower.finish(stop=stop)}
        self._is_late_left = stop()
        if places:
            self._note_late(places, self.follower.log.entries.values())
        return places

    def _note_late(self, places: set[Place], images: Iterable[FollowedImage]) -> None:
        """Write down which images could not be measured at the end of the night, and which can be again."""
        why: dict[Place, str] = {}
        for image in images:
            if image.late_error:
                why.setdefault((image.instrument, image.visit), f"{OBJECTS}{image.late_error}")
        for entry in self.log.entries.values():
            place = _place_of(entry)
            if place not in places:
                continue
            if place in why and entry.status == DONE:
                entry.status, entry.reason = FAILED, why[place]
                self.tell(entry)
            elif place not in why and entry.reason.startswith(f"{OBJECTS}{LATE}"):
                entry.status, entry.reason = DONE, ""
                self.tell(entry)
        self.log.save()

    def _ingest(self, files: Sequence[Path]) -> int:
        report = ingest(
            self.repo, files, translate=self._remembered, run=None, mode=self.settings.ingest_mode, dry_run=False
        )
        for path, reason in report.rejected:
            self._set_aside(path, reason)
        for path in (*report.added, *report.there_already):
            entry = self._entry(path)
            if entry.status in (WAITING, SET_ASIDE):
                first = self._headers[path][0].observation
                entry.status, entry.reason, entry.ended = WAITING, "", None
                entry.instrument, entry.exposure = first.instrument or "", first.exposure_id
        self.log.save()
        return len(report.added)

    def _remembered(self, path: Path) -> Sequence[Translated]:
        self._headers[path] = self.translate(path)
        return self._headers[path]

    def _inputs(self) -> tuple[str, ...]:
        """Return where inputs are looked for: where the settings say, and among what was taken in."""
        named = self.settings.inputs
        taken_in = (each.name for each in self.repo.collections("raw/*") if each.kind == "RUN")
        return (*named, *(name for name in taken_in if name not in named)) if named else ()

    def _run(self) -> None:
        """Plan everything and do what is left of it."""
        work = _Round()

        def begin(prepared: Prepared) -> None:
            self.plan = prepared.plan
            work.begin(prepared)

        request = RunRequest(self.settings.output, stays_open=True)
        run_pipeline(
            self.repo,
            lambda: plan_for(
                self.repo,
                self.settings.pipeline,
                output=self.settings.output,
                inputs=self._inputs(),
                where=self.settings.where,
                source=self.settings.source,
            ),
            request,
            self.executor(),
            replace(self.settings.options, stop=self.stop.is_asked),
            planned=begin,
            tell=work.note,
            saved=lambda: self._settle(work),
        )
        self._settle(work)
        self._tell_left_out(work)

    def _tell_left_out(self, work: _Round) -> None:
        """Say of images that are waited for, and of which the plan has nothing, why they wait."""
        if self.plan is None:
            return
        where, begins = self.settings.where, {step.label for step in self.plan.steps[:1]}
        reasons = (f"{line.label} left out: {line.reason}" for line in self.plan.dropped if line.label in begins)
        why = f"nothing is done for it with -d {where!r}" if where else next(reasons, NO_STEP)
        for entry in self.log.entries.values():
            place = _place_of(entry)
            if entry.status == WAITING and place is not None and place not in work.missing and entry.reason != why:
                entry.reason = why
                self.tell(entry)
        self.log.save()

    def _settle(self, work: _Round) -> None:
        """Follow images that are through, and write down what became of those that were waited for or tried again."""
        if self.stop.at_once:
            return
        if self.follower is not None:
            followed = self.follower.follow(stop=self.stop.is_asked)
            work.note_followed(followed, all_of=self.follower.log.entries.values())
        through = [
            (entry, place)
            for entry in self.log.entries.values()
            if (place := _place_of(entry)) and work.is_through(place) and work.concerns(entry, place)
        ]
        if not through:
            return
        summaries = visit_summaries(self.repo, {number for _, (_, number) in through})
        for entry, place in through:
            work.fill(entry, place)
            if summary := summaries.get(place):
                entry.seeing, entry.zero_point, entry.depth = summary.seeing, summary.zero_point, summary.depth
            self.tell(entry)
        self.log.save()
        self._changed([entry for entry, _ in through])

    def _changed(self, entries: Sequence[NightEntry]) -> None:
        if self.changed is not None and entries:
            self.changed(entries)

    def _set_aside(self, path: Path, reason: str) -> None:
        entry = self._entry(path)
        entry.status, entry.reason, entry.ended = SET_ASIDE, reason, time.time()
        self.tell(entry)
        self.log.save()
        self._changed([entry])

    def _entry(self, path: Path) -> NightEntry:
        try:
            about = path.stat()
            arrived = max(about.st_mtime, about.st_ctime)  # a copy may keep the time of the original
        except OSError:
            arrived = time.time()
        entry = self.log.entry(str(path.relative_to(self.inbox.folder)), arrived=arrived)
        if entry.status in (WAITING, SET_ASIDE):
            entry.arrived = arrived
        return entry


@dataclass
class _Round:
    """What is told of the images while one plan is worked off."""

    told: dict[Place, list[Record]] = field(default_factory=dict)
    before: dict[Place, list[str]] = field(default_factory=dict)
    followed: dict[Place, list[FollowedImage]] = field(default_factory=dict)
    tried: set[Place] = field(default_factory=set)
    ended: dict[Place, float] = field(default_factory=dict)
    left: Counter[Place] = field(default_factory=Counter)
    missing: dict[Place, dict[str, str]] = field(default_factory=dict)

    def begin(self, prepared: Prepared) -> None:
        """Take note of what is to be done for each image, and why a step is left out."""
        plan = prepared.plan
        reasons = {line.label: line.reason for line in plan.dropped}
        steps = [step.label for step in plan.steps if {"exposure", "visit"}.intersection(step.dimensions)]
        for number, quantum in enumerate(plan.quanta):
            if (place := place_of(quantum.data_id)) is None:
                continue
            missing = self.missing.setdefault(place, {label: reasons[label] for label in steps if label in reasons})
            missing.pop(plan.label(quantum), None)
            if number in prepared.ended:
                self.before.setdefault(place, []).append(prepared.ended[number].status)
            else:
                self.left[place] += 1

    def note(self, record: Record) -> None:
        if (place := place_of(record["data_id"])) is not None:
            self.told.setdefault(place, []).append(record)
            self.ended[place] = time.time()
            self.left[place] -= 1
            self.tried.add(place)

    def note_followed(self, images: Sequence[FollowedImage], *, all_of: Iterable[FollowedImage]) -> None:
        """Take note of images that were followed just now, and of all that ever were, before a kill too."""
        for image in images:
            place = (image.instrument, image.visit)
            self.ended[place] = time.time()
            self.tried.add(place)
        self.followed.clear()
        for image in all_of:
            self.followed.setdefault((image.instrument, image.visit), []).append(image)

    def concerns(self, entry: NightEntry, place: Place) -> bool:
        """Tell whether an image is waited for, or failed before and was tried again since it was last told."""
        return entry.status == WAITING or (entry.status == FAILED and place in self.tried)

    def is_through(self, place: Place) -> bool:
        return self.left[place] <= 0 and (place in self.told or place in self.before)

    def fill(self, entry: NightEntry, place: Place) -> None:
        """Write down what became of an image."""
        self.tried.discard(place)
        records, followed = self.told.get(place, []), self.followed.get(place, [])
        ill = [record for record in records if record["status"] in ILL]
        errors = [f"{OBJECTS}{image.trouble}" for image in followed if image.trouble]
        entry.status = FAILED if ill or errors or ILL.intersection(self.before.get(place, ())) else DONE
        left_out = (f"{label} left out: {reason}" for label, reason in self.missing.get(place, {}).items())
        entry.reason = _reason(ill) or next(iter(errors), "") or next(left_out, "")
        entry.ended = self.ended.get(place, time.time())
        entry.alerts = alerts_of(followed)
        entry.seconds = {}
        spent = [(record["label"], record.get("wall_s", 0.0)) for record in records]
        spent += [(step, seconds) for image in followed for step, seconds in image.seconds.items()]
        for step, seconds in spent:
            entry.seconds[step] = entry.seconds.get(step, 0.0) + seconds


def _place_of(entry: NightEntry) -> Place | None:
    return None if entry.exposure is None else (entry.instrument, entry.exposure)


def _reason(ill: Sequence[Record]) -> str:
    """Return the message of the first failure that is not the consequence of another."""
    first = next((record for record in ill if record["status"] != "blocked"), None)
    if first is None:
        return "what it needs was not made" if ill else ""
    return f"{first['label']}: {first['error']['message']}" if first.get("error") else f"{first['label']} ended early"
