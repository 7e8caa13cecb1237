"""Judge candidates by a convolutional network that sees both images and their difference."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from firstlight.algorithms.candidate_fits import CandidateFits
from firstlight.algorithms.network_channels import network_channels
from firstlight.algorithms.stamps import CandidateStamps
from firstlight.errors import ConfigError
from firstlight.kernels.arrays import FloatArray
from firstlight.tasks.vet import VetConfig, VetTask
from firstlight.tasks.vet_models import JudgesByModel, NetworkModel, read_network_model

try:
    import onnxruntime
except ImportError:
    onnxruntime = None


class NetworkVetConfig(VetConfig):
    """Settings of `NetworkVetTask`."""

    model: str | None = None
    """Path of the JSON file that ``firstlight train vet`` wrote beside a network; that of the package when left out."""

    threads: PositiveInt = 1
    """Threads of the network."""

    views: Literal[1, 4, 8] = 1
    """Turns (4) and mirror images (8) of each stamp over whose logits the mean is taken."""


class NetworkVetTask(JudgesByModel, VetTask[NetworkVetConfig]):
    """A small network of 3 x 3 convolutions over `firstlight.algorithms.network_channels`; needs onnxruntime."""

    model: NetworkModel
    """By which it judges."""

    def __init__(self, config: NetworkVetConfig | None = None) -> None:
        super().__init__(config)
        self.model = read_network_model(self.config.model)
        self._session = self._opened()

    def _opened(self) -> onnxruntime.InferenceSession | None:
        if onnxruntime is None:
            return None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.config.threads, 1
        return onnxruntime.InferenceSession(self.model.network, options, providers=["CPUExecutionProvider"])

    def half(self, fwhm: float) -> int:
        """Return the half size of the stamps [pixel]."""
        return self.model.half

    def judge(self, stamps: CandidateStamps, fits: CandidateFits, *, fwhm: float) -> NDArray[np.float64]:
        """Return probabilities.

        Raises
        ------
        ConfigError
            If onnxruntime is not installed.
        """
        channels = network_channels(stamps, fits, fwhm=fwhm)
        views = [channels if turn == 0 else np.rot90(channels, turn, axes=(2, 3)) for turn in range(4)]
        views += [view[:, :, :, ::-1] for view in views]
        logits = np.mean([self.logits(view) for view in views[: self.config.views]], axis=0)
        return self.model.calibration.probability(logits)

    def logits(self, channels: FloatArray) -> NDArray[np.float64]:
        """Return (n,) what the network says, before calibration.

        Parameters
        ----------
        channels : (n, 8, s, s)
            From `firstlight.algorithms.network_channels.network_channels`.

        Raises
        ------
        ConfigError
            If onnxruntime is not installed.
        """
        if self._session is None:
            raise ConfigError("NetworkVetTask needs onnxruntime; 'pip install firstlight[vet]' brings it.")
        step = self.config.batch
        parts = [
            self._session.run(["logit"], {"stamps": np.ascontiguousarray(channels[start : start + step])})[0]
            for start in range(0, len(channels), step)
        ]
        return np.concatenate(parts).astype(np.float64).reshape(-1)
