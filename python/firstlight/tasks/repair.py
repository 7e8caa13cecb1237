"""Find cosmic rays and fill them in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from pydantic import PositiveFloat, PositiveInt
from typing_extensions import TypeVar

from firstlight.algorithms.cosmic_rays import find_cosmic_rays
from firstlight.errors import PsfError
from firstlight.framework import Config, Struct, Task
from firstlight.images.exposure import Exposure


@dataclass(frozen=True)
class CosmicRayResult(Struct):
    """What a `CosmicRayTask` returns."""

    exposure: Exposure
    """The exposure with its CR plane set anew; pixels filled in, and INTRP set, where that was asked for."""

    n_pixels: int
    """Number of pixels hit."""


class CosmicRayConfig(Config):
    """What every cosmic-ray repair can be told."""

    max_pixels: PositiveInt = 1_000_000
    """More pixels than this are taken for a failure."""


CosmicRayConfigT = TypeVar("CosmicRayConfigT", bound=CosmicRayConfig, covariant=True, default=CosmicRayConfig)


class CosmicRayTask(Task[CosmicRayConfigT], ABC):
    """Interface: anything that finds cosmic rays on a background-subtracted exposure with a PSF."""

    @abstractmethod
    def run(self, exposure: Exposure, *, interpolate: bool) -> CosmicRayResult:
        """Mark cosmic rays and, on request, fill them in.

        Raises
        ------
        TooManyCosmicRaysError
            If more pixels are hit than the configured limit.
        PsfError
            If the exposure has no PSF.
        """


class MorphologyCosmicRayConfig(CosmicRayConfig):
    """Settings of `MorphologyCosmicRayTask`."""

    min_sigma: PositiveFloat = 6.0
    """A pixel must exceed the mean of two opposite neighbours by this [standard deviation]."""

    min_electrons: PositiveFloat = 150.0
    """A cosmic ray holds at least this much charge [electron]; where the gain is not known its significance alone
    decides."""

    bad_planes: tuple[str, ...] = ("BAD", "SAT", "NO_DATA")
    """Mask planes whose pixels and neighbours are not tested."""


class MorphologyCosmicRayTask(CosmicRayTask[MorphologyCosmicRayConfig]):
    """Pixels that are sharper than the PSF allows (SDSS photo; LSST `RepairTask`)."""

    def run(self, exposure: Exposure, *, interpolate: bool) -> CosmicRayResult:
        """Mark cosmic rays and, on request, fill them in."""
        if exposure.psf is None:
            raise PsfError("Cosmic rays are told from stars by the PSF, and the exposure has none.")
        ny, nx = exposure.shape
        gain = exposure.detector.gain
        found = find_cosmic_rays(
            exposure.image,
            variance=exposure.variance,
            bad=exposure.mask.any_of(*self.config.bad_planes),
            psf_kernel=exposure.psf.kernel_image(x=(nx - 1) / 2, y=(ny - 1) / 2),
            min_sigma=self.config.min_sigma,
            min_charge=self.config.min_electrons / gain if gain else 0.0,
            max_pixels=self.config.max_pixels,
        )
        mask = exposure.mask.replaced("CR", found.mask)
        self.metadata.count("cosmic_ray_pixels", found.count)
        self.log.info("cosmic rays", pixels=found.count, interpolated=interpolate)
        if not interpolate:
            return CosmicRayResult(exposure=exposure.replace(mask=mask), n_pixels=found.count)
        mask = mask.with_plane("INTRP", found.mask)
        return CosmicRayResult(exposure=exposure.replace(mask=mask, image=found.image), n_pixels=found.count)
