"""Combine frames of one kind into a calibration frame: what building a bias, a dark and a flat have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from typing_extensions import TypeVar

from firstlight.algorithms.combine import (
    StackNoise,
    Structure,
    clipped_moments,
    combine_frames,
    measure_stack_noise,
    measure_structure,
)
from firstlight.errors import CalibrationError, NoWorkFound
from firstlight.framework import Funnel, Gate, Handle, PipelineTask, PipelineTaskConfig
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.tasks.calibration_frames import KIND, N_COMBINED
from firstlight.tasks.frame_stack import BYTES_PER_PIXEL, Frame, FrameFacts, FrameStack

OF_EXPOSURE = ("instrument", "exposure", "detector")
MEGABYTE = 1 << 20
NEVER_KEPT = ("BIASSEC", "TRIMSEC", "DATASEC")


class BuildCalibrationConfig(PipelineTaskConfig):
    """What every building of a calibration can be told."""

    observation_types: tuple[str, ...] = ()
    """Kinds of exposure that are used, as `ObservationInfo` names them; empty for all that are given."""

    min_frames: Annotated[int, Field(ge=2)] = 3
    """Fewer frames than this make no calibration."""

    n_sigma: PositiveFloat = 5.0
    """Values farther from the others in their pixel are rejected [standard deviation]."""

    grow: NonNegativeInt = 0
    """Neighbours within this radius of a rejected value are rejected too [pixel]."""

    ignored_planes: tuple[str, ...] = ("BAD", "SAT", "NO_DATA")
    """Mask planes whose pixels are not used."""

    max_memory: PositiveInt = 1024
    """Memory for the rows that are combined at a time [MB]; the result does not depend on it."""

    warn_noise_ratio: PositiveFloat = 1.3
    """Scatter between frames over that of their variance planes from which the gate warns."""

    warn_structure: PositiveFloat = 3.0
    """Scatter of pieces of rows of a frame about the calibration, over that of noise, from which the gate warns."""

    warn_rejected: PositiveFloat = 0.01
    """Fraction of rejected values from which the gate warns."""

    max_rejected: PositiveFloat = 0.2
    """Fraction of rejected values from which the calibration is not to be used."""

    warn_level_scatter: PositiveFloat = 5.0
    """Standard deviation of the levels of the frames that makes a warning [count; percent in flats]."""


BuildConfigT = TypeVar("BuildConfigT", bound=BuildCalibrationConfig, covariant=True, default=BuildCalibrationConfig)


@dataclass(frozen=True)
class BuiltCalibration:
    """A combined calibration and how good it is."""

    exposure: Exposure
    factor: float
    """Weighted mean of what the pixels of the frames were multiplied with."""

    gates: tuple[Gate, ...]
    funnels: tuple[Funnel, ...]


class BuildCalibrationTask(PipelineTask[BuildConfigT], ABC):
    """Interface: anything that combines frames of one kind; members say how frames come to one scale."""

    kind: ClassVar[str]
    """What is built: bias, dark or flat."""

    level_unit: ClassVar[str]
    """Unit of the levels of the frames after scaling."""

    @abstractmethod
    def factor(self, facts: FrameFacts) -> float:
        """Return what the pixels of a frame are multiplied with before they are combined.

        Raises
        ------
        HeaderError, CalibrationError
            If it cannot be known.
        """

    def finished(self, built: Exposure, facts: Sequence[FrameFacts]) -> Exposure:
        """Return the combined exposure with what is special about its kind."""
        return built

    def build(self, handles: Sequence[Handle[Exposure]]) -> BuiltCalibration:
        """Combine the frames of the wanted kind.

        Raises
        ------
        NoWorkFound
            If none of the frames is of the wanted kind.
        CalibrationError
            If there are too few of them.
        InputError
            If they do not belong together.
        """
        config = self.config
        frames = self._chosen(handles)
        stack = FrameStack(frames, ignored_planes=config.ignored_planes, max_bytes=self._max_bytes())
        sample = stack.sample()
        noise = measure_stack_noise(sample.image, variance=sample.variance, bad=sample.bad)
        built, n_rejected = self._combined(stack, noise)
        structure = measure_structure(sample.image, built.image[sample.rows], bad=sample.bad)
        facts = [frame.facts for frame in frames]
        levels = np.array([frame.factor * frame.facts.level for frame in frames])
        gates = self._gates(facts, levels, noise, structure, n_rejected / (len(frames) * built.image.size))
        funnel = Funnel(f"{self.kind}_frames").then("given", len(handles)).then("of_the_kind", len(frames))
        self.metadata.count("frames", len(frames))
        self.metadata.count("rejected_values", n_rejected)
        self.log.info(
            self.kind, frames=len(frames), rejected=n_rejected, noise_ratio=noise.ratio, structure=structure.ratio
        )
        factor = float(np.average([frame.factor for frame in frames], weights=1.0 / noise.relative))
        gates = (*gates, *self.more_gates(structure))
        return BuiltCalibration(self.finished(built, facts), factor, gates, (funnel,))

    def _max_bytes(self) -> int:
        allowed = self.config.max_memory * MEGABYTE
        return allowed if self.resources.memory_bytes is None else min(allowed, self.resources.memory_bytes // 2)

    def _chosen(self, handles: Sequence[Handle[Exposure]]) -> list[Frame]:
        """Load each frame once; keep those of the kind, and their pixels too if all fit into memory."""
        wanted, kinds = self.config.observation_types, set()
        frames: list[Frame] = []
        for handle in handles:
            exposure = handle.get()
            kinds.add(str(exposure.observation.observation_type))
            if wanted and exposure.observation.observation_type not in wanted:
                continue
            facts = FrameFacts.of(exposure, level=self._level(exposure))
            fits = len(handles) * exposure.image.size * BYTES_PER_PIXEL <= self._max_bytes()
            frames.append(Frame(handle, facts, self.factor(facts), exposure if fits else None))
        if not frames:
            raise NoWorkFound(
                f"None of {len(handles)} frames is of kind {' or '.join(wanted)}; they are {', '.join(sorted(kinds))}."
            )
        if len(frames) < self.config.min_frames:
            raise CalibrationError(
                f"A {self.kind} needs at least {self.config.min_frames} frames; got {len(frames)} of {len(handles)}.",
                n_frames=len(frames),
                n_given=len(handles),
            )
        return frames

    def _level(self, exposure: Exposure) -> float:
        known = [plane for plane in self.config.ignored_planes if plane in exposure.mask.planes]
        good = exposure.image[~exposure.mask.any_of(*known) & np.isfinite(exposure.image)]
        if not good.size:
            raise CalibrationError(f"A frame for the {self.kind} has no usable pixel.", n_pixels=exposure.image.size)
        return clipped_moments(good)[0]

    def _combined(self, stack: FrameStack, noise: StackNoise) -> tuple[Exposure, int]:
        image, variance = np.empty(stack.shape, np.float32), np.empty(stack.shape, np.float32)
        count, rejected = np.empty(stack.shape, np.int32), np.empty(stack.shape, np.int32)
        for band, own in stack.bands(margin=self.config.grow):
            part = combine_frames(
                band.image,
                variance=band.variance,
                bad=band.bad,
                noise=noise,
                n_sigma=self.config.n_sigma,
                grow=self.config.grow,
            )
            rows = band.rows[own]
            image[rows], variance[rows] = part.image[own], part.variance[own]
            count[rows], rejected[rows] = part.count[own], part.rejected[own]
        mask = Mask.empty(stack.shape).with_plane("NO_DATA", count == 0).with_plane("CLIPPED", rejected > 0)
        return self._exposure(stack, image, variance, mask), int(rejected.sum())

    def _exposure(
        self, stack: FrameStack, image: NDArray[np.float32], variance: NDArray[np.float32], mask: Mask
    ) -> Exposure:
        facts = [frame.facts for frame in stack.frames]
        first, dates = facts[0], [each.observation.mjd_tai for each in facts]
        known = [date for date in dates if date is not None]
        header = {key: value for key, value in first.header.items() if key not in NEVER_KEPT}
        observation = replace(
            first.observation, observation_type=self.kind, mjd_tai=float(np.mean(known)) if known else None
        )
        return Exposure(
            image=image,
            mask=mask,
            variance=variance,
            filter=observation.filter,
            observation=observation,
            detector=first.detector,
            header={**header, KIND: self.kind, N_COMBINED: len(facts)},
        )

    def _gates(
        self,
        facts: Sequence[FrameFacts],
        levels: NDArray[np.float64],
        noise: StackNoise,
        structure: Structure,
        rejected: float,
    ) -> tuple[Gate, ...]:
        config, n, kind, scatter = self.config, len(facts), self.kind, self.scatter(facts, levels)
        return (
            Gate(f"{kind}_frames", n, sense="min", fail=config.min_frames),
            Gate(f"{kind}_level_scatter", scatter, self.level_unit, warn=config.warn_level_scatter, n=n),
            Gate(f"{kind}_noise_ratio", noise.ratio, warn=config.warn_noise_ratio, n=n),
            Gate(f"{kind}_structure", structure.ratio, warn=config.warn_structure, n=n),
            Gate(f"{kind}_rejected", rejected, warn=config.warn_rejected, fail=config.max_rejected, n=n),
        )

    def more_gates(self, structure: Structure) -> tuple[Gate, ...]:
        """Return gates that only this kind has."""
        return ()

    def scatter(self, facts: Sequence[FrameFacts], levels: NDArray[np.float64]) -> float:
        """Return how much the levels of the frames scatter [`level_unit`].

        Parameters
        ----------
        facts
        levels
            After scaling.
        """
        return float(np.std(levels, ddof=1))
