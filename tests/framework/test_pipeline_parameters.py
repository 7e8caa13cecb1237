"""Parameters of a pipeline: given once, in many settings, by files and by users."""

import pytest

from firstlight.framework import Layer, Pipeline, Setting
from firstlight.framework.mappings import frozen
from firstlight.framework.parameters import with_parameters

from .pipeline_tasks import NIGHT, TASKS, built, layers

PARAMETERS = f"""
    parameters:
      amount: 1.0
      names: [residual]
    tasks:
      correct:
        class: {TASKS}:CorrectTask
        config:
          step.amount: parameters.amount
          optional_outputs: parameters.names
"""


def test_parameters_stand_in_settings_and_keep_both_origins(write):
    write(main=PARAMETERS)

    assert built().value("correct:step.amount") == 1.0
    assert built().value("correct:optional_outputs") == ("residual",)
    assert built().config("correct").origin("step.amount") == "main.yaml:9 with main.yaml:3"


def test_parameters_are_given_by_importing_files_and_above_them_by_the_user(write):
    write(low=PARAMETERS, main="imports: low.yaml\nparameters: {amount: 2.0}")

    assert built().value("correct:step.amount") == 2.0
    assert built("main.yaml", "parameters:amount=3.0").value("correct:step.amount") == 3.0
    origin = built("main.yaml", "parameters:amount=3.0").config("correct").origin("step.amount")
    assert origin == "low.yaml:9 with -c parameters:amount=3.0"
    assert Pipeline.load("main.yaml").with_layers(layers("parameters:amount=4.0")).build().value(
        "correct:step.amount"
    ) == pytest.approx(4.0)


def test_parameters_stand_inside_lists_and_in_place_of_a_class(write):
    write(
        main=f"""
        parameters: {{output: residual, task: {TASKS}:CorrectTask}}
        tasks:
          correct: {{class: parameters.task, config: {{optional_outputs: [parameters.output]}}}}
        """
    )

    assert built().value("correct:optional_outputs") == ("residual",)


def test_a_setting_given_by_a_user_can_name_a_parameter(write):
    write(main=PARAMETERS)

    assert built("main.yaml", "correct:step.limit=parameters.amount").value("correct:step.limit") == 1.0


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("parameters:amuont=1", "parameters:amuont: no such parameter; did you mean 'amount'?"),
        ("parameters:zz=1", "parameters:zz: no such parameter; there are amount, names"),
        ("parameters:amount.x=1", "parameters:amount.x: no such parameter; did you mean 'amount'?"),
        ("parameters=1", "parameters: no such parameter; there are amount, names"),
        ("correct:step.limit=parameters.amuont", "correct:step.limit: no parameter 'amuont'; did you mean 'amount'?"),
        (
            "parameters:amount=parameters.names",
            "parameters:amount: a parameter is a plain value; got 'parameters.names'",
        ),
    ],
)
def test_a_parameter_that_is_not_there_is_told(refused_pipeline, setting, words):
    assert refused_pipeline(PARAMETERS, setting)[0] == f"{words} (from -c {setting})"


def test_parameters_and_settings_that_do_not_fit_are_told_together(refused_pipeline):
    given = ("parameters:zz=1", "correct:step.limit=parameters.yy", "correct:with_bais=true", "crorect:with_bias=1")

    assert [line.partition(": ")[0] for line in refused_pipeline(PARAMETERS, *given)] == [
        "parameters:zz",
        "correct:step.limit",
        "correct:with_bais",
        "crorect",
    ]


def test_connections_and_contracts_that_do_not_fit_are_told_together(refused_pipeline):
    text = f"{NIGHT}contracts: [{{contract: sum:least > 3, msg: too few}}, 'sum:lest > 3']\ninputs: []\n"
    given = ("correct:connections.rwa=x", "compare:connections.total=sum")

    assert [line.split(" (from ")[0] for line in refused_pipeline(text, *given)] == [
        "correct:connections.rwa: no such connection; did you mean 'raw'?",
        "contract broken: sum:least > 3: too few; sum:least is 0 (default of SumConfig)",
        "contract 'sum:lest > 3' cannot be evaluated: sum:lest: no such setting; did you mean 'least'?",
    ]
    assert [line.split(":")[0] for line in refused_pipeline(text, given[1])] == [
        *("correct", "correct", "compare", "contract broken", "contract 'sum")
    ]


def test_parameters_stand_inside_mappings_inside_lists():
    value = frozen(
        [{"a": "parameters.amount", "b": ["parameters.amount", "parameters.amounts"]}, "my parameters.amount"]
    )
    layer = Layer((Setting(("label", "items"), value, "here"),))
    problems = []

    (filled,) = with_parameters([layer], {"amount": Setting(("parameters", "amount"), 2, "there")}, problems)

    assert not filled.settings
    assert problems == ["label:items: no parameter 'amounts'; did you mean 'amount'? (from here)"]
    given = {name: Setting(("parameters", name), 2, "there") for name in ("amount", "amounts")}
    (filled,) = with_parameters([layer], given, [])
    assert filled.settings == (
        Setting(("label", "items"), frozen([{"a": 2, "b": [2, 2]}, "my parameters.amount"]), "here with there, there"),
    )
