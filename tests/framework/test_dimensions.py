"""Dimensions and data ids."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.errors import ConfigError
from firstlight.framework import DIMENSIONS, DataId
from firstlight.framework.dimensions import completed, require_dimension

NAMES = st.lists(st.sampled_from(list(DIMENSIONS)), max_size=5)
DATA_IDS = st.fixed_dictionaries(
    {},
    optional={
        "instrument": st.sampled_from(["ztf", "simulated"]),
        "visit": st.integers(1, 12),
        "detector": st.integers(1, 12),
        "band": st.sampled_from(["g", "r"]),
    },
).map(DataId)


def test_what_a_dimension_requires_and_implies_are_dimensions():
    for dimension in DIMENSIONS.values():
        assert {*dimension.requires, *dimension.implies} <= DIMENSIONS.keys()


@given(NAMES)
def test_completing_names_adds_all_that_they_require_in_the_order_of_the_table(names):
    found = completed(names)

    assert set(found) >= set(names)
    assert all(set(require_dimension(name).requires) <= set(found) for name in found)
    assert list(found) == [name for name in DIMENSIONS if name in found]
    assert completed(found) == completed(reversed(found)) == found


def test_a_patch_lies_in_a_tract_of_a_skymap():
    assert completed(["patch", "band"]) == ("band", "skymap", "tract", "patch")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vist", "no dimension is named 'vist'; did you mean 'visit'?"),
        (
            "moon",
            "no dimension is named 'moon'; there are instrument, day_obs, exposure, visit, detector, physical_filter, "
            "band, skymap, tract, patch",
        ),
    ],
)
def test_a_dimension_that_is_not_there_is_told_with_the_nearest_one(name, words):
    for refuse in (lambda: completed([name]), lambda: DataId({name: 1}), lambda: require_dimension(name)):
        with pytest.raises(ConfigError) as raised:
            refuse()
        assert str(raised.value) == words


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"visit": "12"}, "visit: should be of type int; got '12'"),
        ({"visit": 12.0}, "visit: should be of type int; got 12.0"),
        ({"visit": True}, "visit: should be of type int; got True"),
        ({"visit": None}, "visit: should be of type int; got None"),
        ({"band": 3}, "band: should be of type str; got 3"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(values, words):
    with pytest.raises(ConfigError) as raised:
        DataId(values)
    assert str(raised.value) == words


def test_a_data_id_is_a_mapping_in_the_order_of_the_dimensions():
    data_id = DataId({"detector": 3}, visit=12, instrument="ztf")

    assert list(data_id.items()) == [("instrument", "ztf"), ("visit", 12), ("detector", 3)]
    assert str(data_id) == "instrument=ztf visit=12 detector=3"
    assert eval(repr(data_id)) == data_id  # noqa: S307 - a repr that makes the same object is what is tested
    assert data_id.only(("visit", "band")) == DataId(visit=12)
    assert DataId([("visit", 12)], detector=3) == {"detector": 3, "visit": 12}
    assert DataId(visit=12) != {"visit": 13}
    assert DataId(visit=12) != 12


def test_a_data_id_cannot_be_changed_by_what_it_was_made_of():
    values = {"visit": 12}
    data_id = DataId(values)
    values["visit"] = 13

    assert data_id == DataId(visit=12)
    with pytest.raises(TypeError):
        data_id["visit"] = 13


@given(DATA_IDS, DATA_IDS)
def test_equal_data_ids_have_equal_hashes_and_one_place_in_the_order(one, other):
    assert (one == other) == (dict(one) == dict(other)) == (one.sort_key() == other.sort_key())
    assert one != other or hash(one) == hash(other)


@given(DATA_IDS, DATA_IDS)
def test_data_ids_agree_where_they_share_dimensions_and_then_join(one, other):
    agree = all(one[name] == other[name] for name in one if name in other)

    assert one.agrees(other) is other.agrees(one) is agree
    if agree:
        assert one.joined(other) == other.joined(one) == {**one, **other}


@given(st.lists(DATA_IDS, max_size=6))
def test_data_ids_are_sorted_by_number_dimension_by_dimension(data_ids):
    ordered = sorted(data_ids, key=DataId.sort_key)

    for one, other in itertools.pairwise(ordered):
        first = next((name for name in DIMENSIONS if one.get(name) != other.get(name)), None)
        assert first is None or first not in one or (first in other and one[first] < other[first])
