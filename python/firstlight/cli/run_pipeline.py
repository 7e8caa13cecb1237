"""What ``firstlight run`` does: plan, say what will be done, do it with a progress bar, say what became of it."""

from __future__ import annotations

import cProfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from firstlight.cli.exit_codes import DONE, FAILED_ON_DATA, NOTHING_TO_DO
from firstlight.cli.pipeline_options import SettingsOptions, built_pipeline
from firstlight.errors import RepoError
from firstlight.execution.driver import BAD, DriverOptions
from firstlight.execution.executor import Executor, InProcessExecutor
from firstlight.execution.follow import Follower
from firstlight.execution.follow_log import alerts_of
from firstlight.execution.freshness import fresh_plan
from firstlight.execution.local import LocalExecutor
from firstlight.execution.plan import Plan
from firstlight.execution.run import Prepared, RunOutcome, RunRequest, plan_for, prepare, run_pipeline
from firstlight.execution.startup import loading
from firstlight.execution.work import Record
from firstlight.framework import BuiltPipeline
from firstlight.framework.files import config_from_yaml
from firstlight.repo.repo import Repo

if TYPE_CHECKING:
    from firstlight.cli.candidate_steps import AfterwardsConfig

READERS = {"raw": "firstlight.instruments.raw_images:read_raw"}
"""How workers read what only instruments understand."""


@dataclass(frozen=True)
class RunJob:
    """What the options say."""

    root: Path
    pipeline: str | None
    output: str
    inputs: tuple[str, ...]
    where: str
    jobs: int
    site: Path | None
    mode: str
    redo: tuple[str, ...]
    dry_run: bool
    save_plan: Path | None
    load_plan: Path | None
    timeout_s: float | None
    memory_bytes: int | None
    retries: int
    fail_fast: bool
    debug: bool
    profile: Path | None
    given: SettingsOptions


def run_job(job: RunJob) -> int:
    """Do what the options say and return the exit code.

    Raises
    ------
    UserError
        If a setting, a name or a collection does not fit.
    """
    console = Console(stderr=True)
    with Repo.open(job.root) as repo:
        plan, follower = _planning(repo, job)
        request = RunRequest(job.output, mode=cast("Literal['resume', 'new', 'redo']", job.mode), redo=job.redo)
        if job.dry_run:
            return _say_plan(console, prepare(repo, plan(), request), job)
        executor = _executor(job)
        options = DriverOptions(
            jobs=executor.jobs,
            retries=job.retries,
            timeout_s=job.timeout_s,
            memory_bytes=job.memory_bytes,
            fail_fast=job.fail_fast,
            readers=READERS,
        )
        with _profiled(job.profile), _progress(console) as (planned, tell):

            def begin(prepared: Prepared) -> None:
                _say_plan(console, prepared, job)
                planned(prepared)

            outcome = run_pipeline(repo, plan, request, executor, options, planned=begin, tell=tell)
        followed = _follow(console, follower)
    code = _say_outcome(console, outcome, job)
    return code if code != DONE or followed else FAILED_ON_DATA


def _planning(repo: Repo, job: RunJob) -> tuple[Callable[[], Plan], Follower | None]:
    """Return what makes the plan, or looks whether a saved one still fits, once it is wanted, and what follows.

    Mistakes in settings are told now.
    """
    if job.load_plan is not None:
        saved = Plan.load(job.load_plan)
        config = _saved_afterwards(saved, job.load_plan) if saved.afterwards else None
        return partial(fresh_plan, saved, repo, path=job.load_plan), _follower(repo, config, job.output)
    source = str(job.pipeline)
    with loading():
        pipeline = built_pipeline(source, job.given)
    config = None if pipeline.afterwards is None else _settled_afterwards(pipeline)
    text = "" if config is None else config.to_yaml(history=True)

    def plan() -> Plan:
        made = plan_for(repo, pipeline, output=job.output, inputs=job.inputs, where=job.where, source=source)
        return replace(made, afterwards=text)

    return plan, _follower(repo, config, job.output)


def _settled_afterwards(pipeline: BuiltPipeline) -> AfterwardsConfig | None:
    with loading():
        from firstlight.cli.candidate_steps import settled_afterwards

    return settled_afterwards(pipeline)


def _saved_afterwards(plan: Plan, path: Path) -> AfterwardsConfig:
    with loading():
        from firstlight.cli.candidate_steps import AfterwardsConfig

    return config_from_yaml(AfterwardsConfig, plan.afterwards, source=f"afterwards of {path}")


