"""Contracts: what the small language means, and that it can do nothing else."""

import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.errors import PipelineError
from firstlight.framework import Config, Contract, Layer, build_config
from firstlight.framework.contracts import DEEPEST, LONGEST
from firstlight.testing.arithmetic import NightConfig
from firstlight.testing.arithmetic_pipeline import CorrectConfig


class Mode(Enum):
    """A closed choice."""

    FAST = "fast"
    SAFE = "safe"


class PlainConfig(Config):
    """Values of every kind."""

    number: int = 3
    """A number."""

    huge: int = 10**400
    """A large number."""

    text: str = "mesh"
    """A text."""

    mode: Mode = Mode.SAFE
    """A choice."""

    flag: bool = True
    """A switch."""

    bands: tuple[str, ...] = ("g", "r")
    """A list."""

    names: frozenset[str] = frozenset({"a"})
    """A set."""

    place: Path = Path("a.fits")
    """A path."""

    weights: Mapping[str, float] | None = None
    """A mapping, or nothing."""


SETTINGS = {
    "plain": PlainConfig(),
    "night": build_config(NightConfig, [Layer.from_assignment("calibrate:first.amount=7")]),
    "correct": CorrectConfig(step=None),
}


def met(text):
    return not Contract(text).problem(SETTINGS)


def refusal(text):
    with pytest.raises(PipelineError) as raised:
        Contract(text).problem(SETTINGS)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "plain:number == 3",
        "plain:number != 2 and not plain:number > 3",
        "2 < plain:number <= 3 < 4",
        "plain:number in [1, 2, 3,]",
        "plain:number not in []",
        "plain:text == 'mesh' or plain:text == \"spline\"",
        "plain:mode == 'safe'",
        "plain:mode in ['safe', 'fast']",
        "plain:bands == ['g', 'r']",
        "'g' in plain:bands and 'i' not in plain:bands",
        "'a' in plain:names",
        "plain:place == 'a.fits'",
        "plain:flag == true and plain:flag",
        "plain:weights == null",
        "night:calibrate.first == 'firstlight.testing.arithmetic:AddTask'",
        "night:calibrate.first.task == 'firstlight.testing.arithmetic:AddTask'",
        "night:calibrate.first.amount == 7.0",
        "night.calibrate.first.amount == 7",
        "night:calibrate.weights.double < night:calibrate.first.amount",
        "correct:step == null or correct:step.amount < 3",
        "correct:step == null",
        "-plain:number == 0 - 3",
        "7 // 2 == 3 and 7 % 4 == 3 and 7 / 2 == 3.5",
        "9 - 3 - 2 == 4 and 16 / 4 / 2 == 2 and 9 - 3 + 2 == 8",
        "2 + 3 * 4 == 14 and (2 + 3) * 4 == 20",
        "1e3 == 1000. and .5 == 0.5 and 1E-1 == 0.1",
        "plain:number\n  == 3",
        "1",
    ],
)
def test_a_condition_that_is_met(text):
    assert met(text)


@pytest.mark.parametrize(
    "text", ["plain:number == 4", "0", "null", "''", "not 1", "plain:flag == false", "1 == 2 == 1 / 0", "0 and 1 / 0"]
)
def test_a_condition_that_is_broken(text):
    assert not met(text)


def test_a_broken_contract_tells_its_message_the_values_and_where_they_come_from():
    contract = Contract("night:calibrate.first.amount <\n 5 and plain:number > 1", "Our field\nis too sparse")

    assert contract.problem(SETTINGS) == (
        "contract broken: night:calibrate.first.amount < 5 and plain:number > 1: Our field is too sparse; "
        "night:calibrate.first.amount is 7.0 (-c calibrate:first.amount=7); plain:number is 3 (default of PlainConfig)"
    )
    assert contract.labels == {"night", "plain"}


