"""Settings of an instrument for task classes, below those of a pipeline."""

import pytest

from firstlight.errors import ConfigError
from firstlight.framework import ClassOverrides, Pipeline

from .pipeline_tasks import NIGHT, TASKS, built


@pytest.fixture
def camera(tmp_path):
    folder = tmp_path / "camera"
    folder.mkdir()
    (folder / "instrument.yaml").write_text("name: camera", encoding="utf-8")

    def overrides(**texts):
        for name, text in texts.items():
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        return ClassOverrides(folder)

    return overrides


def test_settings_of_an_instrument_lie_below_the_pipeline_for_a_class_and_its_subclasses(write, camera, installed):
    installed(
        "gentle",
        f"""
        from {TASKS} import CorrectTask

        class GentleTask(CorrectTask):
            \"\"\"Corrects gently.\"\"\"
        """,
        {"GentleTask": "GentleTask"},
    )
    write(
        main=f"""
        tasks:
          correct: {{class: {TASKS}:CorrectTask, config: {{step.amount: 3.0}}}}
          gentle: {{class: GentleTask, config: {{connections.corrected: gentle_number}}}}
          sum: {TASKS}:SumTask
        """
    )
    found = built(
        class_overrides=camera(
            CorrectTask="step: {amount: 1.0, limit: 1.0, repeats: 2}", GentleTask="step.limit: 2.0", SumTask="least: 4"
        )
    )
    values = {
        label: tuple(found.value(f"{label}:step.{name}") for name in ("amount", "limit", "repeats"))
        for label in ("correct", "gentle")
    }

    assert values == {"correct": (3.0, 1.0, 2), "gentle": (1.0, 2.0, 2)}
    assert found.value("sum:least") == 4
    assert [change.value for change in found.history("correct:step.amount")[1:]] == [0.0, 1.0, 3.0]


def test_a_mistake_in_the_settings_of_an_instrument_is_told_with_its_line(write, camera):
    write(main=NIGHT)

    with pytest.raises(
        ConfigError, match=r"^sum:lest: no such field; did you mean 'least'\? \(from .*SumTask\.yaml:2\)$"
    ):
        built(class_overrides=camera(SumTask="\nlest: 4"))


def test_a_file_named_almost_like_a_task_is_refused_and_one_like_a_subclass_is_not(camera):
    assert camera(FrugalCalibrateImageTask="", CalibrateImage="", Something="")
    with pytest.raises(
        ConfigError, match=r"CalibratImageTask\.yaml: no task is named 'CalibratImageTask'; did you mean"
    ):
        camera(CalibratImageTask="")


def test_an_instrument_that_is_not_there_is_told(refused_pipeline):
    (line,) = refused_pipeline(f"instrument: simulatd\n{NIGHT}")

    assert line == "instrument: none is named 'simulatd'; did you mean 'simulated'?"


def test_the_instrument_of_an_imported_file_counts_unless_the_importing_one_names_another(write):
    write(low="instrument: ztf", main="imports: low.yaml", other="imports: low.yaml\ninstrument: generic")

    assert Pipeline.load("main.yaml").instrument == "ztf"
    assert Pipeline.load("other.yaml").instrument == "generic"
