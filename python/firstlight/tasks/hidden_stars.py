"""Find the stars that show only when their neighbours are taken off."""

from __future__ import annotations

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat

from firstlight.algorithms.deblending import DeblendLimits
from firstlight.algorithms.detection import Detections
from firstlight.algorithms.hidden_stars import HiddenLimits, find_hidden_stars
from firstlight.errors import PsfError
from firstlight.framework import Task
from firstlight.images.exposure import Exposure
from firstlight.tasks.crowding import CrowdConfig, is_crowd
from firstlight.tasks.measurement_scene import UNUSABLE, psf_sigma


class HiddenStarsConfig(CrowdConfig):
    """Settings of `HiddenStarsTask`; images that are no crowd are left as they are."""

    threshold: PositiveFloat = 5.0
    """Significance in the residual, and of the flux once all are fitted together [standard deviation]."""

    model_error: NonNegativeFloat = 0.02
    """What the stars that were taken off may be wrong by, in units of their smoothed light."""

    min_separation: PositiveFloat = 0.5
    """Least distance from any other source [FWHM of the PSF]."""

    max_chi2: PositiveFloat = 1.5
    """A source whose fit as a star has a smaller chi-square per degree of freedom is one."""

    max_misfit: PositiveFloat = 0.03
    """So is one whose residual is a smaller share of it, where noise no longer matters."""

    unusable: tuple[str, ...] = UNUSABLE
    """Mask planes whose pixels tell nothing about a source."""


class HiddenStarsTask(Task[HiddenStarsConfig]):
    """Stars in the residual of crowded fields, after all that is known was fitted and taken off (DAOPHOT)."""

    def run(self, exposure: Exposure, detections: Detections) -> Detections:
        """Return the detections with the hidden stars after them, in the footprints that there are.

        Parameters
        ----------
        exposure
            Background-subtracted, with a PSF.
        detections
            From a `DetectTask`, without empty positions.

        Raises
        ------
        PsfError
            If the exposure has no PSF.
        """
        if exposure.psf is None:
            raise PsfError("Stars are taken off with the PSF, and the exposure has none.")
        config = self.config
        if not is_crowd(detections.blended, config):
            return detections
        found = find_hidden_stars(
            exposure.image,
            variance=exposure.variance,
            bad=exposure.mask.any_of(*config.unusable),
            psf=exposure.psf,
            psf_sigma=psf_sigma(exposure),
            detections=detections,
            limits=HiddenLimits(
                threshold=config.threshold, model_error=config.model_error, min_separation=config.min_separation
            ),
            stars=DeblendLimits(max_chi2=config.max_chi2, max_misfit=config.max_misfit),
        )
        n_found, blended = found.n_peaks - detections.n_peaks, float(np.mean(detections.blended))
        self.metadata.count("hidden_stars", n_found)
        self.log.info("hidden stars", found=n_found, blended=blended)
        return found
