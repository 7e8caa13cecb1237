"""A schema describes every kind of field as a config is built of it."""

import json
from collections.abc import Mapping
from enum import Enum
from importlib.metadata import EntryPoint
from typing import Annotated, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from pydantic import Field, PositiveInt

from firstlight.errors import ConfigError
from firstlight.framework import Config, Layer, Subtask, build_config, subtask
from firstlight.framework.json_schema import settings_schema
from firstlight.framework.renamed import FormerName
from firstlight.tasks.psf import PixelPsfTask, PsfTask
from firstlight.testing.arithmetic import NightConfig

from .schema_mistakes import mistakes


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(Config):
    value: PositiveInt
    """How high [m]."""


class Straight(Config):
    form: Literal["straight"] = "straight"
    """Which form."""

    slope: float = 1.0
    """How steep."""


class Bent(Config):
    form: Literal["bent"] = "bent"
    """Which form."""

    radius: float = 1.0
    """How bent [m]."""


class EveryKind(Config):
    colour: Colour = Colour.RED
    """An enumeration."""

    pair: tuple[int, str] = (1, "a")
    """A fixed tuple."""

    steps: tuple[Level, ...] = ()
    """Configs in a row."""

    level: Level | None = None
    """A nested config."""

    levels: Mapping[str, Level] = {}
    """Configs by name."""

    form: Annotated[Straight | Bent, Field(discriminator="form")] = Straight()
    """One of two configs."""

    by_level: Mapping[str, Annotated[Straight | Bent, Field(discriminator="form")]] = {}
    """Choices by name."""

    top: Annotated[float, FormerName("ceiling", since="0.2")] = float("inf")
    """Has no end."""

    half: float = Field(default_factory=lambda data: data["top"] / 2)
    """Half of it."""

    low: float = Field(default=0.0, deprecated="use top")
    """Is on its way out."""

    psf: Subtask[PsfTask] = subtask(PixelPsfTask, order=1)
    """A slot."""


@pytest.mark.parametrize(
    ("yaml", "paths"),
    [
        ("colour: green", ["colour"]),
        ("pair: [1, a, 2]", ["pair"]),
        ("pair: [a, a]", ["pair.0"]),
        ("steps: [{value: 1}, {}, {value: -1}]", ["steps.1", "steps.2.value"]),
        ("level: {valu: 1}", ["level.valu"]),
        ("levels: {a: {value: 0}, b: 3, c.value: 1, d: null}", ["levels.a.value", "levels.b"]),
        ("form: {form: round}", ["form.form"]),
        ("form: {form: bent, slope: 1}", ["form.slope"]),
        ("form: {radius: 1}", ["form.radius"]),
        ("by_level: {a: {form: bent, slope: 1}, b: {radius: 1}}", ["by_level.a.slope", "by_level.b"]),
        ("{top: high, half: a, ceiling: a, low: a}", ["ceiling", "half", "low", "top"]),
        (
            "{colour: blue, pair: [1, b], steps: [{value: 1}], level: {}, levels: {a: {}}, form: {slope: 2}}",
            [],
        ),
        (
            "{level: null, levels: null, top: .inf, by_level: {a: {form: bent}, b: null}, half: 1, low: 0}",
            [],
        ),
        ("ceiling: 3", []),
        ("{form: {form: bent, radius: 2}, level.value: 3, form.form: bent}", []),
    ],
)
def test_every_kind_of_field_is_checked(yaml, paths):
    schema = settings_schema(EveryKind, title="every kind")
    Draft7Validator.check_schema(json.loads(json.dumps(schema, allow_nan=False)))

    assert mistakes(schema, yaml) == paths


def test_a_field_says_that_it_is_computed_renamed_or_on_its_way_out():
    fields = settings_schema(EveryKind, title="every kind")["properties"]

    assert fields["half"]["description"] == "Half of it.\n\nBy default it follows from other settings."
    assert fields["ceiling"]["deprecationMessage"] == "Now called 'top' (since 0.2)."
    assert fields["low"]["deprecationMessage"] == "use top"


@pytest.fixture
def arithmetic_tasks(monkeypatch):
    """Return the schema of NightConfig while the arithmetic tasks are known by their short names."""
    offers = {
        name: (EntryPoint(name, f"firstlight.testing.arithmetic:{name}", "firstlight.tasks"),)
        for name in ("AddTask", "MultiplyTask", "InvertTask", "CalculateTask", "NightTask")
    }
    for module in ("lookup", "json_schema"):
        monkeypatch.setattr(f"firstlight.framework.{module}.known_tasks", lambda: offers)
    return settings_schema(NightConfig, title="night")


LIMITS = st.sampled_from([5, 2.5, -1, 0, "5", True, None, [5]])
NUMBERS = st.sampled_from([5, 2.5, [5], None])
WORDS = st.sampled_from(["limit", "repeats", "amount", "factor", "limt"])
TASKS = st.sampled_from(["AddTask", "MultiplyTask", "InvertTask", "CalculateTask", "AddTsk"])
SLOTS = st.dictionaries(WORDS, LIMITS, max_size=2) | st.none() | st.just(3)
FILLED = st.builds(lambda task, slot: {"task": task, **slot}, TASKS, st.dictionaries(WORDS, LIMITS, max_size=2))
UNNAMED = st.dictionaries(WORDS, LIMITS, min_size=1, max_size=2)
ANY_SLOT = SLOTS | FILLED
NIGHTS = st.fixed_dictionaries(
    {},
    optional={
        "calibrate": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "first": ANY_SLOT,
                "second": ANY_SLOT,
                "plugins": st.none()
                | st.fixed_dictionaries({}, optional={"double": ANY_SLOT, "new": FILLED, "more": UNNAMED}),
                "weights": st.none() | st.dictionaries(st.sampled_from(["double", "a.b"]), NUMBERS, max_size=2),
                "digits": st.lists(LIMITS, max_size=2) | LIMITS,
            },
        ),
        "measure": ANY_SLOT,
        "seed": LIMITS,
    },
)


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(night=NIGHTS)
def test_a_schema_accepts_exactly_what_a_config_can_be_built_of(arithmetic_tasks, night):
    try:
        build_config(NightConfig, [Layer.from_mapping(night, origin="the test")])
        accepted = True
    except ConfigError:
        accepted = False

    assert Draft7Validator(arithmetic_tasks).is_valid(night) == accepted
