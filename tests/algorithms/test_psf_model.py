import numpy as np
import pytest

from firstlight.algorithms.psf_model import fit_gaussian_psf
from firstlight.algorithms.psf_neighbours import Neighbours
from firstlight.errors import PsfError
from firstlight.images.psf import FWHM_PER_SIGMA, MoffatPsf

from .psf_fields import SHAPE, Field, compare, moments, positions, stamps


@pytest.mark.parametrize("profile", ["moffat", "narrow moffat", "two gaussians", "core and halo"])
def test_varying_profile_is_recovered(profile):
    fit = Field(profile, 225).fit()

    rms, size, e1, e2 = compare(fit, profile)
    assert np.median(rms) < 0.006
    assert abs(size.mean()) < 1e-3
    assert np.abs(size).max() < 5e-3
    assert abs(np.median(e1)) < 1.5e-3
    assert abs(np.median(e2)) < 1.5e-3
    assert fit.n_used >= 200
    assert 0.9 < np.nanmedian(fit.chi2) < 1.1


def test_asymmetric_profile_is_recovered_up_to_its_centre():
    fit = Field("coma", 225).fit()

    _, size, e1, e2 = compare(fit, "coma")
    assert abs(size.mean()) < 1.5e-3
    assert abs(np.median(e1)) < 2e-3
    assert abs(np.median(e2)) < 2e-3
    x, y = np.full(3, [100.0, 320.0, 540.0]), np.full(3, 300.0)
    truth = stamps("coma", x, y, fit.psf.radius)
    truth /= truth.sum(axis=(1, 2), keepdims=True)
    center = moments(truth, x, y)
    model = fit.psf.images(x=x + center[:, 0], y=y + center[:, 1])
    power = (truth**2).sum(axis=(1, 2))
    assert np.sqrt(((model - truth) ** 2).sum(axis=(1, 2)) / power).max() < 0.006
    # What a symmetric profile could not do.
    assert np.sqrt(((truth - truth[:, ::-1, ::-1]) ** 2).sum(axis=(1, 2)) / power).max() > 0.05


def test_star_is_centred_and_sums_to_one_everywhere():
    psf = Field("coma", 100).fit().psf
    x, y = positions()

    images = psf.images(x=x, y=y)

    np.testing.assert_allclose(images.sum(axis=(1, 2)), 1.0, atol=1e-5)
    assert np.abs(moments(images, x, y)[:, :2]).max() < 0.02


def test_flux_and_position_of_the_stars_come_with_the_model():
    field = Field("moffat", 144)
    fit = field.fit()

    on_stamp = 1 - (1 + ((fit.psf.radius + 0.5) / 2.16) ** 2) ** -2.0
    ratio = fit.flux[fit.used] / field.flux[fit.used]
    assert np.median(ratio) == pytest.approx(on_stamp, abs=3e-3)
    error = np.hypot(fit.x - field.x, fit.y - field.y)[fit.used]
    assert np.median(error) < 0.02


@pytest.mark.parametrize(("n", "order"), [(200, 1), (8, 0), (1, 0)])
def test_order_is_lowered_to_what_the_stars_carry(n, order):
    fit = Field("moffat", n).fit(order=3)

    assert fit.order <= max(order, 0) + 1 if n == 200 else fit.order == order
    assert fit.n_used >= 0.9 * n
    assert fit.psf.image(x=100.2, y=50.1).sum() == pytest.approx(1.0)


def test_uniform_profile_gets_no_variation():
    assert Field("core and halo", 150).fit(order=3).order == 0


def test_masked_pixels_do_not_count():
    field = Field("moffat", 81)
    clean = field.fit(fwhm=2.4)
    columns = [round(value) + 2 for value in field.x[::2]]
    field.bad[:, columns], field.image[:, columns] = True, 1e6

    fit = field.fit(fwhm=2.4)

    np.testing.assert_allclose(
        fit.psf.kernel_image(x=300, y=300), clean.psf.kernel_image(x=300, y=300), atol=4e-3 * 0.2
    )


