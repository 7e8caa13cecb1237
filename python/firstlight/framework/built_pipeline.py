"""`BuiltPipeline`: tasks with their final settings, in order, known to fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from firstlight.errors import ConfigError, PipelineError
from firstlight.framework.build import SettingsOfClass, build_config
from firstlight.framework.config import Change, Config
from firstlight.framework.connections import Connections
from firstlight.framework.contracts import Contract
from firstlight.framework.lookup import did_you_mean
from firstlight.framework.overrides import Layer, Setting
from firstlight.framework.passes import PipelineTask
from firstlight.framework.selection import selected
from firstlight.framework.subtask import Subtask
from firstlight.framework.task_graph import TaskGraph, TaskNode

TASKS = "tasks"


class PipelineSettings(Config):
    """The settings of every task of a pipeline."""

    tasks: Mapping[str, Subtask[PipelineTask]] = {}
    """Class and settings by label."""


@dataclass(frozen=True)
class BuiltPipeline:
    """Tasks with their final settings, in an order in which each finds its inputs made."""

    settings: PipelineSettings
    """Class and settings of every label, also of those that are not selected."""

    graph: TaskGraph
    """The selected tasks."""

    inputs: tuple[str, ...] | None
    """Dataset types that may come from outside; None for any."""

    def __iter__(self) -> Iterator[TaskNode]:
        return iter(self.graph)

    def config(self, label: str) -> Config:
        """Return the settings of ``label``.

        Raises
        ------
        PipelineError
            If there is no such label.
        """
        if label not in self.settings.tasks:
            known = self.settings.tasks
            hint = did_you_mean(label, known) or f"; there are {', '.join(known) or 'none'}"
            raise PipelineError(f"no label {label!r}{hint}")
        return self.settings.tasks[label].config

    def value(self, path: str) -> object:
        """Return what stands at ``label:path``: a value, a nested config or a slot.

        Raises
        ------
        ConfigError, PipelineError
            If there is no such setting.
        """
        label, *names = path.replace(":", ".", 1).split(".")
        self.config(label)
        found: object = self.settings.tasks[label]
        for name in names:
            owner = found.config if isinstance(found, Subtask) else found
            known = (
                type(owner).model_fields if isinstance(owner, Config) else owner if isinstance(owner, Mapping) else {}
            )
            if name not in known:
                hint = did_you_mean(name, known) or (
                    f"; there are {', '.join(known)}" if known else "; it is one value"
                )
                raise ConfigError(f"{path}: no such setting{hint}")
            found = getattr(owner, name) if isinstance(owner, Config) else owner[name]  # type: ignore[index]  # a mapping, or there would be no such name
        return found

    def history(self, path: str) -> list[Change]:
        """Return every value that the setting at ``label:path`` was given, as `Config.history` does.

        Raises
        ------
        ConfigError, PipelineError
            If there is no such setting.
        """
        label, _, below = path.replace(":", ".", 1).partition(".")
        self.config(label)
        try:
            return self.settings.history(".".join((TASKS, label, below or "task")))
        except ConfigError:
            self.value(path)
            raise

    def make_tasks(self) -> Mapping[str, PipelineTask[Any]]:
        """Return label -> a new task, in order."""
        return {node.label: node.slot.make() for node in self}


def build_pipeline(
    layers: Sequence[Layer],
    *,
    labels: Sequence[str],
    inputs: tuple[str, ...] | None,
    subsets: Mapping[str, Sequence[str]],
    contracts: Sequence[Contract],
    selection: str,
    settings_of_class: SettingsOfClass | None,
) -> BuiltPipeline:
    """Settle the settings of every task and check that the tasks fit together.

    Raises
    ------
    ConfigError
        If a setting or a task name does not fit; every mistake is told.
    PipelineError
        If tasks do not fit together, an input is missing, a contract is broken, or ``selection`` names nothing.
    """
    below = [Layer(tuple(Setting((TASKS, *s.path), s.value, s.origin) for s in layer.settings)) for layer in layers]
    settings = build_config(PipelineSettings, below, labels_in=TASKS, settings_of_class=settings_of_class)
    slots = {label: settings.tasks[label] for label in labels if label in settings.tasks}
    if not slots:
        raise PipelineError("the pipeline has no tasks")
    whole = TaskGraph(_nodes(slots))
    if inputs is not None:
        whole.require_inputs(inputs, called="the inputs of the pipeline")
    _check_contracts(contracts, {label: slot.config for label, slot in slots.items()})
    if not selection:
        return BuiltPipeline(settings, whole, inputs)
    chosen = selected(selection, whole, subsets)
    outside = None if inputs is None else (*inputs, *whole.made)
    return BuiltPipeline(settings, TaskGraph(node for node in whole if node.label in chosen), outside)


def _nodes(slots: Mapping[str, Subtask[PipelineTask[Any]]]) -> list[TaskNode]:
    nodes, problems = [], []
    for label, slot in slots.items():
        try:
            nodes.append(TaskNode(label, slot, Connections.of(slot.task, slot.config)))
        except ConfigError as error:
            problems += [
                f"{label}:{line}" if line.startswith("connections.") else f"{label}: {line}"
                for line in str(error).splitlines()
            ]
    if problems:
        raise ConfigError("\n".join(problems))
    return nodes


def _check_contracts(contracts: Sequence[Contract], settings: Mapping[str, Config]) -> None:
    """Check every contract whose labels are all there."""
    problems = []
    for contract in contracts:
        if not contract.labels <= set(settings):
            continue
        try:
            words = contract.problem(settings)
        except PipelineError as error:
            words = str(error)
        if words:
            problems.append(f"{words} (from {contract.origin})" if contract.origin else words)
    if problems:
        raise PipelineError("\n".join(problems))
