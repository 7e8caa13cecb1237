"""Combine biases into a bias frame."""

from __future__ import annotations

from dataclasses import dataclass

from firstlight.framework import Funnel, Gate, Handle, Input, Output, Struct
from firstlight.images.exposure import Exposure
from firstlight.tasks.build_calibration import OF_EXPOSURE, BuildCalibrationConfig, BuildCalibrationTask
from firstlight.tasks.frame_stack import FrameFacts


class BuildBiasConfig(BuildCalibrationConfig):
    """Settings of `BuildBiasTask`."""

    observation_types: tuple[str, ...] = ("bias", "zero")
    """Kinds of exposure that are used, as `ObservationInfo` names them; empty for all that are given."""


@dataclass(frozen=True)
class BuildBiasResult(Struct):
    """What `BuildBiasTask.run` returns."""

    bias: Exposure
    """Mean of the frames [count]."""

    gates: tuple[Gate, ...]
    funnels: tuple[Funnel, ...]


class BuildBiasTask(BuildCalibrationTask[BuildBiasConfig]):
    """Mean of bias frames, outliers left out."""

    kind = "bias"
    level_unit = "count"
    dimensions = ("instrument", "detector")
    inputs = {"frames": Input("bias_frame", Exposure, OF_EXPOSURE, multiple=True, deferred=True)}
    outputs = {"bias": Output("bias", Exposure)}

    def factor(self, facts: FrameFacts) -> float:
        """Return 1: biases are on one scale."""
        return 1.0

    def run(self, frames: tuple[Handle[Exposure], ...]) -> BuildBiasResult:
        """Combine bias frames; what raises is told by `BuildCalibrationTask.build`."""
        built = self.build(frames)
        return BuildBiasResult(bias=built.exposure, gates=built.gates, funnels=built.funnels)
