import numpy as np
import pytest

from firstlight.kernels.psf_rings import ring_means

EDGES = np.array([2.0, 3.0, 5.0, 8.0])


def measure(image, bad=None):
    bad = np.zeros(image.shape, dtype=np.bool_) if bad is None else bad
    return ring_means(image, bad, np.array([15.2]), np.array([14.7]), EDGES, 1.0, 4.0, 0.5)


def test_means_are_those_of_the_pixels_with_centres_in_the_ring():
    image = np.random.default_rng(1).normal(size=(31, 30))
    rows, columns = np.mgrid[:31, :30]
    distance = np.hypot(columns - 15.2, rows - 14.7)

    means, counts = measure(image)

    for k in range(3):
        ring = (distance >= EDGES[k]) & (distance < EDGES[k + 1])
        assert counts[0, k] == ring.sum()
        assert means[0, k] == pytest.approx(image[ring].mean(), abs=1e-6)


def test_outlier_and_masked_pixel_do_not_count():
    image, bad = np.ones((31, 30)), np.zeros((31, 30), dtype=np.bool_)
    _, all_pixels = measure(image)
    image[14, 19], image[15, 19], bad[15, 19] = 1000.0, np.nan, True

    means, counts = measure(image, bad)

    np.testing.assert_allclose(means[0], 1.0)
    assert counts[0, 1] == all_pixels[0, 1] - 2


def test_ring_off_the_image_is_empty():
    image = np.ones((31, 30))
    means, counts = ring_means(
        image, np.zeros(image.shape, dtype=np.bool_), np.array([90.0]), np.array([-40.0]), EDGES, 1.0, 4.0, 0.5
    )

    assert not counts.any()
    assert not means.any()
