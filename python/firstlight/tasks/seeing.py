"""Measure the seeing, as the first guess of the PSF."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from pydantic import PositiveFloat, PositiveInt
from typing_extensions import TypeVar

from firstlight.algorithms.seeing import measure_seeing
from firstlight.framework import Config, Gate, Struct, Task
from firstlight.images.exposure import Exposure
from firstlight.images.psf import FWHM_PER_SIGMA, GaussianPsf

UNUSABLE = ("BAD", "NO_DATA", "SAT", "EDGE")


@dataclass(frozen=True)
class SeeingResult(Struct):
    """What a `SeeingTask` returns."""

    psf: GaussianPsf
    """Gaussian as wide as the stars."""

    fwhm: float
    """Full width at half maximum [pixel]."""

    n_stars: int
    """Number of stars it was measured from; 0 when the fallback was taken."""

    gates: tuple[Gate, ...]
    """How well the seeing is known."""


class SeeingConfig(Config):
    """What every seeing measurement can be told."""

    fallback_fwhm: PositiveFloat = 3.5
    """Full width at half maximum taken when no star can be measured [pixel]."""

    stamp_fwhm: PositiveFloat = 6.0
    """Side of the PSF stamp in units of the full width at half maximum."""


SeeingConfigT = TypeVar("SeeingConfigT", bound=SeeingConfig, covariant=True, default=SeeingConfig)


class SeeingTask(Task[SeeingConfigT], ABC):
    """Interface: anything that guesses the size of the PSF without knowing it."""

    @abstractmethod
    def run(self, exposure: Exposure) -> SeeingResult:
        """Measure the seeing of a background-subtracted exposure."""


class StarSeeingConfig(SeeingConfig):
    """Settings of `StarSeeingTask`."""

    warn_n_stars: PositiveInt = 5
    """Fewer stars than this are a warning."""


class StarSeeingTask(SeeingTask[StarSeeingConfig]):
    """The most common size of bright compact detections."""

    def run(self, exposure: Exposure) -> SeeingResult:
        """Measure the seeing of a background-subtracted exposure."""
        seeing = measure_seeing(
            exposure.image,
            variance=exposure.variance,
            bad=exposure.mask.any_of(*UNUSABLE),
            saturation=exposure.detector.saturation or np.inf,
        )
        fwhm = seeing.fwhm if seeing.n else self.config.fallback_fwhm
        sigma = seeing.sigma if seeing.n else fwhm / FWHM_PER_SIGMA
        self.log.info("seeing", fwhm=fwhm, n_stars=seeing.n)
        return SeeingResult(
            psf=GaussianPsf(sigma=sigma, radius=_stamp_radius(fwhm, self.config.stamp_fwhm)),
            fwhm=fwhm,
            n_stars=seeing.n,
            gates=(Gate("seeing_n_stars", seeing.n, sense="min", warn=self.config.warn_n_stars),),
        )


class FixedSeeingTask(SeeingTask):
    """The configured width, for images where nothing can be measured."""

    def run(self, exposure: Exposure) -> SeeingResult:
        """Return a Gaussian of the configured width."""
        fwhm = self.config.fallback_fwhm
        psf = GaussianPsf(sigma=fwhm / FWHM_PER_SIGMA, radius=_stamp_radius(fwhm, self.config.stamp_fwhm))
        return SeeingResult(psf=psf, fwhm=fwhm, n_stars=0, gates=())


def _stamp_radius(fwhm: float, stamp_fwhm: float) -> int:
    return max(3, int(stamp_fwhm * fwhm / 2 + 0.5))
