"""Every kind of field a config can have is merged, checked, saved and loaded by the same rules."""

import subprocess
import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from structlog.testing import capture_logs

from firstlight.errors import ConfigError
from firstlight.framework import Config, Layer, Subtask, build_config, load_config, save_config, subtask
from firstlight.testing.arithmetic import AddTask, NumberTask

ADD = "firstlight.testing.arithmetic:AddTask"


class Mode(Enum):
    FAST = "fast"
    EXACT = "exact"


class BandConfig(Config):
    """A nested config."""

    low: PositiveFloat = 1.0
    """Lower limit."""

    high: PositiveFloat = 2.0
    """Upper limit."""

    terms: Mapping[str, float] = {"a": 1.0}
    """Terms by name."""

    @model_validator(mode="after")
    def _in_order(self):
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class ShapeConfig(Config):
    """What every shape has."""

    weight: float = 1.0
    """Weight."""


class CircleConfig(ShapeConfig):
    """A circle."""

    kind: Literal["circle"] = "circle"
    """Which shape."""

    radius: PositiveInt = 1
    """Radius [pixel]."""


class SquareConfig(ShapeConfig):
    """A square."""

    kind: Literal["square"] = "square"
    """Which shape."""

    side: PositiveInt = 1
    """Side [pixel]."""


Shape = Annotated[CircleConfig | SquareConfig, Field(discriminator="kind")]


class EverythingConfig(Config):
    """One field of each kind."""

    band: BandConfig = BandConfig()
    """Nested."""

    spare: BandConfig | None = None
    """Nested, or nothing."""

    bands: Mapping[str, BandConfig] = {"g": BandConfig(low=0.5)}
    """Nested by name."""

    steps: tuple[BandConfig, ...] = ()
    """Nested in order."""

    shape: Shape = CircleConfig()
    """A choice."""

    mask: Shape | None = None
    """A choice, or nothing."""

    shapes: tuple[Shape, ...] = ()
    """Choices in order."""

    named_shapes: Mapping[str, Shape] = {"main": CircleConfig(radius=3)}
    """Choices by name."""

    tasks: tuple[Subtask[NumberTask], ...] = ()
    """Slots in order."""

    modes: tuple[Mode, ...] = (Mode.FAST,)
    """Members of an enumeration."""

    words: frozenset[str] = frozenset({"one", "two"})
    """A set."""

    level: Literal[1, 2, "all"] = 1
    """Literal values."""

    folder: Path | None = None
    """A path."""

    bits: Mapping[int, str] = {1: "BAD", 2: "SAT"}
    """Names by number."""

    grid: Mapping[str, Mapping[str, float]] = {"g": {"r": 1.0}}
    """Numbers by two names."""


def build(*settings):
    layers = [Layer.from_mapping(each, origin=f"layer {number}") for number, each in enumerate(settings)]
    return build_config(EverythingConfig, layers, labelled=False)


def refused(*settings):
    with pytest.raises(ConfigError) as raised:
        build(*settings)
    return str(raised.value).splitlines()


FULL = {
    "band": {"low": 1.5, "terms": {"a": None, "b": 2}},
    "spare": {"high": 7},
    "bands": {"g.high": 4, "r": {"low": 1, "high": 9}},
    "steps": [{"low": 1.2}, {"high": 8, "terms": {"a": None}}, {}],
    "shape": {"kind": "square", "side": 4},
    "mask": {"kind": "circle"},
    "shapes": [{"kind": "square"}, {"kind": "circle", "radius": 2}],
    "named_shapes": {"main.weight": 2, "more": {"kind": "square"}},
    "tasks": [{"task": ADD, "amount": 4}],
    "modes": ["exact", "fast"],
    "words": ["three", "four"],
    "level": "all",
    "folder": "there",
    "bits": {"2": "CR", "3": "EDGE"},
    "grid": {"g.i": 2, "r": {"g": 3}},
}


