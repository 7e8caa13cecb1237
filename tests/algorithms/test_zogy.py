import numpy as np
import pytest

from firstlight.algorithms.decorrelation import filtered_variance
from firstlight.algorithms.psf_convolution import convolved_psf
from firstlight.algorithms.significance import matched_significance
from firstlight.algorithms.spatial_convolution import convolve_sum
from firstlight.algorithms.zogy import ZogyImage, zogy_filters
from firstlight.images.psf import GaussianPsf, MoffatPsf

SHAPE = (400, 400)
NEW = ZogyImage(MoffatPsf(fwhm=2.4, beta=3.0, radius=12, e1=0.1), 3.0)
REFERENCE = ZogyImage(MoffatPsf(fwhm=3.0, beta=3.0, radius=12), 2.0, 0.8)


def noisy(sigma, seed):
    return np.random.default_rng(seed).normal(0.0, sigma, SHAPE).astype(np.float32)


def draw(image, psf, *, x, y, flux):
    r = psf.radius
    column, row = round(x), round(y)
    image[row - r : row + r + 1, column - r : column + r + 1] += (flux * psf.image(x=x, y=y)).astype(np.float32)


def difference(new, reference, first, second):
    filters = zogy_filters(first, second, shape=SHAPE)
    return convolve_sum([(new, filters[0]), (reference, filters[1].scaled(-1.0))]), filters


def test_swapping_the_images_changes_the_sign_and_nothing_else():
    new, reference = noisy(3.0, 1), noisy(2.0, 2)

    forwards, _ = difference(new, reference, NEW, REFERENCE)
    backwards, _ = difference(reference, new, REFERENCE, NEW)

    np.testing.assert_array_equal(forwards, -backwards)


def test_identical_images_leave_nothing():
    image = noisy(3.0, 1)

    left, _ = difference(image, image, NEW, NEW)

    np.testing.assert_allclose(left, 0.0, atol=1e-5 * 3.0)


def test_noise_is_white_and_as_large_as_stated():
    left, _ = difference(noisy(3.0, 1), noisy(2.0, 2), NEW, REFERENCE)
    inner = left[60:-60, 60:-60]

    expected = np.hypot(3.0 / 1.0, 2.0 / 0.8)
    assert inner.std() == pytest.approx(expected, rel=4 / np.sqrt(2 * inner.size) + 0.002)
    for a, b in ((inner[:, 1:], inner[:, :-1]), (inner[1:], inner[:-1]), (inner[1:, 1:], inner[:-1, :-1])):
        assert abs(np.mean(a * b)) / inner.var() < 4 / np.sqrt(inner.size)


def test_constant_star_goes_and_new_one_keeps_its_flux_and_significance():
    new, reference = np.zeros((2, *SHAPE), dtype=np.float32)
    draw(new, NEW.psf, x=100, y=120, flux=1e4 * NEW.flux_scale)
    draw(reference, REFERENCE.psf, x=100, y=120, flux=1e4 * REFERENCE.flux_scale)
    draw(new, NEW.psf, x=250, y=260, flux=500.0)

    left, filters = difference(new, reference, NEW, REFERENCE)
    psf = convolved_psf(NEW.psf, filters[0])
    score = matched_significance(
        left,
        psf=psf,
        science=new,
        template=reference,
        science_variance=np.full(SHAPE, 9.0, dtype=np.float32),
        template_variance=np.full(SHAPE, 4.0, dtype=np.float32),
        science_filter=filters[0],
        template_filter=filters[1],
    )

    assert np.abs(left[90:151, 70:131]).max() < 1e-3 * 1e4 * NEW.psf.image(x=0, y=0).max()
    profile = psf.image(x=250, y=260)
    r = psf.radius
    fitted = (left[260 - r : 261 + r, 250 - r : 251 + r] * profile).sum() / (profile**2).sum()
    assert fitted == pytest.approx(500.0, rel=2e-3)
    assert np.unravel_index(np.argmax(score), SHAPE) == (260, 250)
    noise = np.hypot(3.0, 2.0 / 0.8) / np.sqrt((profile**2).sum())
    assert score[260, 250] == pytest.approx(500.0 / noise, rel=0.01)


