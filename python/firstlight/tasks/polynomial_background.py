"""Estimate the sky around galaxies: a low polynomial outside generously grown masks."""

from __future__ import annotations

import numpy as np
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from firstlight.algorithms.background import fit_mesh_background
from firstlight.algorithms.detection import detect_sources, smooth_for_detection
from firstlight.algorithms.mask_growth import grow_to_sky
from firstlight.errors import TooManyMaskedPixelsError
from firstlight.images.background import MeshBackground
from firstlight.images.exposure import Exposure
from firstlight.images.psf import FWHM_PER_SIGMA
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.tasks.background import BackgroundConfig, BackgroundResult, BackgroundTask


class PolynomialBackgroundConfig(BackgroundConfig):
    """Settings of `PolynomialBackgroundTask`."""

    bin_size: PositiveInt = 32
    """Side of the square bins whose clipped means are fitted [pixel]."""

    order: NonNegativeInt = 3
    """Total order of the polynomial; lowered when there are too few bins."""

    threshold: PositiveFloat = 3.0
    """Significance of the sources that are masked [standard deviation]."""

    min_area: PositiveInt = 5
    """Least number of pixels of a source."""

    fwhm: PositiveFloat = 2.5
    """Width of the detection filter where the exposure has no PSF [pixel]."""

    max_growth: PositiveInt = 100
    """A mask grows until its light has faded, at most by this [pixel]."""

    extra_growth: NonNegativeInt = 0
    """All masks grow by so much more [pixel]."""

    extended_passes: NonNegativeInt = 2
    """How often light too faint for the masks, as of halos, is looked for over many pixels and left out as well."""

    passes: PositiveInt = 3
    """How often the masks are grown, each time above a better sky."""


class PolynomialBackgroundTask(BackgroundTask[PolynomialBackgroundConfig]):
    """A polynomial of low order outside masks grown to where the light ends (the sky subtraction of GalfitS)."""

    def run(self, exposure: Exposure) -> BackgroundResult:
        """Estimate the sky under ``exposure`` where it is not masked."""
        bad = self.left_out(exposure)
        masked = bad
        model = self._fit(exposure.image, bad, extended_passes=0)
        for _ in range(self.config.passes):
            sources = self._sources(exposure, model.subtracted_from(exposure.image), bad)
            if (bad | sources).all():
                raise TooManyMaskedPixelsError(
                    f"The masks of the sources cover all {sources.size} pixels; lower max_growth or raise threshold.",
                    n_pixels=sources.size,
                    max_growth=self.config.max_growth,
                )
            masked = bad | sources
            model = self._fit(exposure.image, masked, extended_passes=self.config.extended_passes)
        self.log.info("background", sky=model.level, order=self.config.order, masked=round(float(masked.mean()), 4))
        return BackgroundResult(background=model, masked=masked)

    def _fit(self, image: FloatArray, masked: BoolArray, *, extended_passes: int) -> MeshBackground:
        return fit_mesh_background(
            image,
            bad=masked,
            bin_size=self.config.bin_size,
            order=self.config.order,
            extended_passes=extended_passes,
        )

    def _sources(self, exposure: Exposure, residual: FloatArray, bad: BoolArray) -> BoolArray:
        """Return the grown masks of the sources on an image without sky."""
        ny, nx = exposure.shape
        sigma = self.config.fwhm / FWHM_PER_SIGMA
        if exposure.psf is not None:
            sigma = exposure.psf.moments(x=(nx - 1) / 2, y=(ny - 1) / 2).sigma
        smoothed = smooth_for_detection(residual, variance=exposure.variance, bad=bad, psf_sigma=sigma)
        found = detect_sources(smoothed, threshold=self.config.threshold, min_area=self.config.min_area)
        footprint = np.concatenate([[0], found.parent + 1])
        return grow_to_sky(
            residual,
            segments=footprint[found.labels],
            bad=bad,
            max_growth=self.config.max_growth,
            extra=self.config.extra_growth,
        )
