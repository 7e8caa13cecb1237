"""What ``firstlight watch`` does: look, work, tell, until somebody stops it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from firstlight.cli.candidate_steps import settled_afterwards
from firstlight.cli.exit_codes import DONE, FAILED_ON_DATA, NOTHING_TO_DO
from firstlight.cli.night_follower import follower_of
from firstlight.cli.night_pages import PAGES, NightPages
from firstlight.cli.pipeline_options import SettingsOptions, built_pipeline
from firstlight.cli.run_pipeline import READERS
from firstlight.execution import night_log
from firstlight.execution.driver import DriverOptions
from firstlight.execution.executor import Executor, InProcessExecutor
from firstlight.execution.inbox import Inbox
from firstlight.execution.local import LocalExecutor
from firstlight.execution.night_log import NightEntry, NightLog
from firstlight.execution.plan import Plan
from firstlight.execution.stopping import StopRequest
from firstlight.execution.watch import Watcher, WatchSettings
from firstlight.images.instrument import Instrument
from firstlight.instruments import get_instrument
from firstlight.instruments.translation import translate_file
from firstlight.repo.ingest import MODES
from firstlight.repo.repo import Repo


@dataclass(frozen=True)
class WatchJob:
    """What the options say."""

    folder: Path
    root: Path
    pipeline: str
    output: str
    inputs: tuple[str, ...]
    where: str
    jobs: int
    mode: str
    every_s: float
    settle_s: float
    once: bool
    given: SettingsOptions


def watch_folder(job: WatchJob) -> int:
    """Watch the folder until a signal comes, or once, and return the exit code.

    Raises
    ------
    UserError
        If a setting, a name or a collection does not fit.
    """
    console = Console(stderr=True)
    built = built_pipeline(job.pipeline, job.given)
    afterwards = settled_afterwards(built)
    with Repo.open(job.root) as repo, _stopping(job.jobs) as stop:
        log = NightLog.open(repo.root / job.output / night_log.NAME)
        watcher = Watcher(
            repo=repo,
            inbox=Inbox(job.folder, settle_s=job.settle_s),
            log=log,
            settings=WatchSettings(
                pipeline=built,
                output=job.output,
                inputs=job.inputs,
                where=job.where,
                source=job.pipeline,
                options=DriverOptions(jobs=job.jobs, readers=READERS),
                ingest_mode=MODES[job.mode],
            ),
            translate=partial(translate_file, instrument=_camera(job.given)),
            executor=partial(_executor, job.jobs),
            tell=partial(_say, console),
            follower=None if afterwards is None else follower_of(repo, afterwards, job.output),
            changed=NightPages(repo, job.output).update,
            stop=stop,
        )
        _say_line(console, f"watching {job.folder}; Ctrl-C ends the night")
        while not stop.is_asked():
            watcher.look()
            if job.once and not watcher.inbox.n_waiting:
                break
            stop.wait(job.every_s)
        watcher.close()
    _say_night(console, log, job)
    counts = log.counts()
    if counts[night_log.FAILED] or counts[night_log.SET_ASIDE]:
        return FAILED_ON_DATA
    return _say_nothing(console, watcher.plan) if job.once and not watcher.plan else DONE


def _say_nothing(console: Console, plan: Plan | None) -> int:
    """Say why there was nothing to run on, and return the exit code for it."""
    for line in plan.ledger() if plan is not None else ():
        _say_line(console, line)
    _say_line(
        console, "nothing to run on" + ("; the lines above say which step found nothing" if plan is not None else "")
    )
    return NOTHING_TO_DO


def _camera(given: SettingsOptions) -> Instrument | None:
    return None if given.instrument is None else get_instrument(given.instrument)


def _executor(jobs: int) -> Executor:
    return LocalExecutor(jobs) if jobs > 1 else InProcessExecutor()


@contextmanager
def _stopping(jobs: int) -> Iterator[StopRequest]:
    """Let Ctrl-C and a termination end the loop after what is in work; a second one ends at once."""
    stop = StopRequest()
    in_work = "exposure" if jobs == 1 else "exposures"

    def ask(number: int, frame: object) -> None:
        stop.ask()
        if stop.at_once:
            raise KeyboardInterrupt
        if not stop.is_waiting:
            # What is interrupted may be writing to the same stream, whose buffer must not be entered twice.
            os.write(2, f"finishing the {in_work} in work; Ctrl-C again to stop now\n".encode())

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(console: Console, entry: NightEntry) -> None:
    parts = [entry.file, entry.status]
    if entry.status == night_log.DONE:
        parts += [
            f"{name} {value:.2f}{unit}"
            for name, value, unit in (
                ("seeing", entry.seeing, '"'),
                ("zero point", entry.zero_point, ""),
                ("depth", entry.depth, ""),
            )
            if value is not None
        ]
        if entry.alerts is not None:
            parts.append(f"{entry.alerts} alerts")
    if entry.latency is not None:
        parts.append(f"after {entry.latency:.0f} s")
    _say_line(console, "  ".join(parts) + (f": {entry.reason}" if entry.reason else ""))


def _say_line(console: Console, text: str) -> None:
    console.print(f"{time.strftime('%H:%M:%S')}  {text}", highlight=False, markup=False, soft_wrap=True)


def _say_night(console: Console, log: NightLog, job: WatchJob) -> None:
    told = ", ".join(f"{number} {status}" for status, number in sorted(log.counts().items())) or "no image came"
    if (latencies := log.latencies()) is not None:
        told += f"; from arrival to results {latencies[0]:.0f} s in the median, {latencies[1]:.0f} s at most"
    _say_line(console, f"{told}; 'firstlight report -b {job.root} {job.output}' says more")
    for page in sorted((job.root / job.output / PAGES).glob("*/index.html"))[-1:]:
        _say_line(console, f"the night is shown by {page}")
