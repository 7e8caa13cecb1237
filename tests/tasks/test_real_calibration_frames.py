"""Real biases, darks and flats of a small colour camera, and a sky flat out of frames full of stars."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from firstlight.algorithms.combine import clipped_moments
from firstlight.algorithms.isr import pixels_of_boxes
from firstlight.framework import DataId, Handle
from firstlight.instruments import get_instrument
from firstlight.tasks.build_bias import BuildBiasConfig, BuildBiasTask
from firstlight.tasks.build_dark import BuildDarkConfig, BuildDarkTask
from firstlight.tasks.build_defects import BuildDefectsTask
from firstlight.tasks.build_flat import BuildFlatConfig, BuildFlatTask
from firstlight.tasks.isr_steps import DEFECT_COLUMNS

from .raw import BIAS, DARK, DEFECTS, handles, isr

DATA = Path(os.environ.get("FIRSTLIGHT_TEST_DATA", "nowhere"))
pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason="FIRSTLIGHT_TEST_DATA names no folder with real images"),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*:astropy.io.fits.verify.VerifyWarning"),
]
SHAPE = (960, 1280)


def frames(kind):
    instrument = get_instrument("generic")
    return [instrument.read(path) for path in sorted((DATA / "calibration_frames").glob(f"{kind}_*.fits.gz"))]


@pytest.fixture(scope="module")
def biases():
    return frames("Bias")


@pytest.fixture(scope="module")
def bias(biases):
    return BuildBiasTask(BuildBiasConfig(observation_types=())).run(handles(biases)).bias


@pytest.fixture(scope="module")
def darks(bias):
    return [isr(BIAS).run(each, bias=bias).exposure for each in frames("Dark")]


def test_a_bias_states_the_noise_with_which_it_predicts_another_frame(biases):
    of_four = BuildBiasTask(BuildBiasConfig(observation_types=())).run(handles(biases[:4])).bias
    corrected = isr(BIAS).run(biases[4], bias=of_four).exposure

    assert np.median(of_four.image) == pytest.approx(2304, abs=8)
    assert np.median(corrected.image) == pytest.approx(0.0, abs=1.0)
    assert 27 < clipped_moments(corrected.image)[1] < 34
    assert (corrected.image / np.sqrt(corrected.variance)).std() == pytest.approx(1.0, abs=0.03)
    assert np.sqrt(np.median(of_four.variance)) == pytest.approx(
        clipped_moments(corrected.image)[1] / np.sqrt(5), rel=0.15
    )


def test_another_dark_takes_the_hot_pixels_away(bias, darks):
    raw = frames("Dark")[2]
    config = BuildDarkConfig(observation_types=(), min_frames=2)
    alike = BuildDarkTask(config).run(handles([darks[0], darks[2]]), bias=bias).dark
    defects = BuildDefectsTask().run(alike).defects
    corrected = isr(BIAS, DARK, DEFECTS).run(raw, bias=bias, dark=darks[0], defects=defects).exposure
    bad = pixels_of_boxes(np.array([defects[name] for name in DEFECT_COLUMNS]).T, shape=SHAPE)

    assert raw.image.std() > 1300
    assert corrected.image.std() < 0.1 * raw.image.std()
    assert corrected.image[~bad].std() < 90
    assert 0.01 < bad.mean() < 0.1


def test_darks_of_which_one_was_read_out_otherwise_are_not_accepted_in_silence(bias, darks):
    built = BuildDarkTask(BuildDarkConfig(observation_types=())).run(handles(darks), bias=bias)
    status = {gate.name: gate.status for gate in built.gates}

    assert status["dark_structure"] == "warn"
    assert status["dark_level_scatter"] == "warn"


def test_flats_under_a_lamp_that_flickers_are_not_accepted(bias):
    corrected = [isr(BIAS).run(each, bias=bias).exposure for each in frames("Flat")]
    built = BuildFlatTask(BuildFlatConfig(observation_types=())).run(handles(corrected))
    uneven = {gate.name: gate for gate in built.gates}["flat_unevenness"]

    assert uneven.status == "fail"
    assert 5 < uneven.value < 20


def test_a_sky_flat_of_drifting_star_fields_shows_no_star():
    instrument = get_instrument("microobservatory")
    paths = sorted((DATA / "hatp32").glob("*.fits.gz"))
    given = tuple(
        Handle("raw", DataId(instrument="microobservatory", exposure=number), lambda path=path: instrument.read(path))
        for number, path in enumerate(paths)
    )
    flat = BuildFlatTask(BuildFlatConfig(observation_types=())).run(given).flat.image[20:, :]
    one = instrument.read(paths[0]).image[20:, :]

    assert (one > 1.1 * np.median(one)).mean() > 0.01
    assert (flat > 1.1).mean() < 1e-3
    assert clipped_moments(flat)[1] < 0.012
