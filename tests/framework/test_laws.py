"""Laws of configs and layers, over settings that hypothesis makes up."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firstlight.framework import Layer, build_config, load_config, save_config
from firstlight.framework.yaml_lines import read_value
from firstlight.framework.yaml_text import flow
from firstlight.testing.arithmetic import AddTask, InvertTask, MultiplyTask, NightConfig

pytestmark = pytest.mark.filterwarnings("default::hypothesis.errors.HypothesisWarning")

POSITIVE = st.floats(min_value=1e-300, max_value=1e300)
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters=".:", exclude_categories=["Cs"]), min_size=1, max_size=5
)
SHARED = st.fixed_dictionaries({}, optional={"limit": POSITIVE, "repeats": st.integers(1, 9)})


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
NIGHTS = st.fixed_dictionaries({}, optional={"calibrate": CALIBRATE, "measure": SLOTS, "seed": st.integers(1, 99)})
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


@quick
@given(layers=LAYERS)
def test_a_config_loaded_is_the_config_saved_with_its_history(layers):
    config = build_config(NightConfig, layers)
    with tempfile.TemporaryDirectory() as folder:
        save_config(config, Path(folder) / "night.yaml")
        loaded = load_config(NightConfig, Path(folder) / "night.yaml")

    assert loaded == config
    assert loaded.to_dict() == config.to_dict()
    for path in every_path(config.to_dict()):
        assert loaded.history(path) == config.history(path)
        assert loaded.origin(path) == config.origin(path)


@quick
@given(layers=LAYERS)
def test_a_config_is_rebuilt_from_its_plain_values(layers):
    config = build_config(NightConfig, layers)

    assert build_config(NightConfig, [Layer.from_mapping(config.to_dict(), origin="a record")]) == config


@quick
@given(layers=LAYERS)
def test_setting_the_same_again_changes_nothing(layers):
    config = build_config(NightConfig, layers)

    assert build_config(NightConfig, [*layers, Layer.from_mapping(config.to_dict(), origin="again")]) == config


@quick
@given(one=NIGHTS, two=NIGHTS, three=NIGHTS)
def test_joining_layers_is_associative(one, two, three):
    a, b, c = (Layer.from_mapping(night, origin=origin) for night, origin in ((one, "a"), (two, "b"), (three, "c")))

    assert (a + b) + c == a + (b + c)
    assert ((a + b) + c).values == (a + (b + c)).values


@quick
@given(layers=LAYERS, seeds=st.lists(st.integers(1, 99), min_size=1, max_size=3))
def test_the_last_layer_that_sets_a_value_wins(layers, seeds):
    upper = [Layer.from_mapping({"seed": seed}, origin=f"seed {number}") for number, seed in enumerate(seeds)]
    config = build_config(NightConfig, [*layers, *upper])

    assert config.seed == seeds[-1]
    assert config.origin("seed") == f"seed {len(seeds) - 1}"


@quick
@given(lower=SLOTS, task=st.sampled_from([AddTask, MultiplyTask, InvertTask]))
def test_retargeting_keeps_every_shared_setting_and_no_other(lower, task):
    layers = [
        Layer.from_mapping({"calibrate.first": lower}, origin="lower"),
        Layer.from_mapping({"calibrate.first.task": task}, origin="upper"),
    ]
    config = build_config(NightConfig, layers).calibrate.config.first

    shared = {name: value for name, value in lower.items() if name in ("limit", "repeats")}
    own = {} if lower["task"] is not task else {name: value for name, value in lower.items() if name != "task"}
    default = {"amount": 2.0} if task is AddTask else {}
    assert config.task is task
    assert config.config == task.config_class(**{**default, **shared, **own})


@settings(max_examples=200, deadline=None)
@given(value=PLAIN)
def test_a_plain_value_written_as_yaml_reads_back_the_same(value):
    assert read_value(flow(value)) == value
