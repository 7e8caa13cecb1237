import numpy as np
import pytest

from firstlight.kernels.psf_flux_fit import (
    add_star,
    exchange_stars,
    flux_errors,
    lone_fluxes,
    norms,
    position_steps,
    sweep_fluxes,
    weighted_product,
)

SIDE, RADIUS = 9, 4


def gaussian(dx=0.0, dy=0.0, sigma=1.2, radius=RADIUS):
    steps = np.arange(-radius, radius + 1)
    stamp = np.exp(-0.5 * ((steps[None, :] - dx) ** 2 + (steps[:, None] - dy) ** 2) / sigma**2)
    return stamp / (2 * np.pi * sigma**2)


@pytest.fixture
def blend():
    column, row = np.array([10, 12, 25, 1]), np.array([10, 11, 20, 0])
    cores = np.stack([gaussian(0.2, 0.1), gaussian(-0.3, 0.4), gaussian(), gaussian(0.1, 0.0)])
    design = np.zeros((4, 30, 32))
    for i in range(4):
        image = np.zeros((30, 32), dtype=np.float32)
        add_star(image, cores[i], column[i], row[i], 1.0)
        design[i] = image
    rng = np.random.default_rng(4)
    variance = rng.uniform(1, 3, (30, 32)).astype(np.float32)
    image = np.tensordot([100.0, 60.0, 40.0, 80.0], design, 1) + rng.normal(size=(30, 32)) * np.sqrt(variance)
    weight = np.ones((30, 32), dtype=np.uint8)
    weight[10, 11] = 0.0
    return image.astype(np.float32), variance, weight, cores, column, row, design


def least_squares(image, weight, design):
    flat = design.reshape(len(design), -1)
    normal = (flat * weight.ravel()) @ flat.T
    return np.linalg.solve(normal, (flat * weight.ravel()) @ image.ravel()), normal


def test_sweeps_find_the_least_squares_of_all_stars(blend):
    image, _, weight, cores, column, row, design = blend
    norm, count, share = norms(weight, cores, column, row)
    first, members = np.array([0, 1, 2, 2, 2]), np.array([1, 0])
    flux, residual, nothing = np.zeros(4), image.copy(), np.full(4, -1)

    sweeps = sweep_fluxes(
        residual,
        weight,
        cores,
        np.zeros((0, 1, 1)),
        nothing,
        column,
        row,
        norm,
        np.arange(4),
        first,
        members,
        np.full(4, 1e-4),
        200,
        flux,
    )

    expected, _ = least_squares(image, weight, design)
    np.testing.assert_allclose(flux, expected, atol=2e-3)
    np.testing.assert_allclose(residual, image - np.tensordot(flux, design, 1), atol=1e-3)
    assert 1 < sweeps < 100
    assert count[0] == SIDE**2 - 1
    assert share[2] == pytest.approx(1.0)
    assert 0.4 < share[3] < 0.9


def test_errors_are_those_of_the_joint_fit(blend):
    image, variance, weight, cores, column, row, design = blend
    norm, _, _ = norms(weight, cores, column, row)
    first, members = np.array([0, 1, 2, 2, 2]), np.array([1, 0])

    error, chi2 = flux_errors(variance, weight, image, cores, column, row, norm, first, members)

    _, normal = least_squares(image, weight, design)
    response = np.linalg.inv(normal) @ (design.reshape(4, -1) * weight.ravel())
    np.testing.assert_allclose(error, np.sqrt((response**2 * variance.ravel()).sum(axis=1)), rtol=0.03)
    box = np.s_[16:25, 21:30]
    assert chi2[2] == pytest.approx((image[box] ** 2 / variance[box]).sum(), rel=1e-4)


def test_lone_flux_is_the_weighted_mean(blend):
    image, variance, weight, cores, column, row, _ = blend
    norm, _, _ = norms(weight, cores, column, row)

    flux, chi2 = lone_fluxes(image, variance, weight, cores, column, row, norm)

    box = np.s_[16:25, 21:30]
    expected = (image[box] * cores[2]).sum() / (cores[2] ** 2).sum()
    assert flux[2] == pytest.approx(expected, rel=1e-5)
    assert chi2[2] == pytest.approx(((image[box] - expected * cores[2]) ** 2 / variance[box]).sum(), rel=1e-3)


def test_exchange_puts_the_old_stars_back_and_takes_the_new_off():
    image = np.zeros((20, 20), dtype=np.float32)
    column, row, flux = np.array([10]), np.array([9]), np.array([3.0])

    exchange_stars(image, gaussian()[None], gaussian(radius=6)[None], column, row, flux)

    assert weighted_product(image, np.ones_like(image), np.ones((SIDE, SIDE)), 10, 9) == pytest.approx(0.0, abs=1e-6)
    assert image.sum() == pytest.approx(3.0 * (gaussian().sum() - gaussian(radius=6).sum()), abs=1e-5)


def test_position_step_leads_to_the_star():
    image = np.zeros((21, 21), dtype=np.float32)
    add_star(image, gaussian(0.05, -0.04), 10, 10, 500.0)
    add_star(image, gaussian(), 10, 10, -500.0)
    slope_x, slope_y = (gaussian(0.01) - gaussian(-0.01)) / 0.02, (gaussian(0, 0.01) - gaussian(0, -0.01)) / 0.02
    one = np.array([10])

    shift = position_steps(
        image, np.ones_like(image), gaussian()[None], slope_x[None], slope_y[None], one, one, np.array([500.0])
    )

    np.testing.assert_allclose(shift[0], [0.05, -0.04], atol=2e-3)