def test_a_setting_below_an_empty_slot_is_only_missed_where_it_is_looked_at():
    text = "correct:step != null and correct:step.amount < 3"

    assert Contract(text).problem(SETTINGS) == f"contract broken: {text}; correct:step is None (Python)"
    assert refusal("correct:step.amount < 3") == (
        "contract 'correct:step.amount < 3' cannot be evaluated: correct:step.amount: no such setting; what 'amount' "
        "should stand in is empty"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it ends where a value was expected"),
        ("   ", "it ends where a value was expected"),
        ("plain:number <", "it ends where a value was expected"),
        ("plain:number ==== 3", "'==' stands where a value was expected"),
        ("plain:number = 3", "'=' was not understood"),
        ("plain:number 3", "'3' was not expected"),
        ("(plain:number", "')' is missing at the end"),
        ("(1 2)", "')' is missing before '2'"),
        ("[1 2]", "']' is missing before '2'"),
        ("[1", "']' is missing at the end"),
        ("[,]", "',' stands where a value was expected"),
        (")", "')' stands where a value was expected"),
        ("1 not 2", "'not' between two values belongs to 'in'"),
        ("1 == not 2", "'not' stands where a value was expected"),
        ("and", "'and' stands where a value was expected"),
        ("+2", "'+' stands where a value was expected"),
        ("number == 3", "'number' is no setting; write label:setting"),
        ("a:b:c == 3", "'a:b:c' is no setting; write label:setting"),
        ("'open", '"\'open" was not understood'),
        ("'a\\'b'", "\"'a\\\\'b'\" was not understood"),
        ("plain:number; 1", "';' was not understood"),
        ("2 ** 3", "'*' stands where a value was expected"),
        ("__import__('os')", "'__import__' is no setting; write label:setting"),
        ("lambda: 1", "':' was not understood"),
        ("plain:number()", "'(' was not expected"),
        ("plain:bands[0]", "'[' was not expected"),
        ("{1: 2}", "'{1:' was not understood"),
        ("f'{1}'", "'f' is no setting; write label:setting"),
        ("1 if 2 else 3", "'if' was not expected"),
        ("plain:number := 3", "':=' was not understood"),
        ("plain:number & 1", "'&' was not understood"),
        ("~1", "'~1' was not understood"),
        ("`ls`", "'`ls`' was not understood"),
    ],
)
def test_a_text_that_is_no_condition_is_one_line_that_says_where(text, words):
    with pytest.raises(PipelineError) as raised:
        Contract(text)
    assert str(raised.value) == f"contract {' '.join(text.split())!r}: {words}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("plain:nubmer == 3", "plain:nubmer: no such setting; did you mean 'number'?"),
        (
            "plain:zzz == 3",
            "plain:zzz: no such setting; there are number, huge, text, mode, flag, bands, names, place, weights",
        ),
        ("plian:number == 3", "plian:number: no such label; did you mean 'plain'?"),
        (
            "plain:number.real == 3",
            "plain:number.real: no such setting; what 'real' should stand in is one value, 3",
        ),
        ("night:calibrate.first.amuont > 1", "night:calibrate.first.amuont: no such setting; did you mean 'amount'?"),
        ("plain:number < 'a'", "'<' not supported between instances of 'int' and 'str'"),
        ("plain:number + 'a' == 3", "'a' is not a number"),
        ("plain:flag + 1 == 2", "True is not a number"),
        ("-plain:text == 1", "'mesh' is not a number"),
        ("'a' * 9 == 'b'", "'a' is not a number"),
        ("plain:number / 0 == 1", "division by zero"),
        ("plain:number % 0 == 1", "integer modulo by zero"),
        ("plain:number in 5", "argument of type 'int' is not iterable"),
        ("plain:huge / 3 > 1", "integer division result too large for a float"),
        ("plain:huge + 0.5 > 1", "int too large to convert to float"),
    ],
)
def test_a_condition_that_cannot_be_evaluated_is_one_line(text, words):
    assert refusal(text) == f"contract {text!r} cannot be evaluated: {words}"


@pytest.mark.parametrize(
    "name",
    ["__class__", "__dict__", "__init__", "model_fields", "model_config", "origin", "with_changes", "_changes", "copy"],
)
@pytest.mark.parametrize("owner", ["plain", "night:calibrate", "night:calibrate.first", "night:calibrate.weights"])
def test_only_settings_can_be_reached(owner, name):
    path = f"{owner}{'.' if ':' in owner else ':'}{name}"

    assert f"{path}: no such setting" in refusal(f"{path} == 1")


