"""Matching kernels are kept in files exactly."""

from __future__ import annotations

import numpy as np

from firstlight.images.box import Box
from firstlight.images.fields import ChebyshevField
from firstlight.images.spatial_kernel import MatchingKernel, SpatialKernel
from firstlight.repo.storage import storage_of


def test_a_matching_kernel_comes_back_exactly(tmp_path):
    rng = np.random.default_rng(1)
    kernel = SpatialKernel(rng.normal(size=(3, 7, 7)), (40, 50))
    background = ChebyshevField(Box.of_shape((40, 50)), rng.normal(size=(2, 2)))
    model = MatchingKernel(kernel, background, "science")
    storage = storage_of(MatchingKernel)

    storage.write(model, tmp_path / "kernel.json")
    again = storage.read(tmp_path / "kernel.json")

    assert again.kernel == kernel
    assert again.convolved == "science"
    np.testing.assert_array_equal(again.background.coefficients, background.coefficients)
