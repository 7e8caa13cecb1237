"""Means of images of which some lack pixels."""

import numpy as np
import pytest

from firstlight.algorithms.missing_inputs import completing_kernels, noise_factor, predict_missing

SIGMAS = (0.9, 1.1, 1.4)
OFFSETS = (0.0, 0.0, 0.3)
"""Along x: no input is the mirror image of another."""

WEIGHTS = np.array([0.3, 0.3, 0.4])


def star(k, *, x, y):
    grid = np.arange(-12, 13)
    away = (grid - x - OFFSETS[k]) ** 2 + (grid[:, None] - y) ** 2
    return np.exp(-0.5 * away / SIGMAS[k] ** 2) / (2 * np.pi * SIGMAS[k] ** 2)


def kernel_for(missing):
    stamps = np.stack([star(k, x=0.0, y=0.0) for k in range(3)])
    used = ~np.array([missing])
    return completing_kernels(stamps, used=used, expected=np.ones((1, 3), bool), weights=WEIGHTS, radius=8)[0]


@pytest.mark.parametrize("missing", [(True, False, False), (False, False, True), (False, True, True)])
def test_what_is_predicted_makes_stars_look_as_with_all_inputs(missing):
    rng, shape = np.random.default_rng(1), (60, 80)
    inputs = np.zeros((3, *shape))
    for x, y, flux in zip(rng.uniform(14, 66, 12), rng.uniform(14, 46, 12), rng.uniform(1e3, 1e5, 12), strict=True):
        square = np.s_[round(y) - 12 : round(y) + 13, round(x) - 12 : round(x) + 13]
        for k, image in enumerate(inputs):
            image[square] += flux * star(k, x=x - round(x), y=y - round(y))
    used = np.ones((3, *shape), bool)
    used[:, :, :40] = ~np.array(missing)[:, None, None]
    whole = np.tensordot(WEIGHTS, inputs, axes=1)
    weight = WEIGHTS[:, None, None] * used
    mean = (weight * inputs).sum(axis=0) / weight.sum(axis=0)
    row, column = np.nonzero(~used.all(axis=0))

    change = predict_missing(mean, row=row, column=column, kernel=kernel_for(missing))

    off = mean[row, column] - whole[row, column]
    left = off + change
    assert np.abs(left).max() < 0.4 * np.abs(off).max()
    assert np.sqrt(np.mean(left**2)) < 0.3 * np.sqrt(np.mean(off**2))


@pytest.mark.parametrize("missing", [(True, False, False), (True, True, False), (False, True, True)])
def test_kernels_end_without_a_step_and_change_no_flux(missing):
    kernel = kernel_for(missing)

    assert abs(kernel.sum()) < 1e-9
    assert np.abs(kernel[[0, -1]]).max() < 3e-3 * np.abs(kernel).max()


def test_the_noise_of_what_is_predicted_is_that_stated():
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(1500, 1500))
    row, column = (axis.ravel() for axis in np.mgrid[9:1491:17, 9:1491:17])
    kernel = kernel_for((False, True, True))

    change = predict_missing(noise, row=row, column=column, kernel=kernel)

    error = np.sqrt(2 / len(row))
    assert np.var(noise[row, column] + change) == pytest.approx(noise_factor(kernel), rel=4 * error)
    assert abs(noise_factor(kernel) - 1.0) > 8 * error


def test_an_even_sky_lacks_nothing_and_what_is_not_finite_is_dark():
    image = np.full((40, 40), 7.0)
    image[:, 25:] = np.nan

    change = predict_missing(
        image, row=np.array([20, 0]), column=np.array([12, 24]), kernel=kernel_for((True, False, False))
    )

    assert change[0] == pytest.approx(0.0, abs=1e-9)
    assert np.isfinite(change[1])
