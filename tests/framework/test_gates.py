"""Gates tell how good a result is; funnels what was cut."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.framework import Funnel, Gate, worst


@pytest.mark.parametrize(
    ("gate", "line"),
    [
        (
            Gate("astrometry_rms", 0.12, "arcsec", warn=0.1, fail=0.5, n=34),
            "astrometry_rms 0.12 arcsec > 0.1 (n=34): warn",
        ),
        (
            Gate("astrometry_rms", 0.7, "arcsec", warn=0.1, fail=0.5, n=34),
            "astrometry_rms 0.7 arcsec > 0.5 (n=34): fail",
        ),
        (Gate("astrometry_rms", 0.05, "arcsec", warn=0.1, fail=0.5), "astrometry_rms 0.05 arcsec <= 0.1: ok"),
        (Gate("matches", 12, sense="min", warn=20), "matches 12 < 20: warn"),
        (Gate("matches", 20, sense="min", warn=20, fail=5), "matches 20 >= 20: ok"),
        (Gate("rms", math.nan, "mag", warn=0.1), "rms nan mag: fail"),
        (Gate("chi2", 1.04), "chi2 1.04: ok"),
        (Gate("chi2", 9.0, fail=10), "chi2 9 <= 10: ok"),
    ],
)
def test_a_gate_reads_as_one_line(gate, line):
    assert str(gate) == line


@given(value=st.floats(), sense=st.sampled_from(["max", "min"]))
def test_a_value_that_is_not_finite_fails_and_any_other_without_limits_passes(value, sense):
    assert Gate("any", value, sense=sense).status == ("ok" if math.isfinite(value) else "fail")


@given(value=st.floats(-10, 10), limits=st.tuples(st.floats(-10, 10), st.floats(-10, 10)).map(sorted))
def test_a_min_gate_is_a_max_gate_of_the_negative(value, limits):
    warn, fail = limits
    largest = Gate("any", value, sense="max", warn=warn, fail=fail)
    smallest = Gate("any", -value, sense="min", warn=-warn, fail=-fail)

    assert largest.status == smallest.status
    assert (largest.status == "fail") == (value > fail)


def test_limits_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="fails at 1 before it warns at 2"):
        Gate("any", 0.0, warn=2, fail=1)


def test_an_unknown_sense_is_refused():
    with pytest.raises(ValueError, match="'max' or 'min'"):
        Gate("any", 0.0, sense="maximum")


def test_the_worst_gate_counts():
    ok, warn, fail = Gate("a", 0), Gate("b", 2, warn=1), Gate("c", 2, fail=1)

    assert worst([]) == "ok"
    assert worst([ok, warn]) == "warn"
    assert worst([fail, ok, warn]) == "fail"


def test_gates_and_funnels_become_plain_values():
    gate = Gate("rms", math.inf, "mag", warn=0.1, n=3).to_dict()
    funnel = Funnel("psf_stars", (("detected", 900),)).then("selected", 120)

    assert json.loads(json.dumps(gate, allow_nan=False))["status"] == "fail"
    assert gate["value"] is None
    assert funnel.to_dict() == {"name": "psf_stars", "steps": [["detected", 900], ["selected", 120]]}
    assert str(funnel) == "psf_stars: detected 900 -> selected 120"
