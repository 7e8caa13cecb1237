"""Judge candidates by measured features: shape, surroundings, sign and mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.candidate_features import STAMP_FWHM, candidate_features
from firstlight.algorithms.candidate_fits import CandidateFits
from firstlight.algorithms.stamps import CandidateStamps
from firstlight.tasks.vet import VetConfig, VetTask, stamp_half
from firstlight.tasks.vet_models import FeatureModel, JudgesByModel, read_feature_model

SMALLEST_HALF = 6
"""Half size of the stamps in the sharpest images [pixel]."""


class FeatureVetConfig(VetConfig):
    """Settings of `FeatureVetTask`."""

    model: str | None = None
    """Path of a model that ``firstlight train vet`` wrote; the one of the package when left out."""


class FeatureVetTask(JudgesByModel, VetTask[FeatureVetConfig]):
    """Boosted trees over features (`firstlight.algorithms.candidate_features`); needs no other package."""

    model: FeatureModel
    """By which it judges."""

    def __init__(self, config: FeatureVetConfig | None = None) -> None:
        super().__init__(config)
        self.model = read_feature_model(self.config.model)

    def half(self, fwhm: float) -> int:
        """Return the half size of the stamps [pixel]."""
        return stamp_half(fwhm, in_fwhm=STAMP_FWHM, at_least=SMALLEST_HALF)

    def judge(self, stamps: CandidateStamps, fits: CandidateFits, *, fwhm: float) -> NDArray[np.float64]:
        """Return probabilities."""
        table = candidate_features(stamps, fits, fwhm=fwhm)
        return self.model.calibration.probability(self.model.trees.logits(table))
