"""Numbers of sources: unique over releases, exposures and detectors, the same each time, or an error."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.errors import ConfigError
from firstlight.images.observation import DetectorInfo
from firstlight.tasks.source_ids import PackedSourceIdConfig, PackedSourceIdTask

from .frames import exposure_of


def frame(exposure_id=7, detector=0):
    blank = exposure_of(np.zeros((3, 3)))
    observation = dataclasses.replace(blank.observation, exposure_id=exposure_id)
    return blank.replace(observation=observation, detector=DetectorInfo(id=detector))


def numbers(exposure, n_sources=5, **settings):
    return PackedSourceIdTask(PackedSourceIdConfig(**settings)).run(exposure, n_sources=n_sources).ids


@given(exposure=st.integers(0, 2**33 - 1), detector=st.integers(0, 255), counter=st.integers(1, 2**22 - 1))
def test_a_number_says_where_its_source_is_from(exposure, detector, counter):
    ids = numbers(frame(exposure, detector), n_sources=counter)
    parts = PackedSourceIdTask().unpack(int(ids[-1]))

    assert (parts.release, parts.exposure, parts.detector, parts.counter) == (0, exposure, detector, counter)
    assert ids.dtype == np.int64
    assert ids[0] > 0


def test_detectors_exposures_and_releases_share_no_number():
    sets = [
        numbers(frame(exposure, detector), release=release, n_releases=3)
        for exposure in (0, 1, 2**30)
        for detector in (0, 1, 255)
        for release in (0, 1, 2)
    ]

    assert len(np.unique(np.concatenate(sets))) == 27 * 5


def test_the_same_exposure_has_the_same_numbers_and_longer_catalogues_go_on():
    np.testing.assert_array_equal(numbers(frame()), numbers(frame()))
    np.testing.assert_array_equal(numbers(frame(), 9)[:5], numbers(frame(), 5))
    assert len(numbers(frame(), 0)) == 0


@pytest.mark.parametrize(
    ("exposure", "n_sources", "settings", "said"),
    [
        pytest.param(frame(2**33), 1, {}, "lower 'max_sources'", id="exposure"),
        pytest.param(frame(-1), 1, {}, "Exposure -1", id="negative exposure"),
        pytest.param(frame(7, 256), 1, {}, "raise 'n_detectors'", id="detector"),
        pytest.param(frame(), 11, {"max_sources": 10}, "raise 'max_sources'", id="sources"),
        pytest.param(frame(), 1, {"release": 2, "n_releases": 2}, "Release 2", id="release"),
        pytest.param(frame(), 1, {"max_sources": 2**60}, "has 0", id="no room"),
    ],
)
def test_what_has_no_room_is_an_error_that_says_what_to_change(exposure, n_sources, settings, said):
    with pytest.raises(ConfigError, match=said):
        numbers(exposure, n_sources, **settings)


def test_the_largest_number_is_a_positive_64_bit_integer():
    settings = {"release": 1, "n_releases": 2, "max_sources": 2**22 - 1}
    (last,) = numbers(frame(2**32 - 1, 255), 2**22 - 1, **settings)[-1:]

    assert last == np.iinfo(np.int64).max
