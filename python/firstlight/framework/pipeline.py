"""`Pipeline`: tasks with their settings, read from a file and what it imports, and made ready to run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from firstlight.errors import ConfigError
from firstlight.framework.built_pipeline import Afterwards, BuiltPipeline, build_pipeline
from firstlight.framework.class_overrides import ClassOverrides
from firstlight.framework.config_folder import config_folder
from firstlight.framework.contracts import Contract
from firstlight.framework.in_memory import MemoryRun, run_in_memory
from firstlight.framework.lookup import did_you_mean
from firstlight.framework.memory_datasets import MemoryDatasets
from firstlight.framework.overrides import Layer, Setting
from firstlight.framework.parameters import PARAMETERS, with_parameters
from firstlight.framework.passes import PipelineTask
from firstlight.framework.pipeline_file import Subset
from firstlight.framework.pipeline_imports import labels_of, load_parts, subsets_of


@dataclass(frozen=True)
class Pipeline:
    """Tasks by label, and everything that was said about their settings, lowest first.

    Made by `load` from a file, or by `from_tasks` in a program.
    """

    source: str
    """Where it was read from."""

    description: str = ""
    instrument: str | None = None
    """Name of the camera whose settings lie below those of the pipeline."""

    labels: tuple[str, ...] = ()
    """In the order in which they were first named."""

    layers: tuple[Layer, ...] = ()
    """Classes (``task``) and settings of the labels: one layer a file, in the order of imports."""

    parameters: Mapping[str, Setting] = field(default_factory=dict)
    inputs: tuple[str, ...] | None = None
    """Dataset types that come from outside; None where no file says."""

    afterwards: tuple[Layer, ...] = ()
    """Settings of what is done in a repository with the results, as `Afterwards` takes them."""

    subsets: Mapping[str, Subset] = field(default_factory=dict)
    contracts: tuple[Contract, ...] = ()
    selection: str = ""
    """What is to be run, as written after ``#``; empty for everything."""

    @classmethod
    def load(cls, location: str | Path) -> Pipeline:
        """Read a pipeline file and everything that it imports.

        Parameters
        ----------
        location
            Path of a file; the name of one that comes with firstlight (``single_frame.yaml``); or ``package:path`` for
            a file in an installed package. After ``#``: labels or subsets, separated by commas; ``..label`` for a
            task and what it needs; ``label..`` for a task and what needs it; ``first..last`` for what lies between.

        Raises
        ------
        PipelineError
            If a file is not there or does not fit; every mistake of a file is told, one a line.
        ConfigError
            If a file is not YAML.
        """
        place, _, selection = str(location).partition("#")
        parts = load_parts(place)
        files = [part.file for part in parts]
        declared = [file.inputs for file in files if file.inputs is not None]
        return cls(
            source=str(files[-1].path),
            description=files[-1].description,
            instrument=next((file.instrument for file in reversed(files) if file.instrument is not None), None),
            labels=labels_of(parts),
            layers=tuple(part.layer for part in parts),
            parameters={name: setting for file in files for name, setting in file.parameters.items()},
            inputs=tuple(dict.fromkeys(name for names in declared for name in names)) if declared else None,
            afterwards=tuple(file.afterwards for file in files if file.afterwards.settings),
            subsets=subsets_of(parts),
            contracts=tuple(contract for part in parts for contract in part.contracts),
            selection=selection,
        )

    @classmethod
    def from_tasks(cls, /, **tasks: type[PipelineTask[Any]]) -> Pipeline:
        """Return a pipeline of task classes, each under its label, with their own settings."""
        settings = [Setting((label, "task"), task, "Python") for label, task in tasks.items()]
        return cls(source="Python", labels=tuple(tasks), layers=(Layer(tuple(settings)),))

    def with_layers(self, layers: Iterable[Layer]) -> Pipeline:
        """Return the pipeline with further settings above its own; ``parameters:name`` sets a parameter.

        Raises
        ------
        ConfigError
            If there is no such parameter.
        """
        problems: list[str] = []
        pipeline = self._below(layers, problems)
        if problems:
            raise ConfigError("\n".join(problems))
        return pipeline

    def _below(self, layers: Iterable[Layer], problems: list[str]) -> Pipeline:
        given = tuple(layers)
        values = dict(self.parameters)
        for setting in (s for layer in given for s in layer.settings if s.path[0] == PARAMETERS):
            name = ".".join(setting.path[1:])
            if name in self.parameters:
                values[name] = setting
                continue
            hint = did_you_mean(name, self.parameters) or _there_are(self.parameters)
            where = f"{PARAMETERS}:{name}" if name else PARAMETERS
            problems.append(f"{where}: no such parameter{hint} (from {setting.origin})")
        later = {s.path[0] for layer in self.afterwards for s in layer.settings}
        rest, afterwards = (
            tuple(
                Layer(tuple(s for s in layer.settings if s.path[0] != PARAMETERS and (s.path[0] in later) is is_later))
                for layer in given
            )
            for is_later in (False, True)
        )
        added = tuple(s.path[0] for layer in rest for s in layer.settings if s.path[1:] == ("task",))
        labels = tuple(dict.fromkeys((*self.labels, *added)))
        return replace(
            self,
            labels=labels,
            layers=(*self.layers, *rest),
            parameters=values,
            afterwards=(*self.afterwards, *afterwards),
        )

    def build(self, *layers: Layer, class_overrides: ClassOverrides | None = None) -> BuiltPipeline:
        """Load the tasks, settle every setting, and check that the tasks fit together.

        Parameters
        ----------
        *layers
            Further settings above those of the pipeline, as `with_layers` takes them.
        class_overrides
            Settings of the instrument for task classes; None for those that firstlight has of `instrument`.

        Raises
        ------
        ConfigError
            If a setting, a task name or a parameter does not fit; every mistake is told.
        PipelineError
            If the tasks do not fit together, an input is missing, a contract is broken, or the selection names
            nothing.
        """
        problems: list[str] = []
        pipeline = self._below(layers, problems)
        if class_overrides is None and self.instrument is not None:
            class_overrides = _shipped_overrides(self.instrument)
        afterwards = with_parameters(pipeline.afterwards, pipeline.parameters, problems)
        return build_pipeline(
            with_parameters(pipeline.layers, pipeline.parameters, problems),
            problems=problems,
            labels=pipeline.labels,
            inputs=pipeline.inputs,
            subsets={name: subset.labels for name, subset in pipeline.subsets.items()},
            contracts=pipeline.contracts,
            selection=pipeline.selection,
            afterwards=Afterwards(afterwards, class_overrides) if self.afterwards else None,
            settings_of_class=class_overrides,
        )

    def run_in_memory(
        self, inputs: Mapping[str, object] | MemoryDatasets, *layers: Layer, raise_failures: bool = True
    ) -> MemoryRun:
        """Build the pipeline and run it on objects, without any file or repository.

        Parameters
        ----------
        inputs
            Dataset type -> object; or -> mapping from `DataId` to object, for several of a type; or `MemoryDatasets`.
        *layers
            Further settings, as `build` takes them.
        raise_failures
            Whether a failure is raised. Otherwise it is kept in the run, and what hangs on it is not run.

        Raises
        ------
        ConfigError, PipelineError
            As `build`; also if an input is missing.
        PartialResult, AlgorithmError
            If a task fails on its data.
        """
        return run_in_memory(self.build(*layers), inputs, raise_failures=raise_failures)


def _shipped_overrides(instrument: str) -> ClassOverrides:
    folder = config_folder() / "instruments"
    if not (folder / instrument).is_dir():
        names = sorted(each.name for each in folder.iterdir() if each.is_dir())
        raise ConfigError(
            f"instrument: none is named {instrument!r}{did_you_mean(instrument, names) or _there_are(names)}"
        )
    return ClassOverrides(folder / instrument)


def _there_are(names: Iterable[str]) -> str:
    return f"; there are {', '.join(names) or 'none'}"
