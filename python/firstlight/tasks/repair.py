"""Find cosmic rays and fill them in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from pydantic import PositiveFloat, PositiveInt
from typing_extensions import TypeVar

from firstlight.algorithms.cosmic_rays import find_cosmic_rays, interpolate_pixels
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
    """A cosmic ray holds at least this much charge [electron]; counts where the gain is unknown."""
