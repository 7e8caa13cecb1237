"""`Pipeline`: tasks with their settings, read from a file and what it imports, and made ready to run."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from firstlight.errors import ConfigError, PipelineError
from firstlight.framework.built_pipeline import BuiltPipeline, build_pipeline
from firstlight.framework.class_overrides import ClassOverrides
from firstlight.framework.config_folder import config_folder
from firstlight.framework.contracts import Contract
from firstlight.framework.in_memory import MemoryRun, run_in_memory
from firstlight.framework.lookup import did_you_mean
from firstlight.framework.memory_datasets import MemoryDatasets
from firstlight.framework.overrides import Layer, Setting
from firstlight.framework.parameters import with_parameters
from firstlight.framework.passes import PipelineTask
from firstlight.framework.pipeline_file import PARAMETERS, Import, PipelineFile, Subset, read_pipeline_file


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
            task and what it needs; ``label..`` for a task and what needs it.

        Raises
        ------
        PipelineError
            If a file does not fit; every mistake of a file is told, one a line.
        ConfigError
            If a file is not there or is not YAML.
        """
        place, _, selection = str(location).partition("#")
        return replace(_load(_found(place, beside=Path()), ()), selection=selection)

    @classmethod
    def from_tasks(cls, /, **tasks: type[PipelineTask[Any]]) -> Pipeline:
        """Return a pipeline of task classes, each under its label, with their own settings."""
        settings = [Setting((label, "task"), task, "Python") for label, task in tasks.items()]
        return cls(source="Python", labels=tuple(tasks), layers=(Layer(tuple(settings)),))

    def with_layers(self, layers: Iterable[Layer]) -> Pipeline:
        """Return the pipeline with further settings above its own; ``parameters:name`` sets a parameter."""
        given = tuple(layers)
        values = {
            s.path[1]: s for layer in given for s in layer.settings if s.path[0] == PARAMETERS and len(s.path) > 1
        }
        unknown = [
            f"parameters:{name}: no such parameter{did_you_mean(name, self.parameters) or _there_are(self.parameters)}"
            f" (from {setting.origin})"
            for name, setting in values.items()
            if name not in self.parameters
        ]
        if unknown:
            raise ConfigError("\n".join(unknown))
        rest = tuple(Layer(tuple(s for s in layer.settings if s.path[0] != PARAMETERS)) for layer in given)
        added = tuple(s.path[0] for layer in rest for s in layer.settings if s.path[1:] == ("task",))
        labels = tuple(dict.fromkeys((*self.labels, *added)))
        return replace(self, labels=labels, layers=(*self.layers, *rest), parameters={**self.parameters, **values})

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
            If the tasks do not fit together, or a contract is broken.
        """
        pipeline = self.with_layers(layers) if layers else self
        if class_overrides is None and self.instrument is not None:
            class_overrides = ClassOverrides(config_folder() / "instruments" / self.instrument)
        return build_pipeline(
            with_parameters(pipeline.layers, pipeline.parameters),
            labels=pipeline.labels,
            inputs=pipeline.inputs,
            subsets={name: subset.labels for name, subset in pipeline.subsets.items()},
            contracts=pipeline.contracts,
            selection=pipeline.selection,
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


def _load(path: Path, importing: tuple[Path, ...]) -> Pipeline:
    if path in importing:
        chain = " -> ".join(str(each) for each in (*importing, path))
        raise PipelineError(f"{path}: a pipeline imports itself: {chain}")
    file = read_pipeline_file(path)
    problems: list[str] = []
    merged = Pipeline(source=str(path))
    for each in file.imports:
        try:
            merged = _above(merged, _imported(each, path, (*importing, path)))
        except (PipelineError, ConfigError) as error:
            problems += [
                line if " (from " in line else f"{line} (from {each.origin})" for line in str(error).splitlines()
            ]
    if not problems:
        merged = _above(merged, _own(file))
        problems = _unknown_names(file, merged)
    if problems:
        raise PipelineError("\n".join(problems))
    return replace(merged, description=file.description, instrument=file.instrument or merged.instrument)


def _imported(each: Import, path: Path, importing: tuple[Path, ...]) -> Pipeline:
    place, _, selection = each.location.partition("#")
    found = _load(_found(place, beside=path.parent), importing)
    if selection:
        raise PipelineError("imports: an import takes include and exclude in place of '#'")
    for name in (*each.include, *each.exclude):
        if name not in found.labels and name not in found.subsets:
            known = [*found.labels, *found.subsets]
            raise PipelineError(f"imports: {place} has no label or subset {name!r}{did_you_mean(name, known)}")
    wanted = found.labels if not each.include else _labels_of(each.include, found)
    left = _labels_of(each.exclude, found)
    return _reduced(found, tuple(label for label in found.labels if label in wanted and label not in left))


def _labels_of(names: Sequence[str], pipeline: Pipeline) -> tuple[str, ...]:
    return tuple(
        label for name in names for label in (pipeline.subsets[name].labels if name in pipeline.subsets else (name,))
    )


def _reduced(pipeline: Pipeline, labels: tuple[str, ...]) -> Pipeline:
    """Return the pipeline with ``labels`` only; subsets and contracts that are about others fall away."""
    subsets = {
        name: replace(subset, labels=kept)
        for name, subset in pipeline.subsets.items()
        if (kept := tuple(label for label in subset.labels if label in labels))
    }
    return replace(
        pipeline,
        labels=labels,
        layers=tuple(Layer(tuple(s for s in layer.settings if s.path[0] in labels)) for layer in pipeline.layers),
        subsets=subsets,
        contracts=tuple(contract for contract in pipeline.contracts if contract.labels <= set(labels)),
    )


def _own(file: PipelineFile) -> Pipeline:
    return Pipeline(
        source=str(file.path),
        labels=tuple(dict.fromkeys(setting.path[0] for setting in file.layer.settings)),
        layers=(file.layer,),
        parameters=file.parameters,
        inputs=file.inputs,
        subsets=file.subsets,
        contracts=file.contracts,
        instrument=file.instrument,
    )


def _above(lower: Pipeline, upper: Pipeline) -> Pipeline:
    """Return both in one, ``upper`` above ``lower``."""
    said = [inputs for inputs in (lower.inputs, upper.inputs) if inputs is not None]
    return replace(
        lower,
        labels=tuple(dict.fromkeys((*lower.labels, *upper.labels))),
        layers=(*lower.layers, *upper.layers),
        parameters={**lower.parameters, **upper.parameters},
        inputs=tuple(dict.fromkeys(name for names in said for name in names)) if said else None,
        subsets={**lower.subsets, **upper.subsets},
        contracts=(*lower.contracts, *(each for each in upper.contracts if each not in lower.contracts)),
        instrument=upper.instrument or lower.instrument,
    )


def _unknown_names(file: PipelineFile, merged: Pipeline) -> list[str]:
    """Tell the labels that subsets and contracts of a file name, and that no file has."""
    problems = []
    for name, subset in file.subsets.items():
        if name in merged.labels:
            problems.append(f"subsets.{name}: this is the name of a label too (from {subset.origin})")
        problems += [
            f"subsets.{name}: no such label{did_you_mean(label, merged.labels) or _there_are(merged.labels)}"
            f" (from {subset.origin})"
            for label in subset.labels
            if label not in merged.labels
        ]
    problems += [
        f"contracts: no such label{did_you_mean(label, merged.labels) or _there_are(merged.labels)}"
        f" in {contract.text!r} (from {contract.origin})"
        for contract in file.contracts
        for label in sorted(contract.labels - set(merged.labels))
    ]
    return problems


def _found(place: str, *, beside: Path) -> Path:
    """Return the file that a location names: beside the importing one, of an installed package, or our own."""
    path = beside / place
    package, colon, inside = place.partition(":")
    if colon and package.isidentifier() and not path.exists():
        return _in_package(package, inside, place)
    shipped = config_folder() / "pipelines"
    if path.is_file():
        return path
    if (shipped / place).is_file():
        return shipped / place
    hint = did_you_mean(place, [each.name for each in (*shipped.glob("*.yaml"), *path.parent.glob("*.yaml"))])
    raise PipelineError(f"{place}: there is no such pipeline file{hint}")


def _in_package(package: str, inside: str, place: str) -> Path:
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = (Path(folder) / inside).resolve()
        if path.is_file() and path.is_relative_to(Path(folder).resolve()):
            return path
    missing = "no such package is installed" if spec is None else f"the package {package!r} has no such file"
    raise PipelineError(f"{place}: {missing}")


def _there_are(names: Iterable[str]) -> str:
    return f"; there are {', '.join(names) or 'none'}"