def test_score_allows_for_the_registration():
    new, reference = noisy(3.0, 1), noisy(2.0, 2)
    draw(new, NEW.psf, x=200.05, y=200, flux=1e5)
    draw(reference, REFERENCE.psf, x=200, y=200, flux=0.8e5)
    left, filters = difference(new, reference, NEW, REFERENCE)
    given = {
        "psf": convolved_psf(NEW.psf, filters[0]),
        "science": new,
        "template": reference,
        "science_variance": np.full(SHAPE, 9.0, dtype=np.float32),
        "template_variance": np.full(SHAPE, 4.0, dtype=np.float32),
        "science_filter": filters[0],
        "template_filter": filters[1],
    }

    blind = matched_significance(left, **given)
    aware = matched_significance(left, **given, position_noise=(0.05, 0.05))

    assert np.abs(blind[195:206, 195:206]).max() > 8.0
    assert np.abs(aware[195:206, 195:206]).max() < 3.0
    assert aware[60:160, 60:160].std() == pytest.approx(1.0, abs=0.05)


def test_noise_of_its_own_light_is_not_held_against_a_faint_source_that_came_or_went():
    gain = 0.5
    new, reference = np.zeros((2, *SHAPE), dtype=np.float32)
    places = [(x, y) for x in range(30, 371, 34) for y in range(30, 371, 34)]
    for number, (x, y) in enumerate(places):
        draw(*((new, NEW.psf) if number % 2 else (reference, REFERENCE.psf)), x=x, y=y, flux=60.0)
    filters = zogy_filters(NEW, REFERENCE, shape=SHAPE)
    psf = convolved_psf(NEW.psf, filters[0])
    score = matched_significance(
        convolve_sum([(new, filters[0]), (reference, filters[1].scaled(-1.0))]),
        psf=psf,
        science=new,
        template=reference,
        science_variance=9.0 + new / np.float32(gain),
        template_variance=4.0 + reference / np.float32(gain),
        science_filter=filters[0],
        template_filter=filters[1],
    )

    power = (psf.image(x=200, y=200) ** 2).sum()
    noise = np.hypot(3.0, 2.0 / 0.8) / np.sqrt(power)
    came, went = (score[[y for _, y in chosen], [x for x, _ in chosen]] for chosen in (places[1::2], places[::2]))
    # The light itself adds a third to the variance.
    assert np.median(came) == pytest.approx(60.0 / noise, rel=0.02)
    assert np.median(went) == pytest.approx(-60.0 / 0.8 / noise, rel=0.02)


def test_variance_counts_all_filters():
    filters = zogy_filters(NEW, REFERENCE, shape=SHAPE)

    variance = filtered_variance([(np.full(SHAPE, 9.0), filters[0]), (np.full(SHAPE, 4.0), filters[1])])

    assert variance[200, 200] == pytest.approx(9.0 + 4.0 / 0.8**2, rel=2e-3)


def test_convolved_psf_of_gaussians_is_the_gaussian_of_the_summed_squares():
    narrow, wide = GaussianPsf(sigma=1.5, radius=14), GaussianPsf(sigma=2.5, radius=14)
    offsets = np.arange(-12, 13)
    taps = np.exp(-0.5 * (offsets[:, None] ** 2 + offsets**2) / (2.5**2 - 1.5**2))
    kernel = zogy_filters(NEW, REFERENCE, shape=SHAPE)[0].constant(taps, shape=SHAPE)

    found = convolved_psf(narrow, kernel)

    np.testing.assert_allclose(found.image(x=100.3, y=99.6), wide.image(x=100.3, y=99.6), atol=3e-5)
