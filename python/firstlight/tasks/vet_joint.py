"""Judge candidates by features and by a network together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from firstlight.algorithms.candidate_fits import CandidateFits
from firstlight.algorithms.stamps import CandidateStamps
from firstlight.tasks.vet import VetTask
from firstlight.tasks.vet_features import FeatureVetConfig, FeatureVetTask
from firstlight.tasks.vet_models import FEATURE_MODEL, NETWORK_MODEL, JointModel, JudgesByModel, read_joint_model
from firstlight.tasks.vet_network import NetworkVetConfig, NetworkVetTask

_SUREST = 1e-12
"""Probabilities nearer than this to 0 or 1 count as this near."""


class JointVetConfig(NetworkVetConfig):
    """Settings of `JointVetTask`."""

    model: str | None = None
    """Path of the JSON file that ``firstlight train vet`` wrote for both together, beside the two; those of the package
    when left out."""


class JointVetTask(JudgesByModel, VetTask[JointVetConfig]):
    """The mean of the log odds of `FeatureVetTask` and `NetworkVetTask`: they err on other candidates."""

    model: JointModel
    """By which it judges."""

    def __init__(self, config: JointVetConfig | None = None) -> None:
        super().__init__(config)
        path = self.config.model
        self.model = read_joint_model(path)
        features, network = (
            None if path is None else str(Path(path).with_name(name)) for name in (FEATURE_MODEL, NETWORK_MODEL)
        )
        own = {name: getattr(self.config, name) for name in ("threads", "batch", "views")}
        self.features = FeatureVetTask(FeatureVetConfig(model=features))
        self.network = NetworkVetTask(NetworkVetConfig(model=network, **own))

    def half(self, fwhm: float) -> int:
        """Return the half size of the larger stamps [pixel]."""
        return max(self.features.half(fwhm), self.network.half(fwhm))

    def judge(self, stamps: CandidateStamps, fits: CandidateFits, *, fwhm: float) -> NDArray[np.float64]:
        """Return probabilities.

        Raises
        ------
        ConfigError
            If onnxruntime is not installed.
        """
        scores = (
            task.judge(stamps.cropped(task.half(fwhm)), fits, fwhm=fwhm) for task in (self.features, self.network)
        )
        return self.model.calibration.probability(mean_logit(*scores))


def mean_logit(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n,) the mean of the log odds of two probabilities (n,)."""
    return np.asarray(np.mean([logit(np.clip(each, _SUREST, 1.0 - _SUREST)) for each in (first, second)], axis=0))