def _follower(repo: Repo, config: AfterwardsConfig | None, output: str) -> Follower | None:
    if config is None:
        return None
    with loading():
        from firstlight.cli.night_follower import follower_of

    return follower_of(repo, config, output)


def _follow(console: Console, follower: Follower | None) -> bool:
    """Do what follows the tasks, say what came of it, and return whether all went well."""
    if follower is None:
        return True
    images = follower.follow()
    late = follower.finish()
    bad = [image for image in images if image.error]
    ill = [*bad, *(image for image in late if image.late_error)]
    for image in ill:
        console.print(f"objects of {image.name}: {image.trouble}", highlight=False, markup=False, soft_wrap=True)
    for name, why in {name: why for image in images for name, why in image.not_done.items()}.items():
        console.print(f"{name} not checked: {why}", highlight=False, markup=False, soft_wrap=True)
    if images:
        kept, new = (sum(getattr(image, name) for image in images) for name in ("n_kept", "n_new"))
        told = f"{kept} candidates of {len(images) - len(bad)} images are kept, {new} new objects"
        n_alerts = alerts_of(images)
        told += f", {n_alerts} alerts" if n_alerts is not None else ""
        console.print(f"{told}.", highlight=False, soft_wrap=True)
    return not ill


def _executor(job: RunJob) -> Executor:
    if job.site is not None:
        from firstlight.execution.parsl import ParslExecutor

        return ParslExecutor.from_file(job.site)
    return (
        LocalExecutor(job.jobs)
        if job.jobs > 1 or job.timeout_s or job.memory_bytes
        else InProcessExecutor(debug=job.debug)
    )


def _say_plan(console: Console, prepared: Prepared, job: RunJob) -> int:
    for line in prepared.plan.ledger():
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    if job.save_plan is not None:
        prepared.plan.save(job.save_plan)
    if len(prepared.plan) and prepared.n_left:
        done = f", {len(prepared.ended)} done before" if prepared.ended else ""
        console.print(f"{prepared.n_left} to do in {prepared.run}{done}", highlight=False, soft_wrap=True)
    return DONE if len(prepared.plan) else NOTHING_TO_DO


def _say_outcome(console: Console, outcome: RunOutcome, job: RunJob) -> int:
    prepared, counts = outcome.prepared, outcome.counts
    if not len(prepared.plan):
        console.print(
            "Nothing to run on; the lines above say which step found nothing.", highlight=False, soft_wrap=True
        )
        return NOTHING_TO_DO
    if not prepared.n_left:
        console.print(
            f"{job.output}: everything is done ({len(prepared.plan)} quanta).", highlight=False, soft_wrap=True
        )
        return DONE
    told = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    console.print(
        f"{prepared.run}: {told}; 'firstlight report -b {job.root} {job.output}' says more.",
        highlight=False,
        soft_wrap=True,
    )
    return FAILED_ON_DATA if any(counts[status] for status in (*BAD, "blocked")) else DONE


@contextmanager
def _progress(console: Console) -> Iterator[tuple[Callable[[Prepared], None], Callable[[Record], None]]]:
    """Show a bar with counts, rate and the time that is left; and each failure as a line above it."""
    seen: Counter[str] = Counter()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("running", total=None)

        def planned(prepared: Prepared) -> None:
            bar.update(task, total=prepared.n_left)

        def tell(record: Record) -> None:
            seen[record["status"]] += 1
            bad = sum(number for status, number in seen.items() if status in BAD)
            bar.update(task, advance=1, description=f"{record['label']}{f', {bad} failed' if bad else ''}")
            if record["status"] in BAD:
                step = f" at {record['step']}" if record.get("step") not in (None, "", "run") else ""
                what = f"{record['label']} ({record['data_key'].replace(',', ' ')}) {record['status']}{step}"
                bar.console.print(
                    f"{what}: {record['error']['message']}", highlight=False, markup=False, soft_wrap=True
                )

        yield planned, tell


def _profiled(path: Path | None) -> AbstractContextManager[object]:
    """Profile the block into a file that pstats and snakeviz read."""
    return nullcontext() if path is None else _profile(path)


@contextmanager
def _profile(path: Path) -> Iterator[None]:
    profile = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        try:
            profile.dump_stats(path)
        except OSError as error:
            raise RepoError(f"{path}: the profile cannot be written: {error.strerror}.") from error
