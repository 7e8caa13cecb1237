"""Sums over blocks against sums over slices."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.kernels.blocks import clipped_significance_sums


@pytest.mark.parametrize(("shape", "block"), [((40, 53), 7), ((12, 12), 1), ((9, 30), 16)])
def test_the_significance_of_each_block_is_that_of_its_good_pixels(shape, block):
    rng = np.random.default_rng(1)
    image = rng.normal(0.0, 4.0, shape).astype(np.float32)
    variance = rng.uniform(1.0, 3.0, shape).astype(np.float32)
    bad = rng.random(shape) < 0.1
    image[2, 3], variance[4, 5], variance[5, 6] = np.nan, np.nan, 0.0

    total, number = clipped_significance_sums(image, variance, bad, block, 3.0)

    good = ~bad & np.isfinite(image) & (variance > 0.0)
    value = np.where(good, np.clip(image / np.sqrt(np.where(variance > 0.0, variance, 1.0)), -3.0, 3.0), 0.0)
    for j in range(total.shape[0]):
        for i in range(total.shape[1]):
            cell = np.s_[j * block : (j + 1) * block, i * block : (i + 1) * block]
            assert number[j, i] == good[cell].sum()
            assert total[j, i] == pytest.approx(value[cell].sum(), abs=1e-3)
