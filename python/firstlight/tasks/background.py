"""Estimate the sky."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt
from typing_extensions import TypeVar

from firstlight.algorithms.background import fit_mesh_background
from firstlight.framework import Config, Struct, Task
from firstlight.images.background import MeshBackground
from firstlight.images.exposure import Exposure
from firstlight.kernels.arrays import BoolArray

IGNORED_PLANES = ("BAD", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "NO_DATA", "SAT", "CR", "STREAK")
SOURCE_PLANES = ("DETECTED", "DETECTED_NEGATIVE")


@dataclass(frozen=True)
class BackgroundResult(Struct):
    """What a `BackgroundTask` returns."""

    background: MeshBackground
    """Model of the sky, in the unit of the exposure."""

    masked: BoolArray | None = None
    """Pixels that were left out [y, x], where the task chose them itself."""


class BackgroundConfig(Config):
    """What every background task can be told."""

    bin_size: PositiveInt = 128
    """Side of the square bins [pixel]."""

    ignored_planes: tuple[str, ...] = IGNORED_PLANES
    """Mask planes whose pixels are left out."""

    min_sky: float = Field(default=0.005, ge=0.0, le=1.0)
    """With a smaller share of the pixels outside sources, as in a crowd without sky, those of the sources count too."""


BackgroundConfigT = TypeVar("BackgroundConfigT", bound=BackgroundConfig, covariant=True, default=BackgroundConfig)


class BackgroundTask(Task[BackgroundConfigT], ABC):
    """Interface: anything that estimates the sky."""

    @abstractmethod
    def run(self, exposure: Exposure) -> BackgroundResult:
        """Estimate the sky under ``exposure`` where it is not masked.

        Raises
        ------
        TooManyMaskedPixelsError
            If no bin has a usable pixel.
        """

    def left_out(self, exposure: Exposure) -> BoolArray:
        """Return the pixels that do not count [y, x]."""
        bad = exposure.mask.any_of(*self.config.ignored_planes)
        defects = exposure.mask.any_of(*(name for name in self.config.ignored_planes if name not in SOURCE_PLANES))
        usable = int(np.count_nonzero(~defects))
        if np.count_nonzero(~bad) >= self.config.min_sky * usable:
            return bad
        self.log.info("no sky between the sources", usable=usable, free=int(np.count_nonzero(~bad)))
        return defects


class MeshBackgroundConfig(BackgroundConfig):
    """Settings of `MeshBackgroundTask`."""

    method: Literal["chebyshev", "spline"] = "chebyshev"
    """Surface through the bins: ``chebyshev`` smooths them, ``spline`` follows them."""

    order: NonNegativeInt = 6
    """Total order of the Chebyshev surface; lowered when there are too few bins."""

    extended_passes: NonNegativeInt = 1
    """How often the light of large galaxies and halos is looked for and left out, once sources are DETECTED."""

    source_passes: NonNegativeInt = 2
    """How often sources lost in the noise are looked for; 0 for smoothed images, whose noise is correlated."""


class MeshBackgroundTask(BackgroundTask[MeshBackgroundConfig]):
    """Clipped means of square bins, joined by a smooth surface (LSST `SubtractBackgroundTask`)."""

    def run(self, exposure: Exposure) -> BackgroundResult:
        """Estimate the sky under ``exposure`` where it is not masked."""
        bad = self.left_out(exposure)
        sources_left_out = (bad & exposure.mask.any_of("DETECTED")).any()
        model = fit_mesh_background(
            exposure.image,
            bad=bad,
            bin_size=self.config.bin_size,
            order=self.config.order,
            method=self.config.method,
            source_passes=self.config.source_passes,
            extended_passes=self.config.extended_passes if sources_left_out else 0,
        )
        self.log.info("background", sky=model.level, bin_size=self.config.bin_size)
        return BackgroundResult(background=model)


class ConstantBackgroundTask(BackgroundTask):
    """One clipped mean for the whole image; for small cut-outs and tests of flat fields."""

    def run(self, exposure: Exposure) -> BackgroundResult:
        """Estimate the sky under ``exposure`` where it is not masked."""
        model = fit_mesh_background(
            exposure.image,
            bad=self.left_out(exposure),
            bin_size=max(exposure.image.shape),
            order=0,
            method="chebyshev",
        )
        self.log.info("background", sky=model.level)
        return BackgroundResult(background=model)
