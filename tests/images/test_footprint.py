import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from firstlight.errors import ImageFileError
from firstlight.images.footprint import Footprints

label_images = hnp.arrays(np.int32, (6, 7), elements=st.integers(0, 4))


def peaks(n=0):
    return Table({"footprint": np.ones(n, int), "x": np.zeros(n), "y": np.zeros(n), "value": np.zeros(n)})


@given(labels=label_images)
def test_boxes_and_areas_are_those_of_the_labels(labels):
    footprints = Footprints(labels, peaks())

    assert len(footprints) == labels.max()
    for number in range(1, len(footprints) + 1):
        box, inside = footprints.pixels(number)
        whole = np.zeros(labels.shape, dtype=bool)
        whole[box.slices] = inside
        np.testing.assert_array_equal(whole, labels == number)
        assert footprints.area()[number - 1] == inside.sum()


def test_footprints_come_back_from_a_file(tmp_path):
    labels = np.zeros((40, 30), dtype=np.int64)
    labels[3:9, 4:8] = 1
    labels[20:22, 10:25] = 2
    table = Table(
        {"footprint": [1, 2], "x": [5.5, 20.25], "y": [4.0, 21.0], "value": [100.0, 1 / 3], "child": [False, True]}
    )

    Footprints(labels, table).write(tmp_path / "footprints.fits")
    back = Footprints.read(tmp_path / "footprints.fits")

    np.testing.assert_array_equal(back.labels, labels)
    assert back.peaks.colnames == table.colnames
    for name in table.colnames:
        np.testing.assert_array_equal(back.peaks[name], table[name])


def test_footprints_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(ValueError, match="whole numbers"):
        Footprints(np.zeros((3, 3)), peaks())
    with pytest.raises(ValueError, match="column value"):
        Footprints(np.zeros((3, 3), int), peaks()["footprint", "x", "y"])
    with pytest.raises(IndexError, match="from 1 to 0"):
        Footprints(np.zeros((3, 3), int), peaks()).pixels(1)
    with pytest.raises(ImageFileError):
        Footprints.read(tmp_path / "none.fits")
