"""The profile of a star against integrals that the simulation does not use."""

import numpy as np
import pytest
from scipy import integrate

from firstlight.simulation.point_spread import FieldPolynomial, PointSpread, add_stars, draw_point_spread
from firstlight.simulation.settings import OpticsSettings


def uniform_spread(*, fwhm, beta=3.0, e1=0.0, e2=0.0):
    def constant(value):
        return FieldPolynomial({(0, 0): value}, (100, 100))

    return PointSpread(fwhm, beta, constant(0.0), constant(e1), constant(e2))


def moffat_density(dx, dy, *, fwhm, beta, e1, e2):
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    matrix = alpha**2 / np.sqrt(1 - e1**2 - e2**2) * np.array([[1 + e1, e2], [e2, 1 - e1]])
    inverse = np.linalg.inv(matrix)
    q = inverse[0, 0] * dx**2 + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy**2
    return (beta - 1) / (np.pi * alpha**2) * (1 + q) ** -beta


@pytest.mark.parametrize("fwhm", [1.6, 2.2, 4.0])
@pytest.mark.parametrize("pixel", [(0, 0), (1, -1), (4, 2), (5, 0), (9, -7)])
def test_a_pixel_holds_the_integral_of_the_profile(fwhm, pixel):
    x, y, shape = 20.37, 31.79, {"beta": 3.0, "e1": 0.04, "e2": -0.03}
    stamp = uniform_spread(fwhm=fwhm, **shape).image(x=x, y=y, radius=10)

    dx, dy = 20 + pixel[0] - x, 32 + pixel[1] - y
    expected, _ = integrate.dblquad(
        lambda v, u: moffat_density(u, v, fwhm=fwhm, **shape), dx - 0.5, dx + 0.5, dy - 0.5, dy + 0.5, epsabs=1e-10
    )

    assert stamp[10 + pixel[1], 10 + pixel[0]] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("fwhm", [1.6, 2.2, 4.0])
def test_flux_is_that_of_the_infinite_profile(fwhm):
    radius, spread = 200, uniform_spread(fwhm=fwhm)
    stamp = spread.image(x=0.31, y=-0.44, radius=radius)
    offsets = np.arange(-radius, radius + 1)
    within = np.hypot(offsets[None] - 0.31, offsets[:, None] + 0.44) < radius - 1

    assert stamp[within].sum() == pytest.approx(spread.encircled(radius - 1, x=0, y=0), abs=1e-4)


@pytest.mark.parametrize("fwhm", [1.6, 2.2, 4.0])
def test_the_centroid_is_where_the_star_was_put(fwhm):
    # Sampling moves the centroid of one undersampled star; the mean over all phases is free of it.
    phases = (np.arange(16) + 0.5) / 16 - 0.5
    offsets = np.arange(-60, 61)
    errors = []
    for phase in phases:
        stamp = uniform_spread(fwhm=fwhm, beta=5.0, e1=0.05).image(x=phase, y=0.2, radius=60)
        errors.append((stamp * offsets).sum() / stamp.sum() - phase)

    assert np.abs(np.mean(errors)) < 1e-5
    assert np.abs(errors).max() < (1e-4 if fwhm > 2 else 1e-3)


def test_the_half_maximum_is_where_the_settings_say():
    profile = moffat_density(np.array([0.0, 1.1]), 0.0, fwhm=2.2, beta=3.0, e1=0.0, e2=0.0)

    assert profile[1] / profile[0] == pytest.approx(0.5)


def test_the_pixel_integrated_half_maximum_is_where_a_pixel_holds_half_as_much():
    shape = {"fwhm": 2.2, "beta": 3.0, "e1": 0.0, "e2": 0.0}
    radius = uniform_spread(fwhm=2.2).pixel_fwhm(x=50, y=50) / 2

    def pixel_at(x, y):
        return integrate.dblquad(
            lambda v, u: moffat_density(u, v, **shape), x - 0.5, x + 0.5, y - 0.5, y + 0.5, epsabs=1e-9
        )[0]

    angles = np.deg2rad([0, 15, 30, 45])
    around = np.average([pixel_at(radius * np.cos(a), radius * np.sin(a)) for a in angles], weights=[1, 2, 2, 1])
    assert around / pixel_at(0, 0) == pytest.approx(0.5, abs=5e-4)


