"""Sums under Gaussian weights against numpy, and what they are for a Gaussian source."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.weighted_fluxes import (
    compensated_gaussian_fluxes,
    gaussian_weighted_flux,
    higher_moments,
    median_in_ellipses,
)
from firstlight.kernels.weighted_sums import compensated_gaussians, ellipse_medians, gaussian_sums, standardized_moments

ROWS, COLUMNS = np.mgrid[:61, :71].astype(float)
X, Y = np.array([35.3, 30.0]), np.array([29.6, 31.2])
SHAPE = np.array([[4.0, 6.0, 1.5], [3.0, 3.0, 0.0]])
MOMENTS = {"ixx": SHAPE[:, 0], "iyy": SHAPE[:, 1], "ixy": SHAPE[:, 2]}
NO_BAD = np.zeros(ROWS.shape, bool)


def radius2(k):
    inverse = np.linalg.inv([[SHAPE[k, 0], SHAPE[k, 2]], [SHAPE[k, 2], SHAPE[k, 1]]])
    offset = np.stack([COLUMNS - X[k], ROWS - Y[k]])
    return np.einsum("iyx,ij,jyx->yx", offset, inverse, offset)


def pixels(seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(5, 1, ROWS.shape).astype(np.float32), rng.random(ROWS.shape) < 0.1


def gaussian(k, flux=1000.0):
    det = SHAPE[k, 0] * SHAPE[k, 1] - SHAPE[k, 2] ** 2
    return (flux / (2 * np.pi * np.sqrt(det)) * np.exp(-0.5 * radius2(k))).astype(np.float32)


def test_sums_under_a_gaussian_are_those_of_numpy():
    image, bad = pixels()
    expected = [(np.exp(-0.5 * radius2(k)) * image)[(radius2(k) <= 16) & ~bad].sum() for k in range(2)]

    np.testing.assert_allclose(gaussian_sums(image, bad, X, Y, SHAPE), expected, rtol=1e-5)


def test_a_compensated_gaussian_is_the_difference_of_two():
    image, bad = pixels()
    width, ratio = 1.6, 2.0
    sums = compensated_gaussians(image, image**2, bad, X, Y, width, ratio)
    for k in range(2):
        r2 = (COLUMNS - X[k]) ** 2 + (ROWS - Y[k]) ** 2
        weight = np.exp(-0.5 * r2 / width**2) - np.exp(-0.5 * r2 / (ratio * width) ** 2) / ratio**2
        weight[r2 > (4 * width * ratio) ** 2] = 0
        expected = (weight * image)[~bad].sum(), (weight**2 * image**2)[~bad].sum(), (weight**2)[~bad].sum()
        expected = *expected[:2], expected[2] / (weight**2).sum()

        np.testing.assert_allclose(sums[k], expected, rtol=1e-5)


def test_standardized_moments_are_those_of_numpy():
    image, bad = pixels()
    values, vectors = np.linalg.eigh([[4.0, 1.5], [1.5, 6.0]])
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    u, v = np.einsum("ij,jyx->iyx", root, np.stack([COLUMNS - X[0], ROWS - Y[0]]))
    weight = np.where((u**2 + v**2 <= 16) & ~bad, np.exp(-0.5 * (u**2 + v**2)), 0) * image
    orders = [(3, 0), (2, 1), (1, 2), (0, 3), (4, 0), (3, 1), (2, 2), (1, 3), (0, 4)]
    expected = [(weight * u**p * v**q).sum() / weight.sum() for p, q in orders]

    np.testing.assert_allclose(standardized_moments(image, bad, X, Y, SHAPE)[0], expected, rtol=1e-4, atol=1e-5)


def test_medians_in_ellipses_are_those_of_numpy():
    image, bad = pixels()
    expected = [np.median(image[(radius2(k) <= 1) & ~bad]) for k in range(2)]

    np.testing.assert_allclose(ellipse_medians(image, bad, X, Y, SHAPE, 1000), expected, rtol=1e-6)
    assert np.isnan(ellipse_medians(image, ~NO_BAD, X, Y, SHAPE, 1000)).all()


def test_a_compensated_flux_is_right_for_a_gaussian_of_its_width_and_blind_to_a_constant_sky():
    star = gaussian(1) + np.float32(7.0)
    found = compensated_gaussian_fluxes(
        star, variance=np.ones_like(star), bad=NO_BAD, x=X[1:], y=Y[1:], width=np.sqrt(3.0)
    )

    assert found.flux[0] == pytest.approx(1000.0, rel=2e-3)
    assert not found.flag.any()


def test_a_compensated_flux_scatters_as_it_states():
    rng = np.random.default_rng(4)
    y, x = (a.ravel() for a in np.mgrid[20:600:29, 20:600:29] + rng.uniform(-0.5, 0.5, (2, 20, 20)))
    sky = rng.normal(0, 3, (620, 620)).astype(np.float32)
    bad = np.zeros(sky.shape, bool)
    found = compensated_gaussian_fluxes(sky, variance=np.full_like(sky, 9.0), bad=bad, x=x, y=y, width=1.7)
    pull = found.flux / found.flux_err

    assert abs(pull.mean()) < 4 / np.sqrt(len(x))
    assert pull.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * len(x)))


def test_a_gaussian_has_the_higher_moments_of_a_gaussian():
    found = higher_moments(gaussian(0), bad=NO_BAD, x=X[:1], y=Y[:1], **{k: v[:1] for k, v in MOMENTS.items()})[0]

    np.testing.assert_allclose(found, [0, 0, 0, 0, 0.75, 0, 0.25, 0, 0.75], atol=5e-3)


def test_what_has_no_position_or_no_shape_is_nan_or_flagged():
    image, _ = pixels()
    nowhere, none = np.array([np.nan, 30.0]), {name: np.array([4.0, np.nan]) for name in MOMENTS}
    flux = compensated_gaussian_fluxes(image, variance=image, bad=NO_BAD, x=nowhere, y=Y, width=1.5)

    assert flux.flag.tolist() == [True, False]
    assert np.isnan(gaussian_weighted_flux(image, bad=NO_BAD, x=nowhere, y=Y, **none)).all()
    assert np.isnan(higher_moments(image, bad=NO_BAD, x=nowhere, y=Y, **none)).all()
    assert np.isnan(median_in_ellipses(image, bad=NO_BAD, x=nowhere, y=Y, **none, scale=2)).all()
