"""Tables of the settings of a config class: type with its bounds, default, documentation."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from firstlight.framework import Config, Subtask
from firstlight.framework.config import default_of
from firstlight.framework.subtask import family_of
from firstlight.framework.yaml_text import flow

from .rst import Lines, link, literal, table

WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", NoneType: "null"}
BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "min_length": "length >=", "max_length": "length <="}


def settings_table(config_class: type[Config]) -> Lines:
    """Return a table of all settings, those that are inherited included."""
    rows = [
        (literal(name), type_in_words(field), default_in_words(config_class, name), inspect.cleandoc(described(field)))
        for name, field in config_class.model_fields.items()
    ]
    return table(("setting", "type", "default", "meaning"), rows, widths=(18, 22, 25, 35))


def described(field: FieldInfo) -> str:
    """Return the documentation of a field."""
    return field.description or ""


def type_in_words(field: FieldInfo) -> str:
    """Return what a field takes, with its bounds."""
    return _with_bounds(_words(field.annotation), field.metadata)


def _words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _with_bounds(_words(arguments[0]), arguments[1:])
    if origin in (Union, UnionType, Literal):
        return " or ".join(literal(flow(each).strip('"')) if origin is Literal else _words(each) for each in arguments)
    if annotation is Subtask or origin is Subtask:
        return f"slot for a {link(family_of(annotation))}"
    return _container_in_words(annotation, origin, arguments)


def _container_in_words(annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> str:
    if origin is tuple:
        return _tuple_in_words(arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"mapping: {_words(arguments[0])} to {_words(arguments[1])}"
    return _name_of_type(annotation)


def _name_of_type(annotation: Any) -> str:
    if annotation in WORDS:
        return WORDS[annotation]
    return link(annotation) if isinstance(annotation, type) else literal(str(annotation))


def _tuple_in_words(members: tuple[Any, ...]) -> str:
    if len(members) == 2 and members[1] is Ellipsis:
        return f"list of: {_words(members[0])}"
    return f"[{', '.join(_words(member) for member in members)}]"


def _with_bounds(words: str, metadata: Any) -> str:
    found = [
        f"{sign} {getattr(item, name)}"
        for item in _flat(metadata)
        for name, sign in BOUNDS.items()
        if getattr(item, name, None) is not None
    ]
    return f"{words} {', '.join(found)}" if found else words


def _flat(metadata: Any) -> Iterator[object]:
    """Yield each constraint; a `pydantic.Field` inside `Annotated` holds several."""
    for item in metadata:
        yield from item.metadata if isinstance(item, FieldInfo) else (item,)


def default_in_words(config_class: type[Config], name: str) -> str:
    """Return the default of a field as one writes it in YAML; a slot's as a link to its task."""
    default = default_of(config_class, name)
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, Subtask):
        return _slot_in_words(default)
    if isinstance(default, Mapping) and any(isinstance(item, Subtask) for item in default.values()):
        return "\n\n".join(f"``{key}``: {_slot_in_words(item)}" for key, item in default.items())
    if isinstance(default, Config):
        return "its defaults" if default == type(default)() else literal(flow(default.to_dict()))
    return literal(flow(plain(default)))


def plain(value: Any) -> Any:
    """Return a value of a config as YAML can hold it, what is default in a nested config or slot left out."""
    if isinstance(value, Subtask):
        settings = plain(value.config)
        return {"task": value.task.__name__, **settings} if settings else value.task.__name__
    if isinstance(value, Config):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields if name in value.changes()}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple | frozenset) else value


def _slot_in_words(slot: Subtask[Any]) -> str:
    changed = ", ".join(f"{name}: {flow(plain(getattr(slot.config, name)))}" for name in slot.config.changes())
    return f"{link(slot.task)}{f' with {literal(changed)}' if changed else ''}"


def nested_configs(config_class: type[Config]) -> list[type[Config]]:
    """Return ``config_class`` and every config class that its fields hold, slots left out, in order."""
    found = [config_class]
    for owner in found:
        for field in owner.model_fields.values():
            found += [inner for inner in _configs_in(field.annotation) if inner not in found]
    return found


def _configs_in(annotation: Any) -> list[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    if get_origin(annotation) is Subtask:
        return []
    return [inner for argument in get_args(annotation) for inner in _configs_in(argument)]
