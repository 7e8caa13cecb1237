"""Take the images of a night as they arrive: bring them into a repository and run a pipeline over them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from firstlight.execution.driver import BAD, DriverOptions
from firstlight.execution.executor import Executor
from firstlight.execution.inbox import Inbox
from firstlight.execution.night_log import DONE, FAILED, SET_ASIDE, WAITING, NightEntry, NightLog
from firstlight.execution.run import RunOutcome, RunRequest, plan_for, run_pipeline, runs_of
from firstlight.execution.run_folder import RunFolder
from firstlight.execution.work import Record
from firstlight.framework import BuiltPipeline
from firstlight.repo.ingest import Mode, ingest
from firstlight.repo.repo import Repo
from firstlight.repo.summaries import visit_summaries
from firstlight.repo.translated import Translate, Translated

ILL = frozenset({*BAD, "partial", "blocked"})
"""How work ends on an image that something is wrong with."""

Place = tuple[str, int]
"""Instrument and number of an exposure; a visit of one exposure has the same number."""


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
    """

    repo: Repo
    inbox: Inbox
    log: NightLog
    settings: WatchSettings
    translate: Translate
    executor: Callable[[], Executor]
    tell: Callable[[NightEntry], None]
    _headers: dict[Path, Sequence[Translated]] = field(default_factory=dict)
    _is_first: bool = True

    def look(self) -> int:
        """Take in what has arrived and run the pipeline over it; return the number of new images.

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
        return added

    def close(self) -> None:
        """Say that the night is over: the RUN is finished, and what comes later goes into another one."""
        for run in runs_of(self.repo, self.settings.output)[:1]:
            folder = RunFolder(self.repo.root, run)
            if not folder.is_finished:
                folder.finish(self.log.counts())

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

    def _run(self) -> None:
        """Plan everything and do what is left of it."""
        told: dict[Place, list[Record]] = {}
        ended: dict[Place, float] = {}

        def remember(record: Record) -> None:
            if (place := _place(record["data_id"])) is not None:
                told.setdefault(place, []).append(record)
                ended[place] = time.time()

        request = RunRequest(self.settings.output, stays_open=True)
        outcome = run_pipeline(
            self.repo,
            lambda: plan_for(
                self.repo,
                self.settings.pipeline,
                output=self.settings.output,
                inputs=self.settings.inputs,
                where=self.settings.where,
                source=self.settings.source,
            ),
            request,
            self.executor(),
            self.settings.options,
            planned=lambda prepared: None,
            tell=remember,
        )
        self._settle(outcome, told, ended)

    def _settle(self, outcome: RunOutcome, told: dict[Place, list[Record]], ended: dict[Place, float]) -> None:
        """Write down what became of the images that were waited for."""
        before: dict[Place, list[str]] = {}
        plan = outcome.prepared.plan
        for number, made in outcome.prepared.ended.items():
            if (place := _place(dict(plan.quanta[number].data_id))) is not None:
                before.setdefault(place, []).append(made.status)
        summaries = visit_summaries(self.repo)
        for entry in self.log.entries.values():
            place = (entry.instrument, entry.exposure) if entry.exposure is not None else None
            if entry.status != WAITING or place is None or not (place in told or place in before):
                continue
            records = told.get(place, [])
            ill = [record for record in records if record["status"] in ILL]
            entry.status = FAILED if ill or ILL.intersection(before.get(place, ())) else DONE
            entry.reason = _reason(ill)
            entry.ended = ended.get(place, time.time())
            if summary := summaries.get(place):
                entry.seeing, entry.zero_point, entry.depth = summary.seeing, summary.zero_point, summary.depth
            self.tell(entry)
        self.log.save()

    def _set_aside(self, path: Path, reason: str) -> None:
        entry = self._entry(path)
        entry.status, entry.reason, entry.ended = SET_ASIDE, reason, time.time()
        self.tell(entry)
        self.log.save()

    def _entry(self, path: Path) -> NightEntry:
        try:
            arrived = path.stat().st_mtime
        except OSError:
            arrived = time.time()
        entry = self.log.entry(str(path.relative_to(self.inbox.folder)), arrived=arrived)
        if entry.status in (WAITING, SET_ASIDE):
            entry.arrived = arrived
        return entry


def _place(data_id: object) -> Place | None:
    """Return which exposure a piece of work belongs to; None for one of no exposure."""
    if not isinstance(data_id, dict):
        return None
    number = data_id.get("exposure", data_id.get("visit"))
    return None if number is None else (str(data_id["instrument"]), int(number))


def _reason(ill: Sequence[Record]) -> str:
    """Return the message of the first failure that is not the consequence of another."""
    first = next((record for record in ill if record["status"] != "blocked"), None)
    if first is None:
        return "what it needs was not made" if ill else ""
    return f"{first['label']}: {first['error']['message']}" if first.get("error") else f"{first['label']} ended early"
