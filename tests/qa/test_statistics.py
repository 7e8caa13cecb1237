"""Medians, slopes and counts of scattered points."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from firstlight.qa import columns
from firstlight.qa.statistics import binned_medians, cell_means, cell_medians, excess_scatter, median_of, number_counts

SHAPE = (300, 400)


def points(n, seed=4):
    rng = np.random.default_rng(seed)
    return {"x": rng.uniform(-0.5, SHAPE[1] - 0.5, n), "y": rng.uniform(-0.5, SHAPE[0] - 0.5, n)}, rng


def test_the_error_of_a_median_is_how_much_it_scatters():
    draws = np.random.default_rng(1).normal(3.0, 2.0, (2000, 41))
    medians, errors = np.array([median_of(draw) for draw in draws]).T

    # Error of a standard deviation from 2000 values: 1.6 %; of the median formula at n = 41: about 2 %; 4 sigma.
    assert np.median(errors) == pytest.approx(medians.std(), rel=0.12)


def test_a_trend_is_followed_by_medians_of_groups():
    at = np.random.default_rng(2).uniform(0, 10, 4000)
    medians = binned_medians(at, 2 * at + 1)

    assert len(medians.at) == 8
    np.testing.assert_allclose(medians.value, 2 * medians.at + 1, atol=1e-9)


@pytest.mark.parametrize("n", [0, 1, 4])
def test_too_few_points_make_no_group(n):
    assert len(binned_medians(np.arange(n, dtype=float), np.ones(n)).at) == 0


def test_noise_alone_has_no_excess_between_cells_and_a_pattern_has():
    place, rng = points(4000)
    noise = rng.normal(0, 1.0, 4000)
    pattern = 0.5 * np.sign(place["x"] - SHAPE[1] / 2)
    flat = cell_medians(place, noise, shape=SHAPE)

    # The median of 250 points has an error of 0.08.
    assert excess_scatter(flat) < 0.08
    assert flat.count.sum() == 4000
    assert excess_scatter(cell_medians(place, noise + pattern, shape=SHAPE)) == pytest.approx(0.5, abs=0.08)


def test_cells_are_those_of_the_image_and_missing_values_are_left_out():
    place = {"x": np.array([10.0, 390.0, 20.0, np.nan]), "y": np.array([5.0, 290.0, 5.0, 5.0])}
    means = cell_means(place, np.array([1.0, 7.0, np.nan, 3.0]), shape=SHAPE)

    assert means[0, 0] == 1.0
    assert means[-1, -1] == 7.0
    assert np.isfinite(means).sum() == 2


def test_every_source_is_counted_but_for_the_wildest():
    magnitude = np.random.default_rng(5).normal(20, 1.5, 3000)
    counts = number_counts(np.append(magnitude, [np.nan, 80.0]))

    assert 0.99 * 3000 <= counts.count.sum() <= 3000
    assert np.ptp(np.diff(counts.edges)) < 1e-9
    assert number_counts(np.full(3, np.nan)) is None
    assert number_counts(np.array([20.0])).count.sum() == 1


def test_columns_that_are_missing_or_masked_are_nan():
    table = Table({"x": MaskedColumn([1.0, 2.0], mask=[False, True]), "n": [1, 2]})

    np.testing.assert_array_equal(columns.column(table, "x"), [1.0, np.nan])
    np.testing.assert_array_equal(columns.column(table, "no", "n"), [1.0, 2.0])
    assert np.isnan(columns.column(table, "no")).all()
    assert columns.flag(table, "no", default=True).all()


def test_magnitudes_are_ab_where_fluxes_are_calibrated_or_a_zero_point_is_known():
    counts = Table({"psf_inst_flux": [100.0, -1.0]})
    calibrated = Table({"psf_flux": [3630.78, np.nan]})

    assert columns.magnitude(counts)[0][0] == pytest.approx(-5.0)
    assert columns.magnitude(counts, zero_point=25.0)[0][0] == pytest.approx(20.0)
    assert columns.magnitude(calibrated, zero_point=25.0)[0][0] == pytest.approx(22.5, abs=1e-4)
    assert np.isnan(columns.magnitude(counts)[0][1])


def test_an_ellipse_along_the_diagonal_has_only_e2():
    table = Table({"ixx": [2.0], "iyy": [2.0], "ixy": [1.0], "psf_ixx": [0.0], "psf_iyy": [0.0], "psf_ixy": [0.0]})

    assert columns.ellipticity(table) == (pytest.approx([0.0]), pytest.approx([0.5]))
    assert np.isnan(columns.ellipticity(table, "psf_")[0][0])
    assert columns.trace_radius(table)[0] == pytest.approx(np.sqrt(2))


def test_rows_are_joined_by_number_and_those_without_partner_are_told():
    stars = Table({"id": [30, 10, 20]})
    matches = Table({"src_id": [10, 99, 30]})

    np.testing.assert_array_equal(columns.rows_of(stars, matches, key="id", wanted_key="src_id"), [1, -1, 0])
    np.testing.assert_array_equal(columns.rows_of(stars[:0], matches, key="id", wanted_key="src_id"), [-1, -1, -1])
