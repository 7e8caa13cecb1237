"""Instrument signature removal: what is corrected passes through, what is raw becomes sky with the noise it states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table

from firstlight.errors import HeaderError, InputError, NoWorkFound
from firstlight.framework import Layer, build_config, run_until
from firstlight.framework.connections import Connections
from firstlight.images.box import Box
from firstlight.images.mask import Mask
from firstlight.tasks.isr import IsrTask
from firstlight.tasks.isr_steps import NoiseModelVarianceTask
from firstlight.tasks.single_frame import SingleFrameConfig, SingleFrameTask

from .frames import exposure_of, noise
from .raw import BIAS, DARK, DEFECTS, EVERY_STEP, FLAT, OVERSCAN, SATURATION, camera, exact, isr, raw, truth_of

SKY = 300.0
CLEAN = {"shape": (256, 320)}


@pytest.fixture(scope="module")
def cam():
    return camera(**CLEAN)


@pytest.fixture(scope="module")
def truth(cam):
    x = np.array([3, 40])
    defects = Table({"x0": x, "y0": x, "width": [1, 2], "height": [200, 1]})
    return {**truth_of(cam), "defects": defects}


@pytest.fixture(scope="module")
def science(cam):
    return raw(cam, "science", 7, exposure_time=60.0, light=SKY)


def test_with_the_defaults_an_exposure_passes_through_bit_for_bit():
    image = noise((40, 50)).astype(np.float32)
    image[3, 4] = np.nan
    exposure = exposure_of(image, mask=Mask.empty((40, 50)).with_plane("CR", image > 10))
    result = IsrTask().run(exposure)

    assert result.applied == ()
    np.testing.assert_array_equal(result.exposure.image, exposure.image)
    np.testing.assert_array_equal(result.exposure.variance, exposure.variance)
    assert result.exposure.mask == exposure.mask
    assert result.exposure.header == exposure.header
    assert result.exposure.psf is exposure.psf


def test_a_raw_exposure_becomes_sky_with_the_noise_that_it_states(cam, science, truth):
    result = isr(*EVERY_STEP).run(science, **truth)
    exposure = result.exposure
    good = (exposure.mask.array == 0) & ~cam.defect_pixels
    good &= np.abs(exposure.image - SKY) < 8 * np.sqrt(exposure.variance)
    pulls = ((exposure.image - SKY) / np.sqrt(exposure.variance))[good]

    assert result.applied == ("saturation", "overscan", "bias", "variance", "dark", "flat", "defects")
    assert exposure.shape == cam.settings.shape
    assert good.mean() > 0.99
    # The level of a row is shared by its pixels, so its error counts by rows.
    assert pulls.mean() == pytest.approx(0.0, abs=5 * np.sqrt(1 / good.sum() + 0.06 / len(exposure.image)))
    assert pulls.std() == pytest.approx(1.0, abs=5 / np.sqrt(2 * good.sum()))
    assert exposure.detector.variance_source == "gain"


def test_what_is_left_is_white(cam, science, truth):
    exposure = isr(OVERSCAN, BIAS, DARK, FLAT).run(science, **truth).exposure
    pulls = (exposure.image - SKY) / np.sqrt(exposure.variance)
    pulls = np.where((np.abs(pulls) < 5) & ~cam.defect_pixels, pulls, 0.0)
    lags = [
        np.mean(pulls[:, 1:] * pulls[:, :-1]),
        np.mean(pulls[1:] * pulls[:-1]),
        np.mean(pulls[:, 9:] * pulls[:, :-9]),
    ]

    assert np.abs(lags).max() < 5 / np.sqrt(pulls.size) + 0.003
    assert pulls.mean(axis=0).std() == pytest.approx(1 / np.sqrt(pulls.shape[0]), rel=5 / np.sqrt(2 * pulls.shape[1]))


def test_each_step_is_written_down_and_is_refused_a_second_time(science, truth):
    first = isr(*EVERY_STEP).run(science, **truth).exposure
    for step, setting in {
        "bias": BIAS,
        "dark": DARK,
        "flat": FLAT,
        "defects": DEFECTS,
        "saturation": SATURATION,
    }.items():
        with pytest.raises(
            InputError, match=rf"^The step '{step}' was done on this exposure before \(ISR\w+: .*isr:{step}"
        ):
            isr(setting).run(first, **truth)
    with pytest.raises(InputError, match="The step 'overscan' was done"):
        isr(OVERSCAN).run(first)


def test_the_steps_can_be_done_one_after_another(science, truth):
    at_once = isr(OVERSCAN, BIAS, DARK, FLAT).run(science, **truth).exposure
    overscan = isr(OVERSCAN).run(science).exposure
    last = isr(DARK, FLAT).run(isr(BIAS).run(overscan, **truth).exposure, **truth).exposure

    np.testing.assert_array_equal(last.image, at_once.image)
    assert set(last.header) == set(at_once.header)


def test_a_variance_of_its_own_is_kept(science, truth):
    own = science.replace(
        variance=np.full(science.shape, 9.0), detector=replace(science.detector, variance_source="file")
    )
    result = isr(BIAS).run(own.cutout(Box.of_shape((256, 320))), **truth)

    assert "variance" not in result.applied
    np.testing.assert_array_equal(result.exposure.variance, 9.0)


def test_the_read_noise_of_the_overscan_stands_in_where_it_is_not_known(cam, science, truth):
    unknown = science.replace(detector=replace(science.detector, read_noise=None))
    exposure = isr(OVERSCAN, BIAS).run(unknown, **truth).exposure

    # Rounding to whole counts is part of what is measured.
    expected = np.sqrt(cam.variance_of_reading) * cam.settings.detector.gain
    assert exposure.detector.read_noise == pytest.approx(expected, rel=0.03)


def test_without_a_gain_the_variance_is_measured_on_the_corrected_pixels(science, truth):
    unknown = science.replace(detector=replace(science.detector, gain=None))
    result = isr(OVERSCAN, BIAS, DARK, FLAT).run(unknown, **truth)
    known = isr(OVERSCAN, BIAS, DARK, FLAT).run(science, **truth).exposure

    assert result.applied[-1] == "variance"
    assert result.exposure.detector.variance_source == "image"
    assert np.median(result.exposure.variance) == pytest.approx(np.median(known.variance), rel=0.1)


def test_the_saturation_level_loses_the_pedestal_and_saturated_pixels_grow(cam, truth):
    light = np.full(cam.settings.shape, SKY)
    light[100, 100] = 3e5
    exposure = isr(*EVERY_STEP).run(raw(cam, "science", 8, exposure_time=60.0, light=light), **truth).exposure

    assert exposure.mask.any_of("SAT")[98:103, 100].all()
    assert exposure.mask.any_of("SAT")[100, 99:102].all()
    assert not exposure.mask.any_of("SAT")[100, 97]
    assert exposure.detector.saturation == pytest.approx(cam.settings.detector.saturation, abs=20)


def test_suspect_pixels_are_marked_when_asked(science):
    exposure = isr(SATURATION, "saturation.suspect_level=1400").run(science).exposure

    np.testing.assert_array_equal(exposure.mask.any_of("SUSPECT"), science.image >= 1400)


def test_defects_are_bad_and_filled_in_only_when_asked(science, truth):
    plain = isr(OVERSCAN, BIAS, DEFECTS).run(science, **truth).exposure
    filled = isr(OVERSCAN, BIAS, DEFECTS, "defects.interpolate=true").run(science, **truth).exposure
    bad = plain.mask.any_of("BAD")

    assert bad.sum() == 202
    assert not plain.mask.any_of("INTRP").any()
    np.testing.assert_array_equal(filled.mask.any_of("INTRP"), bad)
    np.testing.assert_array_equal(filled.mask.any_of("BAD"), bad)
    np.testing.assert_array_equal(filled.image[~bad], plain.image[~bad])
    assert (filled.image[bad] != plain.image[bad]).all()


def test_a_pixel_that_the_flat_does_not_see_is_bad_and_has_no_data(science, truth):
    flat = truth["flat"].image.copy()
    flat[50, 60] = 0.01
    exposure = (
        isr(OVERSCAN, BIAS, FLAT).run(science, bias=truth["bias"], flat=truth["flat"].replace(image=flat)).exposure
    )

    assert exposure.mask.any_of("BAD")[50, 60]
    assert exposure.mask.any_of("NO_DATA")[50, 60]
    assert exposure.mask.any_of("BAD").sum() == 1 + (truth["flat"].image < 0.1).sum()


def test_what_a_calibration_calls_bad_is_bad(science, truth):
    where = np.zeros(truth["dark"].shape, dtype=bool)
    where[9, 9] = True
    dark = truth["dark"].replace(mask=truth["dark"].mask.with_plane("NO_DATA", where))
    exposure = isr(OVERSCAN, BIAS, DARK).run(science, bias=truth["bias"], dark=dark).exposure

    np.testing.assert_array_equal(exposure.mask.any_of("NO_DATA"), where)


@pytest.mark.parametrize("task", ["RowOverscanTask", "ConstantOverscanTask"])
def test_every_overscan_leaves_the_bias_pattern(cam, task):
    exposure = raw(camera(**CLEAN, bias_drift=0.0), "bias", 3)
    corrected = isr(f"overscan.task={task}").run(exposure).exposure

    assert corrected.shape == cam.settings.shape
    assert not {"BIASSEC", "TRIMSEC"} & set(corrected.header)
    assert (corrected.image - cam.bias).mean() == pytest.approx(0.0, abs=0.1)


def test_an_overscan_can_be_given_in_the_settings(cam):
    exposure = raw(cam, "bias", 3)
    bare = exposure.replace(header={"EXPTIME": 0.0})
    from_header = isr(OVERSCAN).run(exposure).exposure
    given = isr(OVERSCAN, "overscan.bias_section=321:352,1:256").run(bare).exposure

    np.testing.assert_array_equal(given.image, from_header.image)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        (
            ["overscan.bias_section=321:400,1:256"],
            InputError,
            "321:400,1:256 is not inside the image of 352 x 256",
        ),
        (["overscan.bias_section=right"], HeaderError, "'right' is no section of an image; it should look like"),
        (
            ["overscan.bias_section=321:352,1:20"],
            InputError,
            "The overscan covers rows 0 to 19 and the image rows 0 to",
        ),
        (["overscan.bias_keywords=[NOWHERE]"], HeaderError, "the header has no NOWHERE; set bias_section"),
    ],
)
def test_an_overscan_that_is_not_there_is_told_in_one_line(science, settings, error, words):
    with pytest.raises(error, match=words) as raised:
        isr(OVERSCAN, *settings).run(science)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("step", ["bias", "dark", "flat", "defects"])
def test_a_step_without_its_calibration_is_told(science, step):
    setting = {"bias": BIAS, "dark": DARK, "flat": FLAT, "defects": DEFECTS}[step]

    with pytest.raises(InputError, match=rf"^The slot isr:{step} is filled, and no {step} was given"):
        isr(setting).run(science)


def corrected_science(science):
    return isr(OVERSCAN).run(science).exposure


@pytest.mark.parametrize(
    ("setting", "calibrations", "error", "words"),
    [
        (BIAS, {"bias": exact(np.zeros((5, 6)))}, InputError, "bias has 6 x 5 pixels and the exposure 320 x 256"),
        (
            BIAS,
            {"bias": exact(np.zeros((256, 320)), header={"XBINNING": 2, "YBINNING": 2})},
            InputError,
            "bias is binned 2 x 2 and the exposure 1 x 1",
        ),
        (
            BIAS,
            {"bias": exact(np.zeros((256, 320)), header={"CALTYPE": "bias"})},
            InputError,
            "overscan was corrected in the exposure and not in the bias",
        ),
        (
            DARK,
            {
                "dark": exact(
                    np.zeros((256, 320)), exposure_time=1.0, header={"CALTYPE": "dark", "ISROSCAN": "", "ISRBIAS": ""}
                )
            },
            InputError,
            "bias was corrected in the dark and not in the exposure",
        ),
        (
            DARK,
            {"dark": exact(np.zeros((256, 320)))},
            HeaderError,
            "that of the exposure is 60 s and that of the dark not known",
        ),
        (
            FLAT,
            {"flat": exact(np.ones((256, 320)), filter_="g")},
            InputError,
            "flat is of filter 'g' and the exposure of 'r'",
        ),
        (
            FLAT,
            {"flat": exact(np.full((256, 320), 2e4))},
            InputError,
            "median of the flat is 20000; a flat is normalised",
        ),
        (DEFECTS, {"defects": Table({"x0": [1], "y0": [2]})}, InputError, "table of defects lacks width, height"),
        (
            DEFECTS,
            {"defects": Table({"x0": [319], "y0": [0], "width": [2], "height": [1]})},
            InputError,
            "1 of 1 defects reach outside the image of 320 x 256 pixels, the first at x0=319",
        ),
    ],
)
def test_a_calibration_that_does_not_fit_is_told_in_one_line(science, setting, calibrations, error, words):
    with pytest.raises(error, match=words) as raised:
        isr(setting).run(corrected_science(science), **calibrations)
    assert "\n" not in str(raised.value)


def test_a_dark_needs_the_exposure_time_of_the_exposure(science, truth):
    timeless = corrected_science(science)
    timeless = timeless.replace(observation=replace(timeless.observation, exposure_time=None))

    with pytest.raises(HeaderError, match="that of the exposure is not known and that of the dark 1 s"):
        isr(DARK).run(timeless, **truth)


def test_an_exposure_in_njy_is_not_corrected(science, truth):
    calibrated = corrected_science(science).replace(unit="nJy")

    with pytest.raises(InputError, match="in counts can be corrected with a bias; this one is in nJy"):
        isr(BIAS).run(calibrated, **truth)


def test_a_saturation_that_nobody_knows_is_asked_for():
    exposure = exposure_of(np.zeros((5, 5))).replace(
        detector=replace(exposure_of(np.zeros((5, 5))).detector, saturation=None)
    )

    with pytest.raises(HeaderError, match=r"saturation level is not known; set isr:saturation.level"):
        isr(SATURATION).run(exposure)


def test_only_the_kinds_of_exposure_that_are_asked_for_are_work(science):
    with pytest.raises(NoWorkFound, match=r"of kind 'science'; wanted is 'bias' or 'zero'"):
        isr("observation_types=[bias, zero]").run(science)
    assert isr("observation_types=[science]").run(science).exposure is science


def test_the_noise_model_knows_bright_pixels():
    exposure = exposure_of(np.array([[-10.0, 0.0, 200.0]]), variance=0.0)
    exposure = exposure.replace(detector=replace(exposure.detector, read_noise=6.0))
    made = NoiseModelVarianceTask().run(exposure).exposure

    np.testing.assert_allclose(made.variance, [[9.0, 9.0, 109.0]])


def test_the_slot_of_single_frame_takes_it_with_its_calibrations(science, truth):
    layers = [
        Layer.from_mapping(
            {"isr": {"task": "IsrTask", "overscan.task": "RowOverscanTask", "bias.task": "SubtractBiasTask"}},
            origin="test",
        )
    ]
    task = SingleFrameTask(build_config(SingleFrameConfig, layers))
    stopped = run_until("isr", task.run, science, **truth)
    alone = isr(OVERSCAN, BIAS).run(science, **truth).exposure

    np.testing.assert_array_equal(stopped.products["exposure"].image, alone.image)
    assert {"bias", "dark", "flat", "defects"} <= set(Connections.of(SingleFrameTask, task.config).prerequisites)
    assert "bias" not in Connections.of(SingleFrameTask, SingleFrameConfig()).prerequisites


def test_the_noise_of_each_calibration_is_added(science, truth):
    noisy = {name: truth[name].replace(variance=np.full((256, 320), 4.0)) for name in ("bias", "dark")}
    exact_ones = isr(OVERSCAN, BIAS, DARK).run(science, **truth).exposure
    exposure = isr(OVERSCAN, BIAS, DARK).run(science, **noisy).exposure

    np.testing.assert_allclose(exposure.variance - exact_ones.variance, 4.0 + 60.0**2 * 4.0, rtol=1e-4)


def test_the_noise_of_the_overscan_is_added(science):
    corrected = isr(OVERSCAN, "variance=null").run(science).exposure
    read_noise = science.detector.read_noise / science.detector.gain

    added = corrected.variance - science.cutout(corrected.box).variance
    np.testing.assert_allclose(added, read_noise**2 / 32, rtol=0.15)


def test_a_bias_with_the_pedestal_takes_it_from_the_saturation_level(science):
    trimmed = science.cutout(Box.of_shape((256, 320)))
    corrected = isr(BIAS).run(trimmed, bias=exact(np.full((256, 320), 1000.0))).exposure

    assert corrected.detector.saturation == trimmed.detector.saturation - 1000.0
    assert np.median(corrected.variance) == pytest.approx(np.median(corrected.image) / 6.2 + (10 / 6.2) ** 2, rel=0.01)
