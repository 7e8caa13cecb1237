"""Sources that are added to detections take the pixels that are nearer to them."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from firstlight.algorithms.detection import detect_sources, smooth_for_detection
from firstlight.algorithms.detection_lists import with_members

from .frames import gaussian

SHAPE = (40, 60)


def one_source():
    image = gaussian(SHAPE, x=25.0, y=20.0, flux=3e3, sigma=3.0)
    smoothed = smooth_for_detection(
        image.astype(np.float32), variance=np.ones(SHAPE, np.float32), bad=np.zeros(SHAPE, bool), psf_sigma=1.5
    )
    return detect_sources(smoothed, threshold=5.0)


def added(found, *, x, y):
    """Return the columns of sources at places in the footprint of the first."""
    columns = {
        field.name: np.repeat(getattr(found, field.name)[:1], len(x))
        for field in fields(found)
        if field.name not in ("labels", "footprints", "area", "blended")
    }
    column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    boxes = {"x_min": column, "x_max": column, "y_min": row, "y_max": row}
    return columns | {"x": x, "y": y, "peak_x": column, "peak_y": row} | boxes


@pytest.mark.parametrize("order", [1, -1])
def test_a_pixel_goes_to_the_nearest_of_all_sources_that_may_have_it(order):
    found = one_source()
    x, y = np.array([28.2, 30.4])[::order], np.array([20.3, 21.1])[::order]
    row, column = np.nonzero(found.labels)
    everything = {"row": np.tile(row, 2), "column": np.tile(column, 2), "source": np.repeat([0, 1], len(row))}

    both = with_members(found, added(found, x=x, y=y), **everything)

    distance = np.hypot(column - np.append(found.x, x)[:, None], row - np.append(found.y, y)[:, None])
    np.testing.assert_array_equal(both.labels[row, column], 1 + distance.argmin(axis=0))
    np.testing.assert_array_equal(both.labels == 0, found.labels == 0)
    np.testing.assert_array_equal(both.area, np.bincount(both.labels.ravel())[1:])
    for label in (2, 3):
        at_row, at_column = np.nonzero(both.labels == label)
        box = [getattr(both, name)[label - 1] for name in ("x_min", "x_max", "y_min", "y_max")]
        assert box == [at_column.min(), at_column.max(), at_row.min(), at_row.max()]
    assert both.blended.all()


def test_a_source_without_pixels_to_take_has_that_of_its_peak_unless_it_is_an_older_peak():
    found = one_source()
    none = np.zeros(0, dtype=np.int64)
    x, y = np.array([27.0, float(found.peak_x[0])]), np.array([21.0, float(found.peak_y[0])])

    both = with_members(found, added(found, x=x, y=y), row=none, column=none, source=none)

    assert both.labels[21, 27] == 2
    assert both.labels[found.peak_y[0], found.peak_x[0]] == 1
    np.testing.assert_array_equal(both.area, [found.area[0] - 1, 1, 0])
