"""The moments kernel against the same definition in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.kernels.moments import OK, adaptive_moments_many, adaptive_moments_stamp, adaptive_moments_stamps


def reference(image, x, y, sigma):
    """Adaptive moments by plain iteration with W = M, all pixels within five sigma."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    matrix = np.eye(2) * sigma**2
    for _ in range(500):
        dx, dy = columns - x, rows - y
        inverse = np.linalg.inv(matrix)
        rho2 = inverse[0, 0] * dx**2 + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy**2
        light = np.where(rho2 <= 25.0, np.exp(-0.5 * rho2), 0.0) * image
        total = light.sum()
        mx, my = (light * dx).sum() / total, (light * dy).sum() / total
        second = np.array(
            [
                [(light * dx * dx).sum() / total - mx * mx, (light * dx * dy).sum() / total - mx * my],
                [(light * dx * dy).sum() / total - mx * my, (light * dy * dy).sum() / total - my * my],
            ]
        )
        matrix = 2.0 * second
        x, y = x + 2 * mx, y + 2 * my
    return matrix[0, 0], matrix[1, 1], matrix[0, 1], x, y, 2 * total


def star(seed):
    """A lopsided, elliptical, non-Gaussian blob."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:51, :51]
    image = np.zeros((51, 51))
    for _ in range(4):
        x, y = 25 + rng.uniform(-1, 1, 2)
        width = rng.uniform(1.8, 3.5)
        image += rng.uniform(50, 100) * (1 + ((columns - x) ** 2 + 1.3 * (rows - y) ** 2) / width**2) ** -3.0
    return image


@pytest.mark.parametrize("seed", range(6))
def test_a_stamp_has_the_moments_of_the_reference(seed):
    image = star(seed)

    *values, status = adaptive_moments_stamp(image, 25.0, 25.0, 2.0)

    assert status == OK
    np.testing.assert_allclose(values, reference(image, 25.0, 25.0, 2.0), rtol=2e-7)


def test_many_positions_give_what_each_stamp_gives():
    image = np.block([[star(seed) for seed in range(3)]])
    x = np.array([25.0, 76.0, 127.0])
    nothing, labels = np.zeros(image.shape, bool), np.zeros(image.shape, np.int32)

    values, variances, status = adaptive_moments_many(
        image,
        np.ones_like(image),
        nothing,
        labels,
        np.zeros(3, np.int64),
        x,
        np.full(3, 25.0),
        np.full(3, 2.0),
        3.0,
        20.0,
        1e-8,
        0.0,
    )

    assert (status == OK).all()
    assert np.isfinite(variances).all()
    for i in range(3):
        ixx, iyy, ixy, cx, cy, flux, _ = adaptive_moments_stamp(star(i), 25.0, 25.0, 2.0)
        expected = [cx + 51 * i, cy, ixx, iyy, ixy, flux]
        np.testing.assert_allclose(values[i], expected, rtol=1e-4)


def test_single_precision_images_give_the_same():
    image = star(1)

    double, single = (
        adaptive_moments_many(
            plane,
            plane,
            np.zeros(image.shape, bool),
            np.zeros(image.shape, np.int32),
            np.zeros(1, np.int64),
            np.array([25.0]),
            np.array([25.0]),
            np.array([2.0]),
            3.0,
            20.0,
            1e-6,
            0.0,
        )[0]
        for plane in (image, image.astype(np.float32))
    )

    np.testing.assert_allclose(single, double, rtol=1e-5)


def test_many_stamps_have_the_moments_of_each():
    stamps = np.array([star(seed) for seed in range(4)])
    stamps[2] = 0.0
    at = np.full(4, 25.0)
    shapes = adaptive_moments_stamps(stamps, at, at, 2.0, 1e-8)

    assert np.isnan(shapes[2]).all()
    for k in (0, 1, 3):
        np.testing.assert_allclose(shapes[k], reference(stamps[k], 25.0, 25.0, 2.0)[:3], rtol=1e-5, atol=1e-5)