def test_every_kind_of_field_is_built_from_plain_values():
    config = build(FULL)

    assert config == EverythingConfig(
        band=BandConfig(low=1.5, terms={"b": 2.0}),
        spare=BandConfig(high=7.0),
        bands={"g": BandConfig(low=0.5, high=4.0), "r": BandConfig(low=1.0, high=9.0)},
        steps=(BandConfig(low=1.2), BandConfig(high=8.0, terms={}), BandConfig()),
        shape=SquareConfig(side=4),
        mask=CircleConfig(),
        shapes=(SquareConfig(), CircleConfig(radius=2)),
        named_shapes={"main": CircleConfig(radius=3, weight=2.0), "more": SquareConfig()},
        tasks=(subtask(AddTask, amount=4.0),),
        modes=(Mode.EXACT, Mode.FAST),
        words=frozenset({"three", "four"}),
        level="all",
        folder=Path("there"),
        bits={1: "BAD", 2: "CR", 3: "EDGE"},
        grid={"g": {"r": 1.0, "i": 2.0}, "r": {"g": 3.0}},
    )
    assert isinstance(hash(config), int)


@pytest.mark.parametrize(
    "settings",
    [
        [{}],
        [FULL],
        [FULL, {"bands": None, "grid.g": None, "named_shapes.main": None, "shapes": [], "mask": None, "bits.1": None}],
        [{"bands.g.low": 0.7}, {"bands.g": None}, {"bands.g.high": 3}],
        [{"shape.radius": 3, "shape.weight": 2}, {"shape.kind": "square"}],
        [{"grid": None, "grid.i.g": 2}, {"spare": {}}],
        [{"bands": None}, {"bands": {"r": {}, "g": {}}}],
    ],
)
def test_every_kind_of_field_survives_saving_with_its_history(tmp_path, settings):
    config = build(*settings)
    save_config(config, tmp_path / "saved.yaml")

    loaded = load_config(EverythingConfig, tmp_path / "saved.yaml")

    assert loaded == config
    assert loaded.to_yaml(history=True) == config.to_yaml(history=True)
    assert loaded.model_fields_set == config.model_fields_set
    assert build(config.to_dict()) == config


def test_a_value_of_a_mapping_keeps_what_its_default_was_told():
    assert build({"bands.g.high": 4}).bands["g"] == BandConfig(low=0.5, high=4.0)


def test_a_value_removed_from_a_mapping_starts_anew():
    config = build({"bands.g.low": 0.7}, {"bands.g": None}, {"bands.g.high": 3})

    assert config.bands == {"g": BandConfig(high=3.0)}
    assert [(value, origin) for value, origin, _ in config.history("bands.g")] == [(None, "layer 1")]


def test_a_later_tuple_replaces_an_earlier_one():
    assert build({"steps": [{"low": 1.5}, {}]}, {"steps": [{"high": 3}]}).steps == (BandConfig(high=3.0),)


def test_changing_a_choice_keeps_what_both_share_and_drops_the_rest():
    with capture_logs() as logs:
        config = build({"shape": {"radius": 3, "weight": 2}}, {"shape.kind": "square"})

    assert config.shape == SquareConfig(weight=2.0)
    assert config.history("shape.radius") == [
        (3, "layer 0", "dropped: shape was changed from CircleConfig to SquareConfig by layer 1")
    ]
    assert [(log["setting"], log["value"]) for log in logs] == [("shape.radius", 3)]


