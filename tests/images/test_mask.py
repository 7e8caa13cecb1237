import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from firstlight.images.mask import BITS, PLANES, Mask, header_keyword, planes_from_header

SHAPE = (4, 5)
wheres = hnp.arrays(bool, SHAPE)
names = st.sampled_from([plane.name for plane in PLANES])
masks = st.builds(Mask, hnp.arrays(np.int32, SHAPE, elements=st.integers(0, (1 << len(PLANES)) - 1)))


@given(mask=masks, name=names, where=wheres)
def test_setting_a_plane_adds_to_it_and_leaves_the_others(mask, name, where):
    changed = mask.with_plane(name, where)

    np.testing.assert_array_equal(changed.any_of(name), mask.any_of(name) | where)
    assert changed.without(name) == mask.without(name)


@given(mask=masks, name=names, where=wheres)
def test_a_replaced_plane_is_set_exactly_where_told(mask, name, where):
    changed = mask.replaced(name, where)

    np.testing.assert_array_equal(changed.any_of(name), where)
    assert changed.without(name) == mask.without(name)


@given(where=wheres)
def test_a_mask_without_planes_that_are_set_nowhere_has_the_same_pixels(where):
    mask = Mask.empty(SHAPE).with_plane("SAT", where)

    assert mask.without("CR", "BAD").array is mask.array


@given(mask=masks, first=names, second=names)
def test_any_of_several_planes_is_the_union(mask, first, second):
    np.testing.assert_array_equal(mask.any_of(first, second), mask.any_of(first) | mask.any_of(second))
    assert mask.fraction(first, second) == pytest.approx(mask.any_of(first, second).mean())


@given(one=masks, two=masks)
def test_merging_sets_what_either_has_whatever_the_bits(one, two):
    moved = two.renumbered({name: 30 - bit for name, bit in BITS.items()})

    merged = one.merged(moved)

    for plane in PLANES:
        np.testing.assert_array_equal(merged.any_of(plane.name), one.any_of(plane.name) | two.any_of(plane.name))
    assert one.merged(two) == two.merged(one)


@given(one=masks, two=masks, where=wheres)
def test_copying_takes_the_pixels_of_the_other_mask_only_where_told(one, two, where):
    copied = one.copied_where(where, two)

    np.testing.assert_array_equal(copied.array, np.where(where, two.array, one.array))


@given(mask=masks)
def test_renumbering_there_and_back_changes_nothing(mask):
    assert mask.renumbered({name: 30 - bit for name, bit in BITS.items()}).renumbered(BITS) == mask


@given(mask=masks)
def test_a_mask_survives_pickling(mask):
    assert pickle.loads(pickle.dumps(mask)) == mask  # noqa: S301 - made on the line itself


def test_operations_leave_the_mask_and_its_array_alone():
    array = np.zeros(SHAPE, dtype=np.int32)
    mask = Mask(array)

    mask.with_plane("CR", np.ones(SHAPE, dtype=bool))

    assert not mask.array.any()
    assert array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        mask.array[0, 0] = 1


def test_the_edge_is_a_border_of_the_given_width():
    where = Mask.empty((7, 9)).with_edge("EDGE", 2).any_of("EDGE")

    assert not where[2:-2, 2:-2].any()
    assert where.sum() == 7 * 9 - 3 * 5
    assert Mask.empty(SHAPE).with_edge("EDGE", 50).fraction("EDGE") == 1.0


def test_an_unknown_plane_is_named_with_the_nearest_one():
    with pytest.raises(KeyError, match="did you mean 'DETECTED'"):
        Mask.empty(SHAPE).any_of("detect")


def test_new_planes_take_the_free_bits_until_none_is_left():
    mask = Mask.empty(SHAPE).with_new_planes("MINE", "BAD")

    assert mask.planes["MINE"] == len(PLANES)
    assert mask.planes["BAD"] == BITS["BAD"]
    with pytest.raises(ValueError, match="No bit is left"):
        mask.with_new_planes(*(f"P{i}" for i in range(31)))


def test_losing_a_plane_that_is_set_is_an_error():
    mask = Mask.empty(SHAPE).with_plane("STREAK", np.ones(SHAPE, dtype=bool))

    with pytest.raises(KeyError, match="STREAK"):
        mask.renumbered({"BAD": 0})


def test_the_first_planes_have_the_names_and_bits_of_lsst():
    lsst = [
        "BAD",
        "SAT",
        "INTRP",
        "CR",
        "EDGE",
        "DETECTED",
        "DETECTED_NEGATIVE",
        "SUSPECT",
        "NO_DATA",
        "VIGNETTED",
        "STREAK",
    ]

    assert [plane.name for plane in PLANES[:11]] == lsst
    assert [plane.bit for plane in PLANES] == list(range(len(PLANES)))
    assert all(plane.meaning.endswith(".") for plane in PLANES)


def test_plane_bits_go_through_header_keywords():
    header = {header_keyword(name): bit for name, bit in BITS.items()} | {"EXPTIME": 3}

    assert planes_from_header(header.items()) == dict(BITS)


def test_a_mask_of_numbers_with_fractions_is_refused():
    with pytest.raises(ValueError, match="whole numbers"):
        Mask(np.zeros(SHAPE))
