"""What differs between two configs is listed value by value, with both origins."""

from collections.abc import Mapping

import pytest

from firstlight.framework import Config
from firstlight.framework.config_diff import ABSENT, Difference, diff_configs
from firstlight.testing.arithmetic import AddConfig, AddTask, MultiplyConfig, MultiplyTask, NightConfig

ADD = "firstlight.testing.arithmetic:AddTask"
MULTIPLY = "firstlight.testing.arithmetic:MultiplyTask"


class BandConfig(Config):
    """What is known of a band."""

    zero_point: float = 25.0
    """Zero point [mag]."""


class CameraConfig(Config):
    """Nested configs, one alone and others by name."""

    main: BandConfig = BandConfig()
    """The main band."""

    bands: Mapping[str, BandConfig] = {"g": BandConfig(zero_point=24.0)}
    """Others by name."""


@pytest.fixture
def differences(built):
    """Return a function that lists what is not as by default, one line each."""

    def compare(*settings, config_class=NightConfig):
        left, right = built(config_class=config_class), built(*settings, config_class=config_class)
        return [str(difference) for difference in diff_configs(left, right)]

    return compare


def test_equal_configs_have_no_differences_whatever_their_history(differences):
    assert differences("calibrate:first.limit=100", "seed=1") == []


def test_a_difference_has_both_values_and_both_origins(built):
    found = diff_configs(built("calibrate:first.amount=3"), built("calibrate:first.amount=4"))

    origins = ("-c calibrate:first.amount=3", "-c calibrate:first.amount=4")
    assert found == (Difference("calibrate:first.amount", 3.0, 4.0, *origins),)
    assert str(found[0]) == (
        "calibrate:first.amount: 3.0 (-c calibrate:first.amount=3) -> 4.0 (-c calibrate:first.amount=4)"
    )


def test_differences_come_in_the_order_of_the_fields(differences):
    lines = differences("seed=2", "calibrate:digits=[3]", "calibrate:first.limit=4")

    assert [line.partition(" ")[0] for line in lines] == ["calibrate:first.limit:", "calibrate:digits:", "seed:"]


def test_of_a_retargeted_slot_shared_settings_are_compared_and_others_listed_where_given(differences):
    lines = differences("calibrate:first.limit=8", f"calibrate:first={{task: '{MULTIPLY}', factor: 5}}")

    setting = f"-c calibrate:first={{task: '{MULTIPLY}', factor: 5}}"
    assert lines == [
        f'calibrate:first.task: "{ADD}" (default of CalculateConfig) -> "{MULTIPLY}" ({setting})',
        "calibrate:first.limit: 100.0 (default of AddConfig) -> 8.0 (-c calibrate:first.limit=8)",
        "calibrate:first.amount: 2.0 (subtask(AddTask)) -> absent",
        f"calibrate:first.factor: absent -> 5.0 ({setting})",
    ]


def test_a_default_that_only_one_of_two_classes_has_is_no_difference(differences):
    (line,) = differences({"calibrate.second": {"task": AddTask}})

    assert line.startswith("calibrate:second.task:")


def test_a_plugin_on_one_side_only_is_listed_with_what_it_was_given(differences):
    lines = differences("calibrate:plugins.double=null", {"calibrate.plugins.more": {"task": AddTask, "amount": 3}})

    assert lines == [
        f'calibrate:plugins.double.task: "{MULTIPLY}" (default of CalculateConfig)'
        " -> absent (-c calibrate:plugins.double=null)",
        f'calibrate:plugins.more.task: absent -> "{ADD}" (the test)',
        "calibrate:plugins.more.amount: absent -> 3.0 (the test)",
    ]


def test_an_emptied_slot_is_null_on_its_side(differences):
    assert differences("calibrate:second=null") == [
        f'calibrate:second.task: "{MULTIPLY}" (default of CalculateConfig) -> null (-c calibrate:second=null)'
    ]


def test_values_of_mappings_are_compared_by_name(differences):
    assert differences("calibrate:weights.double=null", "calibrate:weights.triple=4") == [
        "calibrate:weights.double: 1.0 (default of CalculateConfig) -> absent (-c calibrate:weights.double=null)",
        "calibrate:weights.triple: absent -> 4.0 (-c calibrate:weights.triple=4)",
    ]


def test_nested_configs_are_compared_field_by_field(differences):
    lines = differences({"main.zero_point": 26, "bands": {"g.zero_point": 23}}, config_class=CameraConfig)

    assert lines == [
        "main.zero_point: 25.0 (default of BandConfig) -> 26.0 (the test)",
        "bands.g.zero_point: 24.0 (Python) -> 23.0 (the test)",
    ]


def test_configs_of_different_classes_differ_by_class_and_by_what_both_inherit():
    left, right = AddConfig(limit=3.0, amount=2.0), MultiplyConfig(limit=4.0)

    assert diff_configs(left, right) == (
        Difference("", "AddConfig", "MultiplyConfig", "", ""),
        Difference("limit", 3.0, 4.0, "Python", "Python"),
        Difference("amount", 2.0, ABSENT, "Python", ""),
    )


def test_paths_of_one_task_on_its_own_are_dotted_throughout(built):
    (found,) = diff_configs(built(), built("calibrate:first.amount=3"), labelled=False)

    assert found.path == "calibrate.first.amount"


def test_what_differs_the_other_way_round_is_the_same_mirrored(built):
    one = built("calibrate:first.amount=3", "calibrate:plugins.double=null", "calibrate:weights.more=2")
    other = built({"calibrate.first": {"task": MultiplyTask, "factor": 5.0}}, "seed=4")

    there = {(each.path, str(each.left), str(each.right)) for each in diff_configs(one, other)}
    back = {(each.path, str(each.right), str(each.left)) for each in diff_configs(other, one)}
    assert there == back
    assert len(there) == 6
