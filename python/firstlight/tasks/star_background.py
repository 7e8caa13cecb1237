"""Measure the sky anew between the stars, once the PSF is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from firstlight.algorithms.background import fit_mesh_background
from firstlight.algorithms.star_mask import MaskLimits, choose_star_mask
from firstlight.framework import Config, Struct, Subtask, Task, subtask
from firstlight.images.background import BackgroundList, MeshBackground
from firstlight.images.exposure import Exposure
from firstlight.kernels.arrays import BoolArray
from firstlight.kernels.matched_filter import grow_mask
from firstlight.tasks.background import IGNORED_PLANES, BackgroundTask, MeshBackgroundTask
from firstlight.tasks.detect import MatchedFilterDetectTask

_STAR_PLANES = ("DETECTED", "DETECTED_NEGATIVE")
_SPARSE = 0.5


@dataclass(frozen=True)
class StarBackgroundResult(Struct):
    """What `StarBackgroundTask.run` returns."""

    exposure: Exposure
    """The exposure with its former sky put back, the new one subtracted, and no DETECTED planes."""

    background: BackgroundList
    """The new models alone; image plus their sum is the image before any sky was subtracted."""

    threshold: float
    """Significance of the stars around which the sky was left out; NaN if none served [standard deviation]."""


class StarBackgroundConfig(Config):
    """Settings of `StarBackgroundTask`."""

    background: Subtask[BackgroundTask] = subtask(MeshBackgroundTask)
    """Fits the sky between the stars."""

    detection: Subtask[MatchedFilterDetectTask] = subtask(MatchedFilterDetectTask)
    """Makes the map of significance."""

    grow: NonNegativeInt = 10
    """Detected pixels are grown by this first, or by less where hardly any sky would be left [pixel]."""

    star_grow_sigma: PositiveFloat = 70.0
    """Stars above the adapted threshold are masked out to this many sigma of the PSF."""

    start_threshold: PositiveFloat = 2.0
    """Significance at which the search for that threshold begins [standard deviation]."""

    min_fraction: float = Field(default=0.02, ge=0.0, lt=1.0)
    """Least share of the image that is left out."""

    max_fraction: float = Field(default=0.6, gt=0.0, lt=1.0)
    """Greatest share of the image that is left out; with more, a surface of high order runs wild in the gaps."""

    max_iterations: PositiveInt = 40
    """How many thresholds are tried."""

    sections: tuple[PositiveInt, PositiveInt] = (2, 2)
    """Rows and columns of parts of the image that each need some sky, such as amplifiers."""

    pedestal_bin: PositiveInt = 32
    """Side of the bins of the first constant that is added to the sky; doubled until it changes no more [pixel]."""

    pedestal_tolerance: PositiveFloat = 0.05
    """A relative change of the pedestal that is no change."""

    pedestal_noise: PositiveFloat = 0.5
    """A change of the pedestal that is no change [count]."""


class StarBackgroundTask(Task[StarBackgroundConfig]):
    """The sky between stars with wide borders (LSST `CalibrateImageTask`, adaptive background)."""

    def __init__(self, config: StarBackgroundConfig | None = None) -> None:
        super().__init__(config)
        self.background = self.config.background.make()
        self.detection = self.config.detection.make()

    def run(self, exposure: Exposure) -> StarBackgroundResult:
        """Replace the sky that was subtracted by a better one.

        Parameters
        ----------
        exposure
            With a PSF, its DETECTED planes set, and the models that were subtracted in `Exposure.background`.

        Raises
        ------
        PsfError
            If the exposure has no PSF.
        TooManyMaskedPixelsError
            If no sky is left.
        """
        smoothed, sigma = self.detection.smooth(exposure)
        bad = exposure.mask.any_of(*(plane for plane in IGNORED_PLANES if plane not in _STAR_PLANES))
        chosen = choose_star_mask(
            smoothed.snr,
            known=self._grown(exposure.mask.any_of(*_STAR_PLANES)),
            bad=bad,
            radius=self.config.star_grow_sigma * sigma,
            limits=self._limits(),
        )
        before = exposure.background.evaluate(shape=exposure.shape)
        whole = exposure.replace(
            image=exposure.image + before,
            background=BackgroundList(),
            mask=exposure.mask.without(*_STAR_PLANES).with_plane("DETECTED", chosen.mask),
        )
        models = self._with_pedestals(whole, self.background.run(whole).background, chosen.mask)
        self.log.info("star background", sky=models.level, threshold=chosen.threshold, masked=float(chosen.mask.mean()))
        return StarBackgroundResult(
            exposure=whole.replace(
                image=whole.image - models.evaluate(), background=models, mask=exposure.mask.without(*_STAR_PLANES)
            ),
            background=models,
            threshold=chosen.threshold,
        )

    def _grown(self, detected: BoolArray) -> BoolArray:
        for radius in range(self.config.grow, 0, -1):
            grown = grow_mask(detected, radius)
            if grown.mean() < self.config.max_fraction:
                return grown
        return detected

    def _with_pedestals(self, whole: Exposure, sky: MeshBackground, stars: BoolArray) -> BackgroundList:
        """Return the sky and constants fitted to what it leaves, with ever larger bins."""
        models = BackgroundList([sky])
        left_out = grow_mask(stars, 2) if stars.mean() < _SPARSE else stars
        bad = left_out | whole.mask.any_of(*IGNORED_PLANES)
        if bad.all():
            return models
        total, bin_size, residual = 0.0, self.config.pedestal_bin, sky.subtracted_from(whole.image)
        while bin_size < min(whole.shape):
            pedestal = fit_mesh_background(residual, bad=bad, bin_size=bin_size, order=0)
            change = float(pedestal.coefficients[0, 0])
            models, total = models + pedestal, total + change
            if abs(change) < max(self.config.pedestal_noise, self.config.pedestal_tolerance * abs(total)):
                break
            residual -= np.float32(change)
            bin_size *= 2
        return models

    def _limits(self) -> MaskLimits:
        return MaskLimits(
            start=self.config.start_threshold,
            min_fraction=self.config.min_fraction,
            max_fraction=self.config.max_fraction,
            iterations=self.config.max_iterations,
            sections=self.config.sections,
        )
