"""The house's examples of a task family, a retargetable subtask and a pipeline; mypy strict accepts all of it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_type

from pydantic import NonNegativeInt, PositiveInt
from typing_extensions import TypeVar

from firstlight.framework import (
    Config,
    DataId,
    DatasetRef,
    Gate,
    Handle,
    Input,
    Layer,
    Output,
    Pass,
    Pipeline,
    PipelineTask,
    PipelineTaskConfig,
    Stopped,
    Struct,
    Subtask,
    Task,
    plugins_of,
    run_until,
    subtask,
)


class Exposure:
    """Stands for an image."""


class BackgroundConfig(Config):
    """What every background task can be told."""

    bin_size: PositiveInt = 128
    """Side of the square bins [pixel]."""


BackgroundConfigT = TypeVar("BackgroundConfigT", bound=BackgroundConfig, covariant=True, default=BackgroundConfig)


@dataclass(frozen=True)
class BackgroundResult(Struct):
    """What every background task returns."""

    level: float
    gate: Gate


class BackgroundTask(Task[BackgroundConfigT], ABC):
    """Interface: anything that estimates the sky."""

    @abstractmethod
    def run(self, exposure: Exposure) -> BackgroundResult:
        """Estimate the sky under ``exposure``."""


class MeshBackgroundConfig(BackgroundConfig):
    """Settings of `MeshBackgroundTask`."""

    order: NonNegativeInt = 6
    """Total order of the surface."""


class MeshBackgroundTask(BackgroundTask[MeshBackgroundConfig]):
    """Clipped means of square bins."""

    def run(self, exposure: Exposure) -> BackgroundResult:
        assert_type(self.config, MeshBackgroundConfig)
        assert_type(self.config.order, int)
        self.log.info("background", level=1.0, bin_size=self.config.bin_size)
        self.metadata.count("bins", self.config.bin_size)
        return BackgroundResult(level=1.0, gate=Gate("level", 1.0, "count", warn=10.0, n=self.config.bin_size))


class FineMeshConfig(MeshBackgroundConfig):
    """Settings of `FineMeshTask`."""

    factor: float = 0.5
    """Bins are smaller by this."""


class FineMeshTask(MeshBackgroundTask):
    """A finished task with one more setting."""

    config_class = FineMeshConfig
    config: FineMeshConfig

    def run(self, exposure: Exposure) -> BackgroundResult:
        assert_type(self.config.factor, float)
        return super().run(exposure)


class PluginConfig(Config):
    """What every plug-in can be told."""


PluginConfigT = TypeVar("PluginConfigT", bound=PluginConfig, covariant=True, default=PluginConfig)


class Plugin(Task[PluginConfigT], ABC):
    """Interface: a measurement."""

    @abstractmethod
    def run(self, exposure: Exposure) -> float:
        """Measure."""


class CentroidPlugin(Plugin):
    """A measurement without settings of its own."""

    def run(self, exposure: Exposure) -> float:
        return 0.0


class ApertureConfig(PluginConfig):
    """Settings of `AperturePlugin`."""

    radius: float = 3.0
    """Radius [pixel]."""


class AperturePlugin(Plugin[ApertureConfig]):
    """A measurement with settings."""

    def run(self, exposure: Exposure) -> float:
        return self.config.radius


class CalibrateImageConfig(Config):
    """Settings of `CalibrateImageTask`."""

    background: Subtask[BackgroundTask] = subtask(MeshBackgroundTask, bin_size=64)
    """Sky subtraction before detection."""

    second_background: Subtask[BackgroundTask] | None = subtask(MeshBackgroundTask)
    """Another one; empty to skip it."""

    plugins: Mapping[str, Subtask[Plugin]] = plugins_of(
        centroid=subtask(CentroidPlugin), aperture=subtask(AperturePlugin, radius=4.0)
    )
    """Measurements by name."""


@dataclass(frozen=True)
class CalibrateImageResult(Struct):
    """What `CalibrateImageTask.run` returns."""

    exposure: Exposure
    level: float


@dataclass
class CalibrateState:
    """What the passes work on."""

    exposure: Exposure
    levels: list[float] = field(default_factory=list)

    def products(self) -> Mapping[str, object]:
        return {"exposure": self.exposure}


class CalibrateImageTask(PipelineTask[CalibrateImageConfig]):
    """Two passes over one state."""

    def passes(self) -> Sequence[Pass[CalibrateState]]:
        return (Pass("background", self._background), Pass("again", self._again))

    def __init__(self, config: CalibrateImageConfig | None = None) -> None:
        super().__init__(config)
        self.background = self.config.background.make()
        self.second = self.config.second_background and self.config.second_background.make()
        self.plugins = {name: slot.make() for name, slot in self.config.plugins.items()}
        assert_type(self.background, BackgroundTask)
        assert_type(self.second, BackgroundTask | None)
        assert_type(self.plugins, dict[str, Plugin])
        assert_type(self.config.background.task, type[BackgroundTask])

    def run(self, exposure: Exposure) -> CalibrateImageResult:
        state = CalibrateState(exposure)
        self.run_passes(state)
        return CalibrateImageResult(exposure=state.exposure, level=sum(state.levels))

    def _background(self, state: CalibrateState) -> Mapping[str, float]:
        state.levels.append(self.background.run(state.exposure).level)
        return {"level": state.levels[-1]}

    def _again(self, state: CalibrateState) -> None:
        if self.second is not None:
            state.levels.append(self.second.run(state.exposure).level)


def stop_early(task: CalibrateImageTask, exposure: Exposure) -> Stopped:
    """Stop after a pass: the arguments are checked against those of ``run``."""
    assert_type(task.run(exposure), CalibrateImageResult)
    return run_until("background", task.run, exposure)


def use_family(slot: Subtask[BackgroundTask]) -> BackgroundResult:
    """Any member of a family fits a slot of the family."""
    return slot.make().run(Exposure())


@dataclass(frozen=True)
class StackResult(Struct):
    """What `StackTask.run` returns."""

    stack: Exposure


class StackTask(PipelineTask[PipelineTaskConfig]):
    """Connections are plain class attributes."""

    dimensions = ("instrument", "visit")
    inputs = {"images": Input("image", Exposure, dimensions=("visit", "detector"), multiple=True, deferred=True)}
    outputs = {"stack": Output("stack", Exposure)}

    def adjust_quantum(
        self, data_id: DataId, inputs: Mapping[str, tuple[DatasetRef, ...]]
    ) -> Mapping[str, tuple[DatasetRef, ...]]:
        return {"images": inputs["images"][:3]}

    def run(self, images: tuple[Handle[Exposure], ...]) -> StackResult:
        assert_type(images[0].get(), Exposure)
        return StackResult(stack=images[0].get())


def run_pipeline(image: Exposure) -> None:
    """A pipeline in a notebook."""
    run = Pipeline.from_tasks(stack=StackTask).run_in_memory(
        {"image": {DataId(instrument="x", visit=1, detector=1): image}},
        Layer.from_assignment("stack:connections.stack=s"),
    )
    assert_type([str(record) for record in run.records], list[str])


def make_members() -> None:
    """Settings of a member are those of its own config."""
    use_family(subtask(MeshBackgroundTask, order=3))
    MeshBackgroundTask(MeshBackgroundConfig(order=3, bin_size=32)).run(Exposure())
