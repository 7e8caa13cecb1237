"""The zero point is unbiased, states its error honestly, and ignores variables and mismatches."""

from __future__ import annotations

import numpy as np
import pytest

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
