"""Sums of the light in circular apertures, and the sky around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray

from firstlight.kernels.annulus import annulus_sky
from firstlight.kernels.aperture import aperture_sums
from firstlight.kernels.arrays import BoolArray, FloatArray


@dataclass(frozen=True)
class ApertureFluxes:
    """Aperture sums of sources; the last axis runs over the radii if there are several."""

    flux: NDArray[np.float64]
    """Sum over the aperture [unit of the image]; NaN where `flag` is set."""

    flux_err: NDArray[np.float64]
    """From the variance of the pixels, hence of sky and source; NaN where `flag` is set."""

    masked_fraction: NDArray[np.float64]
    """Share of the aperture that is masked or off the image."""

    flag: BoolArray
    """More of the aperture is unusable than allowed."""


@dataclass(frozen=True)
class LocalSky:
    """Sky in a ring around each source."""

    level: NDArray[np.float64]
    """Clipped mean [unit of the image]; NaN where no pixel is left."""

    level_err: NDArray[np.float64]
    """Standard error of the mean."""

    sigma: NDArray[np.float64]
    """Clipped standard deviation of a pixel."""

    n: NDArray[np.int64]
    """Number of pixels used."""
