"""Connections: which datasets a pipeline task reads and writes, under the names of ``run`` and of its result.

A class declares them as four attributes::

    class SubtractTask(PipelineTask[SubtractConfig]):
        dimensions = ("instrument", "visit", "detector")
        inputs = {"science": Input("preliminary_visit_image", Exposure)}
        prerequisites = {"template": Prerequisite("template", Exposure, lookup=Lookup.REGION)}
        outputs = {"difference": Output("difference_image", Exposure)}

        def run(self, science: Exposure, template: Exposure) -> SubtractResult: ...

They are compared with ``run`` when the class is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from enum import Enum
from typing import Any, Generic, TypeVar

from firstlight.errors import ConfigError
from firstlight.framework.config import Config
from firstlight.framework.dimensions import DataId, completed
from firstlight.framework.lookup import did_you_mean

T = TypeVar("T")


class Lookup(Enum):
    """How the dataset of a prerequisite is found."""

    DATA_ID = "data_id"
    """The dataset whose values agree with those of the work."""

    VALIDITY = "validity"
    """The dataset that is certified for the date of the observation: biases, darks, flats."""

    REGION = "region"
    """Every dataset that overlaps the work on the sky: reference catalogues, templates."""


@dataclass(frozen=True)
class Connection:
    """One dataset type that a task reads or writes."""

    name: str
    """Dataset type; a config can put another one in its place (``connections.science=...``)."""

    type: Any
    """Class of the objects."""

    _: KW_ONLY

    when: str = ""
    """Name of a config field on which the connection depends. It is there when the field is filled and true; where the
    field is a tuple of names, when its own name is among them. Empty: always there."""

    def is_wanted(self, own_name: str, config: Config) -> bool:
        """Return whether ``config`` leaves the connection, called ``own_name`` in its task, in place."""
        if not self.when:
            return True
        value = getattr(config, self.when)
        return own_name in value if isinstance(value, tuple | frozenset) else value is not None and value is not False


@dataclass(frozen=True)
class Input(Connection):
    """Something that another task may have made."""

    dimensions: tuple[str, ...] | None = None
    """What tells the datasets apart; None for the dimensions of the task."""

    multiple: bool = False
    """Whether ``run`` takes a tuple of all that belong to the work, rather than one."""

    minimum: int = 1
    """Fewer than this are no work; 0 makes the input optional."""

    deferred: bool = False
    """Whether ``run`` takes `Handle` objects and loads what it needs itself."""

    @property
    def optional(self) -> bool:
        """Whether ``run`` must do without it at times."""
        return self.minimum == 0 or bool(self.when)


@dataclass(frozen=True)
class Prerequisite(Input):
    """Something that is there before any task runs: a calibration, a reference catalogue, a template."""

    _: KW_ONLY

    lookup: Lookup = Lookup.DATA_ID


@dataclass(frozen=True)
class Output(Connection):
    """Something that the task makes; it has the dimensions of the task."""

    _: KW_ONLY

    partial: bool = True
    """Whether it is worth keeping when a later step of the task fails."""

    optional: bool = False
    """Whether the result may hold None in its place, and nothing is written."""


class PipelineTaskConfig(Config):
    """What every task of a pipeline can be told."""

    connections: Mapping[str, str] = {}
    """Dataset type to read or write in place of the task's own, by the name of the connection."""


class Handle(Generic[T]):
    """A dataset that is loaded when it is asked for.

    Parameters
    ----------
    name
        Its dataset type.
    data_id
        What tells it from others of the type.
    load
        Returns the object.
    """

    def __init__(self, name: str, data_id: DataId, load: Callable[[], T]) -> None:
        self.name = name
        self.data_id = data_id
        self._load = load

    @classmethod
    def giving(cls, value: T, /) -> Handle[T]:
        """Return a handle that hands over ``value``: `get` works once, and the handle holds it no more.

        Whoever passes an object keeps it; whoever passes such a handle does not, so that the memory of the object is
        free as soon as the task that gets it is done with it.
        """
        held = [value]
        return cls("given", DataId(), held.pop)

    def get(self) -> T:
        """Load and return the object; every call loads it again."""
        return self._load()

    def __repr__(self) -> str:
        return f"Handle({self.name!r}, {self.data_id!r})"


def loaded(given: T | Handle[T]) -> T:
    """Return what is given, or what the handle loads that is given in its place."""
    return given.get() if isinstance(given, Handle) else given


@dataclass(frozen=True)
class Connections:
    """What one task of a pipeline reads and writes, with its settings applied."""

    dimensions: tuple[str, ...]
    inputs: Mapping[str, Input]
    prerequisites: Mapping[str, Prerequisite]
    outputs: Mapping[str, Output]

    @classmethod
    def of(cls, task: Any, config: Config) -> Connections:
        """Return the connections of a pipeline task with the names and choices of ``config``.

        Raises
        ------
        ConfigError
            If ``config`` renames a connection that the task does not have, or two outputs to one dataset type.
        """
        if not is_connected(task):
            raise ConfigError(f"{task.__name__} declares no connections, so it cannot stand in a pipeline")
        names: Mapping[str, str] = getattr(config, "connections", {})
        declared: dict[str, Connection] = {**task.inputs, **task.prerequisites, **task.outputs}
        problems = [_no_connection(name, declared, config) for name in names if name not in declared]
        if problems:
            raise ConfigError("\n".join(problems))
        outputs = _resolved(task.outputs, names, config)
        if problems := _written_twice(outputs, names, config):
            raise ConfigError("\n".join(problems))
        return cls(
            completed(task.dimensions),
            _resolved(task.inputs, names, config),
            _resolved(task.prerequisites, names, config),
            outputs,
        )

    def dimensions_of(self, connection: Connection) -> tuple[str, ...]:
        """Return what tells the datasets of one of these connections apart."""
        own = connection.dimensions if isinstance(connection, Input) else None
        return self.dimensions if own is None else completed(own)

    @property
    def arguments(self) -> Mapping[str, Input]:
        """What ``run`` takes: inputs, then prerequisites."""
        return {**self.inputs, **self.prerequisites}


ConnectionT = TypeVar("ConnectionT", bound=Connection)


def is_connected(task: Any) -> bool:
    """Return whether a pipeline task declares what it reads or writes."""
    return bool(task.inputs or task.prerequisites or task.outputs)


def _resolved(
    declared: Mapping[str, ConnectionT], names: Mapping[str, str], config: Config
) -> Mapping[str, ConnectionT]:
    return {
        own: replace(connection, name=names.get(own, connection.name))
        for own, connection in declared.items()
        if connection.is_wanted(own, config)
    }


def _written_twice(outputs: Mapping[str, Output], names: Mapping[str, str], config: Config) -> list[str]:
    problems, writers = [], dict[str, str]()
    for own, output in sorted(outputs.items(), key=lambda item: item[0] in names):
        other = writers.setdefault(output.name, own)
        if other != own:
            origin = config.origin(f"connections.{own}")
            problems.append(f"connections.{own}: {other!r} writes {output.name!r} too (from {origin})")
    return problems


def _no_connection(name: str, declared: Mapping[str, Connection], config: Config) -> str:
    hint = did_you_mean(name, declared) or f"; there are {', '.join(declared)}"
    return f"connections.{name}: no such connection{hint} (from {config.origin(f'connections.{name}')})"
