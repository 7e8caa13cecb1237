"""Comparing the connections of a pipeline task with the signature of its ``run``, when the class is made."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from firstlight.errors import ConfigError
from firstlight.framework.connections import (
    Connection,
    Handle,
    Input,
    Output,
    PipelineTaskConfig,
    Prerequisite,
    is_connected,
)
from firstlight.framework.dimensions import completed
from firstlight.framework.lookup import did_you_mean
from firstlight.framework.struct import Struct

_UNKNOWN = object()
"""Stands for an annotation that cannot be read yet."""


def check_connections(task: Any) -> None:
    """Compare what ``task`` declares with its ``run``; a class without connections is left alone.

    Raises
    ------
    TypeError
        With every difference, one a line.
    """
    if not is_connected(task):
        return
    problems = [*_declaration_problems(task)]
    if not hasattr(task, "run"):
        problems.append(": a task with connections has a method run")
    else:
        problems += [*_argument_problems(task), *_result_problems(task)]
    if problems:
        lines = [f"{task.__name__}{problem}" for problem in problems]
        raise TypeError("\n".join(line if line.endswith("?") else f"{line}." for line in lines))


def _declaration_problems(task: Any) -> Iterable[str]:
    kinds = {"inputs": Input, "prerequisites": Prerequisite, "outputs": Output}
    for place, kind in kinds.items():
        declared: Mapping[str, Connection] = getattr(task, place)
        for name, connection in declared.items():
            if type(connection) is not kind:
                yield f".{place}: {name!r} takes {kind.__name__}(...); got {connection!r}"
                continue
            yield from _connection_problems(task, place, name, connection)
    names = [*task.inputs, *task.prerequisites, *task.outputs]
    if both := sorted({name for name in names if names.count(name) > 1}):
        listed = ", ".join(map(repr, both))
        yield f": {listed} is the name of two connections; give one another name, or renaming it would mean both"
    if not issubclass(task.config_class, PipelineTaskConfig):
        yield f": the config of a task with connections is a PipelineTaskConfig; {task.config_class.__name__} is none"
    yield from _dimension_problems(".dimensions", task.dimensions)
    if not task.dimensions:
        yield ".dimensions: name what tells one piece of its work from another, such as ('visit', 'detector')"
    written = [output.name for output in task.outputs.values() if isinstance(output, Output)]
    if twice := sorted({name for name in written if written.count(name) > 1}):
        yield f".outputs: {', '.join(map(repr, twice))} is written twice"


def _connection_problems(task: Any, place: str, name: str, connection: Connection) -> Iterable[str]:
    if connection.when and connection.when not in task.config_class.model_fields:
        hint = did_you_mean(connection.when, task.config_class.model_fields)
        yield f".{place}: {name!r} depends on {connection.when!r}, which {task.config_class.__name__} has not{hint}"
    if not isinstance(connection, Input):
        return
    yield from _dimension_problems(f".{place}: {name!r}", connection.dimensions or ())
    if connection.minimum < 0 or (connection.minimum > 1 and not connection.multiple):
        yield f".{place}: {name!r} has minimum={connection.minimum}; one dataset has 0 or 1, multiple=True any number"


def _dimension_problems(place: str, names: Iterable[str]) -> Iterable[str]:
    if isinstance(names, str):
        yield f"{place}: dimensions are a tuple of names, such as ({names!r},)"
        return
    try:
        completed(names)
    except ConfigError as error:
        yield f"{place}: {error}"


def _argument_problems(task: Any) -> Iterable[str]:
    parameters = dict(list(inspect.signature(task.run).parameters.items())[1:])
    hints = _hints_of(task)
    declared: Mapping[str, Connection] = {**task.inputs, **task.prerequisites}
    for name, connection in declared.items():
        if name not in parameters:
            yield f": run has no parameter {name!r}{did_you_mean(name, parameters)}"
        elif parameters[name].kind is inspect.Parameter.POSITIONAL_ONLY:
            yield f".run: {name!r} is handed over by name; take the '/' out"
        elif isinstance(connection, Input):
            if connection.optional and parameters[name].default is inspect.Parameter.empty:
                yield f".run: {name!r} is optional, so it needs a default"
            if expected := _misfit(connection, hints.get(name, _UNKNOWN)):
                yield f".run: {name!r} should be annotated {expected}"
    for name, parameter in parameters.items():
        if name not in declared and parameter.default is inspect.Parameter.empty:
            hint = did_you_mean(name, declared)
            yield f".run: parameter {name!r} is no connection and has no default{hint}"


def _result_problems(task: Any) -> Iterable[str]:
    result = _hints_of(task).get("return", _UNKNOWN)
    if result is _UNKNOWN or isinstance(result, TypeVar):
        return
    if not (isinstance(result, type) and issubclass(result, Struct) and is_dataclass(result)):
        yield f".run returns {type_name(result)}; a task with connections returns a Struct"
        return
    made = {field.name for field in fields(result)}
    types = _hints(result, getattr(sys.modules.get(result.__module__), "__dict__", {}))
    for name, output in task.outputs.items():
        if name not in made:
            yield f".outputs: {result.__name__} has no field {name!r}{did_you_mean(name, made)}"
        elif isinstance(output, Output) and (expected := _misfit(output, types.get(name, _UNKNOWN))):
            yield f".outputs: field {name!r} of {result.__name__} should be annotated {expected}"


def _misfit(connection: Connection, annotation: object) -> str:
    """Return how the annotation should look like; empty if it fits, or cannot be judged."""
    if annotation is _UNKNOWN:
        return ""
    kind, words, members = connection.type, type_name(connection.type), _members(annotation)
    if not isinstance(connection, Input):
        if isinstance(connection, Output) and connection.optional and not {NoneType, Any} & set(members):
            return f"{words} | None"
        made = [member for member in members if member is not NoneType] or members
        return "" if all(is_kind(member, kind) for member in made) else words
    if connection.deferred:
        words = f"Handle[{words}]"
    if connection.multiple and Any not in members:
        words = f"tuple[{words}, ...]"
        members = [inner for member in members for inner in _items(member)] if NoneType not in members else []
    if connection.deferred:
        members = [inner for member in members for inner in _loaded(member)]
    return "" if all(any(is_kind(each, member) for member in members) for each in _members(kind)) else words


def is_kind(given: object, wanted: object) -> bool:
    """Return whether every object of type ``given`` is one of type ``wanted``; parameters of types are not compared."""
    narrow, wide = _members(given), _members(wanted)
    if len(narrow) > 1 or len(wide) > 1:
        return all(any(is_kind(each, other) for other in wide) for each in narrow)
    (one,), (other,) = narrow, wide
    if one == other or Any in (one, other) or isinstance(one, TypeVar) or isinstance(other, TypeVar):
        return True
    kind, kinds = get_origin(one) or one, get_origin(other) or other
    if not (isinstance(kind, type) and isinstance(kinds, type)):
        return False
    # As for every type checker, whole numbers are numbers.
    return issubclass(kind, kinds) or (issubclass(kind, int) and kinds is float)


def _items(member: object) -> list[object]:
    """Return the types of what a tuple in this place holds; none if no tuple fits in it."""
    origin, arguments = get_origin(member) or member, get_args(member)
    if origin is tuple and arguments[1:] not in ((Ellipsis,), ()):
        return []
    fits = isinstance(origin, type) and issubclass(tuple, origin) and (origin is not tuple or len(arguments) != 1)
    return _members(arguments[0] if arguments else Any) if fits else []


def _loaded(member: object) -> list[object]:
    """Return the types of what a handle in this place loads; none if no handle fits in it."""
    if member in (Any, Handle):
        return [Any]
    return _members(get_args(member)[0]) if get_origin(member) is Handle else []


def _members(annotation: object) -> list[object]:
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [member for argument in get_args(annotation) for member in _members(argument)]
    return [annotation]


def _hints_of(task: Any) -> dict[str, object]:
    run = inspect.unwrap(task.run)
    return _hints(run, getattr(run, "__globals__", {}))


def _hints(owner: Any, names: dict[str, Any]) -> dict[str, object]:
    """Return the annotations that can be read; those that name what does not exist yet are left out."""
    try:
        return typing.get_type_hints(owner, include_extras=True)
    except (NameError, AttributeError):
        found = {}
        for name, text in inspect.get_annotations(owner).items():
            try:
                found[name] = typing.get_type_hints(_Bearer(name, text), globalns=names)[name]
            except (NameError, AttributeError):
                continue
        return found


class _Bearer:
    """Carries one annotation, so that it can be read by itself."""

    def __init__(self, name: str, annotation: object) -> None:
        self.__annotations__ = {name: annotation}


def type_name(kind: object) -> str:
    """Return a type as it is written in an annotation."""
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind).replace("typing.", "")
