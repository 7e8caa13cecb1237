"""Families of tasks: which classes can stand in which slot, over all installed packages."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from firstlight.errors import ConfigError
from firstlight.framework.field_shapes import Kind, field_shapes
from firstlight.framework.lookup import did_you_mean, find_class, known_tasks, name_of
from firstlight.framework.passes import PipelineTask
from firstlight.framework.task import Task


@dataclass(frozen=True)
class KnownTask:
    """One name that packages give to a task."""

    name: str
    package: str
    task: type[Task[Any]] | None
    """The class; None if it cannot be imported."""

    problem: str = ""
    """Why it cannot be imported."""

    @property
    def family(self) -> str:
        """Name of the family it belongs to."""
        return family_name(self.task) if self.task is not None else ""

    @property
    def summary(self) -> str:
        """First line of what its documentation says."""
        return self.problem or summary_of(self.task)


def list_tasks() -> tuple[KnownTask, ...]:
    """Return every task that an installed package names, by name; one that cannot be imported says why."""
    return tuple(_known(name) for name in known_tasks())


def members(family: str) -> tuple[KnownTask, ...]:
    """Return the known tasks that can stand where ``family`` is asked for.

    Parameters
    ----------
    family
        Name of a class that tasks inherit, or of a task.

    Raises
    ------
    ConfigError
        If no known task has such an ancestor.
    """
    tasks = list_tasks()
    found = tuple(each for each in tasks if each.task is not None and family in _ancestor_names(each.task))
    if not found:
        names = {name for each in tasks if each.task is not None for name in _ancestor_names(each.task)}
        hint = (
            did_you_mean(family, names) or f"; families are {', '.join(sorted({e.family for e in tasks if e.family}))}"
        )
        raise ConfigError(f"no task or family is named {family!r}{hint}")
    return found


def find_family(name: str) -> type[Task[Any]]:
    """Return a task by its name, or the family class of that name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if ":" in name or name in known_tasks():
        found = find_class(name)
        if not issubclass(found, Task):
            raise ConfigError(f"{name} is not a task")
        return found
    member = members(name)[0].task
    return next(cls for cls in member.__mro__ if cls.__name__ == name and issubclass(cls, Task)) if member else Task


def family_name(task: type[Task[Any]]) -> str:
    """Return the name of the interface that ``task`` implements; its own where it is none's member."""
    own = [cls for cls in task.__mro__ if issubclass(cls, Task) and cls not in (Task, PipelineTask)]
    interface = next((cls for cls in own if inspect.isabstract(cls)), own[-1] if own else task)
    return interface.__name__


def slots_of(task: type[Task[Any]]) -> Iterator[tuple[str, type[Task[Any]], bool]]:
    """Yield name, family and whether it may be empty, for every slot in the settings of ``task``."""
    for name, shape in field_shapes(task.config_class).items():
        if shape.kind in (Kind.SLOT, Kind.PLUGINS):
            yield name, shape.family, shape.optional or shape.kind is Kind.PLUGINS


def summary_of(thing: object) -> str:
    """Return the first sentence of the documentation of a class."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def _known(name: str) -> KnownTask:
    offers = known_tasks()[name]
    package = ", ".join(sorted({offer.dist.name if offer.dist else "?" for offer in offers}))
    try:
        found = find_class(name)
    except ConfigError as error:
        return KnownTask(name, package, None, str(error))
    if not issubclass(found, Task):
        return KnownTask(name, package, None, f"{name_of(found)} is not a task")
    return KnownTask(name, package, found)


def _ancestor_names(task: type[Task[Any]]) -> list[str]:
    return [cls.__name__ for cls in task.__mro__ if issubclass(cls, Task) and cls is not Task]
