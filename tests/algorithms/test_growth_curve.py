import numpy as np
import pytest

from firstlight.algorithms.growth_curve import measure_growth_curve
from firstlight.errors import ApertureCorrectionError

SHAPE = (700, 700)
NOISE = 7.0
SUBPIXELS = 5
RADIUS = 45


def moffat_alpha(fwhm, beta):
    return 0.5 * fwhm / np.sqrt(2 ** (1 / beta) - 1)


def stars_on_sky(fwhm, beta, *, n=90, sky=0.4, seed=0):
    """Draw stars with wings to ``RADIUS`` pixels on a sky that is wrong by a constant."""
    rng = np.random.default_rng(seed)
    alpha = moffat_alpha(fwhm, beta)
    fine = (np.arange(-RADIUS, RADIUS + 1)[:, None] + (np.arange(SUBPIXELS) + 0.5) / SUBPIXELS - 0.5).ravel()
    side = 2 * RADIUS + 1
    x, y = rng.uniform(50, 650, (2, n))
    flux = 8e3 * 12 ** rng.uniform(size=n)
    image = np.zeros(SHAPE)
    for a, b, f in zip(x, y, flux, strict=True):
        row, column = round(b), round(a)
        r2 = (fine[None, :] - (a - column)) ** 2 + (fine[:, None] - (b - row)) ** 2
        profile = f * (beta - 1) / (np.pi * alpha**2) * (1 + r2 / alpha**2) ** -beta
        pixels = profile.reshape(side, SUBPIXELS, side, SUBPIXELS).mean(axis=(1, 3))
        image[row - RADIUS : row + RADIUS + 1, column - RADIUS : column + RADIUS + 1] += pixels
    variance = NOISE**2 + image / 6.2
    return image + sky + rng.normal(size=SHAPE) * np.sqrt(variance), variance, x, y, flux


def measure(image, variance, x, y, flux, fwhm, radii):
    bad = np.zeros(image.shape, dtype=bool)
    return measure_growth_curve(image, variance=variance, bad=bad, x=x, y=y, flux=flux, fwhm=fwhm, radii=radii)


@pytest.mark.parametrize("beta", [2.5, 3.0, 3.5, 4.8])
def test_fraction_in_the_calibration_aperture_is_known_to_two_millimag(beta):
    radii = np.array([2.5, 3.0]) * 2.4
    errors = []
    for seed in range(2):
        curve = measure(*stars_on_sky(2.4, beta, seed=seed), fwhm=2.5, radii=radii)
        expected = 1 - (1 + (radii / moffat_alpha(2.4, beta)) ** 2) ** (1 - beta)
        errors.append(curve.fraction - expected)
        # What is corrected is several times more than the error allowed.
        assert 1 - expected[1] > 3e-3 or beta > 4

    assert np.abs(np.mean(errors, axis=0)).max() < 0.002 + 2 * curve.error.max() / np.sqrt(2)


def test_total_flux_comes_out_of_aperture_fluxes():
    image, variance, x, y, flux = stars_on_sky(2.4, 3.0)
    inside = 1 - (1 + (5.0 / moffat_alpha(2.4, 3.0)) ** 2) ** -2.0

    curve = measure(image, variance, x, y, inside * flux, 2.5, np.array([5.0]))

    assert curve.scale * inside == pytest.approx(1.0, abs=0.004 + 2 * curve.scale_error)
    assert curve.n_stars > 70


def test_constant_sky_error_does_not_matter():
    low, high = (measure(*stars_on_sky(2.4, 3.0, sky=sky), fwhm=2.5, radii=np.array([4.0, 7.0])) for sky in (-2.0, 2.0))

    np.testing.assert_allclose(low.fraction, high.fraction, atol=1e-3)


def test_curve_rises_and_is_interpolated():
    curve = measure(*stars_on_sky(2.4, 3.0), fwhm=2.5, radii=np.linspace(1, 14, 14))

    assert np.diff(curve.fraction).min() > -1e-3
    assert curve.fraction[-1] < 1.005
    fraction, error = curve.fraction_within(4.5)
    assert curve.fraction[3] < fraction < curve.fraction[4]
    assert error > 0


def test_faulty_star_does_not_change_the_curve():
    image, variance, x, y, flux = stars_on_sky(2.4, 3.0)
    clean = measure(image, variance, x, y, flux, 2.5, np.array([7.0]))
    flux[3] *= 3.0

    curve = measure(image, variance, x, y, flux, 2.5, np.array([7.0]))

    assert curve.fraction[0] == pytest.approx(clean.fraction[0], abs=2e-3)
    assert curve.scale == pytest.approx(clean.scale, abs=5e-3)


def test_no_star_is_an_error():
    image, variance, x, y, flux = stars_on_sky(2.4, 3.0, n=3)

    with pytest.raises(ApertureCorrectionError, match="No bright star"):
        measure(image, variance, x, y, np.full(3, np.nan), 2.5, np.array([7.0]))
    with pytest.raises(ApertureCorrectionError, match="No bright star"):
        measure(image, variance, np.full(3, 2.0), y, flux, 2.5, np.array([7.0]))
