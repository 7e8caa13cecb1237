"""Pipeline files: what they can say, what they import, and which part of them is run."""

from pathlib import Path

import pytest

from firstlight.errors import ConfigError, PipelineError
from firstlight.framework import Pipeline
from firstlight.testing.arithmetic_pipeline import CorrectTask, SumTask

from .pipeline_tasks import CORRECT, NIGHT, TASKS, built, labels, layers


def test_a_label_has_a_class_and_settings_nested_or_dotted(write):
    write(
        main=f"""
        description: |
          A night.
        tasks:
          one:
            class: {TASKS}:CorrectTask
            config:
              step: {{amount: 2.0}}
              step.limit: 5.0
              connections.corrected: one_number
          two: {TASKS}:CorrectTask
    """
    )
    pipeline = Pipeline.load("main.yaml")

    assert pipeline.description == "A night."
    assert built().value("one:step.amount") == 2.0
    assert built().value("one:step.limit") == 5.0
    assert built().value("two:step.amount") == 0.0
    assert built().history("one:step.limit")[-1].origin == "main.yaml:9"


def test_an_empty_file_has_no_tasks(refused_pipeline):
    assert refused_pipeline("") == ["the pipeline has no tasks"]


def test_settings_of_a_label_can_stand_in_files_below_those_beside_them(write):
    write(
        place__main=f"""
        tasks:
          correct:
            class: {TASKS}:CorrectTask
            config:
              step.amount: 3.0
              file: [folder/low.yaml, folder/high.yaml]
        """,
        place__folder__low="step: {amount: 1.0, limit: 1.0, repeats: 2}",
        place__folder__high="step.limit: 2.0",
    )
    pipeline = built("place/main.yaml")
    values = {name: pipeline.value(f"correct:step.{name}") for name in ("amount", "limit", "repeats")}

    assert values == {"amount": 3.0, "limit": 2.0, "repeats": 2}
    assert pipeline.config("correct").origin("step.limit") == f"{Path('place/folder/high.yaml')}:1"


def test_a_single_import_needs_no_list(write):
    write(night=NIGHT, main="imports: night.yaml", other="imports: {location: night.yaml, exclude: compare}")

    assert labels() == ["correct", "sum", "compare"]
    assert labels("other.yaml") == ["correct", "sum"]


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        ("include: [sum]", ["sum"]),
        ("include: ends", ["correct", "compare"]),
        ("exclude: [ends]", ["sum"]),
        ("include: [ends, sum], exclude: [compare]", ["correct", "sum"]),
        ("exclude: [compare, sum]", ["correct"]),
    ],
)
def test_imports_take_what_is_included_and_leave_what_is_excluded(write, chosen, kept):
    write(night=NIGHT, main=f"imports: [{{location: night.yaml, {chosen}}}]")

    assert labels() == kept


def test_subsets_and_contracts_about_what_was_left_fall_away(write):
    contract = "contracts: [correct:step.amount < 1, compare:connections == 3]"
    write(
        night=f"{NIGHT}  all: [compare]\n{contract}\n",
        main="imports: [{location: night.yaml, include: [sum]}]",
        some="imports: [{location: night.yaml, exclude: [compare]}]",
    )

    assert built().value("sum:least") == 0
    assert not Pipeline.load("main.yaml").subsets
    assert {name: subset.labels for name, subset in Pipeline.load("some.yaml").subsets.items()} == {
        "ends": ("correct",)
    }
    with pytest.raises(PipelineError, match=r"^contract broken: correct:step\.amount < 1; ") as raised:
        built("some.yaml")
    assert len(str(raised.value).splitlines()) == 1


def test_a_contract_falls_away_with_its_label_also_where_another_task_takes_the_name(write):
    write(
        night=f"{NIGHT}contracts: [compare:connections == 3]\n",
        main=f"imports: [{{location: night.yaml, exclude: compare}}]\ntasks: {{compare: {TASKS}:CompareTask}}",
    )

    assert labels() == ["correct", "sum", "compare"]
    with pytest.raises(PipelineError, match=r"^contract broken: "):
        built("night.yaml")


def test_later_files_stand_above_earlier_ones_and_the_importing_one_above_all(write):
    write(
        low=NIGHT,
        middle="imports: low.yaml\ntasks: {correct: {config: {step: {amount: 2.0, limit: 2.0, repeats: 2}}}}",
        high="tasks: {correct: {config: {step: {limit: 3.0, repeats: 3}}}}",
        main="imports: [middle.yaml, high.yaml]\ntasks: {correct: {config: {step.repeats: 4}}}",
    )
    values = {name: built().value(f"correct:step.{name}") for name in ("amount", "limit", "repeats")}

    assert values == {"amount": 2.0, "limit": 3.0, "repeats": 4}
    assert [change.origin for change in built().history("correct:step.repeats")[1:]] == [
        "middle.yaml:2",
        "high.yaml:1",
        "main.yaml:2",
    ]


def test_a_file_that_is_imported_on_two_ways_undoes_nothing_of_the_first(write):
    write(
        low=f"""
        parameters: {{least: 1}}
        tasks:
          correct: {{class: {TASKS}:CorrectTask, config: {{step.amount: 1.0}}}}
          sum: {{class: {TASKS}:SumTask, config: {{least: parameters.least}}}}
          compare: {TASKS}:CompareTask
        subsets: {{some: [correct]}}
        """,
        left="""
        imports: low.yaml
        parameters: {least: 2}
        tasks: {correct: {config: {step.amount: 2.0}}, compare: null}
        subsets: {some: [sum]}
        """,
        right="imports: low.yaml\ntasks: {correct: {config: {step.limit: 3.0}}}",
        main="imports: [left.yaml, folder/../right.yaml, low.yaml]",
        folder__empty="",
    )
    pipeline = built()

    assert pipeline.value("correct:step.amount") == 2.0
    assert pipeline.value("correct:step.limit") == 3.0
    assert pipeline.value("sum:least") == 2
    assert "compare" not in pipeline.graph.nodes
    assert Pipeline.load("main.yaml").subsets["some"].labels == ("sum",)
    assert [change.origin for change in pipeline.history("correct:step.amount")[-2:]] == ["low.yaml:4", "left.yaml:4"]


