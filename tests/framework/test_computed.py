"""A default can follow from other fields, and does so again whenever these change."""

from collections.abc import Mapping

import pytest
from pydantic import Field, PositiveFloat, model_validator

from firstlight.errors import ConfigError
from firstlight.framework import Config, Layer, Subtask, Task, build_config, load_config, save_config, subtask
from firstlight.testing.arithmetic import AddTask, MultiplyTask, NumberTask


class ApertureConfig(Config):
    """A radius, and what follows from it."""

    radius: PositiveFloat = 1.0
    """Radius [pixel]."""

    outer: PositiveFloat = Field(default_factory=lambda data: 2 * data["radius"])
    """Outer radius [pixel]."""

    weights: Mapping[str, float] = Field(default_factory=lambda data: {"inner": data["radius"], "outer": data["outer"]})
    """Weights by name."""

    step: Subtask[NumberTask] = Field(default_factory=lambda data: subtask(AddTask, amount=data["radius"]))
    """A slot whose default follows from the radius."""


class ApertureTask(Task[ApertureConfig]):
    def run(self):
        return None


class WholeConfig(Config):
    """One label, a nested config and others by name."""

    measure: Subtask[ApertureTask] = subtask(ApertureTask)
    """The label."""

    nested: ApertureConfig = ApertureConfig()
    """Nested."""

    by_band: Mapping[str, ApertureConfig] = {"g": ApertureConfig(radius=4.0)}
    """By name."""


class OrderedConfig(Config):
    """A computed mapping that a validator looks at together with another field."""

    low: float = 0.0
    """Lower limit."""

    limits: Mapping[str, float] = Field(default_factory=lambda data: {"high": data["low"] + 1})
    """Limits by name."""

    @model_validator(mode="after")
    def _in_order(self):
        if self.low > 5 and "extra" not in self.limits:
            raise ValueError("a low above 5 needs the limit 'extra'")
        return self


def build(*settings, config_class=WholeConfig):
    layers = [Layer.from_mapping(each, origin=f"layer {number}") for number, each in enumerate(settings)]
    return build_config(config_class, layers)


def test_a_default_is_computed_from_the_setting_it_follows():
    config = build({"measure.radius": 3})

    assert config.measure.config.outer == 6.0
    assert config.measure.config.weights == {"inner": 3.0, "outer": 6.0}
    assert config.measure.config.step == subtask(AddTask, amount=3.0)
    assert config.history("measure:outer") == [(6.0, "computed by ApertureConfig", "")]
    assert config.origin("measure:outer") == "computed by ApertureConfig"


def test_the_last_value_of_the_source_counts():
    assert build({"measure.radius": 3}, {"measure.radius": 4}).measure.config.outer == 8.0


def test_a_value_that_was_set_stays_when_the_source_changes():
    config = build({"measure.outer": 7}, {"measure.radius": 3})

    assert config.measure.config.outer == 7.0
    assert config.measure.config.weights["outer"] == 7.0
    assert config.history("measure:outer") == [(6.0, "computed by ApertureConfig", ""), (7, "layer 0", "")]


def test_settings_below_a_computed_default_are_put_on_it():
    config = build({"measure": {"weights.more": 9, "step.limit": 5, "radius": 3}}).measure.config

    assert config.weights == {"inner": 3.0, "outer": 6.0, "more": 9.0}
    assert config.step == subtask(AddTask, amount=3.0, limit=5.0)


def test_a_computed_slot_can_be_given_another_class():
    config = build({"measure": {"radius": 3, "step": {"limit": 5}}}, {"measure.step.task": MultiplyTask})

    assert config.measure.config.step == subtask(MultiplyTask, limit=5.0)


def test_nested_configs_and_values_of_mappings_are_computed_too():
    config = build({"nested.radius": 3, "by_band": {"g.radius": 5, "r": {"radius": 6}}})

    assert (config.nested.outer, config.by_band["g"].outer, config.by_band["r"].outer) == (6.0, 10.0, 12.0)


def test_a_default_that_cannot_be_computed_does_not_hide_the_mistake_or_repeat_it():
    with pytest.raises(ConfigError) as raised:
        build({"measure.radius": -1})

    assert str(raised.value) == "measure:radius: should be greater than 0; got -1 (from layer 0)"


def test_settings_below_a_default_that_cannot_be_computed_are_told():
    with pytest.raises(ConfigError) as raised:
        build({"measure": {"radius": -1, "step.limit": 5}})

    assert str(raised.value).splitlines() == [
        "measure:step.limit: its default cannot be computed from the other settings (from layer 0)",
        "measure:radius: should be greater than 0; got -1 (from layer 0)",
    ]


def test_a_validator_is_not_asked_before_the_settings_below_a_computed_default_are_there():
    config = build({"low": 6, "limits.extra": 8}, config_class=OrderedConfig)

    assert config.limits == {"high": 7.0, "extra": 8.0}


def test_the_defaults_of_the_class_can_be_written_without_any_setting():
    assert build().to_dict()["nested"]["outer"] == 2.0
    assert WholeConfig().history("nested.outer") == [(2.0, "computed by ApertureConfig", "")]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"measure.radius": 3},
        {"measure": {"radius": 3, "outer": 6}},
        {"measure": {"radius": 3, "weights.inner": None, "step": {"limit": 4}}},
        {"measure.step": {"task": MultiplyTask}, "by_band.g.radius": 7},
    ],
)
def test_a_loaded_config_computes_again_what_nobody_set(tmp_path, settings):
    config = build(settings)
    save_config(config, tmp_path / "saved.yaml")

    loaded = load_config(WholeConfig, tmp_path / "saved.yaml")

    assert loaded == config
    assert loaded.to_yaml(history=True) == config.to_yaml(history=True)
    assert build(config.to_dict()) == config
    assert loaded.measure.config.model_fields_set == config.measure.config.model_fields_set
    again = [build({"measure": side.measure, "measure.radius": 9.0}) for side in (loaded, config)]
    assert again[0].measure == again[1].measure


def test_the_file_says_which_value_is_computed(tmp_path):
    text = build({"measure.outer": 7}).to_yaml()

    assert text.count("(computed from other settings; take this line out to have it computed again)") == 8


def test_a_value_saved_under_another_default_keeps_its_line(tmp_path):
    path = tmp_path / "saved.yaml"
    save_config(build({"measure.radius": 3}), path)
    path.write_text(path.read_text().replace("outer: 6.0", "outer: 6.5", 1))
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if "outer: 6.5" in text)

    loaded = load_config(WholeConfig, path)

    assert loaded.measure.config.outer == 6.5
    assert loaded.origin("measure:outer") == f"{path}:{line}"
    assert loaded.origin("measure:radius") == "layer 0"