@pytest.mark.parametrize("opening", ["(", "[", "not ", "-", "not -("])
def test_what_is_nested_too_deep_is_refused_and_not_a_crash(opening):
    for depth in (DEEPEST + 1, LONGEST // len(opening)):
        with pytest.raises(PipelineError, match=r"too many parentheses$"):
            Contract(opening * depth + "1"[: LONGEST - len(opening) * depth])


def test_a_text_that_is_too_long_is_refused():
    with pytest.raises(PipelineError) as raised:
        Contract("1 == 1 and\n" * 100)
    assert str(raised.value) == ("contract '1 == 1 and 1 == 1 and 1 == 1 and 1 == 1'... is longer than 1000 characters")


@pytest.mark.parametrize("text", ["1" + "+1" * 499, "1" + "*1" * 499, "1" + "<1" * 499, "0" + " or 0" * 199, "1" * 999])
def test_the_longest_texts_are_evaluated_also_where_little_stack_is_left(text):
    def deep(levels):
        return deep(levels - 1) if levels else Contract(text).problem(SETTINGS)

    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    deep(max(0, sys.getrecursionlimit() - depth - 600))


NUMBERS = st.integers(0, 9).map(str) | st.sampled_from(["0.5", "1e1", "2."])
VALUES = NUMBERS | st.sampled_from(["plain:number", "'a'", "'ab'", "True", "False", "None", "[1, 2]", "[]"])


def joined(*signs):
    return lambda inner: st.tuples(inner, st.sampled_from(signs), inner).map(" ".join)


SUMS = st.recursive(
    VALUES,
    lambda inner: (
        joined("+", "-", "*", "/", "//", "%")(inner)
        | inner.map(lambda text: f"({text})")
        | inner.map(lambda text: f"- {text}")
        | st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
    ),
    max_leaves=5,
)
CONDITIONS = st.recursive(
    SUMS | joined("==", "!=", "<", "<=", ">", ">=", "in", "not in")(SUMS),
    lambda inner: (
        joined("and", "or")(inner)
        | inner.map(lambda text: f"not {text}")
        | inner.map(lambda text: f"({text})")
        | st.tuples(SUMS, st.sampled_from(["<", "=="]), SUMS, st.sampled_from([">=", "!="]), SUMS).map(" ".join)
    ),
    max_leaves=6,
)


def reference(text):
    """Let Python evaluate the same text, with its own precedence; None where it refuses."""
    try:
        return bool(eval(text.replace("plain:number", "3"), {"__builtins__": {}}))  # noqa: S307 - what the language is compared with
    except (TypeError, ArithmeticError):
        return None


def outcome(text):
    """Return whether the condition is met, or the error it leads to."""
    try:
        return met(text)
    except PipelineError as error:
        return error


SIGNS = [
    *("+", "-", "*", "/", "//", "%"),
    *("==", "!=", "<", "<=", ">", ">=", "in"),
    *("and", "or", "and not", "or not"),
]
FLAT = st.lists(st.tuples(NUMBERS, st.sampled_from(SIGNS)), min_size=2, max_size=6).map(
    lambda pairs: " ".join(word for pair in pairs for word in pair).removesuffix(pairs[-1][1])
)


@given(CONDITIONS | FLAT)
@settings(max_examples=300)
def test_conditions_mean_what_they_mean_in_python(text):
    found = outcome(text)

    # Python calculates with switches, texts and lists too; the language does not.
    stricter = "is not a number" in str(found)
    assert stricter or reference(text) is (None if isinstance(found, PipelineError) else found)


WORDS = [
    *("plain:number", "plain:__class__", "lambda", "__import__", "'os'", "1"),
    *("(", ")", "[", "]", "{", "and", "or", "not", "in", "==", "<", "-", ",", "'", ".", ":", "**", "\\", "\n"),
]
HOSTILE = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30) | st.lists(
    st.sampled_from(WORDS), max_size=12
).map(" ".join)


@given(HOSTILE)
def test_every_text_is_a_condition_or_one_line(text):
    assert len(str(outcome(text)).splitlines()) == 1
