"""Mask bits under labels against numpy."""

from __future__ import annotations

import numpy as np

from firstlight.kernels.pixel_flags import bits_in_footprint


def test_a_label_has_all_bits_of_its_pixels():
    rng = np.random.default_rng(1)
    mask = (1 << rng.integers(0, 12, (30, 40))).astype(np.int32)
    labels = rng.integers(0, 9, (30, 40)).astype(np.int32)
    labels[labels == 4] = 0
    expected = [np.bitwise_or.reduce(mask[labels == label]) if (labels == label).any() else 0 for label in range(1, 9)]

    assert bits_in_footprint(mask, labels, 8).tolist() == expected
