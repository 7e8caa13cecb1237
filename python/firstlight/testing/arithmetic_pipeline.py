"""Pipeline tasks that calculate with numbers: every kind of connection, without astronomy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from firstlight.errors import AlgorithmError, NoWorkFound
from firstlight.framework import (
    DataId,
    DatasetRef,
    Handle,
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
from firstlight.testing.arithmetic import AddTask, NumberTask

DETECTOR = ("instrument", "visit", "detector")
VISIT = ("instrument", "visit")


@dataclass(frozen=True)
class CorrectResult(Struct):
    """What `CorrectTask.run` returns."""

    corrected: float
    residual: float | None


class CorrectConfig(PipelineTaskConfig):
    """Settings of `CorrectTask`."""

    with_bias: bool = True
    """Whether a bias is subtracted."""

    optional_outputs: tuple[str, ...] = ()
    """Outputs besides the corrected number; ``residual`` can be named."""

    step: Subtask[NumberTask] | None = subtask(AddTask, amount=0.0)
    """What is done last; empty to skip it."""


class CorrectTask(PipelineTask[CorrectConfig]):
    """Subtracts a bias that is valid on the date of the raw number."""

    dimensions = DETECTOR
    inputs = {"raw": Input("raw_number", float)}
    prerequisites = {"bias": Prerequisite("bias_number", float, lookup=Lookup.VALIDITY, when="with_bias")}
    outputs = {
        "corrected": Output("corrected_number", float),
        "residual": Output("residual_number", float, when="optional_outputs", optional=True),
    }

    def __init__(self, config: CorrectConfig | None = None) -> None:
        super().__init__(config)
        self.step = self.config.step and self.config.step.make()

    def run(self, raw: float, bias: float = 0.0) -> CorrectResult:
        """Return ``raw`` without ``bias``.

        Raises
        ------
        AlgorithmError
            If the difference is negative.
        """
        difference = raw - bias
        if difference < 0:
            raise AlgorithmError(f"A number below its bias means nothing; got {raw} and {bias}.", raw=raw, bias=bias)
        value = self.step.run(difference).value if self.step else difference
        return CorrectResult(corrected=value, residual=raw - value)


@dataclass(frozen=True)
class SumResult(Struct):
    """What `SumTask.run` returns."""

    total: float


class SumConfig(PipelineTaskConfig):
    """Settings of `SumTask`."""

    least: int = 0
    """Visits with fewer numbers than this are left out."""


class SumTask(PipelineTask[SumConfig]):
    """Adds up the numbers of a visit, each loaded when it is needed."""

    dimensions = VISIT
    inputs = {"numbers": Input("corrected_number", float, dimensions=DETECTOR, multiple=True, deferred=True)}
    outputs = {"total": Output("total_number", float)}

    def adjust_quantum(
        self, data_id: DataId, inputs: Mapping[str, tuple[DatasetRef, ...]]
    ) -> Mapping[str, tuple[DatasetRef, ...]]:
        """Leave visits with too few numbers out, and put the numbers in the order of their detectors."""
        numbers = inputs["numbers"]
        if len(numbers) < self.config.least:
            raise NoWorkFound(f"visit has {len(numbers)} numbers, fewer than {self.config.least}.")
        return {**inputs, "numbers": tuple(sorted(numbers, key=lambda ref: ref.data_id.sort_key()))}

    def run(self, numbers: tuple[Handle[float], ...]) -> SumResult:
        """Return the sum."""
        return SumResult(total=sum(number.get() for number in numbers))


@dataclass(frozen=True)
class CompareResult(Struct):
    """What `CompareTask.run` returns."""

    ratio: float


class CompareTask(PipelineTask[PipelineTaskConfig]):
    """Divides the number of a visit by that of another one, where there is one."""

    dimensions = VISIT
    inputs = {
        "total": Input("total_number", float),
        "reference": Input("reference_number", float, minimum=0),
    }
    outputs = {"ratio": Output("ratio_number", float)}

    def run(self, total: float, reference: float = 1.0) -> CompareResult:
        """Return ``total`` in units of ``reference``."""
        return CompareResult(ratio=total / reference)
