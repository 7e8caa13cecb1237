"""Tiles against plain slicing of a padded image."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.source_light import SourceLight
from firstlight.algorithms.tiles import Tiles

SHAPE = (60, 80)
X, Y, HALF = (10.0, 40.3, 78.8), (12.0, 30.0, 1.2), (4, 9, 8)


def plane() -> np.ndarray:
    return np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)


def regions() -> np.ndarray:
    labels = np.zeros(SHAPE, np.int32)
    for k in range(3):
        labels[round(Y[k]), round(X[k])] = k + 1
    labels[13, 11] = 2
    return labels


def cut(*, light=None):
    image = plane()
    return Tiles.cut(image, variance=image**2, x=np.array(X), y=np.array(Y), half=np.array(HALF), light=light)


def test_a_tile_holds_the_pixels_about_its_source():
    tiles = cut()
    padded = np.pad(plane(), 20, constant_values=0.0)
    for k, (x, y) in enumerate([(10, 12), (40, 30), (79, 1)]):
        reach = tiles.places.side[k] // 2
        rows, columns = np.nonzero(tiles.numbers() == k + 1)
        place = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        expected = padded[y + 20 - reach : y + 21 + reach, x + 20 - reach : x + 21 + reach]

        np.testing.assert_array_equal(tiles.image[place], expected)
        np.testing.assert_array_equal(tiles.variance[place], expected**2)
        assert x + tiles.shift_x[k] == columns.min() + reach
        assert y + tiles.shift_y[k] == rows.min() + reach


def test_every_tile_has_its_number_on_all_of_its_pixels_and_none_lies_between():
    rng = np.random.default_rng(8)
    x, y, half = rng.uniform(0, 80, 200), rng.uniform(0, 60, 200), rng.integers(2, 30, 200)
    tiles = Tiles.cut(plane(), variance=plane(), x=x, y=y, half=half)
    expected = np.zeros(tiles.image.shape, np.int32)
    for k, (_, _, left, low, side) in enumerate(zip(*tiles.places, strict=True)):
        assert not expected[low : low + side, left : left + side].any()
        expected[low : low + side, left : left + side] = k + 1

    np.testing.assert_array_equal(tiles.numbers(), expected)


def test_masked_pixels_are_marked_and_what_lies_off_the_image_and_between_the_tiles():
    tiles, mask = cut(), np.zeros(SHAPE, np.int32)
    mask[30, 41], mask[31, 41] = 5, 2
    off, marked = tiles.marked(mask, 0), tiles.marked(mask, 4)

    assert off[tiles.numbers() == 3].sum() == 17 * 17 - 9 * 10
    assert off[tiles.numbers() == 0].all()
    assert np.argwhere(marked & ~off).tolist() == [[30 + tiles.shift_y[1], 41 + tiles.shift_x[1]]]


def test_pixels_of_others_are_foreign_where_they_could_not_be_taken_away():
    tiles = cut()

    foreign = tiles.foreign(regions(), np.array([1, 2, 3]))

    assert np.argwhere(foreign).tolist() == [[13 + tiles.shift_y[0], 11 + tiles.shift_x[0]]]
    assert not tiles.foreign(regions(), np.zeros(3, int)).any()


def test_each_tile_gets_the_light_of_its_own_source_only():
    boxes = np.array([[8, 11, 3, 2], [35, 28, 4, 4], [76, 0, 4, 3]])
    first = np.concatenate([[0], np.cumsum(boxes[:, 2] * boxes[:, 3])])
    none = np.zeros(3, bool)
    light = SourceLight(
        residual=plane(),
        light=np.arange(1, first[-1] + 1, dtype=np.float32),
        boxes=boxes,
        first=first,
        labels=regions(),
        point_like=~none,
        symmetric=none,
        skipped=none,
    )
    tiles = cut(light=light)
    added = tiles.image - cut().image
    for k in range(3):
        part = light.light[first[k] : first[k + 1]].reshape(boxes[k, 3], boxes[k, 2])
        row, column = boxes[k, 1] + tiles.shift_y[k], boxes[k, 0] + tiles.shift_x[k]

        np.testing.assert_allclose(added[row : row + boxes[k, 3], column : column + boxes[k, 2]], part, rtol=1e-5)
        assert np.count_nonzero(added[tiles.numbers() == k + 1]) == part.size


@pytest.mark.parametrize("far", [-40.0, 140.0])
def test_a_tile_that_lies_off_the_image_is_marked_as_a_whole_and_empty(far):
    tiles = Tiles.cut(
        plane(), variance=plane(), x=np.array([far, 20.0]), y=np.array([30.0, 30.0]), half=np.array([4, 4])
    )
    off = tiles.numbers() == 1

    assert tiles.marked(np.zeros(SHAPE, np.int32), 1)[tiles.numbers() != 2].all()
    assert not tiles.image[off].any()
    assert tiles.image[tiles.numbers() == 2].all()
