"""Connections: compared with ``run`` when a class is made, chosen and renamed by config."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import new_class
from typing import Annotated, Any

import pytest

from firstlight.errors import ConfigError
from firstlight.framework import (
    DIMENSIONS,
    Config,
    Handle,
    Input,
    Layer,
    Output,
    PipelineTask,
    PipelineTaskConfig,
    Prerequisite,
    Struct,
    Subtask,
    build_config,
    subtask,
)
from firstlight.framework.connections import Connections
from firstlight.testing.arithmetic import AddTask, NumberTask
from firstlight.testing.arithmetic_pipeline import CorrectConfig, CorrectTask


@dataclass(frozen=True)
class NumberResult(Struct):
    """One number."""

    number: float


@dataclass(frozen=True)
class PairResult(Struct):
    """Two numbers, one of which may be missing."""

    number: float
    rest: float | None


@dataclass(frozen=True)
class NoStruct:
    """A dataclass that is no Struct."""

    number: float


class ChoiceConfig(PipelineTaskConfig):
    """Everything on which a connection can depend."""

    switch: bool = True
    """A switch."""

    slot: Subtask[NumberTask] | None = subtask(AddTask)
    """A slot."""

    names: tuple[str, ...] = ()
    """Names of connections."""


def make(
    *,
    inputs=None,
    prerequisites=None,
    outputs=None,
    dimensions=("visit",),
    config=ChoiceConfig,
    run=lambda self, value: NumberResult(value),
):
    """Make the class that has these connections."""
    body = {
        "dimensions": dimensions,
        "inputs": {"value": Input("value", float)} if inputs is None else inputs,
        "prerequisites": prerequisites or {},
        "outputs": {"number": Output("number", float)} if outputs is None else outputs,
    }
    if run is not None:
        body["run"] = run
    return new_class("TryTask", (PipelineTask[config],), exec_body=lambda space: space.update(body))


def good(self, value: float) -> NumberResult:
    return NumberResult(value)


def unannotated(self, value):
    return NumberResult(value)


def test_a_class_whose_connections_fit_its_run_is_made():
    assert Connections.of(make(run=good), ChoiceConfig()).dimensions == ("instrument", "visit")
    make(run=unannotated)


VALUE, NUMBER = Input("value", float), Output("number", float)
EVERY_DIMENSION = ", ".join(DIMENSIONS)


def no_default(self, value: float) -> NumberResult: ...
def no_value(self, valeu: float = 0.0) -> NumberResult: ...
def one_more(self, value: float, bias: float) -> NumberResult: ...
def by_position(self, value: float, /) -> NumberResult: ...
def takes_text(self, value: str) -> NumberResult: ...
def takes_handle(self, value: Handle[float]) -> NumberResult: ...
def takes_list(self, value: list[float]) -> NumberResult: ...
def takes_pair(self, value: tuple[float, float]) -> NumberResult: ...
def takes_none(self, value: tuple[float, ...] | None) -> NumberResult: ...
def takes_handles(self, value: tuple[Handle[float], ...]) -> NumberResult: ...
def takes_floats(self, value: tuple[float, ...]) -> NumberResult: ...
def takes_bool(self, value: bool) -> NumberResult: ...
def takes_either(self, value: str | float = 1.0) -> NumberResult: ...
def gives_nothing(self, value: float) -> None: ...
def gives_number(self, value: float) -> float: ...
def gives_no_struct(self, value: float) -> NoStruct: ...
def gives_pair(self, value: float) -> PairResult: ...


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"run": good, "inputs": {"value": Output("value", float)}},
            ".inputs: 'value' takes Input(...); got Output(name='value', type=<class 'float'>, when='', partial=True, "
            "optional=False).",
        ),
        (
            {"run": good, "inputs": {"value": Prerequisite("value", int)}},
            ".inputs: 'value' takes Input(...); got Prerequisite(name='value', type=<class 'int'>, when='', "
            "dimensions=None, multiple=False, minimum=1, deferred=False, lookup=<Lookup.DATA_ID: 'data_id'>).",
        ),
        (
            {"run": good, "inputs": {}, "prerequisites": {"value": "value"}},
            ".prerequisites: 'value' takes Prerequisite(...); got 'value'.",
        ),
        ({"run": good, "outputs": {"number": VALUE}}, ".outputs: 'number' takes Output(...); got " + repr(VALUE) + "."),
        (
            {"run": good, "prerequisites": {"value": Prerequisite("other", float)}},
            ": 'value' is the name of two connections; give one another name, or renaming it would mean both.",
        ),
        (
            {"run": good, "config": Config},
            ": the config of a task with connections is a PipelineTaskConfig; Config is none.",
        ),
        (
            {"run": good, "dimensions": ()},
            ".dimensions: name what tells one piece of its work from another, such as ('visit', 'detector').",
        ),
        ({"run": good, "dimensions": ("vist",)}, ".dimensions: no dimension is named 'vist'; did you mean 'visit'?"),
        ({"run": good, "dimensions": "visit"}, ".dimensions: dimensions are a tuple of names, such as ('visit',)."),
        (
            {"run": good, "inputs": {"value": Input("value", float, dimensions=("moon",))}},
            f".inputs: 'value': no dimension is named 'moon'; there are {EVERY_DIMENSION}.",
        ),
        (
            {"run": good, "inputs": {"value": Input("value", float, dimensions="visit")}},
            ".inputs: 'value': dimensions are a tuple of names, such as ('visit',).",
        ),
        (
            {"run": gives_pair, "outputs": {"number": NUMBER, "rest": Output("number", float)}},
            ".outputs: 'number' is written twice.",
        ),
        (
            {"run": takes_either, "inputs": {"value": Input("value", float, when="swich")}},
            ".inputs: 'value' depends on 'swich', which ChoiceConfig has not; did you mean 'switch'?",
        ),
        (
            {"run": good, "inputs": {"value": Input("value", float, minimum=2)}},
            ".inputs: 'value' has minimum=2; one dataset has 0 or 1, multiple=True any number.",
        ),
        (
            {"run": takes_floats, "inputs": {"value": Input("value", float, multiple=True, minimum=-1)}},
            ".inputs: 'value' has minimum=-1; one dataset has 0 or 1, multiple=True any number.",
        ),
        ({"run": None}, ": a task with connections has a method run."),
        ({"run": no_value}, ": run has no parameter 'value'; did you mean 'valeu'?"),
        ({"run": one_more}, ".run: parameter 'bias' is no connection and has no default."),
        ({"run": by_position}, ".run: 'value' is handed over by name; take the '/' out."),
        (
            {"run": no_default, "inputs": {"value": Input("value", float, minimum=0)}},
            ".run: 'value' is optional, so it needs a default.",
        ),
        (
            {"run": no_default, "inputs": {"value": Input("value", float, when="switch")}},
            ".run: 'value' is optional, so it needs a default.",
        ),
        ({"run": takes_text}, ".run: 'value' should be annotated float."),
        ({"run": takes_handle}, ".run: 'value' should be annotated float."),
        ({"run": takes_bool, "inputs": {"value": Input("value", int)}}, ".run: 'value' should be annotated int."),
        (
            {"run": good, "inputs": {"value": Input("value", float, deferred=True)}},
            ".run: 'value' should be annotated Handle[float].",
        ),
        *(
            (
                {"run": run, "inputs": {"value": Input("value", float, multiple=True)}},
                ".run: 'value' should be annotated tuple[float, ...].",
            )
            for run in (good, takes_list, takes_pair, takes_none, takes_handles)
        ),
        (
            {"run": takes_handle, "inputs": {"value": Input("value", float, multiple=True, deferred=True)}},
            ".run: 'value' should be annotated tuple[Handle[float], ...].",
        ),
        ({"run": gives_nothing}, ".run returns NoneType; a task with connections returns a Struct."),
        ({"run": gives_number}, ".run returns float; a task with connections returns a Struct."),
        ({"run": gives_no_struct}, ".run returns NoStruct; a task with connections returns a Struct."),
        (
            {"run": good, "outputs": {"nubmer": NUMBER}},
            ".outputs: NumberResult has no field 'nubmer'; did you mean 'number'?",
        ),
        (
            {"run": good, "outputs": {"number": Output("number", str)}},
            ".outputs: field 'number' of NumberResult should be annotated str.",
        ),
        (
            {"run": good, "outputs": {"number": Output("number", float, optional=True)}},
            ".outputs: field 'number' of NumberResult should be annotated float | None.",
        ),
    ],
)
def test_what_does_not_fit_is_one_line_when_the_class_is_made(given, words):
    with pytest.raises(TypeError) as raised:
        make(**given)
    assert str(raised.value) == f"TryTask{words}"


def test_every_difference_is_told_at_once():
    with pytest.raises(TypeError) as raised:
        make(run=one_more, dimensions=("vist",), outputs={"nubmer": NUMBER})

    assert len(str(raised.value).splitlines()) == 3


def takes_any(self, value: Any) -> NumberResult: ...
def takes_object(self, value: object) -> NumberResult: ...
def takes_annotated(self, value: Annotated[float, "unit"]) -> NumberResult: ...
def takes_iterable(self, value: Iterable[float]) -> NumberResult: ...
def takes_sequence(self, value: Sequence[Handle[float]]) -> NumberResult: ...
def takes_bare_tuple(self, value: tuple) -> NumberResult: ...
def takes_later(self, value: "ToBeDefined") -> NumberResult: ...  # noqa: F821 - an annotation that cannot be read yet


@pytest.mark.parametrize(
    ("run", "connection"),
    [
        (takes_any, VALUE),
        (takes_object, VALUE),
        (takes_either, VALUE),
        (takes_annotated, VALUE),
        (takes_later, VALUE),
        (good, Input("value", int)),
        (good, Input("value", bool)),
        (good, Input("value", Any)),
        (takes_either, Input("value", float | str)),
        (takes_iterable, Input("value", float, multiple=True)),
        (takes_sequence, Input("value", float, multiple=True, deferred=True)),
        (takes_bare_tuple, Input("value", float, multiple=True)),
        (takes_any, Input("value", float, multiple=True, deferred=True)),
    ],
)
def test_an_annotation_that_takes_more_than_the_connection_gives_fits(run, connection):
    assert make(run=run, inputs={"value": connection}).inputs["value"] is connection


def test_a_subclass_is_checked_again():
    task = make(run=good)

    with pytest.raises(TypeError, match=r"^HastyTask\.run: 'value' should be annotated float\.$"):
        type("HastyTask", (task,), {"run": takes_text})


@pytest.mark.parametrize(
    ("when", "value", "there"),
    [
        ("switch", True, True),
        ("switch", False, False),
        ("slot", subtask(AddTask), True),
        ("slot", None, False),
        ("names", ("rest",), True),
        ("names", ("number",), False),
        ("names", (), False),
    ],
)
def test_a_connection_is_there_when_its_switch_its_slot_or_its_name_says_so(when, value, there):
    task = make(run=gives_pair, outputs={"number": NUMBER, "rest": Output("rest", float, when=when)})

    assert ("rest" in Connections.of(task, ChoiceConfig(**{when: value})).outputs) is there


def test_every_connection_can_be_renamed_by_config_and_keeps_the_rest():
    config = CorrectConfig(connections={"raw": "flat_number", "bias": "dark_number", "corrected": "clean_number"})

    found = Connections.of(CorrectTask, config)

    assert {own: each.name for own, each in {**found.arguments, **found.outputs}.items()} == {
        "raw": "flat_number",
        "bias": "dark_number",
        "corrected": "clean_number",
    }
    assert found.prerequisites["bias"].lookup is CorrectTask.prerequisites["bias"].lookup


def settings(*texts):
    return build_config(CorrectConfig, [Layer.from_assignment(text) for text in texts], labelled=False)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (
            ["connections.rwa=x"],
            "connections.rwa: no such connection; did you mean 'raw'? (from -c connections.rwa=x)",
        ),
        (
            ["connections.zz=x"],
            "connections.zz: no such connection; there are raw, bias, corrected, residual (from -c connections.zz=x)",
        ),
        (
            ["optional_outputs=[residual]", "connections.corrected=residual_number"],
            "connections.corrected: 'residual' writes 'residual_number' too (from -c "
            "connections.corrected=residual_number)",
        ),
        (
            ["connections.a=x", "connections.rwa=y"],
            "connections.a: no such connection; there are raw, bias, corrected, residual (from -c connections.a=x)\n"
            "connections.rwa: no such connection; did you mean 'raw'? (from -c connections.rwa=y)",
        ),
    ],
)
def test_a_name_that_does_not_fit_is_told_with_its_origin(texts, words):
    with pytest.raises(ConfigError) as raised:
        Connections.of(CorrectTask, settings(*texts))
    assert str(raised.value) == words


def test_outputs_that_are_not_there_take_no_names():
    found = Connections.of(CorrectTask, settings("connections.corrected=residual_number"))

    assert {own: output.name for own, output in found.outputs.items()} == {"corrected": "residual_number"}


def test_a_task_without_connections_cannot_stand_in_a_pipeline():
    class BareTask(PipelineTask[PipelineTaskConfig]):
        pass

    with pytest.raises(ConfigError, match=r"^BareTask declares no connections, so it cannot stand in a pipeline$"):
        Connections.of(BareTask, PipelineTaskConfig())


def test_an_input_has_the_dimensions_of_its_task_unless_it_names_its_own():
    task = make(
        run=lambda self, value, other: None,
        inputs={"value": VALUE, "other": Input("other", float, dimensions=("detector", "visit"), multiple=True)},
    )
    found = Connections.of(task, ChoiceConfig())

    assert found.dimensions_of(found.inputs["value"]) == ("instrument", "visit")
    assert found.dimensions_of(found.inputs["other"]) == ("instrument", "visit", "detector")
    assert found.dimensions_of(found.outputs["number"]) == ("instrument", "visit")


def test_a_handle_loads_again_at_every_call():
    loaded = []
    handle = Handle("number", DATA_ID := object(), lambda: loaded.append(1) or len(loaded))

    assert (handle.get(), handle.get()) == (1, 2)
    assert handle.data_id is DATA_ID
