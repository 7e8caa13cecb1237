"""Running a pipeline over a repository: which RUN it goes into, what is done already, what is left to do."""

from __future__ import annotations

import re
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from firstlight.errors import PipelineError, RepoError
from firstlight.execution.driver import Driver, DriverOptions
from firstlight.execution.executor import Executor
from firstlight.execution.lock import only_driver
from firstlight.execution.plan import Plan
from firstlight.execution.planner import make_plan
from firstlight.execution.run_folder import RunFolder
from firstlight.execution.saving import adopt, save_records
from firstlight.execution.schedule import Made, Schedule
from firstlight.execution.work import SETTLED, TRANSIENT, Dataset, Record, RecordStatus
from firstlight.framework import BuiltPipeline, DataId, did_you_mean
from firstlight.repo.dataset_types import DatasetType, data_key
from firstlight.repo.names import require_collection_name
from firstlight.repo.repo import Repo

Mode = Literal["resume", "new", "redo"]


@dataclass(frozen=True)
class RunRequest:
    """Into which collection a plan is run, and what of it.

    Parameters
    ----------
    output
        Name of the chain that shows the results; its RUNs are ``output/1``, ``output/2``, ...
    mode
        ``resume``: do what is not done; ``new``: do everything once more in another RUN; ``redo``: do `redo` and what
        hangs on it once more.
    redo
        Labels.
    stays_open
        More will come: the RUN is not finished when everything is done, and what comes goes into it.
    """

    output: str
    mode: Mode = "resume"
    redo: tuple[str, ...] = ()
    stays_open: bool = False


@dataclass(frozen=True)
class Prepared:
    """A plan, and what of it is done already."""

    plan: Plan
    ended: Mapping[int, Made]
    run: str
    """The RUN that the rest goes into."""

    is_new_run: bool

    @property
    def n_left(self) -> int:
        """Pieces of work to do."""
        return len(self.plan) - len(self.ended)


@dataclass
class RunOutcome:
    """What became of a run."""

    prepared: Prepared
    counts: Mapping[str, int] = field(default_factory=Counter)
    """Status -> pieces of work that ended now."""


def default_inputs(repo: Repo, output: str) -> tuple[str, ...]:
    """Return where inputs are looked for when nobody says.

    What the output was made from; for a new one all raw images and calibrations.
    """
    chains = {each.name: each for each in repo.collections(output)}
    if output in chains:
        return tuple(name for name in chains[output].members if not _is_run_of(output, name))
    raw = [each.name for each in repo.collections("raw/*") if each.kind == "RUN"]
    certified = [each.name for each in repo.collections("*") if each.kind == "CALIBRATION"]
    return (*certified, *raw)


def plan_for(
    repo: Repo, pipeline: BuiltPipeline, *, output: str, inputs: Sequence[str] = (), where: str = "", source: str = ""
) -> Plan:
    """Return the plan of a run.

    Parameters
    ----------
    repo, pipeline
    output
        Name of the chain that will show the results.
    inputs
        Where inputs are looked for; `default_inputs` where nobody says.
    where, source
        As for `firstlight.execution.planner.make_plan`.

    Raises
    ------
    RepoError
        If a collection is not there, or there is none at all.
    """
    collections = inputs or default_inputs(repo, output)
    if not collections:
        raise RepoError("There is nothing to run on: ingest raw images first, or name collections with -i.")
    repo.resolve(collections)
    return make_plan(pipeline, repo, collections=collections, where=where, source=source)


def prepare(repo: Repo, plan: Plan, request: RunRequest) -> Prepared:
    """Find out what of a plan is done; nothing is changed.

    Raises
    ------
    RepoError
        If the output was made with other settings.
    PipelineError
        If a label to redo is not there.
    """
    runs = runs_of(repo, request.output)
    if request.mode == "resume" and runs:
        _require_same_settings(RunFolder(repo.root, runs[0]), plan, request.output)
    again = _to_do_again(plan, request)
    ended = _ended(repo, plan, runs, again) if again is not None else {}
    run, is_new = _run_for(repo, plan, request, runs, ended)
    return Prepared(plan, ended, run, is_new)


