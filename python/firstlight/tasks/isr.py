"""Remove the signature of the detector: from a raw exposure to one in corrected counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from typing_extensions import TypeVar

from firstlight.errors import InputError, NoWorkFound
from firstlight.framework import (
    Input,
    Lookup,
    Output,
    PipelineTask,
    PipelineTaskConfig,
    Prerequisite,
    Struct,
    Subtask,
    subtask,
)
from firstlight.images.exposure import Exposure
from firstlight.tasks.calibration_frames import STEPS
from firstlight.tasks.isr_steps import (
    CorrectionResult,
    DivideFlatTask,
    MarkSaturatedTask,
    MaskDefectsTask,
    NoiseModelVarianceTask,
    SubtractBiasTask,
    SubtractDarkTask,
)
from firstlight.tasks.overscan import OverscanTask

OF_DETECTOR = ("instrument", "detector")
OF_FILTER = ("instrument", "detector", "physical_filter")


@dataclass(frozen=True)
class IsrResult(Struct):
    """What an `IsrTask` returns."""

    exposure: Exposure
    """Post-ISR exposure in counts."""

    applied: tuple[str, ...] = ()
    """The steps that were done, in their order."""


class IsrConfig(PipelineTaskConfig):
    """Settings of `IsrTask`; each slot is a step, and an empty one is skipped."""

    observation_types: tuple[str, ...] = ()
    """Kinds of exposure that are work, such as ``science``, ``bias``, ``dark``, ``flat``; empty for all."""

    saturation: Subtask[MarkSaturatedTask] | None = None
    """Marks saturated pixels, before anything is subtracted."""

    overscan: Subtask[OverscanTask] | None = None
    """Subtracts the level of the overscan and trims it off."""

    bias: Subtask[SubtractBiasTask] | None = None
    """Subtracts the bias frame."""

    dark: Subtask[SubtractDarkTask] | None = None
    """Subtracts the dark frame, scaled by the exposure time."""

    flat: Subtask[DivideFlatTask] | None = None
    """Divides by the flat field."""

    defects: Subtask[MaskDefectsTask] | None = None
    """Marks known defects."""

    variance: Subtask[NoiseModelVarianceTask] | None = subtask(NoiseModelVarianceTask)
    """Makes the variance, once overscan or bias are gone; an exposure whose variance came from a file keeps it, and so
    does one that needs neither step."""


IsrConfigT = TypeVar("IsrConfigT", bound=IsrConfig, covariant=True, default=IsrConfig)


class IsrTask(PipelineTask[IsrConfigT]):
    """Saturation, overscan, bias, variance, dark, flat, defects, as far as their slots are filled.

    With the defaults an exposure passes through as it is. Each step leaves a card in the header, and is refused on an
    exposure that has it already. A camera that needs more than other tasks in the slots may subclass it.
    """

    dimensions = ("instrument", "exposure", "detector")
    inputs = {"raw": Input("raw", Exposure)}
    prerequisites = {
        "bias": Prerequisite("bias", Exposure, OF_DETECTOR, lookup=Lookup.VALIDITY, when="bias"),
        "dark": Prerequisite("dark", Exposure, OF_DETECTOR, lookup=Lookup.VALIDITY, when="dark"),
        "flat": Prerequisite("flat", Exposure, OF_FILTER, lookup=Lookup.VALIDITY, when="flat"),
        "defects": Prerequisite("defects", Table, OF_DETECTOR, lookup=Lookup.VALIDITY, when="defects"),
    }
    outputs = {"exposure": Output("post_isr_image", Exposure)}

    def __init__(self, config: IsrConfigT | None = None) -> None:
        super().__init__(config)
        self.saturation = self.config.saturation and self.config.saturation.make()
        self.overscan = self.config.overscan and self.config.overscan.make()
        self.bias = self.config.bias and self.config.bias.make()
        self.dark = self.config.dark and self.config.dark.make()
        self.flat = self.config.flat and self.config.flat.make()
        self.defects = self.config.defects and self.config.defects.make()
        self.variance = self.config.variance and self.config.variance.make()

    def run(
        self,
        raw: Exposure,
        *,
        bias: Exposure | None = None,
        dark: Exposure | None = None,
        flat: Exposure | None = None,
        defects: Table | None = None,
    ) -> IsrResult:
        """Correct one exposure.

        Parameters
        ----------
        raw
            Exposure in counts.
        bias, dark, flat
            Calibration frames, trimmed; each is needed when its slot is filled, and not looked at otherwise.
        defects
            Table of boxes with x0, y0, width and height [pixel], in trimmed pixels.

        Raises
        ------
        NoWorkFound
            If the exposure is of another kind than is asked for.
        InputError
            If a calibration is missing or does not fit, or a step was done before.
        CalibrationError
            If the overscan has no level.
        """
        kinds, kind = self.config.observation_types, raw.observation.observation_type
        if kinds and kind not in kinds:
            raise NoWorkFound(f"The exposure is of kind {kind!r}; wanted is {' or '.join(map(repr, kinds))}.")
        work = _Work(raw)
        late = self._remove_pedestal(work, bias)
        if self.dark:
            work.do("dark", self.dark.run, _needed("dark", dark))
        if self.flat:
            work.do("flat", self.flat.run, _needed("flat", flat))
        if self.defects:
            work.do("defects", self.defects.run, _needed("defects", defects))
        if self.variance and late:
            work.do("variance", self.variance.run)
        self.log.info("isr", **work.notes)
        return IsrResult(exposure=work.exposure, applied=tuple(work.notes))

    def _remove_pedestal(self, work: _Work, bias: Exposure | None) -> bool:
        """Do the steps up to the variance; return whether it is to be made at the end, as the gain is not known."""
        raw, read_noise = work.exposure, None
        renewed = self._renews_variance(raw)
        if self.saturation:
            work.do("saturation", self.saturation.run)
        if renewed:
            # What the corrections before the noise model add is kept; what was there knew nothing of the pedestal.
            work.exposure = work.exposure.replace(variance=np.zeros_like(raw.variance))
        if self.overscan:
            read_noise = work.do_overscan(self.overscan)
        if self.bias:
            work.do("bias", self.bias.run, _needed("bias", bias))
        late = renewed and raw.detector.gain is None
        if self.variance and renewed and not late:
            work.do("variance", self.variance.run, read_noise)
        return late

    def _renews_variance(self, raw: Exposure) -> bool:
        """Return whether the variance has to be made: a pedestal goes that photons never made."""
        has_pedestal = self.overscan is not None or self.bias is not None
        is_own = raw.detector.variance_source == "file" or STEPS["variance"] in raw.header
        return self.variance is not None and has_pedestal and not is_own


class _Work:
    """An exposure on its way through the steps, and what was done to it."""

    def __init__(self, exposure: Exposure) -> None:
        self.exposure = exposure
        self.notes: dict[str, str] = {}

    def do(self, step: str, correct: Callable[..., CorrectionResult], *calibration: object) -> None:
        """Do one step and write it down."""
        self._refuse_second(step)
        done = correct(self.exposure, *calibration)
        self._note(step, done.exposure, done.note)

    def do_overscan(self, task: OverscanTask) -> float:
        """Subtract the overscan; return its noise [count]."""
        self._refuse_second("overscan")
        done = task.run(self.exposure)
        self._note("overscan", done.exposure, f"level {done.level:.6g} count, noise {done.noise:.4g} count")
        return done.noise

    def _refuse_second(self, step: str) -> None:
        keyword = STEPS[step]
        if keyword in self.exposure.header:
            raise InputError(
                f"The step {step!r} was done on this exposure before ({keyword}: {self.exposure.header[keyword]}); "
                f"empty the slot isr:{step}, or start from the raw exposure."
            )

    def _note(self, step: str, exposure: Exposure, note: str) -> None:
        self.notes[step] = note
        header: Mapping[str, str | int | float | bool] = {**exposure.header, STEPS[step]: note}
        self.exposure = exposure.replace(header=header)


CalibrationT = TypeVar("CalibrationT")


def _needed(step: str, calibration: CalibrationT | None) -> CalibrationT:
    if calibration is None:
        raise InputError(f"The slot isr:{step} is filled, and no {step} was given; give one, or empty the slot.")
    return calibration