def test_known_neighbours_do_not_change_the_model():
    field = Field("moffat", 81)
    lone = field.fit()
    rng = np.random.default_rng(6)
    angle = rng.uniform(0, 2 * np.pi, 81)
    x, y, flux = field.x + 4.5 * np.cos(angle), field.y + 4.5 * np.sin(angle), 0.2 * field.flux
    for a, b, f, stamp in zip(x, y, flux, stamps("moffat", x, y, 9), strict=True):
        field.image[round(b) - 9 : round(b) + 10, round(a) - 9 : round(a) + 10] += f * stamp
    everything = Neighbours(np.append(field.x, x), np.append(field.y, y), np.append(field.flux, flux))

    fit = field.fit(neighbours=everything)

    here = {"x": 300.0, "y": 300.0}
    assert fit.psf.moments(**here).sigma == pytest.approx(lone.psf.moments(**here).sigma, rel=2e-3)


def test_few_galaxies_and_close_pairs_are_rejected_also_where_they_are_brightest_or_faintest():
    field = Field("moffat", 100)
    odd = np.unique([*range(0, 100, 17), np.argmin(field.flux), *np.argsort(field.flux)[-2:]])
    for i in odd:
        row, column = round(field.y[i]), round(field.x[i])
        field.image[row - 3 : row + 4, column + 2 : column + 4] += field.flux[i] * 0.03

    fit = field.fit()

    assert not fit.used[odd].any()
    assert fit.used.sum() > 85


def test_stars_off_the_image_and_without_position_are_left_out():
    field = Field("moffat", 50)
    field.found_x[:3], field.found_y[3] = [-40.0, np.nan, 1e4], np.nan

    fit = field.fit()

    assert not fit.used[:4].any()
    assert np.isnan(fit.chi2[:4]).all()
    assert len(fit.used) == 50


@pytest.mark.parametrize("x", [[], [np.nan], [-100.0]])
def test_no_usable_star_is_an_error_with_facts(x):
    field = Field("moffat", 4)

    with pytest.raises(PsfError, match="PSF candidates") as caught:
        field.fit(x=np.array(x), y=np.array(x), fwhm=2.2)
    assert caught.value.facts["n_used"] == 0


def test_all_pixels_bad_is_an_error():
    field = Field("moffat", 4)

    with pytest.raises(PsfError):
        field.fit(bad=np.ones(SHAPE, dtype=bool))


def test_result_is_the_same_twice():
    field = Field("two gaussians", 60)

    assert field.fit().psf == field.fit().psf


def test_wings_tell_the_total_flux():
    fit = Field("moffat", 200, radius=40, brightest=1e5).fit()
    alpha = 0.5 * 2.2 / np.sqrt(2 ** (1 / 3) - 1)

    for radius in (7.0, 12.0):
        expected = 1 - (1 + (radius / alpha) ** 2) ** -2.0
        assert fit.psf.aperture_flux(radius, x=320, y=300) == pytest.approx(expected, abs=1.5e-3)


def test_gaussian_is_as_wide_as_the_stars():
    field = Field("moffat", 50)

    psf = fit_gaussian_psf(field.image, bad=field.bad, x=field.found_x, y=field.found_y)

    expected = MoffatPsf(fwhm=2.2, beta=3.0, radius=9).moments(x=0, y=0).sigma
    assert psf.moments(x=0, y=0).sigma == pytest.approx(expected, rel=0.02)
    assert psf.radius == round(4 * FWHM_PER_SIGMA * expected)


def test_gaussian_without_stars_is_an_error():
    field = Field("moffat", 4)

    with pytest.raises(PsfError, match="measurable width"):
        fit_gaussian_psf(field.image, bad=field.bad, x=np.array([]), y=np.array([]))
