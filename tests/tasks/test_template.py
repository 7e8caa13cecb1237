"""Templates made of epochs of a known field."""

import numpy as np
import pytest

from firstlight.errors import InputError, NoWorkFound, TemplateError
from firstlight.framework import Resources, subtask, worst
from firstlight.images.coadd_psf import CoaddPsf
from firstlight.images.fits import read_exposure, write_exposure
from firstlight.images.mask import Mask
from firstlight.images.pixel_grid import PixelGrid
from firstlight.tasks.align_pattern import PatternAlignTask
from firstlight.tasks.template import FIRST_DATE, LAST_DATE, N_INPUTS
from firstlight.tasks.template_coadd import CoaddTemplateConfig, CoaddTemplateTask

from .epochs import SIDE, handles, make_field, wcs

FWHMS = [2.3, 2.7, 2.9, 2.4, 2.6]


@pytest.fixture(scope="module")
def field():
    return make_field(FWHMS, scale=[1.0, 1.3, 0.8, 1.1, 0.9])


@pytest.fixture(scope="module")
def result(field):
    return CoaddTemplateTask().run(handles(field.exposures))


@pytest.fixture(scope="module")
def residual(field, result):
    """Return the template minus its own PSF at every star, and where the stars are on it."""
    template = result.template
    x, y = template.wcs.sky_to_pixel(ra=field.ra, dec=field.dec)
    radius, left = template.psf.radius, np.pad(template.image.astype(float), template.psf.radius + 20)
    for star_x, star_y, flux in zip(x, y, field.flux, strict=True):
        row, column = round(star_y) + 20, round(star_x) + 20
        stamp = template.psf.image(x=star_x, y=star_y)
        left[row : row + 2 * radius + 1, column : column + 2 * radius + 1] -= flux * stamp
    inner = np.s_[radius + 20 : radius + 20 + SIDE, radius + 20 : radius + 20 + SIDE]
    on = (x > 15) & (x < SIDE - 15) & (y > 15) & (y < SIDE - 15) & (np.abs(y - SIDE / 2 - 12) > 25)
    return left[inner], x[on], y[on], field.flux[on]


def squares(x, y, half):
    return [
        np.s_[round(b) - half : round(b) + half + 1, round(a) - half : round(a) + half + 1]
        for a, b in zip(x, y, strict=True)
    ]


def test_stars_keep_their_flux_and_look_as_the_psf_of_the_template_says(result, residual):
    left, x, y, flux = residual
    variance = result.template.variance
    bias = np.array([left[square].sum() for square in squares(x, y, 6)]) / flux
    error = np.sqrt([variance[square].sum() for square in squares(x, y, 6)]) / flux * 1.15
    bright = flux > 1e5
    peak = [np.abs(left[square]).max() for square in squares(x[bright], y[bright], 3)]
    noise = [3.5 * np.sqrt(variance[square].max()) for square in squares(x[bright], y[bright], 3)]
    excess = np.maximum(np.array(peak) - noise, 0.0) / flux[bright]

    mean, its_error = np.average(bias, weights=error**-2), np.sum(error**-2) ** -0.5
    assert its_error < 4e-4
    assert abs(mean) < 1e-3
    assert abs(mean) < 4 * its_error + 2e-4
    assert bright.sum() >= 8
    assert np.quantile(excess, 0.8) < 0.01 * result.template.psf.image(x=100.0, y=100.0).max()


def test_the_noise_is_that_of_the_weighted_mean_and_no_cosmic_ray_is_left(result, residual):
    pull = residual[0] / np.sqrt(result.template.variance)
    middle = pull[20:-20, 20:-20]

    assert np.median(np.abs(middle)) * 1.4826 == pytest.approx(1.0, abs=0.03)
    assert np.mean(np.abs(middle) > 6) < 2e-3
    assert np.array(result.inputs["weight"]).sum() == pytest.approx(1.0)


def test_what_moves_is_not_in_the_template(field, result):
    track = result.template.wcs.sky_to_pixel
    for epoch, exposure in enumerate(field.exposures):
        ra, dec = exposure.wcs.pixel_to_sky(x=30.0 + 20 * epoch, y=SIDE / 2 + 12.0)
        x, y = (round(float(axis)) for axis in track(ra=ra, dec=dec))
        assert result.template.mask.any_of("CLIPPED")[y, x]


