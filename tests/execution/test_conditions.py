"""A condition is asked of the inputs that have what it is about, part by part."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.errors import RepoError
from firstlight.execution.conditions import Conditions, text_of
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.query_parser import Among, Comparison, Group, Not, parse

FIELDS = st.sampled_from(["visit", "band", "exposure.airmass", "size"])
NUMBERS = st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(alphabet="ab '%_", max_size=5) | st.text(alphabet='ab "%_', max_size=5)
VALUES = NUMBERS | TEXTS | st.booleans()
RANGES = st.tuples(st.integers(-9, 9), st.integers(-9, 9))
COMPARISONS = (
    st.builds(Comparison, FIELDS, st.just("="), VALUES | st.none())
    | st.builds(Comparison, FIELDS, st.sampled_from(["<", "<=", ">", ">="]), VALUES)
    | st.builds(Comparison, FIELDS, st.just("like"), TEXTS)
    | st.builds(Among, FIELDS, st.lists(VALUES, min_size=1, max_size=3).map(tuple), st.lists(RANGES).map(tuple))
)
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(Group, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=6,
)
VISIT = DatasetType("image", ("visit", "detector"), "json")
EXPOSURE = DatasetType("frame", ("exposure", "detector"), "json")
PATCH = DatasetType("template", ("tract", "patch", "band"), "json")
FLAT = DatasetType("flat", ("detector", "physical_filter"), "json")


@given(CONDITIONS)
@settings(max_examples=200, deadline=None)
def test_a_condition_as_text_is_read_as_the_same(condition):
    assert parse(text_of(condition)) == condition


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        (VISIT, "visit = 3 and (band = 'r' or band = 'i')"),
        (EXPOSURE, "visit = 3 and (band = 'r' or band = 'i')"),
        (PATCH, "tract in (5..7) and (band = 'r' or band = 'i')"),
        (FLAT, "band = 'r' or band = 'i'"),
    ],
)
def test_each_input_is_asked_what_it_has(kind, part):
    conditions = Conditions("visit = 3 and tract in (5..7) and (band = 'r' or band = 'i')")

    assert parse(conditions.of(kind)) == parse(part)


def test_a_part_that_mixes_what_no_input_has_together_is_refused_by_name():
    conditions = Conditions("band = 'r' and (visit = 3 or tract = 5)")
    asked = [conditions.of(kind) for kind in (VISIT, PATCH)]

    assert asked == ["band = 'r'", "band = 'r'"]
    with pytest.raises(RepoError, match=r"'visit = 3 or tract = 5': no input \(image, template\) has 'visit', 'tract'"):
        conditions.require_all_asked(["image", "template"])


def test_a_mistake_is_told_before_any_input_is_asked():
    with pytest.raises(RepoError, match="did you mean 'visit'"):
        Conditions("vist = 3")
