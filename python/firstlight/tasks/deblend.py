"""Take blends apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from pydantic import PositiveFloat, PositiveInt
from typing_extensions import TypeVar

from firstlight.algorithms.deblending import DeblendLimits, deblend
from firstlight.algorithms.detection import Detections
from firstlight.algorithms.source_light import SourceLight
from firstlight.errors import PsfError
from firstlight.framework import Config, Struct, Task
from firstlight.images.exposure import Exposure


@dataclass(frozen=True)
class DeblendResult(Struct):
    """What a `DeblendTask` returns."""

    exposure: Exposure
    """The exposure with the footprints of blends that were too large in its NOT_DEBLENDED plane."""

    light: SourceLight
    """The light of each source, apart from that of its neighbours."""


DeblendConfigT = TypeVar("DeblendConfigT", bound=Config, covariant=True, default=Config)


class DeblendTask(Task[DeblendConfigT], ABC):
    """Interface: anything that tells apart the light of sources that touch."""

    @abstractmethod
    def run(self, exposure: Exposure, detections: Detections) -> DeblendResult:
        """Take blends apart.

        Parameters
        ----------
        exposure
            Background-subtracted, with a PSF.
        detections
            From a `DetectTask`.

        Raises
        ------
        PsfError
            If the exposure has no PSF.
        """


class SymmetricDeblendConfig(Config):
    """Settings of `SymmetricDeblendTask`."""

    unusable: tuple[str, ...] = ("BAD", "NO_DATA", "SAT", "CR")
    """Mask planes whose pixels tell nothing about a source."""

    max_chi2: PositiveFloat = 1.5
    """A source whose fit as a star has a smaller chi-square per degree of freedom is one."""

    max_misfit: PositiveFloat = 0.03
    """So is one whose residual is a smaller share of it, where noise no longer matters."""

    max_footprint_area: PositiveInt = 100_000
    """Larger blends are not taken apart [pixel]."""

    max_peaks: PositiveInt = 10_000
    """Blends of more sources are not taken apart."""

    bright_snr: PositiveFloat = 300.0
    """Sources above this significance are taken off their surroundings even where no other is near."""


class SymmetricDeblendTask(DeblendTask[SymmetricDeblendConfig]):
    """Stars by fitting them together, all else by symmetric templates (SDSS; LSST `SourceDeblendTask`)."""

    def run(self, exposure: Exposure, detections: Detections) -> DeblendResult:
        """Take blends apart."""
        if exposure.psf is None:
            raise PsfError("Deblending needs a PSF and the exposure has none.")
        config = self.config
        light = deblend(
            exposure.image,
            variance=exposure.variance,
            bad=exposure.mask.any_of(*config.unusable),
            psf=exposure.psf,
            detections=detections,
            limits=DeblendLimits(
                max_chi2=config.max_chi2,
                max_misfit=config.max_misfit,
                max_area=config.max_footprint_area,
                max_peaks=config.max_peaks,
                bright_snr=config.bright_snr,
            ),
        )
        counts = {name: int(getattr(light, name).sum()) for name in ("point_like", "symmetric", "skipped")}
        for name, count in counts.items():
            self.metadata.count(name, count)
        self.log.info("deblended", sources=len(light), **counts)
        if light.skipped.any():
            left = np.concatenate([[False], light.skipped])[detections.labels]
            exposure = exposure.replace(mask=exposure.mask.with_plane("NOT_DEBLENDED", left))
            self.log.warning("blends too large", sources=counts["skipped"], max_peaks=config.max_peaks)
        return DeblendResult(exposure=exposure, light=light)
