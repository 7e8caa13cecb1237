import numpy as np
import pytest

from firstlight.kernels.psf_moffat_fit import moffat_equations, robust_weight
from firstlight.kernels.psf_profiles import moffat_images

RADIUS = 7


def model(star, shape):
    """Return the model of one star: flux, dx, dy, sky and ln FWHM, e1, e2, 1 / beta."""
    alpha = 0.5 * np.exp(shape[0]) / np.sqrt(2 ** shape[3] - 1)
    shapes = np.array([[alpha, shape[1], shape[2]]])
    image = moffat_images(np.array([star[1]]), np.array([star[2]]), shapes, 1 / shape[3], RADIUS, 1.0)[0]
    return star[0] * image + star[3]


def jacobian(star, shape):
    parameters = np.concatenate([star, shape])
    columns = []
    for k in range(8):
        step = np.zeros(8)
        step[k] = 1e-4 * max(1.0, abs(parameters[k]))
        up, down = parameters + step, parameters - step
        columns.append((model(up[:4], up[4:]) - model(down[:4], down[4:])).ravel() / (2 * step[k]))
    return np.stack(columns, axis=1)


@pytest.fixture
def problem():
    star = np.array([5000.0, 0.2, -0.3, 1.5])
    shape = np.array([np.log(2.4), 0.05, -0.08, 0.35])
    data = model(star + np.array([30, 0.03, -0.02, 0.2]), shape) + np.random.default_rng(2).normal(size=(15, 15))
    noise = np.full((15, 15), 50.0)
    noise[3, 4] = 0.0
    return star, shape, data, noise


def test_equations_are_those_of_least_squares_without_the_stars_own_parameters(problem):
    star, shape, data, noise = problem
    matrix, vector, response, step, loss, used = moffat_equations(
        data[None], noise[None], np.zeros((1, 15, 15)), star[None], shape[None], 0.1, 0.01, 0.0, 1e6, 0.0
    )

    residual = (data - model(star, shape)).ravel()
    unit = model(star, shape) - star[3]
    variance = (noise + 0.1 * unit + (0.01 * unit) ** 2).ravel()
    good = noise.ravel() > 0
    design = jacobian(star, shape)[good]
    normal = design.T @ (design / variance[good, None])
    gradient = design.T @ (residual[good] / variance[good])
    own, coupling = normal[:4, :4], normal[:4, 4:]
    eliminated = coupling.T @ np.linalg.inv(own)
    information = normal[4:, 4:] - eliminated @ coupling
    np.testing.assert_allclose(matrix[0], information, rtol=1e-3, atol=3e-3 * matrix.max())
    expected = gradient[4:] - eliminated @ gradient[:4]
    np.testing.assert_allclose(vector[0], expected, rtol=2e-2, atol=2e-3 * abs(gradient).max())
    np.testing.assert_allclose(step[0], np.linalg.solve(own, gradient[:4]), rtol=1e-2)
    np.testing.assert_allclose(response[0], -np.linalg.solve(own, coupling), rtol=1e-2, atol=1e-3 * abs(response).max())
    assert used[0] == 15 * 15 - 1
    assert loss[0] == pytest.approx((residual[good] ** 2 / variance[good]).sum(), rel=1e-3)


def test_star_without_pixels_has_no_equations(problem):
    star, shape, data, _ = problem
    matrix, _, _, _, loss, used = moffat_equations(
        data[None], np.zeros((1, 15, 15)), np.zeros((1, 15, 15)), star[None], shape[None], 0.1, 0.01, 0.0, 5.0, 0.0
    )

    assert np.isnan(loss[0])
    assert used[0] == 0
    assert not matrix.any()


def test_weight_is_that_of_least_squares_near_zero_and_vanishes_for_outliers():
    near, small = robust_weight(0.1, 4.0, 0.0, 5.0)
    far, bounded = robust_weight(1e4, 4.0, 0.0, 5.0)

    assert near == pytest.approx(1 / 4, rel=1e-3)
    assert small == pytest.approx(0.01 / 4, rel=1e-3)
    assert far < 1e-9
    assert bounded == pytest.approx(25.0, rel=1e-3)
