"""What stars show beyond a profile is fitted and drawn on a grid that no star leaves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.interpolate import BSpline

from firstlight.algorithms.psf_residual import MAX_OFFSET, fit_residual, start_residual

RADIUS, OVERSAMPLING = 5, {1.5: 3, 2.5: 2, 5.0: 1}


def grid_of(fwhm):
    empty = start_residual(order=0, fwhm=fwhm, radius=RADIUS, peak=0.3)
    latent = np.random.default_rng(3).normal(size=empty.latent.shape)
    return replace(empty, latent=latent)


@pytest.mark.parametrize("fwhm", OVERSAMPLING)
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_star_as_far_off_its_pixel_as_is_allowed_is_drawn_from_the_grid_alone(fwhm, sign):
    grid, offset = grid_of(fwhm), np.array([sign * MAX_OFFSET])

    image = grid.images(basis=np.ones((1, 1)), dx=offset, dy=0 * offset, radius=RADIUS)[0]

    coefficients = grid.coefficients[0]
    size, step = len(coefficients), OVERSAMPLING[fwhm]
    spline = [BSpline(np.arange(size + 4) - 2.0, row, 3, extrapolate=False) for row in np.eye(size)]
    along_x, along_y = (
        np.nan_to_num([b((size - 1) / 2 + step * (np.arange(-RADIUS, RADIUS + 1) - at)) for b in spline])
        for at in (offset[0], 0.0)
    )
    np.testing.assert_allclose(image, along_y.T @ coefficients @ along_x, atol=1e-12)


@pytest.mark.parametrize("fwhm", OVERSAMPLING)
def test_a_star_beyond_what_the_grid_holds_counts_as_one_at_the_limit(fwhm):
    grid, rng, side = grid_of(fwhm), np.random.default_rng(5), 2 * RADIUS + 1
    data = {"residuals": 0.01 * rng.normal(size=(1, side, side)), "weights": np.ones((1, side, side))}
    basis, places = np.ones((1, 1)), [np.array([MAX_OFFSET]), np.array([4.0])]

    drawn = [grid.images(basis=basis, dx=at, dy=-at, radius=RADIUS) for at in places]
    fitted = [fit_residual(grid, **data, basis=basis, dx=at, dy=-at, fwhm=fwhm).latent for at in places]

    np.testing.assert_array_equal(*drawn)
    np.testing.assert_array_equal(*fitted)
