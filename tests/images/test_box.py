import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.images.box import Box

sides = st.integers(0, 12)
boxes = st.builds(Box, x0=st.integers(-8, 8), y0=st.integers(-8, 8), width=sides, height=sides)


def pixels(box: Box) -> set[tuple[int, int]]:
    return {(x, y) for x in range(box.x0, box.x1) for y in range(box.y0, box.y1)}


@given(one=boxes, two=boxes)
def test_clipping_keeps_the_pixels_that_both_boxes_have(one, two):
    assert pixels(one.clip(two)) == pixels(one) & pixels(two)


@given(one=boxes, two=boxes)
def test_a_box_contains_another_when_it_has_all_its_pixels(one, two):
    assert one.contains_box(two) == (pixels(two) <= pixels(one))


@given(box=boxes, margin=st.integers(0, 5))
def test_growing_and_shrinking_by_the_same_margin_changes_nothing(box, margin):
    assert box.grow(margin).grow(-margin) == box


@given(box=boxes)
def test_a_position_is_contained_when_its_nearest_pixel_is(box):
    y, x = np.mgrid[-10:22, -10:22]

    inside = box.contains(x=x + 0.4, y=y - 0.5)

    assert {(int(a), int(b)) for a, b in zip(x[inside], y[inside], strict=True)} == pixels(box)


@given(box=boxes.filter(lambda box: box.x0 >= 0 and box.y0 >= 0))
def test_slices_cut_out_the_pixels_of_the_box(box):
    image = np.zeros((40, 40), dtype=bool)
    image[box.slices] = True

    assert image.sum() == box.area == len(pixels(box))
    assert box.contains(x=np.nonzero(image)[1], y=np.nonzero(image)[0]).all()


def test_a_box_that_begins_before_the_array_has_no_slices():
    with pytest.raises(ValueError, match="clip"):
        _ = Box(-1, 0, 3, 3).slices


def test_a_box_around_a_position_has_its_pixel_in_the_middle():
    assert Box.around(x=10.4, y=2.6, radius=2) == Box(8, 1, 5, 5)


def test_a_box_cannot_have_a_negative_side():
    with pytest.raises(ValueError, match="-1"):
        Box(0, 0, -1, 3)


def test_a_stamp_that_reaches_beyond_the_image_is_filled():
    image = np.arange(12.0).reshape(3, 4)

    corner = Box.around(x=0.2, y=-0.4, radius=1).cut(image, fill=np.nan)

    np.testing.assert_array_equal(corner, [[np.nan, np.nan, np.nan], [np.nan, 0, 1], [np.nan, 4, 5]])
    np.testing.assert_array_equal(Box.around(x=2.0, y=1.0, radius=1).cut(image, fill=np.nan), image[0:3, 1:4])
    assert (Box.around(x=-50.0, y=1e6, radius=1).cut(image > 3, fill=True)).all()


def test_a_stamp_is_a_copy():
    image = np.zeros((3, 3))

    Box.of_shape(image.shape).cut(image, fill=0.0)[:] = 1.0

    assert not image.any()
