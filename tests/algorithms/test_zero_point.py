"""The zero point is unbiased, states its error honestly, and ignores variables and mismatches."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from firstlight.algorithms.color_terms import StarColors, camera_magnitudes
from firstlight.algorithms.zero_point import fit_zero_point
from firstlight.errors import PhotometryError

ZERO_POINT = 26.3


def calibrators(n, *, seed, scatter=0.0, outliers=0.0):
    rng = np.random.default_rng(seed)
    magnitude = rng.uniform(15, 20, n)
    flux = 10 ** (-0.4 * (magnitude - ZERO_POINT + rng.normal(0, scatter, n)))
    error = np.sqrt(flux / 6 + 300.0)
    reference_error = np.full(n, 0.01)
    measured = flux + rng.normal(0, error)
    stated = magnitude + rng.normal(0, reference_error)
    wrong = rng.random(n) < outliers
    stated[wrong] += rng.uniform(-2, 2, wrong.sum())
    return measured, error, stated, reference_error


def test_pull_of_the_zero_point_is_one():
    pulls = []
    for seed in range(200):
        fit = fit_zero_point(*calibrators(80, seed=seed, scatter=0.01))
        pulls.append((fit.value - ZERO_POINT) / fit.error)

    assert np.mean(pulls) == pytest.approx(0.0, abs=3 / np.sqrt(200))
    assert np.std(pulls) == pytest.approx(1.0, abs=3 / np.sqrt(2 * 200) + 0.05)


def test_intrinsic_scatter_is_recovered():
    found = [fit_zero_point(*calibrators(500, seed=seed, scatter=0.03)).intrinsic_scatter for seed in range(20)]

    assert np.mean(found) == pytest.approx(0.03, rel=0.1)


def test_a_tenth_of_wrong_references_moves_the_zero_point_by_less_than_five_mmag():
    values = [fit_zero_point(*calibrators(200, seed=seed, outliers=0.1)).value for seed in range(50)]

    assert abs(np.mean(values) - ZERO_POINT) < 0.002
    assert np.std(values) < 0.005


def test_a_single_star_gives_its_own_zero_point_and_error():
    fit = fit_zero_point(np.array([1000.0]), np.array([10.0]), np.array([18.8]), np.array([np.nan]))

    assert fit.value == pytest.approx(26.3)
    assert fit.error == pytest.approx(2.5 / np.log(10) * 0.01)


@pytest.mark.parametrize("flux", [np.array([]), np.array([-5.0, np.nan])])
def test_no_usable_star_is_an_error_with_the_counts(flux):
    with pytest.raises(PhotometryError) as error:
        fit_zero_point(flux, np.ones_like(flux), np.full_like(flux, 15.0), np.zeros_like(flux))

    assert error.value.facts["n_matched"] == len(flux)


def test_sky_left_under_every_star_does_not_move_the_zero_point():
    values, offsets = [], []
    for seed in range(50):
        flux, error, magnitude, magnitude_error = calibrators(300, seed=seed)
        fit = fit_zero_point(flux + 30.0, error, magnitude, magnitude_error)
        values.append(fit.value)
        offsets.append(fit.flux_offset)

    assert abs(np.mean(values) - ZERO_POINT) < 0.001
    assert np.mean(offsets) == pytest.approx(30.0, rel=0.1)


def test_a_selection_of_bright_measurements_does_not_move_the_zero_point():
    values = []
    for seed in range(50):
        flux, error, magnitude, magnitude_error = calibrators(400, seed=seed)
        seen = flux > 10 * error
        fit = fit_zero_point(flux[seen], error[seen], magnitude[seen], magnitude_error[seen], min_snr=15.0)
        values.append(fit.value)

    assert abs(np.mean(values) - ZERO_POINT) < 0.001


COLOR_TERM = 0.1


def colored_calibrators(n, *, seed, noise=None):
    """Return measured stars whose camera sees ``g + 0.1 (g - r)``; the errors of g and r are up to 0.03 mag."""
    rng = np.random.default_rng(seed)
    green, color = rng.uniform(15, 20, n), np.clip(rng.normal(0.7, 0.35, n), -0.2, 1.6)
    flux = 10 ** (-0.4 * (green + COLOR_TERM * color - ZERO_POINT))
    error, reference_error = np.sqrt(flux / 6 + 300.0), noise or 0.003 * 10 ** (0.2 * (green - 15))
    reference_error = np.broadcast_to(reference_error, n)
    stated, red = green + rng.normal(0, reference_error), green - color + rng.normal(0, reference_error)
    colors = StarColors.of(stated, red, primary_error=reference_error, secondary_error=reference_error)
    return (flux + rng.normal(0, error), error, stated, reference_error), colors


def test_pulls_of_colour_term_and_zero_point_are_one():
    found = []
    for seed in range(150):
        stars, colors = colored_calibrators(200, seed=seed)
        found.append(fit_zero_point(*stars, color=colors))
    of_term = np.array([(fit.color_term - COLOR_TERM) / fit.color_term_error for fit in found])
    of_value = np.array([(fit.value - ZERO_POINT) / fit.error for fit in found])

    for pull in (of_term, of_value):
        assert np.mean(pull) == pytest.approx(0.0, abs=3 / np.sqrt(150))
        assert np.std(pull) == pytest.approx(1.0, abs=3 / np.sqrt(2 * 150) + 0.05)


def test_the_noise_that_magnitude_and_colour_share_does_not_tilt_the_colour_term():
    stars, colors = colored_calibrators(20_000, seed=1, noise=0.05)
    naive = StarColors(colors.value, np.zeros(20_000), np.zeros(20_000))
    fit, tilted = (fit_zero_point(*stars, color=each) for each in (colors, naive))

    assert abs(fit.color_term - COLOR_TERM) < 3 * fit.color_term_error < 0.005
    assert abs(tilted.color_term - COLOR_TERM) > 5 * tilted.color_term_error


def test_stars_without_a_colour_are_left_out():
    stars, colors = colored_calibrators(100, seed=2)
    colors.value[:30] = np.nan
    fit = fit_zero_point(*stars, color=colors)

    assert not fit.used[:30].any()
    assert abs(fit.value - ZERO_POINT) < 4 * fit.error


def test_a_real_frame_has_the_same_zero_point_by_either_of_two_reference_magnitudes():
    """Of an LCO frame through g: what r lacks to g is one colour, so the slopes differ by one."""
    folder = os.environ.get("FIRSTLIGHT_TEST_DATA")
    if not folder:
        pytest.skip("FIRSTLIGHT_TEST_DATA names no folder with real images")
    table = Table.read(Path(folder) / "lco" / "ogg2m001_matched_catalogue.fits")
    table = table[np.asarray(table["flag"]) == 0]
    names = ("flux", "fluxerr", "gmag", "gmagerr", "rmag", "rmagerr")
    flux, error, green, green_error, red, red_error = (np.asarray(table[name], dtype=float) for name in names)
    by_green = StarColors.of(green, red, primary_error=green_error, secondary_error=red_error)
    by_red = StarColors.of(red, green, primary_error=red_error, secondary_error=green_error)
    plain = fit_zero_point(flux, error, green, green_error)
    first = fit_zero_point(flux, error, green, green_error, color=by_green)
    other = fit_zero_point(flux, error, red, red_error, color=by_red)

    assert first.color_term > 4 * first.color_term_error
    assert first.intrinsic_scatter < plain.intrinsic_scatter
    assert abs(other.value - first.value) < 3 * first.error
    assert abs(-other.color_term - 1 - first.color_term) < 3 * first.color_term_error


def test_a_known_colour_term_brings_magnitudes_and_errors_to_the_camera():
    magnitude, error = camera_magnitudes(
        np.array([15.0, 16.0]),
        np.array([14.0, 16.5]),
        primary_error=np.array([0.01, np.nan]),
        secondary_error=np.array([0.02, 0.02]),
        c0=0.01,
        c1=0.1,
        c2=0.2,
    )

    np.testing.assert_allclose(magnitude, [15.0 + 0.01 + 0.1 + 0.2, 16.0 + 0.01 - 0.05 + 0.05])
    np.testing.assert_allclose(error, [np.hypot(1.5 * 0.01, 0.5 * 0.02), 0.1 * 0.02])
