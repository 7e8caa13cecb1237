"""Laws of configs and layers, over settings that hypothesis makes up."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field, PositiveFloat

from firstlight.errors import ConfigError
from firstlight.framework import Config, Layer, Subtask, build_config, diff_configs, load_config, save_config, subtask
from firstlight.framework.lookup import name_of
from firstlight.framework.yaml_lines import read_leaves, read_value
from firstlight.framework.yaml_text import flow
from firstlight.testing.arithmetic import AddTask, InvertTask, MultiplyTask, NightConfig, NumberTask

pytestmark = pytest.mark.filterwarnings("default::hypothesis.errors.HypothesisWarning")

POSITIVE = st.floats(min_value=1e-300, max_value=1e300)
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters=".:", exclude_categories=["Cs"]), min_size=1, max_size=5
)
SHARED = st.fixed_dictionaries({}, optional={"limit": POSITIVE, "repeats": st.integers(1, 9)})


class ApertureConfig(Config):
    """A nested config with defaults that follow from another field."""

    radius: PositiveFloat = 1.0
    """Radius [pixel]."""

    outer: float = Field(default_factory=lambda data: data["radius"] + 1)
    """Outer radius [pixel]."""

    weights: Mapping[str, float] = Field(default_factory=lambda data: {"outer": data["outer"]})
    """Weights by name."""


class ObservingConfig(NightConfig):
    """A night with computed defaults, alone and by name."""

    aperture: ApertureConfig = ApertureConfig()
    """Nested."""

    apertures: Mapping[str, ApertureConfig] = {"g": ApertureConfig(radius=2.0)}
    """By band."""

    extra: Subtask[NumberTask] = Field(default_factory=lambda data: subtask(AddTask, amount=data["aperture"].radius))
    """A slot whose default is computed."""


def slot_of(task, **own):
    return SHARED.flatmap(
        lambda shared: st.fixed_dictionaries({}, optional=own).map(lambda mine: {"task": task, **shared, **mine})
    )


SLOTS = st.one_of(
    slot_of(AddTask, amount=st.floats(-1e300, 1e300)), slot_of(MultiplyTask, factor=POSITIVE), slot_of(InvertTask)
)
CALIBRATE = st.fixed_dictionaries(
    {},
    optional={
        "first": SLOTS,
        "second": SLOTS | st.none(),
        "plugins": st.fixed_dictionaries(
            {}, optional={"double": SLOTS | st.none(), "triple": SLOTS | st.none(), "new": SLOTS}
        ),
        "weights": st.dictionaries(NAMES | st.just("double"), st.floats(allow_nan=False) | st.none(), max_size=3),
        "digits": st.lists(st.integers(1, 9), max_size=3),
    },
)
APERTURES = st.fixed_dictionaries(
    {},
    optional={
        "radius": POSITIVE,
        "outer": POSITIVE,
        "weights": st.dictionaries(st.sampled_from(["outer", "more"]), POSITIVE | st.none(), max_size=2),
    },
)
NIGHTS = st.fixed_dictionaries(
    {},
    optional={
        "calibrate": CALIBRATE,
        "measure": SLOTS | st.none(),
        "seed": st.integers(1, 99),
        "aperture": APERTURES,
        "apertures": st.dictionaries(st.sampled_from(["g", "r"]), APERTURES | st.none(), max_size=2) | st.none(),
        "extra": SLOTS,
    },
)
UNTARGETED = st.fixed_dictionaries(
    {},
    optional={
        "calibrate": st.fixed_dictionaries(
            {},
            optional={
                "first": SHARED,
                "second": SHARED,
                "plugins": st.fixed_dictionaries({}, optional={"double": SHARED}),
                "weights": st.dictionaries(st.sampled_from("ab"), POSITIVE | st.none(), max_size=2) | st.none(),
                "digits": st.lists(st.integers(1, 9), max_size=3),
            },
        ),
        "aperture": APERTURES,
        "apertures": st.dictionaries(st.sampled_from(["g", "r"]), APERTURES | st.none(), max_size=2) | st.none(),
        "extra": SHARED,
    },
)
LAYERS = st.lists(NIGHTS, max_size=3).map(
    lambda nights: [Layer.from_mapping(night, origin=f"layer {number}") for number, night in enumerate(nights)]
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=6,
)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def every_path(values, above=()):
    for name, value in values.items():
        yield ".".join((*above, name))
        if isinstance(value, dict):
            yield from every_path(value, (*above, name))


def tried(layers):
    """Return the config that layers make, or the mistakes in them."""
    try:
        return build_config(ObservingConfig, layers)
    except ConfigError as error:
        return str(error)


def written(config):
    """Return every value and every history that is written to a file, by path."""
    documents = read_leaves(config.to_yaml(history=True), source="a file")
    return [{leaf.path: leaf.value for leaf in leaves} for leaves in documents]


def saved_and_loaded(config):
    with tempfile.TemporaryDirectory() as folder:
        save_config(config, Path(folder) / "night.yaml")
        return load_config(ObservingConfig, Path(folder) / "night.yaml")


def every_leaf(values, above=()):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from every_leaf(value, (*above, name))
        else:
            yield (*above, name), value


@quick
@given(layers=LAYERS)
def test_a_config_loaded_is_the_config_saved_with_its_history(layers):
    config = build_config(ObservingConfig, layers)

    loaded = saved_and_loaded(config)

    assert loaded == config
    assert written(loaded) == written(config)
    for path in every_path(config.to_dict()):
        assert loaded.history(path) == config.history(path)
        assert loaded.origin(path) == config.origin(path)


@quick
@given(layers=LAYERS, radius=POSITIVE)
def test_what_nobody_set_is_computed_again_after_loading_as_before_saving(layers, radius):
    config = build_config(ObservingConfig, layers)
    upper = Layer.from_mapping({"aperture.radius": radius}, origin="upper")

    one, other = (
        build_config(ObservingConfig, [Layer.from_mapping({"aperture": side.aperture}, origin="lower"), upper])
        for side in (config, saved_and_loaded(config))
    )

    assert one == other


@quick
@given(layers=LAYERS)
def test_a_config_is_rebuilt_from_its_plain_values(layers):
    config = build_config(ObservingConfig, layers)

    assert build_config(ObservingConfig, [Layer.from_mapping(config.to_dict(), origin="a record")]) == config


@quick
@given(layers=LAYERS)
def test_setting_the_same_again_changes_nothing(layers):
    config = build_config(ObservingConfig, layers)

    assert build_config(ObservingConfig, [*layers, Layer.from_mapping(config.to_dict(), origin="again")]) == config


@quick
@given(one=NIGHTS, two=NIGHTS, three=NIGHTS)
def test_joining_layers_is_associative(one, two, three):
    a, b, c = (Layer.from_mapping(night, origin=origin) for night, origin in ((one, "a"), (two, "b"), (three, "c")))

    assert (a + b) + c == a + (b + c)
    assert ((a + b) + c).values == (a + (b + c)).values


@quick
@given(one=UNTARGETED, two=UNTARGETED, three=UNTARGETED)
def test_settings_that_name_no_task_can_be_joined_in_any_way(one, two, three):
    a, b, c = (Layer.from_mapping(night, origin=origin) for night, origin in ((one, "a"), (two, "b"), (three, "c")))

    config = build_config(ObservingConfig, [a, b, c])

    for joined in ([a + b, c], [a, b + c], [a + b + c]):
        other = build_config(ObservingConfig, joined)
        assert other == config
        assert written(other) == written(config)


@quick
@given(one=NIGHTS, two=NIGHTS, three=NIGHTS)
def test_joining_two_neighbouring_layers_gives_the_same_or_is_a_mistake(one, two, three):
    a, b, c = (Layer.from_mapping(night, origin=origin) for night, origin in ((one, "a"), (two, "b"), (three, "c")))

    made = [tried(joined) for joined in ([a, b, c], [a + b, c], [a, b + c])]

    assert isinstance(made[0], ObservingConfig)
    assert all(each == made[0] for each in made if isinstance(each, ObservingConfig))


@quick
@given(layers=LAYERS, others=LAYERS)
def test_configs_differ_in_something_unless_they_are_equal(layers, others):
    one, other = build_config(ObservingConfig, layers), build_config(ObservingConfig, others)

    assert (diff_configs(one, other) == ()) == (one == other)
    assert diff_configs(one, saved_and_loaded(one)) == ()


@quick
@given(layers=LAYERS, last=NIGHTS)
def test_the_last_layer_that_sets_a_value_wins(layers, last):
    config = build_config(ObservingConfig, [*layers, Layer.from_mapping(last, origin="last")])

    plain = config.to_dict()
    for path, value in every_leaf(last):
        found = plain
        for name in path:
            found = found.get(name) if found is not None else None
        if value is None:
            assert found is None or set(found.values()) <= {None}
        else:
            assert found == (name_of(value) if isinstance(value, type) else value)
            assert config.history(".".join(path))[-1].origin == "last"


@quick
@given(lower=SLOTS, task=st.sampled_from([AddTask, MultiplyTask, InvertTask]))
def test_retargeting_keeps_every_shared_setting_and_no_other(lower, task):
    layers = [
        Layer.from_mapping({"calibrate.first": lower}, origin="lower"),
        Layer.from_mapping({"calibrate.first.task": task}, origin="upper"),
    ]
    config = build_config(ObservingConfig, layers).calibrate.config.first

    shared = {name: value for name, value in lower.items() if name in ("limit", "repeats")}
    own = {} if lower["task"] is not task else {name: value for name, value in lower.items() if name != "task"}
    default = {"amount": 2.0} if task is AddTask else {}
    assert config.task is task
    assert config.config == task.config_class(**{**default, **shared, **own})


@settings(max_examples=200, deadline=None)
@given(value=PLAIN)
def test_a_plain_value_written_as_yaml_reads_back_the_same(value):
    assert read_value(flow(value)) == value
