"""Artificial sources, and the share of them that is found."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.injection import (
    bin_completeness,
    binomial_interval,
    effective_gain,
    fit_completeness,
    light_of_stars,
    point_source_errors,
)
from firstlight.images.psf import GaussianPsf

PSF = GaussianPsf(sigma=1.2, radius=8)


def test_light_of_stars_is_their_flux_where_they_are():
    x, y, flux = np.array([20.3, 40.0]), np.array([15.0, 30.7]), np.array([100.0, 50.0])

    light = light_of_stars((50, 60), psf=PSF, x=x, y=y, flux=flux)

    assert light.sum() == pytest.approx(150.0)
    rows, columns = np.mgrid[:50, :60]
    near = (columns - 20.3) ** 2 + (rows - 15.0) ** 2 < 64
    assert (light * columns)[near].sum() / light[near].sum() == pytest.approx(20.3, abs=0.01)


@pytest.mark.parametrize(
    ("x", "y"), [(-3.0, 10.0), (-0.5, -0.4), (59.6, 49.2), (63.0, 20.0), (30.0, -7.9), (-40.0, 9.0)]
)
def test_light_beyond_the_border_is_lost_and_nothing_else(x, y):
    star = {"psf": PSF, "flux": np.array([100.0])}
    whole = light_of_stars((150, 160), x=np.array([x + 50.0]), y=np.array([y + 50.0]), **star)

    light = light_of_stars((50, 60), x=np.array([x]), y=np.array([y]), **star)

    np.testing.assert_allclose(light, whole[50:100, 50:110], atol=1e-4)


def test_error_of_a_point_source_is_that_of_its_psf_flux():
    rng = np.random.default_rng(2)
    profile = PSF.image(x=20.0, y=20.0)
    fluxes = [(rng.normal(0, 3.0, profile.shape) * profile).sum() / (profile**2).sum() for _ in range(400)]

    error = point_source_errors(
        np.full((40, 40), 9.0), psf=PSF, x=np.array([20.0]), y=np.array([20.0]), bad=np.zeros((40, 40), dtype=bool)
    )

    assert error[0] == pytest.approx(np.std(fluxes), rel=4 / np.sqrt(800))


def test_gain_follows_from_how_the_variance_rises_with_the_light():
    rng = np.random.default_rng(2)
    image = np.where(rng.random((50, 50)) < 0.1, rng.uniform(100, 5000, (50, 50)), 0.0)
    nothing = np.zeros(image.shape, dtype=bool)

    assert effective_gain(image, 30.0 + image / 2.5, bad=nothing) == pytest.approx(2.5)
    assert effective_gain(np.zeros((50, 50)), np.ones((50, 50)), bad=nothing) is None


def test_binomial_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(4)
    for share in (0.1, 0.5, 0.9):
        drawn = rng.binomial(30, share, 2000)
        intervals = {k: binomial_interval(k, 30) for k in set(drawn)}
        covered = np.mean([intervals[k][0] <= share <= intervals[k][1] for k in drawn])
        # Whole numbers cannot be covered exactly; Jeffreys' interval is right to a few per cent on average.
        assert covered == pytest.approx(0.683, abs=0.09)
    assert binomial_interval(0, 0) == (0.0, 1.0)


def test_half_completeness_is_found_with_an_honest_error():
    pulls = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        snr = rng.uniform(3, 9, 400)
        found = rng.random(400) < 1 / (1 + np.exp(-(snr - 5.0) / 0.5))
        fit = fit_completeness(snr, found)
        pulls.append((fit.half - 5.0) / fit.half_err)

    assert abs(np.mean(pulls)) < 4 / np.sqrt(25)
    assert np.std(pulls) == pytest.approx(1.0, abs=4 / np.sqrt(50))


def test_magnitude_limit_is_the_same_law_the_other_way_round():
    rng = np.random.default_rng(1)
    mag = rng.uniform(18, 24, 1500)
    found = rng.random(1500) < 0.9 / (1 + np.exp((mag - 21.5) / 0.2))

    fit = fit_completeness(mag, found, magnitudes=True)

    assert fit.half == pytest.approx(21.5, abs=max(4 * fit.half_err, 0.02))
    assert fit.ceiling == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 800))
    assert fit.share(np.array([18.0]))[0] == pytest.approx(fit.ceiling, abs=1e-3)


def test_no_limit_among_the_sources_is_told():
    assert fit_completeness(np.arange(5.0), np.ones(5, dtype=bool)) is None
    assert fit_completeness(np.arange(5.0), np.zeros(5, dtype=bool)) is None


def test_bins_count_and_leave_empty_ones_open():
    bins = bin_completeness(np.array([1.5, 1.6, 3.5]), np.array([True, False, True]), edges=np.array([1.0, 2, 3, 4]))

    assert bins.n_total.tolist() == [2, 0, 1]
    assert bins.share[0] == 0.5
    assert np.isnan(bins.share[1])
    assert (bins.low[1], bins.high[1]) == (0.0, 1.0)