def test_changing_a_choice_back_finds_its_default_again():
    config = build({"named_shapes.main.kind": "square"}, {"named_shapes.main.kind": "circle"})

    assert config.named_shapes == {"main": CircleConfig(radius=3)}


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ({"bands.g.lwo": 3}, "bands.g.lwo: no such field; did you mean 'low'?"),
        ({"steps": [{}, {"hihg": 3}]}, "steps.1.hihg: no such field; did you mean 'high'?"),
        ({"steps": [{"low": True}]}, "steps.0.low: should be of type float; got True"),
        ({"steps": [{"low": 9}]}, "steps.0: low 9.0 is above high 2.0"),
        ({"bands.g.low": 9}, "bands.g: low 9.0 is above high 2.0"),
        ({"spare.low": 9}, "spare: low 9.0 is above high 2.0"),
        ({"shape.kind": "sqare"}, "shape.kind: should be 'circle' or 'square'; got 'sqare'; did you mean 'square'?"),
        ({"shape.side": 3}, "shape.side: no such field; CircleConfig has weight, kind, radius"),
        ({"shape.radius": -1}, "shape.radius: should be greater than 0; got -1"),
        ({"mask.radius": 2}, "mask.radius: set 'kind' to 'circle' or 'square' first"),
        ({"shape": 3}, "shape: takes one mapping such as {kind: ..., field: value}; got 3"),
        (
            {"shapes": [{"kind": "circle", "side": 3}]},
            "shapes.0.side: no such field; CircleConfig has weight, kind, radius",
        ),
        ({"named_shapes.main.radius": 0}, "named_shapes.main.radius: should be greater than 0; got 0"),
        ({"tasks": [{"task": ADD, "amuont": 1}]}, "tasks.0.amuont: no such field; did you mean 'amount'?"),
        ({"modes": ["fast", "exakt"]}, "modes.1: should be 'fast' or 'exact'; got 'exakt'"),
        ({"level": 3}, "level: should be 1, 2 or 'all'; got 3"),
        ({"folder": 3}, "folder: should be a path; got 3"),
        ({"band": 3}, "band: should be a mapping of settings; got 3"),
        ({"bits.x": "BAD"}, "bits.x.[key]: should be a valid integer; got 'x'"),
        ({"grid.g.r": "x"}, "grid.g.r: should be a valid number; got 'x'"),
        ({"words": [1]}, "words.0: should be a valid string; got 1"),
    ],
)
def test_a_mistake_at_any_depth_is_one_line_at_its_place(setting, line):
    assert refused(setting) == [f"{line} (from layer 0)"]


def test_a_program_is_told_the_place_and_the_class_of_a_mistake_too():
    with pytest.raises(ConfigError) as raised:
        EverythingConfig(
            steps=[{"hihg": 3}, {"low": 9}],
            shape={"kind": "square", "sied": 2},
            shapes=[{"side": 2}, {"kind": "sqare"}],
            named_shapes={"main": {"kind": "circle", "radius": 0}},
        )

    assert str(raised.value).splitlines() == [
        "EverythingConfig.steps.0.hihg: no such field; did you mean 'high'?",
        "EverythingConfig.steps.1: low 9.0 is above high 2.0",
        "EverythingConfig.shape.sied: no such field; did you mean 'side'?",
        "EverythingConfig.shapes.0.kind: is required",
        "EverythingConfig.shapes.1.kind: should be 'circle' or 'square'; got 'sqare'; did you mean 'square'?",
        "EverythingConfig.named_shapes.main.radius: should be greater than 0; got 0",
    ]


def test_a_check_across_fields_names_the_settings_it_speaks_of():
    lines = refused({"band.low": 3}, {"band.terms.b": 1}, {"band.high": 2.5})

    assert lines == ["band: low 3.0 is above high 2.5 (from layer 0 and layer 2)"]


def test_a_check_that_raises_a_config_error_is_told_in_the_same_way():
    class StrictConfig(BandConfig):
        """Raises what the rest of firstlight raises."""

        @model_validator(mode="after")
        def _wide(self):
            if self.high > 100:
                raise ConfigError(f"high {self.high} is too much")
            return self

    holder = type(
        "Holder",
        (Config,),
        {"__annotations__": {"band": StrictConfig}, "band": StrictConfig(), "__module__": __name__},
    )
    with pytest.raises(ConfigError) as raised:
        build_config(holder, [Layer.from_mapping({"band.high": 300}, origin="a file")])

    assert str(raised.value) == "band: high 300.0 is too much (from a file)"


def test_a_set_is_written_in_the_same_order_by_every_process():
    program = (
        "from firstlight.framework import Config\n"
        "class C(Config):\n    words: frozenset[str] = frozenset('kjihgfedcba')\n"
        "print(C().to_yaml())"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(texts) == 1


def test_configs_to_choose_from_need_a_discriminator():
    with pytest.raises(TypeError, match=r"Bad\.shape: configs to choose from need a field that tells them apart"):
        type("Bad", (Config,), {"__annotations__": {"shape": CircleConfig | SquareConfig}, "__module__": __name__})


def test_the_keys_of_a_mapping_are_text_or_whole_numbers():
    with pytest.raises(TypeError, match=r"Bad\.values: the keys of a mapping are text or whole numbers"):
        type("Bad", (Config,), {"__annotations__": {"values": Mapping[float, str]}, "__module__": __name__})
