"""Slots hold a task class and its settings, and only classes of their family."""

import pytest

from firstlight.errors import ConfigError
from firstlight.framework import ReadOnlyMapping, Subtask, plugins_of, subtask
from firstlight.testing.arithmetic import (
    AddConfig,
    AddTask,
    CalculateConfig,
    CalculateTask,
    MultiplyConfig,
    MultiplyTask,
    NumberTask,
)


def test_a_slot_makes_its_task_with_its_settings():
    slot = subtask(AddTask, amount=5.0)

    assert slot.task is AddTask
    assert slot.config == AddConfig(amount=5.0)
    assert slot.make().run(1.0).value == 6.0


def test_any_class_of_the_family_fits_a_slot():
    assert CalculateConfig(first=subtask(MultiplyTask)).first.task is MultiplyTask


def test_a_class_of_another_family_is_refused():
    with pytest.raises(ConfigError, match=r"^CalculateConfig\.first: CalculateTask is not a NumberTask$"):
        CalculateConfig(first=subtask(CalculateTask))


def test_a_class_of_another_family_is_refused_among_plugins():
    with pytest.raises(ConfigError, match=r"^CalculateConfig\.plugins\.odd: CalculateTask is not a NumberTask$"):
        CalculateConfig(plugins=plugins_of(odd=subtask(CalculateTask)))


def test_an_interface_is_refused():
    with pytest.raises(ConfigError, match="NumberTask is only an interface"):
        subtask(NumberTask)


def test_something_that_is_not_a_task_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"^dict is not a Task$"):
        subtask(dict)


def test_a_bare_name_is_not_a_slot():
    with pytest.raises(ConfigError, match=r"a slot takes subtask\(NumberTask, ...\); got 'AddTask'"):
        CalculateConfig(first="AddTask")


def test_a_setting_that_does_not_fit_the_class_is_refused_at_once():
    with pytest.raises(ConfigError, match=r"^AddConfig\.factor: no such field; AddConfig has limit, repeats, amount$"):
        subtask(AddTask, factor=2.0)


def test_a_config_of_another_task_is_refused():
    with pytest.raises(ConfigError, match="AddTask takes a AddConfig; got a MultiplyConfig"):
        Subtask(AddTask, MultiplyConfig())


def test_an_optional_slot_can_be_empty_and_another_one_cannot():
    assert CalculateConfig(second=None).second is None
    with pytest.raises(ConfigError, match=r"CalculateConfig\.first"):
        CalculateConfig(first=None)


def test_a_slot_cannot_be_changed():
    slot = subtask(AddTask)

    with pytest.raises(AttributeError, match="cannot be changed"):
        slot.config = AddConfig(amount=2.0)


def test_plugins_keep_their_order_and_are_read_only():
    plugins = plugins_of(b=subtask(AddTask), a=subtask(MultiplyTask))

    assert list(plugins) == ["b", "a"]
    assert isinstance(plugins, ReadOnlyMapping)
