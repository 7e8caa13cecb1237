"""Which versions of which packages the tasks of a run come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version

from firstlight.execution.plan import PlannedStep


def class_path(task: type) -> str:
    """Return a class as ``package.module:Class``."""
    return f"{task.__module__}:{task.__qualname__}"


def versions_of(steps: Iterable[PlannedStep]) -> dict[str, str]:
    """Return name -> version of the packages that the tasks of a plan come from."""
    found: dict[str, str] = {}
    for step in steps:
        found |= versions_of_task(step.task)
    return found


def versions_of_task(name: str) -> Mapping[str, str]:
    """Return name -> version of the package that a task comes from; empty for one that is not installed."""
    return _versions_of_package(name.partition(":")[0].partition(".")[0])


@cache
def _versions_of_package(package: str) -> Mapping[str, str]:
    try:
        return {package: version(package)}  # reading what every installed package holds takes a quarter of a second
    except PackageNotFoundError:
        return {name: version(name) for name in sorted(set(_distributions().get(package, ())))}


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()
