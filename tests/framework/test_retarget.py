"""Giving a slot another class keeps what both classes share, drops the rest of lower layers, and refuses misfits."""

import pytest
from structlog.testing import capture_logs

from firstlight.framework import Config, Layer, Subtask, Task, build_config, load_config, save_config, subtask
from firstlight.testing.arithmetic import AddTask, MultiplyConfig, MultiplyTask, NightConfig, NumberConfig, NumberTask

MULTIPLY = "calibrate:first.task=firstlight.testing.arithmetic:MultiplyTask"

POWER_PACKAGE = """
    from firstlight.testing.arithmetic import NumberConfig, NumberTask

    class PowerConfig(NumberConfig):
        exponent: float = 2.0

    class PowerTask(NumberTask[PowerConfig]):
        def operate(self, value):
            return value**self.config.exponent
"""


class DoublingConfig(MultiplyConfig):
    """A grandchild of NumberConfig, child of MultiplyConfig."""


class DoublingTask(NumberTask[DoublingConfig]):
    """Multiplies, under another name."""

    def operate(self, value):
        return value * self.config.factor


class LookalikeConfig(NumberConfig):
    """Has a field of the same name as AddConfig, declared on its own."""

    amount: float = 0.5
    """Not the amount of AddTask."""


class LookalikeTask(NumberTask[LookalikeConfig]):
    def operate(self, value):
        return value


class OuterConfig(Config):
    """What outer tasks share."""

    inner: Subtask[NumberTask] = subtask(AddTask)
    """A slot in a slot."""


class OuterTask(Task[OuterConfig]):
    def run(self):
        return None


class OtherOuterConfig(OuterConfig):
    """Has another default in the same slot."""

    inner: Subtask[NumberTask] = subtask(MultiplyTask)
    """A slot in a slot."""


class OtherOuterTask(OuterTask, Task[OtherOuterConfig]):
    """Fits where OuterTask does."""


class NestedConfig(Config):
    """A label with a slot that holds a slot."""

    outer: Subtask[OuterTask] = subtask(OuterTask)
    """The outer slot."""


def test_a_setting_of_a_shared_field_is_kept(built):
    config = built("calibrate:first.limit=7", MULTIPLY)

    assert config.calibrate.config.first == subtask(MultiplyTask, limit=7.0)
    assert config.origin("calibrate:first.limit") == "-c calibrate:first.limit=7"


def test_defaults_of_the_slot_belong_to_the_class_named_there(built):
    config = built(MULTIPLY, {"calibrate.first": {"task": AddTask}})

    assert config.calibrate.config.first == subtask(AddTask, amount=2.0)
    assert built({"calibrate.first": {"task": LookalikeTask}}).calibrate.config.first.config.amount == 0.5


def test_a_setting_that_does_not_fit_is_dropped_logged_once_and_shown(built):
    with capture_logs() as logs:
        config = built("calibrate:first.amount=7", MULTIPLY)

    assert config.calibrate.config.first == subtask(MultiplyTask)
    assert [(log["setting"], log["value"]) for log in logs] == [("calibrate:first.amount", 7)]
    (dropped,) = config.history("calibrate:first.amount")
    assert (dropped.value, dropped.origin) == (7, "-c calibrate:first.amount=7")
    assert dropped.note == f"dropped: first was retargeted from AddTask to MultiplyTask by -c {MULTIPLY}"


def test_a_field_of_the_same_name_declared_elsewhere_is_not_shared(built):
    config = built("calibrate:first.amount=7", {"calibrate.first.task": LookalikeTask})

    assert config.calibrate.config.first == subtask(LookalikeTask)


def test_a_field_of_a_parent_that_only_one_shares_is_kept_for_its_children(built):
    config = built(MULTIPLY, "calibrate:first.factor=7", {"calibrate.first.task": DoublingTask})

    assert config.calibrate.config.first == subtask(DoublingTask, factor=7.0)


def test_naming_the_same_class_again_drops_nothing(built):
    config = built("calibrate:first.amount=7", {"calibrate.first.task": AddTask})

    assert config.calibrate.config.first == subtask(AddTask, amount=7.0)


