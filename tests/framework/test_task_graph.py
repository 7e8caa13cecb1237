"""The tasks of a pipeline, in an order in which each finds its inputs made."""

import pytest

from firstlight.errors import PipelineError
from firstlight.framework import Input, Layer, PipelineTask, PipelineTaskConfig, TaskGraph, build_config
from firstlight.framework.connections import Connections
from firstlight.framework.selection import selected
from firstlight.framework.subtask import Subtask
from firstlight.framework.task_graph import TaskNode
from firstlight.testing.arithmetic_pipeline import CompareTask, CorrectTask, SumTask

from .pipeline_tasks import node


def connected(label, task, *texts, origin=""):
    layers = [Layer.from_assignment(text) for text in texts]
    slot = Subtask(task, build_config(task.config_class, layers, labelled=False))
    return TaskNode(label, slot, Connections.of(task, slot.config), origin)


def refusal(*nodes):
    with pytest.raises(PipelineError) as raised:
        TaskGraph(nodes)
    return str(raised.value).splitlines()


CHAIN = (connected("compare", CompareTask), connected("sum", SumTask), connected("correct", CorrectTask))


def test_tasks_stand_after_those_that_make_their_inputs():
    graph = TaskGraph(CHAIN)

    assert list(graph.nodes) == ["correct", "sum", "compare"]
    assert graph.made == {"corrected_number": "correct", "total_number": "sum", "ratio_number": "compare"}
    assert graph.outside == {
        "raw_number": ("correct",),
        "bias_number": ("correct",),
        "reference_number": ("compare",),
    }


def test_where_the_datasets_leave_the_order_open_that_of_the_list_is_kept():
    names = ("d", "b", "c", "a")

    assert list(TaskGraph(node(name) for name in names).nodes) == list(names)
    graph = TaskGraph([node("late", ["b_out"]), *(node(name) for name in names)])
    assert list(graph.nodes) == ["d", "b", "late", "c", "a"]


def test_an_empty_graph_has_no_tasks():
    assert len(TaskGraph([])) == 0


def test_two_makers_of_one_dataset_type_are_told_with_the_setting_that_mends_it():
    assert refusal(node("one", writes=["x"]), node("two", writes=["x"], origin="a.yaml:3")) == [
        "two and one both make 'x'; rename one with two:connections.x (from a.yaml:3)"
    ]


def test_a_renamed_output_is_told_with_the_line_that_renamed_it():
    again = connected("again", SumTask, "connections.total=ratio_number", origin="a.yaml:3")

    assert refusal(*CHAIN, again) == [
        "again and compare both make 'ratio_number'; rename one with again:connections.total "
        "(from -c connections.total=ratio_number)"
    ]


def test_a_task_that_waits_for_itself_is_told():
    assert refusal(connected("sum", SumTask, "connections.numbers=total_number", origin="a.yaml:1")) == [
        "tasks wait for each other: sum makes total_number for sum (from -c connections.numbers=total_number)"
    ]
    (line,) = refusal(node("a", ["q"], ["p"], origin="a.yaml:1"), node("b", ["p"], ["q"], origin="a.yaml:2"))
    assert line.endswith(" (from a.yaml:1 and a.yaml:2)")


def test_a_circle_is_told_without_the_tasks_that_only_hang_on_it():
    nodes = [node("last", ["z"]), node("a", ["z"], ["x"]), node("b", ["x"], ["y"]), node("c", ["y"], ["z"])]

    (line,) = refusal(*nodes)

    assert line.startswith("tasks wait for each other: ")
    assert set(line.removeprefix("tasks wait for each other: ").split("; ")) == {
        "a makes x for b",
        "b makes y for c",
        "c makes z for a",
    }


def test_a_circle_names_the_renaming_that_closes_it_rather_than_every_label():
    first = connected("correct", CorrectTask, "connections.raw=total_number", origin="a.yaml:1")
    second = connected("sum", SumTask, origin="a.yaml:2")

    assert refusal(first, second) == [
        "tasks wait for each other: sum makes total_number for correct; correct makes corrected_number for sum "
        "(from -c connections.raw=total_number)"
    ]


def test_a_dataset_that_is_taken_as_another_type_or_for_other_dimensions_is_told():
    nodes = (
        node("make", writes=["x"]),
        node("kind", ["x"], kind=str, origin="a.yaml:2"),
        node("finer", ["x"], dimensions_of={"x": ("visit", "detector")}, origin="a.yaml:3"),
    )

    assert refusal(*nodes) == [
        "kind takes 'x' as str, but make makes it as float (from a.yaml:2)",
        "finer takes 'x' for each instrument, visit, detector, but make makes it for each instrument, visit "
        "(from a.yaml:3)",
    ]


