"""The driver and its schedule, with an executor that ends work as it is told to."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.execution.driver import BAD, Driver, DriverOptions
from firstlight.execution.plan import Plan, PlannedConnection, PlannedInput, PlannedQuantum, PlannedStep, output_place
from firstlight.execution.run_folder import RunFolder
from firstlight.execution.saving import adopt
from firstlight.execution.schedule import Made, Schedule
from firstlight.execution.work import SETTLED, TRANSIENT, head_of
from firstlight.framework import DataId
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.repo import Repo

VISIT = ("instrument", "visit")


class Scripted:
    """Ends each piece of work, named by label and visit, as a list says, one item for each try; else well.

    Parameters
    ----------
    script
        Label and visit -> statuses, or an exception to raise from ``submit``.
    threads
        0 ends work at once; more end it from other threads, in any order.
    """

    def __init__(self, script=None, *, threads=0):
        self.jobs = max(1, threads)
        self.script = {name: list(several) for name, several in (script or {}).items()}
        self.tried = []
        self.limits = []
        self.pool = ThreadPoolExecutor(threads) if threads else None

    def submit(self, batch, announce):
        future = Future()
        for quantum in batch["quanta"]:
            self.limits.append((batch["label"], quantum["data_id"]["visit"], batch["limits"]["memory_bytes"]))
        if self.pool is None:
            self.end(batch, announce, future)
        else:
            self.pool.submit(self.end, batch, announce, future)
        return future

    def end(self, batch, announce, future):
        records = []
        for quantum in batch["quanta"]:
            name = (batch["label"], quantum["data_id"]["visit"])
            self.tried.append((name, quantum["inputs"]))
            status = self.script[name].pop(0) if self.script.get(name) else "done"
            if isinstance(status, BaseException):
                raise status
            record = {**head_of(batch["label"], quantum), "status": status, "wall_s": 1e-4}
            record["outputs"] = list(quantum["outputs"].values()) if status == "done" else []
            if status not in ("done", "no_work"):
                record["error"] = {"class": status, "message": "as the script says.", "facts": {}}
            announce(record)
            records.append(record)
        future.set_result(records)

    def times(self, label, number):
        return sum(name == (label, number) for name, _ in self.tried)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.pool is not None:
            self.pool.shutdown()


def step(label, reads, makes, *, minimum=1, multiple=False):
    arguments = tuple(PlannedConnection(name, name, "", multiple, False, minimum) for name in reads)
    return PlannedStep(label, f"t:{label}", "", label, VISIT, arguments, (PlannedConnection(makes, makes, "json"),))


def chain_plan(visits, *, steps=("a", "b", "c")):
    """Return a plan in which each step reads what the one before made of the same visit."""
    kinds = ["raw", *(f"{label}_out" for label in steps)]
    plan = Plan(tuple(step(label, [kinds[n]], kinds[n + 1]) for n, label in enumerate(steps)))
    plan.inputs += [PlannedInput("raw", where(n), f"/raw/{n}", str(n), "json") for n in range(visits)]
    for position in range(len(steps)):
        for number in range(visits):
            source = number if position == 0 else output_place((position - 1) * visits + number, 0)
            plan.quanta.append(PlannedQuantum(position, where(number), ((source,),), f"{position}.{number}"))
    return plan


def where(number):
    return DataId(instrument="x", visit=number)


def drive(plan, executor, *, ended=None, save=None, **options):
    """Take a plan through an executor; return the driver, the schedule and the records that were saved."""
    saved = []
    schedule = Schedule(plan, ended=ended or {}, path_of=lambda name, at: f"/{name}/{at}", record_path_of=lambda *_: "")
    driver = Driver(
        plan,
        schedule,
        executor,
        DriverOptions(**options),
        save=save or saved.extend,
        tell=lambda record: told.append(record),
    )
    told: list[object] = []
    with executor:
        try:
            driver.drive()
        finally:
            driver.told, driver.saved, driver.schedule = told, saved, schedule
            executor.driver = driver
    return driver


def states(driver):
    return {(record["label"], record["data_id"]["visit"]): record["status"] for record in driver.saved}


@pytest.mark.parametrize("status", sorted(TRANSIENT | BAD))
def test_only_lost_work_is_tried_again(status):
    executor = Scripted({("a", 1): [status] * 10})
    driver = drive(chain_plan(3), executor, retries=2)

    assert executor.times("a", 1) == (3 if status in TRANSIENT else 1)
    assert states(driver)["a", 1] == status
    assert executor.times("a", 0) == executor.times("c", 2) == 1


@pytest.mark.parametrize("status", sorted(TRANSIENT))
def test_work_that_is_lost_once_is_done_and_what_hangs_on_it_too(status):
    driver = drive(chain_plan(3), Scripted({("a", 1): [status]}, threads=2), retries=2, jobs=2)

    assert set(states(driver).values()) == {"done"}
    assert driver.counts == {"done": 9}
    assert driver.schedule.left == 0


def test_the_memory_limit_doubles_with_each_try():
    executor = Scripted({("a", 0): ["memory", "memory"]})
    drive(chain_plan(1), executor, retries=2, memory_bytes=100)

    assert executor.limits == [("a", 0, 100), ("a", 0, 200), ("a", 0, 400), ("b", 0, 100), ("c", 0, 100)]


@pytest.mark.parametrize(("status", "below"), [("failed", "blocked"), ("partial", "blocked"), ("no_work", "no_work")])
def test_what_hangs_on_work_that_made_nothing_is_not_run(status, below):
    executor = Scripted({("a", 1): [status]})
    driver = drive(chain_plan(3), executor)

    assert states(driver)["b", 1] == states(driver)["c", 1] == below
    assert executor.times("b", 1) == executor.times("c", 1) == 0
    assert states(driver)["c", 0] == "done"
    [reason] = [r["error"]["message"] for r in driver.saved if (r["label"], r["data_id"]["visit"]) == ("b", 1)]
    assert reason == f"what it needs was not made (a {status})."


def test_a_sum_goes_on_with_what_was_made_while_that_is_enough():
    plan = Plan((step("a", ["raw"], "a_out"), step("sum", ["a_out"], "sum_out", minimum=2, multiple=True)))
    plan.inputs += [PlannedInput("raw", where(n), f"/raw/{n}", str(n), "json") for n in range(3)]
    plan.quanta += [PlannedQuantum(0, where(n), ((n,),), str(n)) for n in range(3)]
    plan.quanta.append(PlannedQuantum(1, where(0), (tuple(output_place(n, 0) for n in range(3)),), "sum"))
    enough = Scripted({("a", 1): ["failed"]})
    too_few = Scripted({("a", 1): ["failed"], ("a", 2): ["error"]})

    assert states(drive(plan, enough))["sum", 0] == "done"
    [inputs] = [inputs for name, inputs in enough.tried if name == ("sum", 0)]
    assert [each["data_id"]["visit"] for each in inputs["a_out"]] == [0, 2]
    assert states(drive(plan, too_few))["sum", 0] == "blocked"


def test_fail_fast_sends_nothing_after_the_first_failure_and_keeps_what_was_finished():
    executor = Scripted({("a", 1): ["failed"]})
    driver = drive(chain_plan(50), executor, fail_fast=True)

    assert driver.counts["failed"] == 1
    assert len(executor.tried) < 50
    assert driver.schedule.left > 0
    assert len(driver.saved) == len(executor.tried) + driver.counts["blocked"]


def test_asked_to_stop_it_finishes_the_exposure_in_work_and_begins_no_other_one():
    executor = Scripted()
    driver = drive(chain_plan(5), executor, stop=lambda: len(executor.tried) >= 4)

    assert [name for name, _ in executor.tried] == [(label, number) for number in (0, 1) for label in "abc"]
    assert len(driver.saved) == 6
    assert driver.schedule.left == 9


@pytest.mark.parametrize("jobs", [1, 2])
def test_asked_to_stop_it_finishes_few_exposures_however_short_their_work_is(jobs):
    executor, asked_at = Scripted(threads=jobs if jobs > 1 else 0), []

    def stop():
        if len(executor.tried) >= 13:
            asked_at.append(len(executor.tried))
        return bool(asked_at)

    drive(chain_plan(40), executor, jobs=jobs, stop=stop)

    pieces = Counter(number for (_, number), _ in executor.tried)
    in_flight = 1 if jobs == 1 else 2 * jobs
    assert set(pieces.values()) == {3}
    assert len(executor.tried) <= asked_at[0] + 3 * in_flight


def test_asked_to_stop_it_leaves_work_that_belongs_to_no_exposure():
    plan = Plan((replace(step("sum", ["raw"], "sum_out"), dimensions=("tract",)),))
    plan.inputs.append(PlannedInput("raw", where(0), "/raw", "0", "json"))
    plan.quanta += [PlannedQuantum(0, DataId(tract=number), ((0,),), str(number)) for number in range(3)]
    schedule = Schedule(plan, ended={}, path_of=lambda *_: "", record_path_of=lambda *_: "")

    schedule.take(0, 1)
    schedule.keep_begun()

    assert not schedule.ready[0]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("the executor broke")])
def test_an_interruption_keeps_what_was_finished(error):
    executor = Scripted({("b", 1): [error]})
    with pytest.raises(type(error)):
        drive(chain_plan(3), executor)

    finished = {name for name, _ in executor.tried} - {("b", 1)}
    assert set(states(executor.driver)) == finished


def test_what_was_being_saved_when_an_interruption_came_is_not_saved_again():
    saved = []

    def save(records):
        saved.extend((record["label"], record["data_key"]) for record in records)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(chain_plan(40), Scripted(), save=save)

    assert len(saved) == len(set(saved)) >= 100


def test_what_ended_before_is_not_run_and_is_read_by_what_hangs_on_it():
    made = {"type": "a_out", "storage": "json", "path": "/before", "data_id": {"instrument": "x", "visit": 1}}
    executor = Scripted()
    driver = drive(chain_plan(2), executor, ended={1: Made("done", {"a_out": made}), 0: Made("failed")})

    assert executor.times("a", 0) == executor.times("a", 1) == 0
    assert dict(executor.tried)["b", 1]["a_out"][0]["path"] == "/before"
    assert states(driver) == {("b", 0): "blocked", ("c", 0): "blocked", ("b", 1): "done", ("c", 1): "done"}


@st.composite
def plans(draw):
    """Draw a plan of several steps, each quantum reading some outputs of earlier ones, and how the work ends."""
    labels = ["a", "b", "c", "d"][: draw(st.integers(2, 4))]
    minima = [draw(st.integers(0, 2)) for _ in labels]
    plan = Plan(
        tuple(
            PlannedStep(
                label,
                f"t:{label}",
                "",
                label,
                VISIT,
                (PlannedConnection("before", "before", "", True, False, minimum),),
                (PlannedConnection(label, label, "json"),),
            )
            for label, minimum in zip(labels, minima, strict=True)
        )
    )
    script = defaultdict(list)
    for position, label in enumerate(labels):
        first = len(plan.quanta)
        for number in range(draw(st.integers(1, 4))):
            earlier = st.lists(st.integers(0, first - 1), unique=True, max_size=3) if first else st.just([])
            sources = tuple(output_place(each, 0) for each in draw(earlier))
            plan.quanta.append(PlannedQuantum(position, where(number), (sources,), f"{label}{number}"))
            ends = st.sampled_from(["done", "done", "done", "failed", "error", "lost", "no_work", "partial"])
            script[label, number] = draw(st.lists(ends, max_size=3))
    return plan, script


@given(plans(), st.sampled_from([0, 3]))
@settings(max_examples=60, deadline=None)
def test_every_piece_of_work_ends_once_and_never_runs_before_its_inputs(drawn, threads):
    plan, script = drawn
    minimum = {each.label: each.arguments[0].minimum for each in plan.steps}
    executor = Scripted(script, threads=threads)
    driver = drive(plan, executor, retries=1, jobs=max(1, threads))

    ended = Counter((record["label"], record["data_id"]["visit"]) for record in driver.saved)
    assert ended == {(plan.label(quantum), quantum.data_id["visit"]): 1 for quantum in plan.quanta}
    assert driver.told == driver.saved
    found = states(driver)
    for quantum in plan.quanta:
        name = (plan.label(quantum), quantum.data_id["visit"])
        makers = [plan.quanta[plan.made_by(each)[0]] for each in quantum.inputs[0]]
        made = sum(found[plan.label(each), each.data_id["visit"]] == "done" for each in makers)
        ran = executor.times(*name)
        assert bool(ran) == (made >= minimum[name[0]])
        for tried, inputs in executor.tried:
            if tried == name:
                assert len(inputs["before"]) == made


@pytest.fixture
def interrupted(tmp_path):
    """A run whose driver was killed after four pieces of work ended, none of which is in the database."""
    with Repo.create(tmp_path / "repo") as repo:
        repo.make_run("night/1")
        repo.register_type(DatasetType("a_out", VISIT, "json"))
        folder = RunFolder(repo.root, "night/1")
        for number, status in enumerate(["done", "done", "failed", "error"]):
            path = repo.path_for("night/1", "a_out", where(number))
            path.parent.mkdir(parents=True, exist_ok=True)
            output = {"type": "a_out", "storage": "json", "path": str(path), "data_id": dict(where(number))}
            if status == "done":
                path.write_text("1.0")
            key = f"instrument=x,visit={number}"
            record = {"label": "a", "data_id": dict(where(number)), "data_key": key, "input_key": "k", "inputs": {}}
            written = {**output, "size": 3, "checksum": "c", "partial": False}
            record |= {"status": status, "outputs": [written] if status == "done" else []}
            place = Path(folder.record_path("a", key))
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(record))
        repo.path_for("night/1", "a_out", where(1)).write_text("1.")
        (folder.path / "a_out" / ".half.json.ab12.part").write_text("1")
        yield repo, folder


def test_what_a_killed_driver_left_is_taken_over_if_it_is_whole_and_deleted_if_not(interrupted):
    repo, folder = interrupted

    assert adopt(repo, "night/1") == 2
    assert {row.data_key: row.status for row in repo.quanta("night/1")} == {
        "instrument=x,visit=0": "done",
        "instrument=x,visit=2": "failed",
    }
    assert [row.data_id["visit"] for row in repo.datasets("a_out", collections="night/1")] == [0]
    left = {path.name for path in folder.path.rglob("*") if path.is_file()}
    assert left == {
        repo.path_for("night/1", "a_out", where(0)).name,
        "instrument-x_visit-0.json",
        "instrument-x_visit-2.json",
    }
    assert adopt(repo, "night/1") == 0
    assert all(row.status in SETTLED for row in repo.quanta("night/1"))
