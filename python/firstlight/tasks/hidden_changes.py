"""Find the sources of a difference that show only when a brighter one beside them is taken off."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field, NonNegativeFloat, PositiveFloat

from firstlight.algorithms.deblending import DeblendLimits
from firstlight.algorithms.detection import Detections
from firstlight.algorithms.hidden_changes import ChangeImage, find_hidden_changes
from firstlight.algorithms.hidden_stars import HiddenLimits
from firstlight.algorithms.source_light import SourceLight
from firstlight.errors import PsfError
from firstlight.framework import Config, Struct, Task
from firstlight.images.exposure import Exposure
from firstlight.kernels.arrays import FloatArray
from firstlight.tasks.measurement_scene import UNUSABLE, psf_sigma


@dataclass(frozen=True)
class HiddenChangesResult(Struct):
    """What `HiddenChangesTask.run` returns."""

    detections: Detections
    """Those given, with what was hidden after them."""

    light: SourceLight | None
    """The light of sources that were told apart, all others ``skipped``; None where nothing was hidden."""


class HiddenChangesConfig(Config):
    """Settings of `HiddenChangesTask`."""

    min_snr: PositiveFloat = 10.0
    """Least significance of a source beside which another one is looked for [standard deviation]."""

    model_error: NonNegativeFloat = 0.02
    """What the sources that were taken off may be wrong by, in units of their smoothed light; it adds to the noise."""

    min_separation: PositiveFloat = 0.5
    """Least distance from any other source [FWHM of the PSF]."""

    max_chi2: PositiveFloat = 1.5
    """A source whose fit as a star has a smaller chi-square per degree of freedom is one."""

    max_misfit: float = Field(default=0.03, ge=0.0)
    """So is one whose residual is a smaller share of it, where noise no longer matters."""


class HiddenChangesTask(Task[HiddenChangesConfig]):
    """Another source beside each bright one, in what is left when the bright ones are taken off (DAOPHOT)."""

    def run(
        self, exposure: Exposure, detections: Detections, *, noise: FloatArray, threshold: float
    ) -> HiddenChangesResult:
        """Return the detections with what is hidden beside them, and the light of each of those.

        Parameters
        ----------
        exposure
            A difference with its PSF, its sign such that the sources are positive.
        detections
            Of this sign.
        noise : (ny, nx)
            Standard deviation of a point source over what the variance says: what the subtraction leaves behind.
        threshold : [standard deviation]
            Significance of what is found.

        Raises
        ------
        PsfError
            If the exposure has no PSF.
        """
        if exposure.psf is None:
            raise PsfError("Sources are taken off with the PSF, and the difference has none.")
        config = self.config
        change = ChangeImage(
            image=exposure.image,
            variance=exposure.variance,
            bad=exposure.mask.any_of(*UNUSABLE),
            noise=noise,
            psf=exposure.psf,
            psf_sigma=psf_sigma(exposure),
        )
        found = find_hidden_changes(
            change,
            detections,
            min_snr=config.min_snr,
            limits=HiddenLimits(threshold, config.model_error, config.min_separation),
            stars=DeblendLimits(max_chi2=config.max_chi2, max_misfit=config.max_misfit),
        )
        self.metadata.count("hidden_changes", found.detections.n_peaks - detections.n_peaks)
        return HiddenChangesResult(detections=found.detections, light=found.light)
