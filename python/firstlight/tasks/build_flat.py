"""Combine flat fields into one that is normalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveFloat

from firstlight.algorithms.combine import Structure, clipped_moments
from firstlight.errors import CalibrationError
from firstlight.framework import Funnel, Gate, Handle, Input, Output, Struct
from firstlight.images.exposure import Exposure
from firstlight.tasks.build_calibration import OF_EXPOSURE, BuildCalibrationConfig, BuildCalibrationTask
from firstlight.tasks.frame_stack import FrameFacts


class BuildFlatConfig(BuildCalibrationConfig):
    """Settings of `BuildFlatTask`."""

    observation_types: tuple[str, ...] = (
        *("flat", "dome flat", "domeflat", "dflat", "sky flat", "skyflat", "twilight flat", "twiflat", "twilight"),
    )
    """Kinds of exposure that are used, as `ObservationInfo` names them; empty for all that are given."""

    grow: NonNegativeInt = 2
    """Neighbours within this radius of a rejected value, a star, are rejected too [pixel]."""

    min_level: PositiveFloat = 100.0
    """Frames whose level is lower are refused [count]."""

    max_rejected: PositiveFloat = 0.3
    """Fraction of rejected values from which the calibration is not to be used."""

    warn_unevenness: PositiveFloat = 0.5
    """Unevenness of a frame divided by the flat from which the gate warns [percent]: a lamp that flickers, clouds."""

    max_unevenness: PositiveFloat = 3.0
    """Unevenness of a frame divided by the flat from which the flat is not to be used [percent]."""

    warn_level_scatter: PositiveFloat = 50.0
    """Standard deviation of the levels of the frames over their mean that makes a warning [percent]."""


@dataclass(frozen=True)
class BuildFlatResult(Struct):
    """What `BuildFlatTask.run` returns."""

    flat: Exposure
    """Response of each pixel relative to the typical one."""

    gates: tuple[Gate, ...]
    funnels: tuple[Funnel, ...]


class BuildFlatTask(BuildCalibrationTask[BuildFlatConfig]):
    """Mean of flat fields, each divided by its level, stars left out."""

    kind = "flat"
    level_unit = "percent"
    dimensions = ("instrument", "detector", "physical_filter")
    inputs = {"frames": Input("flat_frame", Exposure, OF_EXPOSURE, multiple=True, deferred=True)}
    outputs = {"flat": Output("flat", Exposure)}

    def factor(self, facts: FrameFacts) -> float:
        """Return the inverse of the level of the frame [1/count]."""
        if not facts.level >= self.config.min_level:
            raise CalibrationError(
                f"A flat needs at least {self.config.min_level:.6g} counts; a frame has a level of {facts.level:.6g}.",
                level=facts.level,
                min_level=self.config.min_level,
            )
        return 1.0 / facts.level

    def scatter(self, facts: Sequence[FrameFacts], levels: NDArray[np.float64]) -> float:
        """Return the scatter of the levels before scaling, over their mean [percent]."""
        before = [each.level for each in facts]
        return float(100.0 * np.std(before, ddof=1) / np.mean(before))

    def more_gates(self, structure: Structure) -> tuple[Gate, ...]:
        """Return how uneven the worst frame is when it is divided by the flat."""
        config, uneven = self.config, 100.0 * structure.amplitude
        gate = Gate("flat_unevenness", uneven, "percent", warn=config.warn_unevenness, fail=config.max_unevenness)
        return (gate,)

    def finished(self, built: Exposure, facts: Sequence[FrameFacts]) -> Exposure:
        """Return the flat with a clipped mean of exactly 1."""
        good = built.image[~built.mask.any_of("NO_DATA")]
        norm = clipped_moments(good)[0]
        return built.replace(image=built.image / np.float32(norm), variance=built.variance / np.float32(norm**2))

    def run(self, frames: tuple[Handle[Exposure], ...]) -> BuildFlatResult:
        """Combine flat fields; what raises is told by `BuildCalibrationTask.build`."""
        built = self.build(frames)
        return BuildFlatResult(flat=built.exposure, gates=built.gates, funnels=built.funnels)
