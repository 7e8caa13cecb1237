"""Tasks know their config class, their place in the tree, and what they did."""

import time
from typing import Generic

import pytest
from structlog.testing import capture_logs
from typing_extensions import TypeVar

from firstlight.framework import Config, Task
from firstlight.testing.arithmetic import (
    AddConfig,
    AddTask,
    CalculateTask,
    InvertTask,
    MultiplyConfig,
    MultiplyTask,
    NightTask,
    NumberConfig,
    NumberTask,
)

MiddleConfigT = TypeVar("MiddleConfigT", bound=AddConfig, covariant=True, default=AddConfig)
OtherT = TypeVar("OtherT")


class MiddleTask(NumberTask[MiddleConfigT]):
    """A family inside a family."""


class LowestConfig(AddConfig):
    """The most special config."""


class LowestTask(MiddleTask[LowestConfig]):
    def operate(self, value):
        return value


class SwappedTask(Task[NumberConfig], Generic[OtherT]):
    """Generic in something else than its config."""


class PairTask(NumberTask[MiddleConfigT], Generic[OtherT, MiddleConfigT]):
    """The config is its second argument."""


class PairOfIntTask(PairTask[int, LowestConfig]):
    def operate(self, value):
        return value


class HeirTask(LowestTask):
    """Changes nothing but calls its parent."""

    def run(self, value):
        return super().run(value)


class SlowTask(Task):
    def run(self, seconds):
        time.sleep(seconds)
        raise RuntimeError("too slow")


@pytest.mark.parametrize(
    ("task", "config"),
    [
        (Task, Config),
        (NumberTask, NumberConfig),
        (AddTask, AddConfig),
        (InvertTask, NumberConfig),
        (MiddleTask, AddConfig),
        (LowestTask, LowestConfig),
        (HeirTask, LowestConfig),
        (SwappedTask, NumberConfig),
        (SwappedTask[int], NumberConfig),
        (PairTask, AddConfig),
        (PairOfIntTask, LowestConfig),
        (SlowTask, Config),
    ],
)
def test_the_config_class_is_the_generic_argument(task, config):
    assert task.config_class is config


def test_a_generic_argument_that_is_no_config_is_refused():
    with pytest.raises(TypeError, match="generic argument of a Task is its Config class"):

        class BadTask(Task[int]):
            pass


def test_a_task_without_a_config_has_the_defaults():
    assert AddTask().config == AddConfig()


def test_a_config_of_another_task_is_refused():
    with pytest.raises(TypeError, match="AddTask takes a AddConfig; got a MultiplyConfig"):
        AddTask(MultiplyConfig())


def test_the_log_names_the_place_in_the_tree():
    with capture_logs() as logs:
        NightTask().run(3.0)

    assert [(log["task"], log["value"]) for log in logs] == [
        ("calibrate.first", 5.0),
        ("calibrate.second", 10.0),
        ("calibrate.plugins.double", 20.0),
        ("calibrate.plugins.triple", 30.0),
    ]


def test_the_outermost_task_is_named_by_its_class():
    with capture_logs() as logs:
        AddTask().run(1.0)

    assert logs[0]["task"] == "AddTask"


def test_metadata_are_nested_like_the_tasks():
    task = CalculateTask()
    task.run(1.0)
    record = task.collect_metadata()

    assert record["task"] == "CalculateTask"
    assert list(record["subtasks"]) == ["first", "second", "plugins.double", "plugins.triple"]
    assert record["subtasks"]["plugins.triple"]["counts"] == {"operations": 1}
    assert [each["name"] for each in record["passes"]] == ["first", "second", "extras"]


def test_a_run_starts_a_fresh_record_for_the_whole_tree():
    task = CalculateTask()
    task.run(1.0)
    task.run(1.0)

    assert task.metadata.runs == task.first.metadata.runs == 1
    assert task.first.metadata.counts == {"operations": 1}


def test_counts_of_one_run_add_up_and_the_last_note_stands():
    metadata = AddTask().metadata
    metadata.count("stars", 5)
    metadata.count("stars", 3)
    metadata.note("seeing", 1.0)
    metadata.note("seeing", 1.2)

    assert (metadata.counts, metadata.facts) == ({"stars": 8}, {"seeing": 1.2})


def test_a_run_is_timed_also_when_it_raises():
    task = SlowTask()
    with pytest.raises(RuntimeError, match="too slow"):
        task.run(0.02)

    assert 0.02 <= task.metadata.wall_s < 10
    assert task.metadata.cpu_s < task.metadata.wall_s
    assert task.metadata.peak_memory_bytes > 1_000_000


def test_a_run_that_calls_its_parents_run_is_counted_once():
    task = HeirTask()
    task.run(1.0)

    assert task.metadata.runs == 1


def test_a_task_run_after_a_failed_one_is_outermost_again():
    task = CalculateTask()
    with pytest.raises(TypeError):
        task.run("not a number")
    with capture_logs() as logs:
        AddTask().run(1.0)

    assert logs[0]["task"] == "AddTask"


def test_each_task_is_timed_with_its_own_config():
    one, other = MultiplyTask(MultiplyConfig(repeats=3)), MultiplyTask()
    one.run(1.0)

    assert (one.metadata.counts, other.metadata.counts) == ({"operations": 3}, {})


class WiderAddConfig(AddTask.config_class):
    width: float = 2.0
    """Width."""


def test_a_subclass_of_a_finished_task_can_name_a_config_with_more_settings():
    class WiderAddTask(AddTask):
        config_class = WiderAddConfig

    class WidestAddTask(WiderAddTask):
        pass

    assert WiderAddTask().config.width == WidestAddTask().config.width == 2.0
    assert WiderAddTask(WiderAddConfig(amount=3.0)).run(1.0).value == 4.0


def test_a_config_that_does_not_belong_to_the_family_is_refused():
    with pytest.raises(TypeError, match="MultiplyConfig does not inherit"):

        class WrongTask(AddTask):
            config_class = MultiplyTask.config_class
