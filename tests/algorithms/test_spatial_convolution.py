import numpy as np
import pytest

from firstlight.algorithms.difference_quality import lost_weight, outside_weight
from firstlight.algorithms.spatial_convolution import convolve, convolve_sum
from firstlight.images.spatial_kernel import SpatialKernel


def by_definition(image, kernel, *, x, y):
    """The sum over the kernel at one pixel, zeros outside the image."""
    taps, r = kernel.image(x=x, y=y), kernel.radius
    padded = np.pad(image.astype(float), r)
    return (taps[::-1, ::-1] * padded[y : y + 2 * r + 1, x : x + 2 * r + 1]).sum()


def test_convolution_with_a_varying_kernel_is_the_sum_at_every_pixel():
    rng = np.random.default_rng(1)
    image = rng.normal(size=(310, 270)).astype(np.float32)
    kernel = SpatialKernel(rng.normal(size=(6, 9, 9)), image.shape)

    result = convolve(image, kernel)

    for x, y in ((0, 0), (269, 309), (135, 150), (247, 248), (248, 3)):
        np.testing.assert_allclose(result[y, x], by_definition(image, kernel, x=x, y=y), atol=2e-4)


def test_sum_of_convolutions_with_kernels_of_different_size_and_order():
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(2, 300, 300)).astype(np.float32)
    wide, narrow = (
        SpatialKernel(rng.normal(size=(3, 11, 11)), (300, 300)),
        SpatialKernel(np.ones((1, 1, 1)), (300, 300)),
    )

    together = convolve_sum([(first, wide), (second, narrow)])

    np.testing.assert_allclose(together, convolve(first, wide) + second, atol=2e-4)


def test_the_weight_that_falls_outside_is_lost_too():
    lost = np.zeros((600, 300), dtype=bool)
    lost[400, 150] = True
    kernel = SpatialKernel.constant(np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]) / 16.0, shape=lost.shape)

    inside, all_lost = lost_weight(lost, kernel), lost_weight(lost, kernel) + outside_weight(kernel)

    np.testing.assert_allclose(inside[399:402, 150], [0.125, 0.25, 0.125], atol=1e-6)
    np.testing.assert_allclose([all_lost[0, 0], all_lost[0, 150], all_lost[400, 299]], [7 / 16, 0.25, 0.25], atol=1e-6)
    assert inside.sum() == pytest.approx(1.0, abs=1e-4)
    assert all_lost[2:-2, 2:-2].sum() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("shape", [(60, 45), (9, 30)])
def test_the_weight_outside_is_that_of_a_lost_frame(shape):
    # Of no symmetry, and in the second image as wide as its rows are few.
    kernel = SpatialKernel.constant(np.random.default_rng(3).uniform(size=(15, 15)), shape=shape)
    frame = np.pad(np.zeros(shape, dtype=bool), kernel.radius, constant_values=True)

    whole = lost_weight(frame, kernel)

    inner = slice(kernel.radius, -kernel.radius)
    np.testing.assert_allclose(outside_weight(kernel), whole[inner, inner], atol=1e-5)


def test_wide_kernel_gets_wider_tiles():
    image = np.zeros((40, 400), dtype=np.float32)
    image[20, 200] = 1.0
    kernel = SpatialKernel.constant(np.full((201, 201), 0.5), shape=image.shape)

    result = convolve(image, kernel)

    np.testing.assert_allclose(result[:, 100:301], 0.5, atol=1e-5)
    np.testing.assert_allclose(result[:, :100], 0.0, atol=1e-5)