def execute(
    repo: Repo,
    prepared: Prepared,
    request: RunRequest,
    executor: Executor,
    options: DriverOptions,
    *,
    tell: Callable[[Record], None],
    saved: Callable[[], None] | None = None,
) -> RunOutcome:
    """Do what is left of a prepared run; the arguments are those of `run_pipeline`.

    Raises
    ------
    RepoError
        If another driver holds the output.
    """
    folder = RunFolder(repo.root, prepared.run)
    _open_run(repo, request, prepared)
    folder.begin(prepared.plan, command=shlex.join(sys.argv))
    schedule = Schedule(
        prepared.plan,
        ended=prepared.ended,
        path_of=lambda name, data_id: str(repo.path_for(prepared.run, name, data_id)),
        record_path_of=folder.record_path,
    )
    with executor:
        driver = Driver(
            prepared.plan,
            schedule,
            executor,
            options,
            save=lambda records: _save(repo, prepared.run, records, saved),
            tell=tell,
        )
        driver.drive()
    if schedule.left == 0:
        if any(driver.counts[status] for status in ("error", *TRANSIENT)):
            adopt(repo, prepared.run)
        if not request.stays_open:
            folder.finish(driver.counts)
    return RunOutcome(prepared, driver.counts)


def run_pipeline(
    repo: Repo,
    plan: Callable[[], Plan],
    request: RunRequest,
    executor: Executor,
    options: DriverOptions,
    *,
    planned: Callable[[Prepared], None],
    tell: Callable[[Record], None],
    saved: Callable[[], None] | None = None,
) -> RunOutcome:
    """Make a plan and do it; what an interrupted driver left is taken over first.

    Parameters
    ----------
    repo, request, options
    plan
        Returns the plan; called once nothing is left to be taken over.
    executor
        Entered once there is something to do.
    planned
        Called with the plan before anything is run.
    tell
        Called with the record of each piece of work.
    saved
        Called now and then while work goes on, each time that results have come into the repository.

    Raises
    ------
    RepoError
        If another driver holds the output, or it was made with other settings.
    """
    _require_output(repo, request.output)
    with only_driver(repo.root / request.output, output=request.output):
        for run in runs_of(repo, request.output):
            if not RunFolder(repo.root, run).is_finished:
                adopt(repo, run)
        prepared = prepare(repo, plan(), request)
        planned(prepared)
        if not prepared.n_left:
            return RunOutcome(prepared)
        return execute(repo, prepared, request, executor, options, tell=tell, saved=saved)


def _save(repo: Repo, run: str, records: list[Record], saved: Callable[[], None] | None) -> None:
    save_records(repo, run, records)
    if saved is not None:
        saved()


def _require_output(repo: Repo, output: str) -> None:
    """Refuse a name that is none, that is taken by something else, or that lies in the folder of a RUN.

    Raises
    ------
    RepoError
        If it cannot be the output of a run.
    """
    require_collection_name(output)
    for there in repo.collections("*"):
        if there.kind == "RUN" and f"{output}/".startswith(f"{there.name}/"):
            raise RepoError(f"{output}: lies in the run {there.name}; take another name for the output.")
        if there.name == output and there.kind != "CHAINED":
            raise RepoError(f"{output}: is a {there.kind} collection; take another name for the output.")


def runs_of(repo: Repo, output: str) -> tuple[str, ...]:
    """Return the RUNs of an output, the newest first."""
    names = [each.name for each in repo.collections(f"{output}/*") if _is_run_of(output, each.name)]
    return tuple(sorted(names, key=lambda name: -int(name.rpartition("/")[2])))


def _is_run_of(output: str, name: str) -> bool:
    return re.fullmatch(re.escape(output) + r"/\d+", name) is not None


