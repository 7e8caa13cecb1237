"""Aperture sums are exact, and so are their errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.algorithms.aperture import aperture_fluxes, compensated_fluxes, kron_fluxes, local_sky
from firstlight.algorithms.detection import detect_sources, smooth_for_detection

from .frames import gaussian


def ask(image, variance=1.0, bad=None):
    return {
        "variance": np.full(image.shape, variance, np.float32),
        "bad": np.zeros(image.shape, bool) if bad is None else bad,
    }


@given(x=st.floats(15.0, 24.0), y=st.floats(15.0, 24.0), radius=st.floats(1.0, 12.0))
def test_a_flat_image_gives_the_area_and_its_error(x, y, radius):
    image = np.full((40, 40), 3.0, dtype=np.float32)

    found = aperture_fluxes(image, **ask(image, variance=4.0), x=[x], y=[y], radius=radius)

    area = np.pi * radius**2
    assert found.flux[0] == pytest.approx(3.0 * area, rel=1e-5)
    assert found.flux_err[0] == pytest.approx(2.0 * np.sqrt(area), rel=1e-5)


@pytest.mark.parametrize("radius", [2.0, 5.0, 12.0])
def test_a_wide_gaussian_gives_the_analytic_share(radius):
    image = gaussian((81, 81), x=40.3, y=39.6, sigma=4.0, flux=1000.0)

    found = aperture_fluxes(image, **ask(image), x=[40.3], y=[39.6], radius=radius)

    assert found.flux[0] == pytest.approx(1000.0 * (1 - np.exp(-(radius**2) / 32.0)), rel=0.01)


def test_several_radii_are_columns_and_equal_the_single_ones():
    image = gaussian((50, 50), x=25, y=25, sigma=2.0, flux=100.0)
    radii = (1.0, 3.0, 6.0)

    together = aperture_fluxes(image, **ask(image), x=[25.0, 20.0], y=[25.0, 20.0], radius=radii)

    assert together.flux.shape == (2, 3)
    for column, radius in enumerate(radii):
        alone = aperture_fluxes(image, **ask(image), x=[25.0, 20.0], y=[25.0, 20.0], radius=radius)
        np.testing.assert_array_equal(together.flux[:, column], alone.flux)


def test_too_much_masked_or_cut_off_is_flagged_and_nan():
    image = np.ones((40, 40), dtype=np.float32)
    bad = np.zeros(image.shape, bool)
    bad[10, 10] = True
    bad[28:33, 28:33] = True

    found = aperture_fluxes(image, **ask(image, bad=bad), x=[10, 30, 1, 20, np.nan], y=[10, 30, 20, 20, 20], radius=5.0)

    assert found.flag.tolist() == [False, True, True, False, True]
    assert np.isnan(found.flux[found.flag]).all()
    assert found.masked_fraction[0] == pytest.approx(1 / (25 * np.pi), rel=0.05)
    assert found.flux[0] == pytest.approx(25 * np.pi, rel=1e-3)


@given(pedestal=st.floats(-100.0, 100.0))
def test_compensated_fluxes_do_not_see_a_constant_sky(pedestal):
    star = gaussian((60, 60), x=30, y=30, sigma=2.0, flux=1000.0)

    without, lifted = (
        compensated_fluxes(image, **ask(image), x=[30.0], y=[30.0], radius=6.0) for image in (star, star + pedestal)
    )

    assert lifted.flux[0] == pytest.approx(without.flux[0], abs=1e-6 * 400 * (1 + abs(pedestal)))


def test_errors_of_compensated_fluxes_are_those_of_repeated_measurements():
    image = np.random.default_rng(1).normal(0.0, 3.0, (640, 640))
    y, x = np.mgrid[20:620:24, 20:620:24].reshape(2, -1).astype(float)

    found = compensated_fluxes(image, **ask(image, variance=9.0), x=x, y=y, radius=6.0)

    # Pixels on a rim count with their area, not its square, in the error of the ring: a few per cent too much.
    assert 0.85 < found.flux.std() / found.flux_err.mean() < 1.03


@pytest.mark.parametrize("centre", [(4.4, 20.0), (20.0, 4.4), (34.6, 20.0), (20.0, 34.6)])
@pytest.mark.parametrize("measure", ["circle", "ellipse"])
def test_an_aperture_that_leaves_the_image_by_a_tenth_of_a_pixel_is_flagged(centre, measure):
    image = np.ones((40, 40), dtype=np.float32)
    inside = np.clip(centre, 4.6, 34.4)
    x, y = np.transpose([centre, inside])
    if measure == "circle":
        found = aperture_fluxes(image, **ask(image), x=x, y=y, radius=5.0)
    else:
        shape = {"a": np.full(2, 2.0), "b": np.full(2, 2.0), "theta": np.zeros(2)}
        nobody = np.zeros(image.shape, np.int32)
        found = kron_fluxes(image, **ask(image), x=x, y=y, **shape, labels=nobody, factor=0.1, min_radius=5.0)

    assert found.flag.tolist() == [True, False]


def test_the_local_sky_ignores_stars_in_the_ring():
    rng = np.random.default_rng(2)
    image = rng.normal(50.0, 2.0, (100, 100)) + gaussian((100, 100), x=62, y=50, sigma=1.5, flux=50_000.0)

    found = local_sky(image, bad=np.zeros(image.shape, bool), x=[50.0], y=[50.0], inner=8.0, outer=16.0)

    assert found.level[0] == pytest.approx(50.0, abs=4 * found.level_err[0] + 0.1)
    assert found.sigma[0] == pytest.approx(2.0, rel=0.15)
    assert found.n[0] > 400


def test_a_ring_without_pixels_has_no_sky():
    image = np.ones((40, 40))

    found = local_sky(image, bad=np.ones(image.shape, bool), x=[20.0], y=[20.0], inner=3.0, outer=6.0)

    assert np.isnan(found.level[0])
    assert found.n[0] == 0


def test_kron_apertures_hold_nearly_all_the_light_of_round_and_long_sources():
    image = gaussian((120, 120), x=35, y=60, sigma=2.0, flux=1e5) + gaussian(
        (120, 120), x=85, y=60, sigma=4.0, flux=1e5
    )
    variance = np.ones(image.shape, np.float32)
    bad = np.zeros(image.shape, bool)
    found = detect_sources(smooth_for_detection(image, variance=variance, bad=bad, psf_sigma=1.5))

    kron = kron_fluxes(
        image,
        variance=variance,
        bad=bad,
        x=found.x,
        y=found.y,
        a=found.a,
        b=found.b,
        theta=found.theta,
        labels=found.labels,
    )

    assert not kron.flag.any()
    np.testing.assert_allclose(kron.flux, 1e5, rtol=0.05)