def test_a_misfit_in_the_same_layer_is_an_error(refused):
    lines = refused({"calibrate.first": {"amount": 3, "task": MultiplyTask}})

    expected = "calibrate:first.amount: no such field; MultiplyConfig has limit, repeats, factor (from the test)"
    assert lines == [expected]


def test_a_misfit_in_a_later_layer_is_an_error(refused):
    (line,) = refused(MULTIPLY, "calibrate:first.amount=3")

    assert line.startswith("calibrate:first.amount: no such field")


def test_a_misfit_stays_an_error_when_the_slot_is_retargeted_once_more(refused):
    (line,) = refused(MULTIPLY, "calibrate:first.amount=3", {"calibrate.first.task": AddTask})

    assert line.startswith("calibrate:first.amount: no such field; MultiplyConfig has limit, repeats, factor (from -c")


def test_history_of_a_slot_shows_every_class_it_had(built):
    config = built(MULTIPLY, {"calibrate.first.task": AddTask})

    assert [(str(value).rpartition(":")[2], origin) for value, origin, _ in config.history("calibrate:first")] == [
        ("AddTask", "default of CalculateConfig"),
        ("MultiplyTask", f"-c {MULTIPLY}"),
        ("AddTask", "the test"),
    ]


def test_below_an_inner_slot_what_does_not_fit_its_new_default_is_dropped(built):
    config = built(
        {"outer.inner": {"amount": 3.0, "limit": 9.0}}, {"outer.task": OtherOuterTask}, config_class=NestedConfig
    )

    assert config.outer.config.inner == subtask(MultiplyTask, limit=9.0)
    assert config.history("outer:inner.amount")[-1].note.startswith("dropped: outer was retargeted")


def test_below_an_inner_slot_that_names_its_task_everything_is_kept(built):
    given = {"outer.inner": {"task": AddTask, "amount": 3.0}}
    config = built(given, {"outer.task": OtherOuterTask}, config_class=NestedConfig)

    assert config.outer.config.inner == subtask(AddTask, amount=3.0)


def test_a_task_of_another_package_is_named_by_its_short_name(installed, built):
    installed("powers", POWER_PACKAGE, {"PowerTask": "PowerTask"})
    config = built("calibrate:first.limit=50", "calibrate:first={task: PowerTask, exponent: 3}")

    result = config.calibrate.config.first.make().run(2.0)

    assert (result.value, result.gate.warn) == (8.0, 50.0)


def test_a_config_with_a_task_of_another_package_survives_saving(installed, built, tmp_path):
    installed("powers", POWER_PACKAGE, {"PowerTask": "PowerTask"})
    config = built("calibrate:first.amount=50", "calibrate:first={task: PowerTask, exponent: 3}")
    save_config(config, tmp_path / "night.yaml")

    loaded = load_config(NightConfig, tmp_path / "night.yaml")

    assert loaded == config
    assert 'task: "PowerTask"' in (tmp_path / "night.yaml").read_text()
    for path in ("calibrate:first", "calibrate:first.amount", "calibrate:first.exponent", "calibrate:first.limit"):
        assert loaded.history(path) == config.history(path)
    assert build_config(NightConfig, [Layer.from_file(tmp_path / "night.yaml")]) == config


def test_a_misspelt_task_of_another_package_is_suggested(installed, refused):
    installed("powers", POWER_PACKAGE, {"PowerTask": "PowerTask"})

    (line,) = refused("calibrate:first.task=PowreTask")

    assert line.startswith("calibrate:first.task: no task is named 'PowreTask'; did you mean 'PowerTask'?")


@pytest.mark.parametrize("package_has", ["a function", "a missing name"])
def test_an_entry_point_that_is_no_task_says_so(installed, refused, package_has):
    source = "def PowerTask(): ..." if package_has == "a function" else ""
    installed("powers", source, {"PowerTask": "PowerTask"})

    (line,) = refused("calibrate:first.task=PowerTask")

    assert ("is not a class but a function" if source else "has no class 'PowerTask'") in line
