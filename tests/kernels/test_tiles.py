"""Tiles against plain slicing of a padded image."""

from __future__ import annotations

import numpy as np

from firstlight.algorithms.source_light import SourceLight
from firstlight.algorithms.tiles import Tiles

SHAPE = (60, 80)
OUTSIDE = 256


def cut(*, own=None, x=(10.0, 40.3, 78.8), y=(12.0, 30.0, 1.2), half=(4, 9, 8)):
    rng = np.random.default_rng(3)
    image, labels = rng.normal(size=SHAPE).astype(np.float32), np.zeros(SHAPE, np.int32)
    for k in range(3):
        labels[round(y[k]), round(x[k])] = k + 1
    labels[13, 11] = 2
    tiles = Tiles.cut(
        image,
        variance=image**2,
        mask=rng.integers(0, 8, SHAPE),
        x=np.array(x),
        y=np.array(y),
        half=np.array(half),
        labels=labels,
        own_label=np.array([1, 2, 3] if own is None else own),
        outside=OUTSIDE,
    )
    return image, labels, tiles


def test_a_tile_holds_the_pixels_about_its_source():
    image, _, tiles = cut()
    padded = np.pad(image, 20, constant_values=0.0)
    for k, (x, y) in enumerate([(10, 12), (40, 30), (79, 1)]):
        reach = tiles.half[k]
        rows, columns = np.nonzero(tiles.numbers == k + 1)
        place = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        expected = padded[y + 20 - reach : y + 21 + reach, x + 20 - reach : x + 21 + reach]

        np.testing.assert_array_equal(tiles.image[place], expected)
        np.testing.assert_array_equal(tiles.variance[place], expected**2)
        assert x + tiles.shift_x[k] == columns.min() + reach
        assert y + tiles.shift_y[k] == rows.min() + reach


def test_what_lies_off_the_image_and_between_the_tiles_is_marked():
    _, _, tiles = cut()
    third = tiles.numbers == 3

    assert tiles.off[third].sum() == 17 * 17 - 9 * 10
    assert (tiles.mask[tiles.off] == OUTSIDE).all()
    assert tiles.off[tiles.numbers == 0].all()


def test_pixels_of_others_are_foreign_where_they_could_not_be_taken_away():
    _, _, tiles = cut()
    _, _, free = cut(own=[0, 0, 0])

    assert tiles.foreign[tiles.numbers == 1].sum() == 1
    assert not free.foreign.any()


def test_each_tile_gets_the_light_of_its_own_source_only():
    image, labels, tiles = cut()
    boxes = np.array([[8, 11, 3, 2], [35, 28, 4, 4], [76, 0, 4, 3]])
    first = np.concatenate([[0], np.cumsum(boxes[:, 2] * boxes[:, 3])])
    none = np.zeros(3, bool)
    light = SourceLight(
        residual=image,
        light=np.arange(1, first[-1] + 1, dtype=np.float32),
        boxes=boxes,
        first=first,
        labels=labels,
        point_like=~none,
        symmetric=none,
        skipped=none,
    )
    added = tiles.with_light(light).image - tiles.image
    for k in range(3):
        part = light.light[first[k] : first[k + 1]].reshape(boxes[k, 3], boxes[k, 2])
        row, column = boxes[k, 1] + tiles.shift_y[k], boxes[k, 0] + tiles.shift_x[k]

        np.testing.assert_allclose(added[row : row + boxes[k, 3], column : column + boxes[k, 2]], part, rtol=1e-5)
        assert np.count_nonzero(added[tiles.numbers == k + 1]) == part.size
