"""Combine darks into a dark frame of one second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt

from firstlight.errors import HeaderError
from firstlight.framework import Funnel, Gate, Handle, Input, Lookup, Output, Prerequisite, Struct
from firstlight.images.exposure import Exposure
from firstlight.tasks.build_calibration import OF_EXPOSURE, BuildCalibrationConfig, BuildCalibrationTask
from firstlight.tasks.calibration_frames import require_fit
from firstlight.tasks.frame_stack import FrameFacts


class BuildDarkConfig(BuildCalibrationConfig):
    """Settings of `BuildDarkTask`."""

    observation_types: tuple[str, ...] = ("dark",)
    """Kinds of exposure that are used, as `ObservationInfo` names them; empty for all that are given."""

    grow: NonNegativeInt = 1
    """Neighbours within this radius of a rejected value, a cosmic ray, are rejected too [pixel]."""


@dataclass(frozen=True)
class BuildDarkResult(Struct):
    """What `BuildDarkTask.run` returns."""

    dark: Exposure
    """Counts of one second, with an exposure time of 1 s."""

    gates: tuple[Gate, ...]
    funnels: tuple[Funnel, ...]


class BuildDarkTask(BuildCalibrationTask[BuildDarkConfig]):
    """Mean of dark frames, each divided by its exposure time, cosmic rays left out."""

    kind = "dark"
    level_unit = "count"
    dimensions = ("instrument", "detector")
    inputs = {"frames": Input("dark_frame", Exposure, OF_EXPOSURE, multiple=True, deferred=True)}
    prerequisites = {
        "bias": Prerequisite("bias", Exposure, ("instrument", "detector"), lookup=Lookup.VALIDITY, minimum=0)
    }
    outputs = {"dark": Output("dark", Exposure)}

    def factor(self, facts: FrameFacts) -> float:
        """Return the inverse of the exposure time [1/s]."""
        time = facts.observation.exposure_time
        if time is None or not time > 0:
            raise HeaderError(f"A dark needs an exposure time above 0 s; the header gives {time}.")
        return 1.0 / time

    def scatter(self, facts: Sequence[FrameFacts], levels: NDArray[np.float64]) -> float:
        """Return the scatter of the levels at the mean exposure time [count]."""
        return float(np.std(levels, ddof=1) * np.mean([each.observation.exposure_time or 0.0 for each in facts]))

    def finished(self, built: Exposure, facts: Sequence[FrameFacts]) -> Exposure:
        """Return the dark as that of one second."""
        return built.replace(observation=replace(built.observation, exposure_time=1.0))

    def run(self, frames: tuple[Handle[Exposure], ...], *, bias: Exposure | None = None) -> BuildDarkResult:
        """Combine dark frames; what raises is told by `BuildCalibrationTask.build`.

        Parameters
        ----------
        frames
        bias
            What was subtracted from all of them: its noise does not average out, and is added. None adds nothing.

        Raises
        ------
        InputError
            If the bias differs in shape or binning from the frames.
        """
        built = self.build(frames)
        dark = built.exposure
        if bias is not None:
            require_fit(dark, bias, kind="bias")
            dark = dark.replace(variance=dark.variance + bias.variance * np.float32(built.factor**2))
        return BuildDarkResult(dark=dark, gates=built.gates, funnels=built.funnels)
