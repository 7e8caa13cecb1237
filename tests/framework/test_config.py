"""Configs are typed, frozen and documented, and refuse what does not fit."""

import copy
import enum
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest
from pydantic import PositiveInt, ValidationError, model_validator

from firstlight.errors import ConfigError
from firstlight.framework import Config, Layer, build_config, subtask
from firstlight.testing.arithmetic import AddConfig, AddTask, CalculateConfig, MultiplyTask, NightConfig


class Mode(enum.Enum):
    FAST = "fast"
    EXACT = "exact"


class InnerConfig(Config):
    """A config inside another."""

    size: PositiveInt = 3
    """Size [pixel]."""

    scale: float = 1.5
    """Scale [arcsec]."""


class MixedConfig(Config):
    """One field of each kind."""

    inner: InnerConfig = InnerConfig()
    """Nested."""

    mode: Mode = Mode.FAST
    """Which way."""

    kernel: Literal["lanczos", "bilinear"] = "lanczos"
    """Which kernel."""

    window: int | str = 3
    """A number [pixel] or a name."""

    folder: Path = Path("here")
    """A place."""

    pairs: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    """Pairs of limits."""

    terms: Mapping[str, Mapping[str, float]] = {"g": {"slope": 0.1}}
    """Colour terms by band."""

    maximum: float | None = None
    """Upper limit; none by default."""


class OrderedConfig(Config):
    """Two fields that depend on each other."""

    low: float = 0.0
    """Lower limit."""

    high: float = 1.0
    """Upper limit."""

    @model_validator(mode="after")
    def _in_order(self):
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        return self


def test_a_config_cannot_be_changed():
    config = AddConfig()

    with pytest.raises(ValidationError, match="frozen"):
        config.amount = 3.0


def test_the_docstring_of_a_field_is_its_description():
    assert AddConfig.model_fields["amount"].description == "What is added."


def test_equal_configs_hash_equally():
    one, other = CalculateConfig(), CalculateConfig(first=subtask(AddTask, amount=2.0))

    assert one == other
    assert hash(one) == hash(other)
    assert one != CalculateConfig(first=subtask(AddTask, amount=3.0))


def test_mappings_are_read_only_and_sequences_are_tuples():
    config = CalculateConfig(weights={"double": 2.0}, digits=[1, 2])

    assert config.digits == (1, 2)
    with pytest.raises(TypeError):
        config.weights["double"] = 3.0
    with pytest.raises(TypeError):
        config.plugins["double"] = subtask(AddTask)


def test_the_mapping_a_config_was_made_from_stays_apart_from_it():
    weights = {"double": 2.0}
    config = CalculateConfig(weights=weights)
    weights["double"] = 3.0

    assert config.weights == {"double": 2.0}


@pytest.mark.parametrize("annotation", [list[int], dict[str, int], set[int], list[int] | None, tuple[list[int], ...]])
def test_a_field_that_could_be_changed_is_refused_when_the_class_is_made(annotation):
    with pytest.raises(
        TypeError, match=r"Bad\.items is a (list|dict|set); declare a (tuple|Mapping|frozenset) instead"
    ):
        type("Bad", (Config,), {"__annotations__": {"items": annotation}, "__module__": __name__})


def test_task_is_a_reserved_field_name():
    with pytest.raises(TypeError, match="choose another field name"):
        type("Bad", (Config,), {"__annotations__": {"task": int}, "__module__": __name__})


def test_every_mistake_in_python_is_one_line():
    with pytest.raises(ConfigError) as raised:
        AddConfig(amuont=3, limit=-1)

    assert str(raised.value).splitlines() == [
        "AddConfig.limit: should be greater than 0; got -1",
        "AddConfig.amuont: no such field; did you mean 'amount'?",
    ]


def test_a_mistake_in_a_nested_config_is_named_by_its_path():
    with pytest.raises(ConfigError, match=r"^MixedConfig\.inner\.size: should be greater than 0; got -1$"):
        MixedConfig(inner={"size": -1})


def test_a_default_that_does_not_fit_is_refused_when_the_config_is_built():
    bad = type("Bad", (Config,), {"__annotations__": {"size": PositiveInt}, "size": -1, "__module__": __name__})

    with pytest.raises(ConfigError, match=r"Bad\.size: should be greater than 0"):
        bad()


def test_fields_are_checked_against_each_other():
    layers = [Layer.from_mapping({"low": 2.0}, origin="a file")]

    with pytest.raises(ConfigError, match=r"^low \(2.0\) is above high \(1.0\) \(from a file\)$"):
        build_config(OrderedConfig, layers)


def test_nested_settings_merge_and_keep_the_others():
    layers = [Layer.from_mapping({"inner": {"size": 5}, "terms": {"g": {"zero": 2}, "r": {"slope": 3}}}, origin="a")]
    config = build_config(MixedConfig, layers)

    assert config.inner == InnerConfig(size=5)
    assert config.terms == {"g": {"slope": 0.1, "zero": 2.0}, "r": {"slope": 3.0}}


def test_plain_values_come_as_a_file_gives_them():
    given = {"mode": "exact", "folder": "there", "pairs": [[1, 2], [3, 4]], "window": "all", "maximum": 2}
    config = build_config(MixedConfig, [Layer.from_mapping(given, origin="a")])

    assert (config.mode, config.folder, config.pairs) == (Mode.EXACT, Path("there"), ((1.0, 2.0), (3.0, 4.0)))
    assert (config.window, config.maximum) == ("all", 2.0)


def test_a_choice_of_types_is_one_mistake():
    with pytest.raises(ConfigError) as raised:
        build_config(MixedConfig, [Layer.from_mapping({"window": [1], "kernel": "lanczsos"}, origin="a")])

    assert str(raised.value).splitlines() == [
        "kernel: should be 'lanczos' or 'bilinear'; got 'lanczsos' (from a)",
        "window: should be a valid integer or should be a valid string; got [1] (from a)",
    ]


def test_a_config_survives_copying_and_pickling():
    config = NightConfig(measure=subtask(MultiplyTask, factor=4.0))

    assert copy.deepcopy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301 - our own bytes


def test_what_was_removed_from_a_mapping_stays_away_after_a_round_trip():
    config = CalculateConfig(plugins={}, weights={"triple": 1.0})
    plain = config.to_dict()

    assert plain["plugins"] == {"double": None, "triple": None}
    assert plain["weights"] == {"triple": 1.0, "double": None}
    assert build_config(CalculateConfig, [Layer.from_mapping(plain, origin="a record")]) == config


def test_a_mapping_that_may_hold_none_is_refused_when_the_class_is_made():
    with pytest.raises(TypeError, match="None removes a value of a mapping"):
        type("Bad", (Config,), {"__annotations__": {"limits": Mapping[str, float | None]}, "__module__": __name__})


def test_an_unknown_path_has_no_history():
    with pytest.raises(ConfigError, match=r"calibrate:first\.amuont: no such setting in NightConfig"):
        NightConfig().history("calibrate:first.amuont")


def test_history_begins_with_the_default_and_names_its_class():
    config = NightConfig(seed=3)

    assert config.history("seed") == [(1, "default of NightConfig", ""), (3, "Python", "")]
    assert config.origin("calibrate:first.limit") == "default of AddConfig"
    assert config.origin("calibrate:first.amount") == "subtask(AddTask)"
    assert config.origin("calibrate:first.task") == "default of CalculateConfig"