def test_a_file_that_is_imported_on_two_ways_gives_what_either_takes(write):
    write(
        night=NIGHT,
        left="imports: [{location: night.yaml, include: [correct]}]",
        right="imports: [{location: night.yaml, include: [sum]}]",
        main="imports: [left.yaml, right.yaml]",
    )

    assert labels() == ["correct", "sum"]


def test_a_label_is_removed_by_null_and_can_come_back(write):
    write(
        night=NIGHT,
        less="imports: night.yaml\ntasks: {correct: null}",
        again=f"imports: less.yaml\ntasks: {{{CORRECT}}}",
    )

    assert labels("less.yaml") == ["sum", "compare"]
    assert built("again.yaml").value("correct:step.amount") == 0.0


def test_a_class_is_replaced_and_what_fits_is_kept(write, installed):
    installed(
        "gentle",
        f"""
        from {TASKS} import CorrectConfig, CorrectTask
        from firstlight.framework import PipelineTask

        class GentleConfig(CorrectConfig):
            \"\"\"Settings of `GentleTask`.\"\"\"

            softness: float = 1.0
            \"\"\"How gentle it is.\"\"\"

        class GentleTask(CorrectTask, PipelineTask[GentleConfig]):
            \"\"\"Corrects gently.\"\"\"
        """,
        {"GentleTask": "GentleTask"},
    )
    write(
        night=NIGHT,
        main="imports: night.yaml\ntasks: {correct: {class: GentleTask, config: {softness: 2.0}}}",
        back=f"imports: main.yaml\ntasks: {{correct: {TASKS}:CorrectTask}}",
    )

    assert built().graph.nodes["correct"].slot.task.__name__ == "GentleTask"
    assert built().value("correct:step.amount") == 1.0
    assert built().value("correct:softness") == 2.0
    assert built("back.yaml").value("correct:step.amount") == 1.0
    assert built("back.yaml").history("correct:softness")[-1].note.startswith("dropped: correct was retargeted")


@pytest.mark.parametrize(
    ("selection", "kept"),
    [
        ("#sum", ["sum"]),
        ("#..sum", ["correct", "sum"]),
        ("#sum..", ["sum", "compare"]),
        ("#correct..sum", ["correct", "sum"]),
        ("#compare,correct", ["correct", "compare"]),
        ("#ends", ["correct", "compare"]),
        ("#ends,sum", ["correct", "sum", "compare"]),
        ("#", ["correct", "sum", "compare"]),
    ],
)
def test_a_part_of_a_pipeline_is_selected_after_the_hash(write, selection, kept):
    write(main=NIGHT)

    assert labels(f"main.yaml{selection}") == kept
    assert built(f"main.yaml{selection}").value("correct:step.amount") == 1.0


def test_a_selection_that_names_nothing_is_told_once_the_pipeline_fits(refused_pipeline):
    assert refused_pipeline(NIGHT, load="main.yaml#smu") == ["#smu: no such label or subset; did you mean 'sum'?"]
    removed = NIGHT.replace(f"sum: {TASKS}:SumTask", "sum: {class: X}").replace("{class: X}", f"{TASKS}:SumTask")
    assert refused_pipeline(removed, "sum=null", load="main.yaml#sum")[0].startswith("#sum: no such label or subset")


def test_what_the_unselected_tasks_make_comes_from_outside(write):
    write(main=f"{NIGHT}inputs: [raw_number, bias_number]\n")

    assert built("main.yaml#sum").inputs == (
        *("raw_number", "bias_number"),
        *("corrected_number", "total_number", "ratio_number"),
    )


def test_an_input_that_is_not_declared_is_told(refused_pipeline):
    assert refused_pipeline(f"{NIGHT}inputs: [raw_number]\n") == [
        "correct: no task makes 'bias_number' for 'bias', and it is not in the inputs of the pipeline; did you mean "
        "'raw_number'? (from main.yaml:4)"
    ]


def test_values_histories_and_configs_are_found_by_path(write):
    write(main=NIGHT)
    pipeline = built("main.yaml", "correct:step.amount=5")

    assert pipeline.value("correct") == pipeline.settings.tasks["correct"]
    assert pipeline.value("correct:step.task") == "firstlight.testing.arithmetic:AddTask"
    assert [change.value for change in pipeline.history("correct:step.amount")[1:]] == [0.0, 1.0, 5]
    with pytest.raises(PipelineError, match=r"^no label 'corect'; did you mean 'correct'\?$"):
        pipeline.value("corect:step")
    with pytest.raises(ConfigError, match=r"^correct:step\.amuont: no such setting; did you mean 'amount'\?$"):
        pipeline.value("correct:step.amuont")
    with pytest.raises(ConfigError, match="no such setting"):
        pipeline.history("correct:step.amuont")


def test_a_pipeline_is_made_of_classes_in_a_program():
    pipeline = Pipeline.from_tasks(correct=CorrectTask, sum=SumTask)

    assert list(pipeline.build(*layers("sum:least=2")).graph.nodes) == ["correct", "sum"]
    assert pipeline.build(*layers("sum:least=2")).value("sum:least") == 2


def test_a_setting_can_add_a_label(write):
    write(main=NIGHT)

    assert "more" in built("main.yaml", f"more.task={TASKS}:SumTask", "more:connections.total=other").graph.nodes
