"""What `firstlight.testing` finds in task classes, good and bad."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from firstlight.errors import ConfigError
from firstlight.framework import (
    Config,
    Input,
    Output,
    PipelineTask,
    PipelineTaskConfig,
    Resources,
    Struct,
    Task,
    find_class,
    known_tasks,
)
from firstlight.testing import assert_same_config, assert_well_made, installed_package, make_task, run_task
from firstlight.testing.arithmetic import AddTask
from firstlight.testing.arithmetic_pipeline import CorrectConfig, CorrectTask, SumTask

OWN = sorted(name for name, (offer, *_) in known_tasks().items() if offer.value.startswith("firstlight."))


@pytest.mark.parametrize("name", OWN)
def test_every_task_of_ours_is_well_made(name):
    assert_well_made(find_class(name))


class Undocumented(Config):
    size: int = 1


class BadTask(Task[Undocumented]):
    def run(self, value):
        return value


def test_everything_that_is_wrong_with_a_task_is_told_at_once():
    with pytest.raises(AssertionError) as raised:
        assert_well_made(BadTask)

    assert str(raised.value).splitlines() == [
        "BadTask is not well made:",
        "the class has no docstring",
        "run has no docstring",
        "Undocumented.size has no docstring below it, which says what it is and its unit",
        "run does not say what it returns",
        f'no package names it: add BadTask = "{__name__}:BadTask" to its entry points',
    ]


@dataclass(frozen=True)
class Doubled(Struct):
    number: float


class DoubleTask(PipelineTask[PipelineTaskConfig]):
    """Doubles a number."""

    dimensions = ("instrument", "visit")
    inputs = {"value": Input("number", float)}
    outputs = {"number": Output("double_number", float)}

    def run(self, value: float) -> Doubled:
        """Return twice ``value``."""
        return Doubled(number=2 * value)


def test_a_good_task_without_a_package_is_well_made_but_for_its_name():
    assert_well_made(DoubleTask, named=False)
    with pytest.raises(AssertionError, match="no package names it"):
        assert_well_made(DoubleTask)


def test_one_piece_of_work_is_run_with_settings_as_a_user_gives_them():
    outcome = run_task(CorrectTask, ["step.amount=0.5"], raw=5.0, bias=1.0)

    assert outcome.status == "done"
    assert outcome.products == {"corrected": 4.5}


def test_settings_may_be_mappings_and_switch_connections():
    outcome = run_task(CorrectTask, {"with_bias": False, "optional_outputs": ["residual"]}, raw=5.0)

    assert outcome.products == {"corrected": 5.0, "residual": 0.0}


def test_a_failure_on_the_data_is_an_outcome_with_its_facts():
    outcome = run_task(CorrectTask, raw=1.0, bias=2.0)

    assert (outcome.status, dict(outcome.products)) == ("failed", {})
    assert outcome.facts == {"raw": 1.0, "bias": 2.0}


def test_deferred_and_multiple_inputs_are_handed_over_as_a_pipeline_does():
    assert run_task(SumTask, numbers=[1.0, 2.0, 4.0]).products == {"total": 7.0}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"rw": 1.0, "bias": 0.0}, "no input 'rw'; did you mean 'raw'"), ({"raw": 1.0}, "needs 'bias'")],
)
def test_arguments_that_do_not_fit_are_refused(arguments, words):
    with pytest.raises(TypeError, match=words):
        run_task(CorrectTask, **arguments)


def test_a_setting_that_does_not_fit_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match="did you mean 'with_bias'"):
        run_task(CorrectTask, ["with_bais=false"], raw=1.0)


def test_resources_reach_the_task():
    seen = []

    class GreedyTask(DoubleTask):
        """Notes what it may use."""

        def run(self, value: float) -> Doubled:
            seen.append(self.resources)
            return super().run(value)

    run_task(GreedyTask, resources=Resources(cores=4, memory_bytes=1 << 30), value=1.0)

    assert seen == [Resources(cores=4, memory_bytes=1 << 30)]


def test_a_package_is_there_inside_the_block_only(tmp_path):
    source = f"from {CorrectTask.__module__} import CorrectTask\nclass MildTask(CorrectTask):\n    '''Mild.'''\n"
    with installed_package(tmp_path / "site", "mild", source, tasks={"MildTask": "MildTask"}):
        assert find_class("MildTask").__module__ == "mild"
        assert_well_made(find_class("MildTask"))
    with pytest.raises(ConfigError, match="no task is named 'MildTask'"):
        find_class("MildTask")


def test_configs_are_compared_with_their_history():
    assert_same_config(CorrectConfig(), CorrectConfig())
    with pytest.raises(AssertionError):
        assert_same_config(CorrectConfig(), CorrectConfig(with_bias=False))
    with pytest.raises(AssertionError, match="histories"):
        assert_same_config(CorrectConfig(), CorrectConfig(with_bias=True))


def test_a_task_of_any_family_is_made_from_settings():
    assert make_task(AddTask, ["amount=3"]).run(1.0).value == 4.0
    with pytest.raises(ConfigError, match="did you mean 'amount'"):
        make_task(AddTask, {"amuont": 3})