def _require_same_settings(folder: RunFolder, plan: Plan, output: str) -> None:
    """Refuse to put results of other settings beside those that are there."""
    steps = folder.about().get("steps", {})
    for step in plan.steps:
        there = steps.get(step.label)
        if there is not None and there["config_key"] != step.config_key:
            raise RepoError(
                f"{output}: was made with other settings or versions of {step.label!r}; --new starts another run in "
                f"front, --redo {step.label} does it and what hangs on it again, -o takes another name."
            )


def _to_do_again(plan: Plan, request: RunRequest) -> Collection[str] | None:
    """Return the labels whose work does not count as done; None if none counts."""
    if request.mode == "new":
        return None
    again: set[str] = set()
    labels = [step.label for step in plan.steps]
    for label in request.redo:
        if label not in labels:
            hint = did_you_mean(label, labels) or f"; there are {', '.join(labels)}"
            raise PipelineError(f"--redo {label}: no such label{hint}")
        again |= set(plan.after(label))
    return again


def _ended(repo: Repo, plan: Plan, runs: Iterable[str], again: Collection[str]) -> dict[int, Made]:
    """Return number of a quantum -> how it ended, for what the RUNs have with the same key.

    What hangs on work that has to be done again is not done: it may have been made without it.
    """
    done: dict[tuple[str, str], Made] = {}
    for run in runs:
        for row in repo.quanta(run):
            place = (row.label, row.input_key)
            if (row.status in SETTLED or row.status == "blocked") and place not in done and row.label not in again:
                outputs = {each["type"]: _where_now(repo, run, each) for each in row.record.get("outputs", ())}
                done[place] = Made(cast("RecordStatus", row.status), outputs)
    ended: dict[int, Made] = {}
    for number, quantum in enumerate(plan.quanta):
        made = done.get((plan.label(quantum), quantum.key))
        makers = (plan.made_by(source)[0] for several in quantum.inputs for source in several if source < 0)
        if made is not None and all(maker in ended for maker in makers):
            ended[number] = made
    return _without_pruned(plan, ended)


def _where_now(repo: Repo, run: str, output: Dataset) -> Dataset:
    """Return an output with the path that it has in the repository where that lies now."""
    return {**output, "path": str(repo.path_for(run, output["type"], DataId(output["data_id"])))}


def _without_pruned(plan: Plan, ended: dict[int, Made]) -> dict[int, Made]:
    """Leave out what is to be read again and is not there any more, so that it is made again."""
    left = dict(ended)
    for number in reversed(range(len(plan.quanta))):
        if number in left:
            continue
        for source in (each for several in plan.quanta[number].inputs for each in several if each < 0):
            maker, position = plan.made_by(source)
            kind = plan.steps[plan.quanta[maker].step].outputs[position].type
            output = left[maker].outputs.get(kind) if maker in left else None
            if output is not None and not Path(output["path"]).exists():
                del left[maker]
    return left


def _run_for(
    repo: Repo, plan: Plan, request: RunRequest, runs: Sequence[str], ended: Mapping[int, Made]
) -> tuple[str, bool]:
    """Return the RUN for what is left to do: the newest one while it is unfinished, or else another one."""
    number = int(runs[0].rpartition("/")[2]) if runs else 0
    if runs and request.mode == "resume" and not RunFolder(repo.root, runs[0]).is_finished:
        there = {(row.label, row.data_key) for row in repo.quanta(runs[0]) if row.status in SETTLED}
        left = (quantum for each, quantum in enumerate(plan.quanta) if each not in ended)
        if not any((plan.label(q), data_key(q.data_id, plan.steps[q.step].dimensions)) in there for q in left):
            return runs[0], False
    return f"{request.output}/{number + 1}", True


def _open_run(repo: Repo, request: RunRequest, prepared: Prepared) -> None:
    """Make the RUN and put it in front of the chain."""
    for step in prepared.plan.steps:
        for output in step.outputs:
            repo.register_type(DatasetType(output.type, step.dimensions, output.storage))
    if not prepared.is_new_run:
        return
    repo.make_run(prepared.run)
    members = (prepared.run, *runs_of(repo, request.output)[1:], *prepared.plan.collections)
    repo.chain(request.output, tuple(dict.fromkeys(members)))
