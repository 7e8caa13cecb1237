"""PSF stars are stars."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.psf_stars import find_misfits, select_psf_stars


def population(n_stars=200, n_galaxies=100, n_rays=60, seed=1):
    rng = np.random.default_rng(seed)
    n = n_stars + n_galaxies + n_rays
    snr = rng.pareto(1.0, n) * 30 + 10
    size = np.concatenate(
        [np.full(n_stars, 1.5), 1.5 * rng.uniform(1.15, 3.0, n_galaxies), 1.5 * rng.uniform(0.4, 0.9, n_rays)]
    )
    size *= 1 + rng.normal(size=n) * np.hypot(0.015, 0.7 / snr)
    return size, snr, np.arange(n) < n_stars


def test_stars_are_told_from_galaxies_and_cosmic_rays():
    size, snr, star = population()

    chosen = select_psf_stars(size, snr=snr, flags=np.zeros(len(size), bool))

    bright = star & (snr >= 50)
    assert (chosen.selected & bright).sum() > 0.85 * bright.sum()
    assert (chosen.selected & ~star).sum() <= 0.05 * chosen.selected.sum()
    assert chosen.size == pytest.approx(1.5, rel=0.01)


def test_stars_win_even_where_galaxies_are_more():
    size, snr, star = population(n_stars=60, n_galaxies=200, n_rays=100, seed=2)

    chosen = select_psf_stars(size, snr=snr, flags=np.zeros(len(size), bool))

    assert (chosen.selected & star).sum() > 0.8 * chosen.selected.sum()
    assert chosen.size == pytest.approx(1.5, rel=0.03)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_handful_of_faint_stars_is_taken_as_it_is(n):
    size = 1.5 * (1 + 0.01 * np.arange(n))

    chosen = select_psf_stars(size, snr=np.full(n, 12.0), flags=np.zeros(n, bool))

    assert chosen.selected.all()


def test_the_funnel_says_what_each_cut_left():
    size, snr, _ = population()
    flags = np.zeros(len(size), bool)
    flags[::3] = True
    size[1] = np.nan

    chosen = select_psf_stars(size, snr=snr, flags=flags, ellipticity=np.zeros(len(size)), max_stars=20)

    names, counts = zip(*chosen.funnel, strict=True)
    assert names == ("detected", "measured", "clean", "compact", "bright", "stellar", "brightest")
    assert list(counts) == sorted(counts, reverse=True)
    assert counts[-1] == chosen.selected.sum() == 20
    assert not (chosen.selected & flags).any()


def test_without_candidates_nothing_is_selected():
    chosen = select_psf_stars(np.array([np.nan, 1.0]), snr=np.array([100.0, 100.0]), flags=np.array([False, True]))

    assert not chosen.selected.any()
    assert np.isnan(chosen.size)
    assert chosen.funnel[-1] == ("stellar", 0)


@pytest.mark.parametrize("n_known", [0, 1, 2, 40])
def test_stars_without_a_chi_square_are_misfits_however_many_they_are(n_known):
    chi2 = np.concatenate([np.full(50, np.nan), np.linspace(0.95, 1.05, n_known), np.full(50, np.inf)])

    misfit = find_misfits(chi2, flux=np.arange(len(chi2), dtype=float), share=0.01)

    np.testing.assert_array_equal(misfit, ~np.isfinite(chi2))


def test_the_worst_of_the_stars_that_have_a_chi_square_is_found_among_those_without():
    chi2 = np.array([1.0, np.nan, 1.1, np.nan, np.nan, 0.9, np.nan, 9.0, np.nan, np.nan, 1.0])
    flux = np.arange(len(chi2), dtype=float)

    assert np.flatnonzero(find_misfits(chi2, flux=flux) & np.isfinite(chi2)).tolist() == [7]
    assert not (find_misfits(chi2, flux=flux, share=0.0) & np.isfinite(chi2)).any()
