"""Adaptive moments are those of the object, with honest errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.algorithms.moments import adaptive_moments, excess_kurtosis
from firstlight.kernels import moments as kernel

from .frames import gaussian, moffat, tiled


def elliptical(shape, *, x, y, ixx, iyy, ixy, flux):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    dx, dy = columns - x, rows - y
    det = ixx * iyy - ixy**2
    rho2 = (iyy * dx**2 - 2 * ixy * dx * dy + ixx * dy**2) / det
    return flux * np.exp(-0.5 * rho2) / (2 * np.pi * np.sqrt(det))


@given(
    x=st.floats(39.5, 40.5),
    y=st.floats(39.5, 40.5),
    a=st.floats(1.4, 5.0),
    ratio=st.floats(0.5, 1.0),
    angle=st.floats(0.0, np.pi),
)
@settings(max_examples=40, deadline=None)
def test_a_gaussian_has_its_own_moments(x, y, a, ratio, angle):
    b = max(1.4, a * ratio)
    c, s = np.cos(angle), np.sin(angle)
    ixx, iyy, ixy = a**2 * c**2 + b**2 * s**2, a**2 * s**2 + b**2 * c**2, (a**2 - b**2) * c * s
    image = elliptical((81, 81), x=x, y=y, ixx=ixx, iyy=iyy, ixy=ixy, flux=700.0)

    found = adaptive_moments(image, x=[40.0], y=[40.0], sigma_guess=2.0, tolerance=1e-8)

    assert found.status[0] == kernel.OK
    measured = [found.ixx[0], found.iyy[0], found.ixy[0]]
    np.testing.assert_allclose(measured, [ixx, iyy, ixy], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose([found.x[0], found.y[0], found.flux[0]], [x, y, 700.0], rtol=1e-4)


@pytest.mark.parametrize("beta", [2.3, 3.0, 20.0])
def test_errors_of_sizes_know_the_wings(beta):
    rng = np.random.default_rng(2)
    stamp = moffat(31, fwhm=4.0, beta=beta)
    light, x, y = tiled(4000.0 * stamp, 30, 30)
    sigma = float(adaptive_moments(stamp, x=[15.0], y=[15.0], sigma_guess=2.0).sigma[0])
    image = light + rng.normal(size=light.shape) * 4.0

    found = adaptive_moments(
        image,
        x=x,
        y=y,
        sigma_guess=2.0,
        variance=np.full(light.shape, 16.0),
        kurtosis=excess_kurtosis(stamp, sigma=sigma),
    )

    size, shape, error = found.ixx + found.iyy, found.ixx - found.iyy, 0.5 * (found.ixx_err**2 + found.iyy_err**2)
    pull = np.sqrt(0.25 * (size.var() + shape.var()) / np.median(error))
    assert pull == pytest.approx(1.0, abs=3.5 / np.sqrt(4 * len(x)))  # two independent variances of 900 stars
    assert found.ixy.std() / np.median(found.ixy_err) == pytest.approx(1.0, abs=3.5 / np.sqrt(2 * len(x)))


@pytest.mark.parametrize("fwhm", [1.6, 2.2, 4.0])
def test_errors_are_those_of_repeated_measurements(fwhm):
    rng = np.random.default_rng(1)
    light, x, y = tiled(3000.0 * moffat(25, dx=0.3, dy=-0.2, fwhm=fwhm), 30, 30)
    variance = 51.0 + light / 6.2
    image = light + rng.normal(size=light.shape) * np.sqrt(variance)

    found = adaptive_moments(image, x=x, y=y, sigma_guess=fwhm / 2, variance=variance)

    assert not found.flag.any()
    for name in ("ixx", "iyy", "ixy", "flux"):
        values, errors = getattr(found, name), getattr(found, f"{name}_err")
        assert 0.85 < values.std() / np.median(errors) < 1.25
    assert 0.9 < (found.x - x).std() / np.median(found.x_err) < 1.1


def test_moments_of_noisy_stars_are_unbiased():
    rng = np.random.default_rng(2)
    stamp = moffat(25, dx=0.1, dy=0.4, fwhm=3.0)
    truth = adaptive_moments(stamp, x=[12.0], y=[12.0], sigma_guess=1.5)
    light, x, y = tiled(3000.0 * stamp, 40, 40)
    image = light + rng.normal(0.0, 7.0, light.shape)

    found = adaptive_moments(image, x=x, y=y, sigma_guess=1.5)

    error_of_the_mean = found.ixx.std() / np.sqrt(len(x))
    assert abs(found.ixx.mean() - truth.ixx[0]) < 0.005 * truth.ixx[0] + 3 * error_of_the_mean


@pytest.mark.parametrize("fwhm", [1.4, 1.6])
def test_undersampled_stars_converge_wherever_they_fall_in_a_pixel(fwhm):
    offsets = np.random.default_rng(3).uniform(-0.5, 0.5, (30, 2))
    image = np.block([[moffat(15, dx=dx, dy=dy, fwhm=fwhm) for dx, dy in offsets]])

    found = adaptive_moments(image, x=np.arange(30) * 15 + 7.0, y=np.full(30, 7.0), sigma_guess=0.8)

    assert not found.flag.any()
    assert np.ptp(found.sigma) < 0.1 * found.sigma.mean()


def test_masked_pixels_do_not_change_the_moments_of_a_gaussian():
    image = elliptical((61, 61), x=30.2, y=29.7, ixx=6.0, iyy=4.0, ixy=1.0, flux=1000.0)
    bad = np.zeros(image.shape, bool)
    bad[29:32, 30:32] = bad[24, 20:40] = True
    image[bad] = np.nan

    found = adaptive_moments(image, x=[30.0], y=[30.0], sigma_guess=2.0, bad=bad, tolerance=1e-6)

    np.testing.assert_allclose([found.ixx[0], found.iyy[0], found.ixy[0], found.flux[0]], [6, 4, 1, 1000], rtol=1e-3)


def test_the_pixels_of_a_neighbour_can_be_left_out():
    image = gaussian((60, 60), x=25, y=30, sigma=2.0, flux=500.0) + gaussian(
        (60, 60), x=33, y=30, sigma=2.0, flux=1500.0
    )
    labels = np.ones(image.shape, dtype=np.int32)
    labels[:, 29:] = 2

    blind = adaptive_moments(image, x=[25.0], y=[30.0], sigma_guess=2.0)
    found = adaptive_moments(image, x=[25.0], y=[30.0], sigma_guess=2.0, labels=labels, own_label=np.array([1]))

    assert blind.flag[0] or blind.ixx[0] > 8.0
    assert found.ixx[0] == pytest.approx(4.0, rel=0.3)


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (lambda: np.zeros((40, 40)), kernel.NO_FLUX),
        (lambda: np.full((40, 40), -1.0), kernel.NO_FLUX),
        (lambda: np.full((40, 40), 5.0), kernel.TOO_LARGE),
        (lambda: gaussian((40, 40), x=29, y=20, sigma=2.0), kernel.SHIFTED),
        (lambda: np.where(gaussian((40, 40), x=20, y=20, sigma=0.05) > 0.1, 1.0, 0.0), kernel.SINGULAR),
    ],
)
def test_what_cannot_be_measured_is_flagged_and_nan(make, status):
    found = adaptive_moments(make(), x=[20.0], y=[20.0], sigma_guess=2.0, max_sigma=8.0)

    assert found.status[0] == status
    assert found.flag[0]
    assert np.isnan([found.ixx[0], found.x[0], found.flux[0], found.ixx_err[0]]).all()


def test_objects_off_the_image_or_all_masked_are_flagged():
    image = gaussian((40, 40), x=20, y=20, sigma=2.0)

    outside = adaptive_moments(image, x=[-50.0], y=[20.0], sigma_guess=1.0)
    masked = adaptive_moments(image, x=[20.0], y=[20.0], sigma_guess=1.0, bad=np.ones(image.shape, bool))

    assert outside.status[0] == kernel.OFF_IMAGE
    assert masked.status[0] == kernel.MASKED


def test_a_cosmic_ray_is_sharper_and_a_galaxy_broader_than_a_star():
    image = np.zeros((60, 180))
    image[30, 30:32] = 100.0
    image[:, 60:120] += gaussian((60, 60), x=30, y=30, sigma=1.2, flux=1000.0)
    image[:, 120:] += gaussian((60, 60), x=30, y=30, sigma=2.5, flux=1000.0)

    found = adaptive_moments(image, x=[30.5, 90.0, 150.0], y=[30.0] * 3, sigma_guess=1.2)

    assert found.flag[0] or found.sigma[0] < 0.8
    np.testing.assert_allclose(found.sigma[1:], [1.2, 2.5], rtol=1e-3)