def test_the_template_tells_what_it_is_made_of(field, result):
    header = result.template.header

    assert header[N_INPUTS] == len(FWHMS)
    assert (header[FIRST_DATE], header[LAST_DATE]) == (60000.0, 60004.0)
    assert {header[f"IID{n:05d}"] for n in range(1, 6)} == {100, 101, 102, 103, 104}
    assert sum(header[f"WGT{n:05d}"] for n in range(1, 6)) == pytest.approx(1.0)
    assert result.template.unit == "nJy"
    assert result.template.observation.exposure_time == 150.0
    assert worst(result.gates) == "ok"
    assert dict(result.funnels[0].steps)["matched"] == len(FWHMS)


def test_the_template_comes_back_from_a_file(result, tmp_path):
    write_exposure(result.template, tmp_path / "template.fits")
    read = read_exposure(tmp_path / "template.fits")

    assert isinstance(read.psf, CoaddPsf)
    assert read.psf == result.template.psf
    assert dict(read.header) == dict(result.template.header)


def test_little_memory_gives_the_same_template(field, result):
    task = CoaddTemplateTask()
    task.resources = Resources(memory_bytes=1_500_000)

    small = task.run(handles(field.exposures)).template

    np.testing.assert_array_equal(small.image, result.template.image)
    np.testing.assert_array_equal(small.variance, result.template.variance)
    assert small.mask == result.template.mask


def test_a_grid_larger_than_the_inputs_has_no_data_around_them(field):
    grid = PixelGrid((SIDE + 120, SIDE + 100), wcs(side=SIDE + 100))

    result = CoaddTemplateTask().run(handles(field.exposures[:3]), grid)

    template = result.template
    assert template.shape == grid.shape
    assert template.wcs == grid.wcs
    np.testing.assert_array_equal(template.mask.any_of("NO_DATA"), ~np.isfinite(template.image))
    assert template.mask.any_of("NO_DATA")[:20].all()
    few = np.isfinite(template.image) & ~template.mask.any_of("NO_DATA")
    assert few[60:-80, 60:-60].all()
    assert template.psf.fwhm(x=150.0, y=150.0) == pytest.approx(np.mean(FWHMS[:3]), rel=0.1)


