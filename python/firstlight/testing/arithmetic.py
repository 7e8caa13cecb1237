"""Tasks that calculate with numbers: the smallest ones in which everything a task can have occurs.

They stand in for astronomy where the framework itself is tested.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import PositiveFloat, PositiveInt
from typing_extensions import TypeVar

from firstlight.errors import AlgorithmError
from firstlight.framework import Config, Gate, Pass, PipelineTask, Struct, Subtask, Task, plugins_of, subtask


@dataclass(frozen=True)
class NumberResult(Struct):
    """What every `NumberTask` returns."""

    value: float
    gate: Gate


class NumberConfig(Config):
    """What every number task can be told."""

    limit: PositiveFloat = 100.0
    """Largest value without a warning."""

    repeats: PositiveInt = 1
    """How often the operation is done."""


NumberConfigT = TypeVar("NumberConfigT", bound=NumberConfig, covariant=True, default=NumberConfig)


class NumberTask(Task[NumberConfigT], ABC):
    """Interface: anything that makes one number of another."""

    @abstractmethod
    def operate(self, value: float) -> float:
        """Return the result of one operation on ``value``."""

    def run(self, value: float) -> NumberResult:
        """Operate on ``value`` as often as configured."""
        for _ in range(self.config.repeats):
            value = self.operate(value)
        self.metadata.count("operations", self.config.repeats)
        self.log.info("number", value=value)
        return NumberResult(value=value, gate=Gate("value", value, warn=self.config.limit))


class AddConfig(NumberConfig):
    """Settings of `AddTask`."""

    amount: float = 1.0
    """What is added."""


class AddTask(NumberTask[AddConfig]):
    """Adds a number."""

    def operate(self, value: float) -> float:
        """Return ``value`` plus the amount."""
        return value + self.config.amount


class MultiplyConfig(NumberConfig):
    """Settings of `MultiplyTask`."""

    factor: float = 2.0
    """What is multiplied by."""


class MultiplyTask(NumberTask[MultiplyConfig]):
    """Multiplies by a number."""

    def operate(self, value: float) -> float:
        """Return ``value`` times the factor."""
        return value * self.config.factor


class InvertTask(NumberTask):
    """Takes the reciprocal."""

    def operate(self, value: float) -> float:
        """Return one over ``value``.

        Raises
        ------
        AlgorithmError
            If ``value`` is zero.
        """
        if value == 0:
            raise AlgorithmError("A reciprocal needs a number that is not zero; got 0.", value=value)
        return 1 / value


class CalculateConfig(Config):
    """Settings of `CalculateTask`."""

    first: Subtask[NumberTask] = subtask(AddTask, amount=2.0)
    """The operation that always takes place."""

    second: Subtask[NumberTask] | None = subtask(MultiplyTask)
    """The operation after it; empty to skip it."""

    plugins: Mapping[str, Subtask[NumberTask]] = plugins_of(
        double=subtask(MultiplyTask), triple=subtask(MultiplyTask, factor=3.0)
    )
    """What else is calculated from the result, by name."""

    weights: Mapping[str, float] = {"double": 1.0}
    """Weight of each plug-in in the sum; 0 for one that is not named."""

    digits: tuple[PositiveInt, ...] = (1, 2)
    """Numbers of decimals."""


@dataclass(frozen=True)
class CalculateResult(Struct):
    """What `CalculateTask.run` returns."""

    number: float
    extras: Mapping[str, float]


@dataclass
class CalculateState:
    """What the passes of `CalculateTask` work on."""

    value: float
    made: dict[str, object] = field(default_factory=dict)

    def products(self) -> Mapping[str, object]:
        """Return what was made so far."""
        return dict(self.made)


class CalculateTask(PipelineTask[CalculateConfig]):
    """Operates on a number in two steps, then tries plug-ins on it."""

    def passes(self) -> Sequence[Pass[CalculateState]]:
        """List the passes in order."""
        return (
            Pass("first", self._first),
            *((Pass("second", self._second),) if self.second is not None else ()),
            Pass("extras", self._extras),
        )

    def __init__(self, config: CalculateConfig | None = None) -> None:
        super().__init__(config)
        self.first = self.config.first.make()
        self.second = self.config.second and self.config.second.make()
        self.plugins = {name: slot.make() for name, slot in self.config.plugins.items()}

    def run(self, value: float) -> CalculateResult:
        """Return what becomes of ``value``."""
        state = CalculateState(value)
        self.run_passes(state)
        extras = {name: float(str(state.made[name])) for name in self.plugins}
        return CalculateResult(number=state.value, extras=extras)

    def _first(self, state: CalculateState) -> Mapping[str, float]:
        state.value = self.first.run(state.value).value
        state.made["number"] = state.value
        return {"value": state.value}

    def _second(self, state: CalculateState) -> None:
        if self.second is not None:
            state.value = self.second.run(state.value).value
            state.made["number"] = state.value

    def _extras(self, state: CalculateState) -> None:
        for name, plugin in self.plugins.items():
            state.made[name] = plugin.run(state.value).value


class NightConfig(Config):
    """Settings of `NightTask`; its slots are labels."""

    calibrate: Subtask[CalculateTask] = subtask(CalculateTask)
    """What is calculated first."""

    measure: Subtask[NumberTask] | None = None
    """What is done with the result."""

    seed: PositiveInt = 1
    """A setting that belongs to no label."""


@dataclass(frozen=True)
class NightResult(Struct):
    """What `NightTask.run` returns."""

    number: float
    total: float


class NightTask(PipelineTask[NightConfig]):
    """A pipeline task with another one inside."""

    def passes(self) -> Sequence[Pass[CalculateState]]:
        """List the passes in order."""
        return (
            Pass("start", self._start),
            Pass("calibrate", self._calibrate, inside=self.calibrate),
            Pass("measure", self._measure),
        )

    def __init__(self, config: NightConfig | None = None) -> None:
        super().__init__(config)
        self.calibrate = self.config.calibrate.make()
        self.measure = self.config.measure and self.config.measure.make()

    def run(self, value: float) -> NightResult:
        """Return what becomes of ``value``."""
        state = CalculateState(value)
        self.run_passes(state)
        return NightResult(number=state.value, total=float(str(state.made["total"])))

    def _start(self, state: CalculateState) -> None:
        state.made["number"] = state.made["started_with"] = state.value

    def _calibrate(self, state: CalculateState) -> None:
        state.value = self.calibrate.run(state.value).number
        state.made["number"] = state.value

    def _measure(self, state: CalculateState) -> None:
        state.made["total"] = state.value if self.measure is None else self.measure.run(state.value).value
