"""Calibrations built of raw frames are the truth of the camera within the errors that they state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from firstlight.algorithms.combine import clipped_moments
from firstlight.algorithms.isr import pixels_of_boxes
from firstlight.errors import CalibrationError, HeaderError, InputError, NoWorkFound
from firstlight.framework import Resources, worst
from firstlight.simulation import DetectorSettings
from firstlight.tasks.build_bias import BuildBiasConfig, BuildBiasTask
from firstlight.tasks.build_dark import BuildDarkTask
from firstlight.tasks.build_defects import BuildDefectsConfig, BuildDefectsTask
from firstlight.tasks.build_flat import BuildFlatConfig, BuildFlatTask
from firstlight.tasks.isr_steps import DEFECT_COLUMNS

from .raw import BIAS, DARK, OVERSCAN, camera, exact, handles, isr, raw, truth_of

SHAPE = (200, 260)
N_PIXELS = SHAPE[0] * SHAPE[1]


@pytest.fixture(scope="module")
def cam():
    return camera(shape=SHAPE, detector=DetectorSettings(hot_pixels=400, bad_columns=10))


@pytest.fixture(scope="module")
def biases(cam):
    return [isr(OVERSCAN).run(raw(cam, "bias", number)).exposure for number in range(12)]


@pytest.fixture(scope="module")
def bias(biases):
    return BuildBiasTask().run(handles(biases))


@pytest.fixture(scope="module")
def darks(cam, bias):
    task = isr(OVERSCAN, BIAS)
    times = [30.0, 60.0, 60.0, 60.0, 45.0, 60.0]
    return [
        task.run(raw(cam, "dark", 100 + number, exposure_time=time), bias=bias.bias).exposure
        for number, time in enumerate(times)
    ]


@pytest.fixture(scope="module")
def dark(darks, bias):
    return BuildDarkTask().run(handles(darks), bias=bias.bias)


def flat_frames(cam, calibrations, lights, *, first=200):
    task = isr(OVERSCAN, BIAS, DARK)
    return [
        task.run(raw(cam, "flat", first + number, exposure_time=5.0, light=light), **calibrations).exposure
        for number, light in enumerate(lights)
    ]


@pytest.fixture(scope="module")
def flats(cam, bias, dark):
    return flat_frames(cam, {"bias": bias.bias, "dark": dark.dark}, [18_000.0 + 1500 * number for number in range(6)])


@pytest.fixture(scope="module")
def flat(flats):
    return BuildFlatTask().run(handles(flats))


def pulls_of(built, truth):
    return (built.image - truth) / np.sqrt(built.variance)


def test_a_bias_is_the_pattern_within_its_errors(cam, bias):
    pulls = pulls_of(bias.bias, cam.bias)

    assert pulls.std() == pytest.approx(1.0, abs=0.02)
    assert np.abs(pulls).max() < 6
    assert worst(bias.gates) == "ok"


def test_a_dark_is_the_rate_of_one_second_within_its_errors_without_cosmic_rays(cam, dark):
    pulls = pulls_of(dark.dark, cam.dark_rate)

    assert dark.dark.observation.exposure_time == 1.0
    assert pulls.std() == pytest.approx(1.0, abs=0.02)
    assert np.abs(pulls).max() < 6.5
    assert {gate.name: gate.value for gate in dark.gates}["dark_rejected"] > 1e-4


def test_long_darks_count_more_than_short_ones(cam, bias):
    times = [10.0] * 4 + [100.0] * 3
    task = isr(OVERSCAN, BIAS)
    frames = [
        task.run(raw(cam, "dark", 500 + number, exposure_time=time), bias=bias.bias).exposure
        for number, time in enumerate(times)
    ]
    built = BuildDarkTask().run(handles(frames), bias=bias.bias).dark
    pulls = pulls_of(built, cam.dark_rate)
    sound = ~cam.defect_pixels & (cam.dark_rate < 0.1)
    best = cam.variance_of_reading / np.sum(np.square(times))

    assert pulls[sound].std() == pytest.approx(1.0, abs=0.03)
    assert best < np.median(built.variance[sound]) < 1.6 * best


def test_a_flat_is_the_response_within_its_errors(cam, flat):
    truth = cam.flat * np.median(flat.flat.image / cam.flat)
    pulls = pulls_of(flat.flat, truth)

    assert clipped_moments(flat.flat.image)[0] == pytest.approx(1.0, abs=1e-6)
    assert pulls.std() == pytest.approx(1.0, abs=0.02)
    assert np.abs(pulls).max() < 6
    assert worst(flat.gates) == "ok"


def test_stars_in_sky_flats_leave_no_trace(cam, bias, dark):
    rng = np.random.default_rng(4)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    lights = []
    for _ in range(11):
        light = np.full(SHAPE, 15_000.0)
        for column, row in zip(rng.uniform(0, SHAPE[1], 25), rng.uniform(0, SHAPE[0], 25), strict=True):
            light += rng.uniform(500, 20_000) * np.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * 1.5**2))
        lights.append(light)
    frames = flat_frames(cam, {"bias": bias.bias, "dark": dark.dark}, lights, first=300)
    built = BuildFlatTask().run(handles(frames)).flat
    pulls = pulls_of(built, cam.flat * np.median(built.image / cam.flat))

    assert pulls.mean() == pytest.approx(0.0, abs=0.05)
    assert pulls.std() == pytest.approx(1.0, abs=0.05)
    assert np.abs(pulls).max() < 7


def test_defects_are_those_of_the_camera(cam, dark, flat):
    found = BuildDefectsTask().run(dark.dark, (flat.flat,))
    boxes = np.array([found.defects[name] for name in DEFECT_COLUMNS]).T
    pixels = pixels_of_boxes(boxes, shape=SHAPE)
    hot, columns = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    hot[cam.defects.hot_rows, cam.defects.hot_columns] = True
    columns[cam.defect_pixels & ~hot] = True

    assert hot.sum() >= 5
    assert columns.sum() >= 50
    np.testing.assert_array_equal(pixels, cam.defect_pixels)
    assert found.defects["x0"].unit == "pix"
    assert found.gates[0].status == "ok"


def test_what_is_known_of_the_frames_goes_into_the_calibration(bias, biases):
    built = bias.bias

    assert built.header["NCOMBINE"] == 12
    assert built.header["CALTYPE"] == built.observation.observation_type == "bias"
    assert "ISROSCAN" in built.header
    assert built.observation.mjd_tai == pytest.approx(np.mean([each.observation.mjd_tai for each in biases]))
    assert built.detector.gain == biases[0].detector.gain
    assert [str(funnel) for funnel in bias.funnels] == ["bias_frames: given 12 -> of_the_kind 12"]


@pytest.mark.parametrize("resources", [Resources(memory_bytes=2_000_000), Resources()])
def test_little_memory_changes_no_bit(darks, dark, bias, resources):
    task = BuildDarkTask(BuildDarkTask.config_class(max_memory=1))
    task.resources = resources
    loaded = []
    frames = handles(darks)
    counting = tuple(
        type(each)(each.name, each.data_id, lambda each=each: loaded.append(1) or each.get()) for each in frames
    )
    built = task.run(counting, bias=bias.bias)

    assert len(loaded) > 3 * len(frames)
    np.testing.assert_array_equal(built.dark.image, dark.dark.image)
    np.testing.assert_array_equal(built.dark.variance, dark.dark.variance)
    assert built.dark.mask == dark.dark.mask


def test_frames_that_fit_into_memory_are_loaded_once(biases):
    loaded = []
    frames = tuple(
        type(each)(each.name, each.data_id, lambda each=each: loaded.append(1) or each.get())
        for each in handles(biases)
    )
    BuildBiasTask().run(frames)

    assert len(loaded) == len(frames)


def test_frames_of_another_kind_are_left_out(biases, darks, bias):
    built = BuildBiasTask().run(handles([darks[0], *biases]))

    np.testing.assert_array_equal(built.bias.image, bias.bias.image)
    assert str(built.funnels[0]) == "bias_frames: given 13 -> of_the_kind 12"


def test_frames_that_do_not_say_their_kind_are_used_when_asked(biases, bias):
    silent = [each.replace(observation=replace(each.observation, observation_type=None)) for each in biases]
    built = BuildBiasTask(BuildBiasConfig(observation_types=())).run(handles(silent)).bias

    np.testing.assert_array_equal(built.image, bias.bias.image)
    with pytest.raises(NoWorkFound, match=r"they are None\."):
        BuildBiasTask().run(handles(silent))


def test_where_no_frame_is_of_the_kind_there_is_no_work(darks):
    with pytest.raises(NoWorkFound, match=r"None of 6 frames is of kind bias or zero; they are dark\."):
        BuildBiasTask().run(handles(darks))


def test_too_few_frames_are_told_with_their_number(biases):
    with pytest.raises(CalibrationError, match=r"A bias needs at least 3 frames; got 2 of 2\.") as raised:
        BuildBiasTask().run(handles(biases[:2]))
    assert raised.value.facts == {"n_frames": 2, "n_given": 2}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"header": {"XBINNING": 2, "YBINNING": 2, "ISROSCAN": "", "ISRVAR": ""}},
            r"differ in binning: the first has \(1, 1\), number 2",
        ),
        (
            {"header": {"XBINNING": 1, "YBINNING": 1}},
            "differ in corrections: the first has overscan, variance, number 2 has none",
        ),
    ],
)
def test_frames_that_do_not_belong_together_are_told(biases, changes, words):
    with pytest.raises(InputError, match=words):
        BuildBiasTask().run(handles([biases[0], biases[1].replace(**changes), biases[2]]))


def test_flats_of_two_filters_are_not_combined(flats):
    other = flats[1].replace(filter=replace(flats[1].filter, physical="g"))

    with pytest.raises(InputError, match="differ in filter: the first has r, number 2 has g"):
        BuildFlatTask().run(handles([flats[0], other, flats[2]]))


def test_a_flat_that_is_too_dark_is_told(flats):
    with pytest.raises(CalibrationError, match=r"A flat needs at least 50000 counts; a frame has a level of 1[78]"):
        BuildFlatTask(BuildFlatConfig(min_level=50_000)).run(handles(flats))


def test_a_dark_without_an_exposure_time_is_told(darks):
    timeless = darks[0].replace(observation=replace(darks[0].observation, exposure_time=None))

    with pytest.raises(HeaderError, match="A dark needs an exposure time above 0 s; the header gives None"):
        BuildDarkTask().run(handles([timeless, *darks]))


def test_a_light_that_flickers_fails_the_flat(cam, bias, dark):
    rows = np.arange(SHAPE[0])[:, None]
    lights = [20_000.0 * (1 + 0.1 * np.sin(rows / 8 + phase)) for phase in range(5)]
    frames = flat_frames(cam, {"bias": bias.bias, "dark": dark.dark}, lights, first=400)
    gates = {gate.name: gate for gate in BuildFlatTask().run(handles(frames)).gates}

    assert gates["flat_unevenness"].status == "fail"
    assert gates["flat_structure"].status == "warn"


def test_a_bias_level_that_jumps_is_a_warning(biases):
    jumped = [*biases[:6], biases[6].replace(image=biases[6].image + 40)]
    gates = {gate.name: gate.status for gate in BuildBiasTask().run(handles(jumped)).gates}

    assert gates["bias_level_scatter"] == "warn"
    assert gates["bias_frames"] == "ok"


def test_a_pixel_without_a_value_in_any_frame_has_no_data(biases):
    where = np.zeros(SHAPE, dtype=bool)
    where[7, 8] = True
    spoiled = [each.replace(mask=each.mask.with_plane("BAD", where)) for each in biases]
    built = BuildBiasTask(BuildBiasConfig()).run(handles(spoiled)).bias

    np.testing.assert_array_equal(built.mask.any_of("NO_DATA"), where)
    assert np.isfinite(built.image).all()


def test_a_bayer_mosaic_is_not_full_of_defects(cam):
    rng = np.random.default_rng(2)
    image = 1.0 + rng.normal(0.0, 0.01, SHAPE)
    image[::2, ::2] *= 0.5
    dark = truth_of(cam)["dark"]
    of_mosaic = exact(image, header={"BAYERPAT": "GRBG"})
    plain = BuildDefectsConfig(mosaic_period=1)

    assert len(BuildDefectsTask().run(exact(np.zeros(SHAPE)), (of_mosaic,)).defects) == 0
    assert len(BuildDefectsTask(plain).run(exact(np.zeros(SHAPE)), (of_mosaic,)).defects) > 1000
    with pytest.raises(InputError, match="both must be trimmed alike"):
        BuildDefectsTask().run(dark, (exact(np.ones((5, 5))),))