def test_stars_beyond_the_end_of_the_sharpest_input_still_look_as_the_psf_of_all_inputs_says(field, result):
    first, *others = field.exposures
    beyond = np.zeros((SIDE, SIDE), bool)
    beyond[:, SIDE // 2 :] = True
    image = np.where(beyond, np.nan, first.image)
    cut = first.replace(image=image, mask=first.mask.with_plane("NO_DATA", beyond))

    template, whole = CoaddTemplateTask().run(handles([cut, *others])).template, result.template

    x, y = template.wcs.sky_to_pixel(ra=field.ra, dec=field.dec)
    near = (x > SIDE / 2 + 6) & (x < SIDE / 2 + 52) & (np.abs(y - SIDE / 2) > 40) & (field.flux > 1e5)
    assert near.any()
    for star_x, star_y, flux in zip(x[near], y[near], field.flux[near], strict=True):
        (square,), middle = squares([star_x], [star_y], 4), np.s_[template.psf.radius - 4 : template.psf.radius + 5]
        stamp = template.psf.image(x=star_x, y=star_y)
        pull = (template.image[square] - flux * stamp[middle, middle]) / np.sqrt(template.variance[square])
        ratio = template.variance / whole.variance
        np.testing.assert_allclose(stamp, whole.psf.image(x=star_x, y=star_y), atol=1e-4)
        assert np.mean(pull**2) < 1 + 5 * np.sqrt(2 / pull.size)
        assert np.median(ratio[square]) > 1.1 * np.median(ratio[:, SIDE // 2 + 6 : SIDE // 2 + 52])


def test_blurred_shallow_displaced_and_dim_inputs_are_left_out_with_the_reason(field):
    blurred = make_field([4.0], seed=1).exposures[0]
    sharp = list(field.exposures)
    shallow = sharp[1].replace(
        image=sharp[1].image + np.random.default_rng(1).normal(0, 80, (SIDE, SIDE)), variance=sharp[1].variance + 80**2
    )
    displaced = sharp[3].replace(wcs=sharp[3].wcs.shifted(x=0.8, y=0.0))
    dim = sharp[4].replace(image=sharp[4].image * 0.7, variance=sharp[4].variance * 0.49)
    nothing = sharp[0].replace(psf=None)
    unknown = sharp[0].replace(mask=Mask.empty((SIDE, SIDE)).with_plane("BAD", np.ones((SIDE, SIDE), bool)))
    given = [*sharp[:3], blurred, shallow, displaced, dim, nothing, unknown]

    result = CoaddTemplateTask().run(handles(given))

    reasons = list(result.inputs["reason"])
    assert reasons[:3] == ["", "", ""]
    for reason, words in zip(
        reasons[3:], ("seeing", "shallower", "stars off", "fluxes off", "no PSF", "no good pixel"), strict=True
    ):
        assert words in reason
    assert list(result.inputs["used"]) == [True] * 3 + [False] * 6


def test_the_ringing_beside_saturated_pixels_does_not_get_into_the_template(field):
    hurt = []
    for exposure in field.exposures:
        image, saturated = exposure.image.copy(), np.zeros((SIDE, SIDE), bool)
        x, y = (round(float(a)) for a in exposure.wcs.sky_to_pixel(ra=150.0, dec=2.0))
        length = 4 + 3 * len(hurt)
        saturated[y - 4 : y + length, x : x + 2] = True
        image[saturated] = 50_000.0
        hurt.append(exposure.replace(image=image, mask=exposure.mask.with_plane("SAT", saturated)))

    template = CoaddTemplateTask().run(handles(hurt)).template

    x, y = (round(float(a)) for a in template.wcs.sky_to_pixel(ra=150.0, dec=2.0))
    near = np.s_[y - 9 : y + 22, x - 6 : x + 8]
    good = ~template.mask.any_of("SAT", "SUSPECT")[near]
    assert template.mask.any_of("SAT")[y, x]
    assert np.all(template.image[near][good] > -6 * np.sqrt(template.variance[near][good]))


def test_a_field_full_of_sources_takes_its_noise_from_the_variance(field):
    everything = np.ones((SIDE, SIDE), bool)
    crowded = [each.replace(mask=each.mask.with_plane("DETECTED", everything)) for each in field.exposures]

    result = CoaddTemplateTask().run(handles(crowded))

    assert result.inputs["used"].all()
    assert set(result.inputs["variance_ratio"]) == {1.0}
    assert "template_noise" not in {gate.name for gate in result.gates}


def test_uncalibrated_images_without_a_wcs_are_aligned_and_scaled_by_their_stars(field):
    bare = [each.replace(wcs=None, photo_calib=None) for each in field.exposures[:4]]
    config = CoaddTemplateConfig(scaling="stars", align=subtask(PatternAlignTask))

    result = CoaddTemplateTask(config).run(handles(bare))

    template = result.template
    assert template.unit == "count"
    x, y = field.exposures[0].wcs.sky_to_pixel(ra=field.ra, dec=field.dec)
    bright = (field.flux > 1e5) & (x > 20) & (x < SIDE - 20) & (y > 20) & (y < SIDE - 20)
    ratio = [
        template.image[square].sum() / field.exposures[0].image[square].sum()
        for square in squares(x[bright], y[bright], 9)
    ]
    assert np.median(ratio) == pytest.approx(1.0, abs=5e-3)


def test_with_too_little_the_error_says_what_was_there(field):
    task = CoaddTemplateTask(CoaddTemplateConfig(min_inputs=3))
    with pytest.raises(NoWorkFound, match="No exposure"):
        task.run(())
    with pytest.raises(TemplateError, match=r"at least 3 inputs; got 1 of 2 \(1: no PSF\)"):
        task.run(handles([field.exposures[0], field.exposures[1].replace(psf=None)]))
    with pytest.raises(InputError, match="scaling: stars"):
        task.run(handles([each.replace(photo_calib=None) for each in field.exposures]))
    far = PixelGrid((50, 50), wcs(dx=5e4))
    with pytest.raises((NoWorkFound, TemplateError), match=r"covers|overlap"):
        task.run(handles(field.exposures), far)
