"""Passes run in order, are timed and announced, and hand out what they made when the work ends early."""

from collections.abc import Sequence

import pytest

from firstlight.errors import AlgorithmError, ConfigError, PartialResult
from firstlight.framework import Pass, PassState, PipelineTask, Stopped, observe_passes, run_until, subtask
from firstlight.testing.arithmetic import (
    AddTask,
    CalculateConfig,
    CalculateState,
    CalculateTask,
    InvertTask,
    NightConfig,
    NightTask,
)


@pytest.fixture
def night_that_fails():
    """A night whose inner second step takes the reciprocal of zero when it is run with zero."""
    inner = subtask(CalculateTask, first=subtask(AddTask, amount=0.0), second=subtask(InvertTask))
    return NightTask(NightConfig(calibrate=inner))


class ForgivingTask(PipelineTask):
    """Goes on when the task inside fails, then fails itself if told to."""

    def __init__(self, *, fail=False):
        super().__init__()
        self.fail = fail
        self.inside = CalculateTask(
            CalculateConfig(first=subtask(AddTask, amount=0.0), second=subtask(InvertTask), plugins={})
        )

    def passes(self) -> Sequence[Pass[PassState]]:
        return (Pass("try", self._try, inside=self.inside), Pass("end", self._end))

    def run(self):
        state = CalculateState(0.0)
        self.run_passes(state)
        return state.made

    def _try(self, state):
        try:
            self.inside.run(0.0)
        except AlgorithmError:
            state.made["gave_up"] = True

    def _end(self, state):
        if self.fail:
            raise AlgorithmError("The end failed.")


class BuggyTask(CalculateTask):
    """Has a bug in its first pass."""

    def _first(self, state):
        raise ZeroDivisionError


def test_passes_of_inner_tasks_can_be_named():
    assert NightTask().pass_names() == (
        "start",
        "calibrate.first",
        "calibrate.second",
        "calibrate.extras",
        "calibrate",
        "measure",
    )


def test_a_pass_of_an_empty_slot_is_not_there():
    assert CalculateTask(CalculateConfig(second=None)).pass_names() == ("first", "extras")


@pytest.mark.parametrize(
    ("name", "step", "products"),
    [
        ("start", "start", {"started_with": 3.0, "number": 3.0}),
        ("first", "calibrate.first", {"started_with": 3.0, "number": 5.0}),
        ("calibrate.second", "calibrate.second", {"started_with": 3.0, "number": 10.0}),
        ("calibrate", "calibrate", {"started_with": 3.0, "number": 10.0}),
        ("measure", "measure", {"started_with": 3.0, "number": 10.0, "total": 10.0}),
    ],
)
def test_work_stops_after_the_named_pass_with_what_was_made(name, step, products):
    assert run_until(name, NightTask().run, 3.0) == Stopped(step=step, products=products)


def test_an_unknown_pass_is_told_before_any_work():
    task, seen = NightTask(), []
    with observe_passes(seen.append), pytest.raises(ConfigError) as raised:
        run_until("secnod", task.run, 3.0)

    assert str(raised.value).startswith("no pass is named 'secnod'; did you mean 'second'?; NightTask has start, ")
    assert seen == []


def test_a_failure_in_an_inner_pass_hands_out_the_products_of_both(night_that_fails):
    with pytest.raises(PartialResult) as raised:
        night_that_fails.run(0.0)

    assert raised.value.step == "calibrate.second"
    assert raised.value.partial == {"started_with": 0.0, "number": 0.0}
    assert raised.value.cause.facts == {"value": 0.0}
    assert raised.value.__cause__ is raised.value.cause


def test_a_product_of_an_inner_task_is_newer_than_the_outer_one():
    inner = subtask(CalculateTask, first=subtask(AddTask, amount=-3.0), second=subtask(InvertTask))
    with pytest.raises(PartialResult) as raised:
        NightTask(NightConfig(calibrate=inner)).run(3.0)

    assert raised.value.partial == {"started_with": 3.0, "number": 0.0}


def test_only_the_outermost_task_makes_a_partial_result(night_that_fails):
    inner = night_that_fails.calibrate
    with pytest.raises(PartialResult, match=r"^second: "):
        inner.run(0.0)


def test_a_failure_before_the_pass_to_stop_after_is_a_failure(night_that_fails):
    with pytest.raises(PartialResult):
        run_until("measure", night_that_fails.run, 0.0)


def test_a_bug_is_not_converted():
    with pytest.raises(ZeroDivisionError):
        BuggyTask().run(1.0)


def test_a_failure_that_was_caught_leaves_nothing_behind():
    assert ForgivingTask().run() == {"gave_up": True}
    with pytest.raises(PartialResult) as raised:
        ForgivingTask(fail=True).run()

    assert (raised.value.step, raised.value.partial) == ("end", {"gave_up": True})


def test_a_task_can_run_again_after_it_was_stopped_or_failed(night_that_fails):
    with pytest.raises(PartialResult):
        night_that_fails.run(0.0)
    run_until("first", night_that_fails.run, 0.0)

    assert night_that_fails.run(4.0).number == 0.25


def test_every_pass_is_announced_in_order():
    seen = []
    with observe_passes(seen.append):
        NightTask().run(3.0)
    NightTask().run(3.0)

    assert [(event.path, event.status) for event in seen] == [
        ("start", "started"),
        ("start", "done"),
        ("calibrate", "started"),
        ("calibrate.first", "started"),
        ("calibrate.first", "done"),
        ("calibrate.second", "started"),
        ("calibrate.second", "done"),
        ("calibrate.extras", "started"),
        ("calibrate.extras", "done"),
        ("calibrate", "done"),
        ("measure", "started"),
        ("measure", "done"),
    ]
    first = seen[4]
    assert (first.task, first.name, first.index, first.total, first.nested) == ("calibrate", "first", 1, 3, False)
    assert first.facts == {"value": 5.0}
    assert seen[9].wall_s >= first.wall_s > 0


def test_a_failed_pass_is_announced_with_the_facts(night_that_fails):
    seen = []
    with observe_passes(seen.append), pytest.raises(PartialResult):
        night_that_fails.run(0.0)

    assert [(event.path, event.facts) for event in seen if event.status == "failed"] == [
        ("calibrate.second", {"value": 0.0}),
        ("calibrate", {"value": 0.0}),
    ]


def test_passes_are_timed_in_the_metadata(night_that_fails):
    with pytest.raises(PartialResult):
        night_that_fails.run(0.0)
    record = night_that_fails.collect_metadata()

    assert [(each["name"], each["status"]) for each in record["passes"]] == [("start", "done"), ("calibrate", "failed")]
    inner = record["subtasks"]["calibrate"]["passes"]
    assert [(each["name"], each["status"]) for each in inner] == [("first", "done"), ("second", "failed")]
    assert all(each["wall_s"] > 0 for each in inner)


def test_a_run_without_passes_cannot_be_stopped():
    class IdleTask(PipelineTask):
        def run(self):
            return None

    with pytest.raises(RuntimeError, match="does not call run_passes"):
        run_until("first", IdleTask().run)
