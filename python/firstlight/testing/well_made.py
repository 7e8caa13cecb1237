"""Checks that a task class is what the framework, and the people who use it, can rely on."""

from __future__ import annotations

import inspect
import tempfile
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firstlight.errors import ConfigError
from firstlight.framework import Config, PipelineTask, Struct, Task, find_class, load_config, save_config
from firstlight.framework.connection_check import check_connections
from firstlight.framework.lookup import known_tasks


def assert_well_made(task: type[Task[Any]], *, named: bool = True) -> None:
    """Check a task class, and tell everything that is wrong with it at once.

    Its class, its ``run`` and every setting are documented; it can be made with its defaults; its settings come back
    equal from a file; ``run`` returns a `Struct`; the connections of a pipeline task fit; its package names it.

    Parameters
    ----------
    task
        The class.
    named
        Whether an entry point in the group ``firstlight.tasks`` must name it.

    Raises
    ------
    AssertionError
        With one line for each thing.
    """
    problems = [*_documentation(task), *_settings(task), *_result(task), *(_name(task) if named else ())]
    if issubclass(task, PipelineTask):
        try:
            check_connections(task)
        except TypeError as error:
            problems += str(error).splitlines()
    if problems:
        raise AssertionError("\n".join([f"{task.__name__} is not well made:", *problems]))


def assert_same_config(one: Config, other: Config) -> None:
    """Check that two configs are equal and tell the same history.

    Raises
    ------
    AssertionError
        With what differs.
    """
    assert one == other, f"{one!r} != {other!r}"  # noqa: S101 - this is a check for tests
    assert one.to_yaml(history=True) == other.to_yaml(history=True), "the histories differ"  # noqa: S101 - the same


def _documentation(task: type[Task[Any]]) -> Iterator[str]:
    if "__doc__" not in vars(task) or not task.__doc__:
        yield "the class has no docstring"
    run = getattr(task, "run", None)
    if run is None:
        yield "it has no method run"
    elif not inspect.getdoc(run):
        yield "run has no docstring"
    for name, field in task.config_class.model_fields.items():
        if not field.description:
            yield f"{task.config_class.__name__}.{name} has no docstring below it, which says what it is and its unit"


def _settings(task: type[Task[Any]]) -> Iterator[str]:
    try:
        config = task.config_class()
        task(config)
    except (ConfigError, TypeError) as error:
        yield f"it cannot be made with its defaults: {error}"
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        save_config(config, path)
        if load_config(task.config_class, path) != config:
            yield "its settings do not come back equal from a file"


def _result(task: type[Task[Any]]) -> Iterator[str]:
    if (run := getattr(task, "run", None)) is None:
        return
    try:
        result = typing.get_type_hints(inspect.unwrap(run)).get("return")
    except NameError as error:
        yield f"the annotations of run cannot be read: {error}"
        return
    if isinstance(result, type) and issubclass(task, PipelineTask) and not issubclass(result, Struct):
        yield f"run returns {result.__name__}, which is no Struct"
    if result is None:
        yield "run does not say what it returns"


def _name(task: type[Task[Any]]) -> Iterator[str]:
    if not known_tasks().get(task.__name__):
        yield f'no package names it: add {task.__name__} = "{task.__module__}:{task.__qualname__}" to its entry points'
        return
    try:
        found = find_class(task.__name__)
    except ConfigError as error:
        yield str(error)
        return
    if found is not task:
        yield f"the name {task.__name__} leads to {found.__module__}:{found.__qualname__}"
