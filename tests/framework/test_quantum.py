"""Running one piece of work: how it can end, and what is kept of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from firstlight.errors import AlgorithmError, ConfigError, NoWorkFound
from firstlight.framework import (
    DataId,
    DatasetRef,
    Funnel,
    Gate,
    Input,
    Output,
    Pass,
    PipelineTask,
    PipelineTaskConfig,
    Resources,
    Struct,
    run_quantum,
)
from firstlight.framework.quantum import adjusted_inputs
from firstlight.testing.arithmetic_pipeline import CompareTask, CorrectConfig, CorrectTask, SumConfig, SumTask

VISIT = DataId(instrument="simulated", visit=1)


def refs(name, *detectors):
    return tuple(DatasetRef(name, DataId(VISIT, detector=number)) for number in detectors)


class StepsConfig(PipelineTaskConfig):
    """Settings of `StepsTask`."""

    fail_at: int = 0
    """Number of the pass that fails; 0 for none."""


@dataclass(frozen=True)
class StepsResult(Struct):
    """Everything a result can have."""

    first: float
    second: float
    spare: float | None
    gates: tuple[Gate, ...]
    funnels: tuple[Funnel, ...]


@dataclass
class StepsState:
    """What is made so far."""

    made: dict[str, object] = field(default_factory=dict)

    def products(self) -> Mapping[str, object]:
        return dict(self.made)


class StepsTask(PipelineTask[StepsConfig]):
    """Makes one product in each pass."""

    dimensions = ("visit",)
    inputs = {"value": Input("value", float)}
    outputs = {
        "first": Output("first", float),
        "second": Output("second", float, partial=False),
        "spare": Output("spare", float, optional=True),
    }

    def passes(self):
        return (Pass("one", self._one), Pass("two", self._two), Pass("three", self._three))

    def run(self, value: float) -> StepsResult:
        state = StepsState({"start": value})
        self.run_passes(state)
        made = state.made
        return StepsResult(made["first"], made["second"], None, made["gates"], made["funnels"])

    def _one(self, state):
        self._perhaps_fail(1)
        state.made["first"] = state.made["start"] + 1
        state.made["gates"] = (Gate("rms", 0.5, fail=0.1),)
        state.made["funnels"] = (Funnel("stars", (("detected", 10),)),)

    def _two(self, state):
        self._perhaps_fail(2)
        state.made["second"] = state.made["first"] + 1

    def _three(self, state):
        self._perhaps_fail(3)

    def _perhaps_fail(self, number):
        if self.config.fail_at == number:
            raise AlgorithmError(f"Pass {number} cannot be done.", number=number)


def test_what_is_done_has_every_product_that_is_not_none_with_gates_and_metadata():
    outcome = run_quantum(StepsTask(), {"value": 1.0})

    assert (outcome.status, outcome.step, outcome.error) == ("done", "", None)
    assert outcome.products == {"first": 2.0, "second": 3.0}
    assert [gate.status for gate in outcome.gates] == ["fail"]
    assert [funnel.name for funnel in outcome.funnels] == ["stars"]
    assert [each["name"] for each in outcome.metadata["passes"]] == ["one", "two", "three"]


def test_a_later_failure_keeps_what_is_worth_keeping_and_its_gates():
    outcome = run_quantum(StepsTask(StepsConfig(fail_at=3)), {"value": 1.0})

    assert (outcome.status, outcome.step, str(outcome.error)) == ("partial", "three", "Pass 3 cannot be done.")
    assert outcome.products == {"first": 2.0}
    assert outcome.facts == {"number": 3}
    assert [gate.name for gate in outcome.gates] == ["rms"]
    assert [funnel.name for funnel in outcome.funnels] == ["stars"]
    assert [each["status"] for each in outcome.metadata["passes"]] == ["done", "done", "failed"]


def test_a_failure_before_anything_was_made_keeps_nothing():
    outcome = run_quantum(StepsTask(StepsConfig(fail_at=1)), {"value": 1.0})

    assert (outcome.status, outcome.step, dict(outcome.products)) == ("failed", "one", {})
    assert outcome.facts == {"number": 1}


def test_a_failure_of_a_task_without_passes_is_told_with_its_facts():
    outcome = run_quantum(CorrectTask(), {"raw": 1.0, "bias": 3.0})

    assert (outcome.status, outcome.step, dict(outcome.products)) == ("failed", "run", {})
    assert outcome.facts == {"raw": 1.0, "bias": 3.0}
    assert outcome.metadata["task"] == "CorrectTask"


def test_outputs_that_the_config_does_not_want_are_not_kept():
    wanted = CorrectConfig(optional_outputs=("residual",))

    assert run_quantum(CorrectTask(), {"raw": 3.0}).products == {"corrected": 3.0}
    assert run_quantum(CorrectTask(wanted), {"raw": 3.0}).products == {"corrected": 3.0, "residual": 0.0}


def test_an_optional_input_may_be_left_out():
    assert run_quantum(CompareTask(), {"total": 3.0}).products == {"ratio": 3.0}


def task_that(act, *, optional=False):
    @dataclass(frozen=True)
    class Result(Struct):
        number: float | None

    class ActTask(PipelineTask[PipelineTaskConfig]):
        dimensions = ("visit",)
        inputs = {"value": Input("value", float)}
        outputs = {"number": Output("number", float, optional=optional)}

        def run(self, value):
            return act(self, Result)

    return ActTask()


def test_no_work_is_not_a_failure():
    def act(task, result):
        raise NoWorkFound("Nothing here.")

    outcome = run_quantum(task_that(act), {"value": 1.0})

    assert (outcome.status, dict(outcome.products), str(outcome.error)) == ("no_work", {}, "Nothing here.")


def test_none_in_place_of_an_optional_output_is_done_and_of_another_one_a_bug():
    def act(task, result):
        return result(None)

    assert run_quantum(task_that(act, optional=True), {"value": 1.0}).status == "done"
    with pytest.raises(TypeError, match=r"^ActTask\.run made no 'number', and its connection is not optional\.$"):
        run_quantum(task_that(act), {"value": 1.0})


@dataclass(frozen=True)
class OtherResult(Struct):
    """A result without the field."""

    other: float


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (OtherResult(1.0), "ActTask.run returned a OtherResult, which has no field 'number'."),
        (3.0, "ActTask.run returned a float; a task of a pipeline returns a Struct."),
        (None, "ActTask.run returned a NoneType; a task of a pipeline returns a Struct."),
    ],
)
def test_a_result_that_is_not_what_was_promised_is_a_bug(result, words):
    with pytest.raises(TypeError) as raised:
        run_quantum(task_that(lambda task, _: result), {"value": 1.0})
    assert str(raised.value) == words


@pytest.mark.parametrize("error", [ConfigError("Not so."), ZeroDivisionError("bug")])
def test_bugs_and_mistakes_of_people_go_through(error):
    def act(task, result):
        raise error

    with pytest.raises(type(error)):
        run_quantum(task_that(act), {"value": 1.0})


def test_a_task_is_told_what_it_may_use():
    told = []

    def act(task, result):
        told.append(task.resources)
        return result(1.0)

    task = task_that(act)
    run_quantum(task, {"value": 1.0}, resources=Resources(cores=4, memory_bytes=2**30))
    run_quantum(task, {"value": 1.0})

    assert told == [Resources(cores=4, memory_bytes=2**30), Resources(cores=1, memory_bytes=None)]


def test_a_task_can_leave_inputs_out_and_put_them_in_order():
    found = {"numbers": refs("corrected_number", 10, 9, 2)}

    assert adjusted_inputs(SumTask(), VISIT, found) == {"numbers": refs("corrected_number", 2, 9, 10)}


def test_too_few_inputs_are_no_work_before_the_task_is_asked():
    with pytest.raises(NoWorkFound, match=r"^1 of 'corrected_number' are needed; got 0\.$"):
        adjusted_inputs(SumTask(), VISIT, {"numbers": ()})
    with pytest.raises(NoWorkFound, match=r"^visit has 1 numbers, fewer than 2\.$"):
        adjusted_inputs(SumTask(SumConfig(least=2)), VISIT, {"numbers": refs("corrected_number", 1)})


class StrangeTask(CompareTask):
    """Adjusts as it is told."""

    answer: Mapping[str, tuple[DatasetRef, ...]] = {}

    def adjust_quantum(self, data_id, inputs):
        return self.answer


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ({"total": refs("total_number", 1)}, TypeError, "returns total; it was given total, reference."),
        ({}, TypeError, "returns nothing; it was given total, reference."),
        (
            {"total": refs("total_number", 2), "reference": ()},
            TypeError,
            "puts total_number (instrument=simulated visit=1 detector=2) into 'total', which was not found for it.",
        ),
        ({"total": (), "reference": ()}, NoWorkFound, "1 of 'total_number' are needed; got 0."),
    ],
)
def test_what_a_task_makes_of_its_inputs_is_looked_at(answer, error, words):
    task = StrangeTask()
    task.answer = answer

    with pytest.raises(error) as raised:
        adjusted_inputs(task, VISIT, {"total": refs("total_number", 1), "reference": ()})
    assert str(raised.value).removeprefix("StrangeTask.adjust_quantum ") == words
