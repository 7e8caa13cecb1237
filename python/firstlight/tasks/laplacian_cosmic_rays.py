"""Find cosmic rays with L.A.Cosmic, for comparison with other pipelines."""

from __future__ import annotations

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from firstlight.algorithms.cosmic_rays import interpolate_over
from firstlight.errors import ConfigError, PsfError, TooManyCosmicRaysError
from firstlight.images.exposure import Exposure
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.tasks.repair import CosmicRayConfig, CosmicRayResult, CosmicRayTask

try:
    import astroscrappy
except ImportError:
    astroscrappy = None


class LaplacianCosmicRayConfig(CosmicRayConfig):
    """Settings of `LaplacianCosmicRayTask`."""

    laplacian_sigma: PositiveFloat = 6.0
    """A pixel must exceed this in the Laplacian image [standard deviation]."""

    neighbour_fraction: float = Field(default=0.5, gt=0.0, le=1.0)
    """Neighbours of a hit must exceed this share of `laplacian_sigma`."""

    contrast: PositiveFloat = 5.0
    """Least ratio of the Laplacian to the image that the PSF could make; raise it if cores of stars are taken."""

    iterations: PositiveInt = 4
    """How often the search is repeated on the cleaned image."""

    bad_planes: tuple[str, ...] = ("BAD", "SAT", "NO_DATA")
    """Mask planes whose pixels are not tested."""


class LaplacianCosmicRayTask(CosmicRayTask[LaplacianCosmicRayConfig]):
    """L.A.Cosmic (van Dokkum 2001, PASP 113, 1420) with the PSF as its model of stars; needs astroscrappy."""

    def run(self, exposure: Exposure, *, interpolate: bool) -> CosmicRayResult:
        """Mark cosmic rays and, on request, fill them in.

        Raises
        ------
        ConfigError
            If astroscrappy is not installed.
        """
        if astroscrappy is None:
            raise ConfigError(
                "LaplacianCosmicRayTask needs astroscrappy; 'pip install firstlight[lacosmic]' brings it."
            )
        if exposure.psf is None:
            raise PsfError("Cosmic rays are told from stars by the PSF, and the exposure has none.")
        ny, nx = exposure.shape
        bad = exposure.mask.any_of(*self.config.bad_planes)
        hit = self._search(exposure, bad, exposure.psf.kernel_image(x=(nx - 1) / 2, y=(ny - 1) / 2))
        count = int(hit.sum())
        if count > self.config.max_pixels:
            raise TooManyCosmicRaysError(
                f"More than {self.config.max_pixels} cosmic-ray pixels; check the variance and the PSF.",
                n_pixels=count,
                max_pixels=self.config.max_pixels,
            )
        mask = exposure.mask.replaced("CR", hit)
        self.metadata.count("cosmic_ray_pixels", count)
        self.log.info("cosmic rays", pixels=count, interpolated=interpolate)
        if not interpolate:
            return CosmicRayResult(exposure=exposure.replace(mask=mask), n_pixels=count)
        image = interpolate_over(exposure.image, hit=hit, bad=bad)
        return CosmicRayResult(
            exposure=exposure.replace(mask=mask.with_plane("INTRP", hit), image=image), n_pixels=count
        )

    def _search(self, exposure: Exposure, bad: BoolArray, kernel: FloatArray) -> BoolArray:
        unusable = bad | ~np.isfinite(exposure.image) | ~np.isfinite(exposure.variance)
        found, _ = astroscrappy.detect_cosmics(
            np.where(unusable, np.float32(0.0), exposure.image),
            inmask=unusable,
            invar=np.where(unusable, np.float32(1.0), exposure.variance),
            sigclip=self.config.laplacian_sigma,
            sigfrac=self.config.neighbour_fraction,
            objlim=self.config.contrast,
            niter=self.config.iterations,
            satlevel=np.inf,
            fsmode="convolve",
            psfk=np.ascontiguousarray(kernel, dtype=np.float32),
        )
        return np.asarray(found, dtype=bool) & ~unusable