def test_adaptive_moments_of_a_nearly_gaussian_star_are_its_own():
    beta, sigma = 200.0, 2.0
    fwhm = sigma * 2 * np.sqrt(2 * np.log(2))
    moments = uniform_spread(fwhm=fwhm, beta=beta, e1=0.05).adaptive_moments(x=50, y=50)

    expected = sigma**2 * np.array([1.05, 0.95]) / np.sqrt(1 - 0.05**2) + 1 / 12
    np.testing.assert_allclose([moments.ixx, moments.iyy], expected, rtol=0.01)
    assert moments.ixy == pytest.approx(0, abs=1e-9)


def test_adaptive_moments_fulfil_their_definition_on_a_pixel_grid():
    spread = uniform_spread(fwhm=4.0, e1=0.04, e2=0.02)
    moments = spread.adaptive_moments(x=50, y=50)
    dx, dy = np.meshgrid(np.arange(-40, 41.0), np.arange(-40, 41.0))
    image = spread.image(x=0, y=0, radius=40)
    determinant = moments.ixx * moments.iyy - moments.ixy**2
    q = (moments.iyy * dx**2 - 2 * moments.ixy * dx * dy + moments.ixx * dy**2) / determinant
    weighted = image * np.exp(-0.5 * q)

    measured = [2 * (weighted * product).sum() / weighted.sum() for product in (dx**2, dy**2, dx * dy)]
    np.testing.assert_allclose(measured, moments, rtol=1e-4)


def test_the_profile_varies_over_the_image_as_much_as_the_settings_say():
    settings = OpticsSettings(fwhm_variation=0.04, ellipticity_variation=0.05)
    spread = draw_point_spread(settings, seed=3, epoch=0, shape=(800, 1000), fwhm=2.2)
    x, y = np.meshgrid(np.linspace(0, 999, 50), np.linspace(0, 799, 50))

    assert float(spread.fwhm(x=499.5, y=399.5)) == pytest.approx(2.2)
    assert np.abs(spread.fwhm(x=x, y=y) / 2.2 - 1).max() == pytest.approx(0.04, abs=0.001)
    assert np.hypot(spread.e1(x=x, y=y), spread.e2(x=x, y=y)).max() == pytest.approx(0.05, abs=0.001)


def test_stars_outside_the_image_still_shed_light_on_it():
    image = np.zeros((50, 50))
    add_stars(
        image,
        x=np.array([-3.0]),
        y=np.array([20.0]),
        flux=np.array([1e6]),
        spread=uniform_spread(fwhm=2.2),
        faintest=0.1,
    )

    assert image[20, 0] > 100
    assert image[20, 0] == image.max()


def test_added_stars_bring_their_flux():
    image = np.zeros((300, 300))
    x, y, flux = np.array([100.3, 200.8]), np.array([150.1, 120.6]), np.array([200.0, 1e5])
    add_stars(image, x=x, y=y, flux=flux, spread=uniform_spread(fwhm=2.2), faintest=0.1)

    assert image.sum() == pytest.approx(flux.sum(), rel=1e-3)
    assert image[140:161, 90:111].sum() == pytest.approx(200, rel=5e-3)


def test_the_profile_stays_a_profile_far_from_a_small_image():
    spread = draw_point_spread(OpticsSettings(), seed=1, epoch=0, shape=(32, 32), fwhm=2.2)

    inside, outside = (spread.scale_matrix(x=x, y=31.5) for x in (31.5, 400.0))
    np.testing.assert_array_equal(inside, outside)