def test_both_inputs_of_one_dataset_type_are_looked_at():
    class TwiceTask(PipelineTask[PipelineTaskConfig]):
        dimensions = ("visit",)
        inputs = {
            "good": Input("x", float),
            "bad": Input("x", str),
        }

        def run(self, good, bad):
            return good

    for order in (("good", "bad"), ("bad", "good")):
        TwiceTask.inputs = {name: TwiceTask.inputs[name] for name in order}
        assert refusal(node("make", writes=["x"]), connected("twice", TwiceTask)) == [
            "twice takes 'x' as str, but make makes it as float"
        ]


def test_an_object_of_a_subclass_is_taken():
    assert len(TaskGraph([node("make", writes=["x"], kind=bool), node("take", ["x"], kind=int)])) == 2


def test_every_problem_is_told_at_once():
    nodes = (
        node("one", writes=["x"]),
        node("two", writes=["x"]),
        node("kind", ["x"], kind=str),
        node("a", ["q"], ["p"]),
        node("b", ["p"], ["q"]),
    )

    assert [line.split(";")[0] for line in refusal(*nodes)] == [
        "two and one both make 'x'",
        "kind takes 'x' as str, but one makes it as float",
        "tasks wait for each other: b makes q for a",
    ]


def test_every_missing_input_is_told_and_what_is_optional_may_be_missing():
    graph = TaskGraph(
        [
            connected("correct", CorrectTask, "connections.bias=dark_number", origin="a.yaml:1"),
            connected("sum", SumTask, "connections.numbers=clean_number", origin="a.yaml:2"),
            connected("compare", CompareTask),
        ]
    )

    with pytest.raises(PipelineError) as raised:
        graph.require_inputs(["row_number"], called="the inputs of the pipeline")

    assert str(raised.value).splitlines() == [
        "correct: no task makes 'raw_number' for 'raw', and it is not in the inputs of the pipeline; did you mean "
        "'row_number'? (from a.yaml:1)",
        "correct: no task makes 'dark_number' for 'bias', and it is not in the inputs of the pipeline; did you mean "
        "'row_number'? (from -c connections.bias=dark_number)",
        "sum: no task makes 'clean_number' for 'numbers', and it is not in the inputs of the pipeline; did you mean "
        "'total_number'? (from -c connections.numbers=clean_number)",
    ]
    graph.require_inputs(["raw_number", "dark_number", "clean_number"])


def test_nothing_near_is_answered_with_what_there_is():
    graph = TaskGraph([node("a", ["qq"], ["out"])])

    for available, words in ((["xx"], "there is xx"), ([], "there is nothing")):
        with pytest.raises(PipelineError, match=f"it is not in what is given; {words}$"):
            graph.require_inputs(available)


SUBSETS = {"ends": ("compare", "correct"), "gone": ("removed",)}


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("sum", {"sum"}),
        ("sum, compare", {"sum", "compare"}),
        ("..sum", {"correct", "sum"}),
        ("sum..", {"sum", "compare"}),
        ("correct..compare", {"correct", "sum", "compare"}),
        ("correct..correct", {"correct"}),
        ("ends", {"correct", "compare"}),
        ("ends,sum", {"correct", "sum", "compare"}),
        ("..ends", {"correct", "sum", "compare"}),
        ("..correct,compare..", {"correct", "compare"}),
    ],
)
def test_labels_and_subsets_are_selected(text, labels):
    assert selected(text, TaskGraph(CHAIN), SUBSETS) == labels


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("smu", "#smu: no such label or subset; did you mean 'sum'?"),
        ("zz", "#zz: no such label or subset; there are correct, sum, compare, ends, gone"),
        ("..smu", "#smu: no such label or subset; did you mean 'sum'?"),
        ("smu..", "#smu: no such label or subset; did you mean 'sum'?"),
        ("..", "#..: a label stands before or after the two dots"),
        ("sum,", "#: no such label or subset; there are correct, sum, compare, ends, gone"),
        ("compare..sum", "#compare..sum: 'sum' does not need 'compare'"),
        ("gone", "#gone: no task of this subset is left in the pipeline"),
        (
            "smu,cmopare",
            "#smu: no such label or subset; did you mean 'sum'?\n"
            "#cmopare: no such label or subset; did you mean 'compare'?",
        ),
    ],
)
def test_a_selection_that_names_nothing_is_refused(text, words):
    with pytest.raises(PipelineError) as raised:
        selected(text, TaskGraph(CHAIN), SUBSETS)
    assert str(raised.value) == words
