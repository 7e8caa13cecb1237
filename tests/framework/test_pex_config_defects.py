"""Seven ways in which ``lsst.pex.config`` fails its users; here each works, and stays working."""

from pathlib import Path

import pytest
from pydantic import model_validator

import firstlight
from firstlight.errors import ConfigError
from firstlight.framework import Config, Layer, Subtask, build_config, load_config, save_config, subtask
from firstlight.testing.arithmetic import AddConfig, AddTask, MultiplyTask, NightConfig, NumberTask

ARITHMETIC = "firstlight.testing.arithmetic"
LIBRARY = str(Path(firstlight.__file__).parent)


class RangeConfig(AddConfig):
    """An amount that has to stay below the limit."""

    @model_validator(mode="after")
    def _below_limit(self):
        if self.amount > self.limit:
            raise ValueError(f"amount {self.amount} is above limit {self.limit}")
        return self


class RangeTask(NumberTask[RangeConfig]):
    def operate(self, value):
        return value + self.config.amount


class CheckedConfig(Config):
    """A slot whose content is checked by the config that holds it, too."""

    step: Subtask[NumberTask] = subtask(AddTask)
    """The step."""

    @model_validator(mode="after")
    def _repeats(self):
        if self.step.config.repeats > 3:
            raise ValueError(f"step repeats {self.step.config.repeats} times; at most 3 are allowed")
        return self


@pytest.fixture
def night(tmp_path):
    """Return a function that builds a config from the text of ``night.yaml``."""

    def build(text, config_class=NightConfig):
        path = tmp_path / "night.yaml"
        path.write_text(text)
        return build_config(config_class, [Layer.from_file(path)])

    build.path = tmp_path / "night.yaml"
    return build


def mistakes(build, *arguments):
    with pytest.raises(ConfigError) as raised:
        build(*arguments)
    return str(raised.value).splitlines()


def test_1_retargeting_keeps_earlier_overrides_of_shared_fields(built):
    config = built(
        "calibrate:first.limit=7", "calibrate:first.repeats=2", f"calibrate:first.task={ARITHMETIC}:MultiplyTask"
    )

    assert config.calibrate.config.first == subtask(MultiplyTask, limit=7.0, repeats=2)


def test_2_a_check_across_fields_is_enforced_in_a_slot_that_was_retargeted(built, refused):
    retargeted = {"step.task": RangeTask}

    inside = refused(retargeted, {"step": {"amount": 300}}, config_class=CheckedConfig)
    around = refused(retargeted, {"step": {"repeats": 4}}, config_class=CheckedConfig)

    assert inside == ["step: amount 300.0 is above limit 100.0 (from the test)"]
    assert around == ["step repeats 4 times; at most 3 are allowed (from the test)"]
    assert built(retargeted, {"step.repeats": 3}, config_class=CheckedConfig).step == subtask(RangeTask, repeats=3)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("pathlib:Path", "Path is not a NumberTask"),
        ("json:dumps", "'json:dumps' is not a class but a function"),
        (f"{ARITHMETIC}:AddConfig", "AddConfig is not a NumberTask"),
        (f"{ARITHMETIC}:Nothing", f"module '{ARITHMETIC}' has no class 'Nothing'"),
        ("nowhere.at_all:Task", "'nowhere.at_all:Task': no package 'nowhere' is installed"),
        ("AdTask", "no task is named 'AdTask'"),
    ],
)
def test_3_retargeting_to_something_that_is_no_task_says_the_cause(night, name, cause):
    (line,) = mistakes(night, f"calibrate:\n  first:\n    task: '{name}'\n")

    assert line.startswith(f"calibrate:first.task: {cause}")
    assert line.endswith(f"(from {night.path}:3)")


def test_3_a_package_that_cannot_be_imported_says_why(installed, night):
    installed("broken", "import a_package_that_is_not_there\n", {"BrokenTask": "BrokenTask"})

    (line,) = mistakes(night, "calibrate:\n  first:\n    task: BrokenTask\n")

    assert "cannot be imported: No module named 'a_package_that_is_not_there'" in line


def test_4_errors_and_history_name_the_users_file_and_never_the_librarys(night):
    good = night("calibrate:\n  first:\n    amount: 3\n  weights: {double: 2}\nseed: 4\n")
    lines = mistakes(night, "calibrate:\n  first:\n    amount: x\n    amuont: 3\n  digits: [0]\nseed: 0\n")

    paths = ("calibrate:first.amount", "calibrate:weights.double", "seed")
    origins = [change.origin for path in paths for change in good.history(path)]
    assert [good.origin(path) for path in paths] == [f"{night.path}:{line}" for line in (3, 4, 5)]
    assert {line.rpartition("(from ")[2] for line in lines} == {f"{night.path}:{line})" for line in (3, 4, 5, 6)}
    assert not any(LIBRARY in text for text in [*origins, *lines])


def test_5_history_survives_saving(tmp_path, night):
    config = night(f"calibrate:\n  first: {{task: '{ARITHMETIC}:MultiplyTask', factor: 4}}\nseed: 4\n")
    save_config(config, tmp_path / "saved.yaml")

    loaded = load_config(NightConfig, tmp_path / "saved.yaml")

    for path in ("calibrate:first", "calibrate:first.factor", "seed", "calibrate:digits"):
        assert loaded.history(path) == config.history(path)
    assert loaded.origin("calibrate:first.factor") == f"{night.path}:2"


def test_6_a_typo_is_one_line_with_a_suggestion(night):
    assert mistakes(night, "calibrate:\n  first:\n    amuont: 3\n") == [
        f"calibrate:first.amuont: no such field; did you mean 'amount'? (from {night.path}:3)"
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("calibrate:\n  first:\n    amount: [1]\n", 3, "calibrate:first.amount: should be a valid number; got [1]"),
        ("calibrate:\n  digits: [1, x]\n", 2, "calibrate:digits.1: should be a valid integer; got 'x'"),
        ("calibrate:\n  digits: [1, true]\n", 2, "calibrate:digits.1: should be of type int; got True"),
        (
            "calibrate:\n  weights:\n    a: 1\n    b: x\n",
            4,
            "calibrate:weights.b: should be a valid number; got 'x'",
        ),
        (
            "calibrate:\n  plugins:\n    double:\n      factor: x\n",
            4,
            "calibrate:plugins.double.factor: should be a valid number; got 'x'",
        ),
    ],
)
def test_7_a_wrong_type_names_the_right_place(night, text, line, words):
    assert mistakes(night, text) == [f"{words} (from {night.path}:{line})"]
