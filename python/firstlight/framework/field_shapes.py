"""What kind of value each field of a config takes: a plain one, a nested config, a slot, plug-ins or a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from firstlight.framework.config import Config
from firstlight.framework.subtask import Subtask, family_of
from firstlight.framework.task import Task


class Kind(Enum):
    """How settings below a field are put together."""

    PLAIN = "plain"
    """One value; a later one replaces an earlier one."""

    CONFIG = "config"
    """A nested config, merged field by field."""

    CHOICE = "choice"
    """One of several configs told apart by a field; merged while that field stays the same."""

    MAPPING = "mapping"
    """Values by name, merged by name; null removes one."""

    SLOT = "slot"
    """A subtask."""

    PLUGINS = "plugins"
    """Subtasks by name; null removes one."""


@dataclass(frozen=True)
class FieldShape:
    """What a field takes."""

    kind: Kind
    optional: bool
    """Whether the field may be None."""

    config_class: type[Config] = Config
    """The class of a nested config."""

    family: type[Task[Any]] = Task
    """The family of a slot or of plug-ins."""

    discriminator: str = ""
    """The field that tells the configs of a choice apart."""

    nested_values: bool = False
    """Whether the values of a mapping have names below them."""


@cache
def field_shapes(config_class: type[Config]) -> Mapping[str, FieldShape]:
    """Return field name -> what it takes."""
    return {name: _shape(field) for name, field in config_class.model_fields.items()}


def _shape(field: FieldInfo) -> FieldShape:
    members = _members(field.annotation)
    optional = NoneType in members
    members = [member for member in members if member is not NoneType]
    if len(members) > 1 and all(isinstance(member, type) and issubclass(member, Config) for member in members):
        return FieldShape(Kind.CHOICE, optional, discriminator=str(field.discriminator or ""))
    return _single(members[0], optional=optional) if len(members) == 1 else FieldShape(Kind.PLAIN, optional)


def _single(annotation: object, *, optional: bool) -> FieldShape:
    origin = get_origin(annotation) or annotation
    if not isinstance(origin, type):
        return FieldShape(Kind.PLAIN, optional)
    if issubclass(origin, Subtask):
        return FieldShape(Kind.SLOT, optional, family=family_of(annotation))
    if issubclass(origin, Config):
        return FieldShape(Kind.CONFIG, optional, config_class=origin)
    if issubclass(origin, Mapping):
        return _mapping(_members((get_args(annotation) or (str, Any))[1]), optional=optional)
    return FieldShape(Kind.PLAIN, optional)


def _mapping(values: list[object], *, optional: bool) -> FieldShape:
    slots = [value for value in values if get_origin(value) is Subtask or value is Subtask]
    if slots:
        return FieldShape(Kind.PLUGINS, optional, family=family_of(slots[0]))
    nested = any(
        isinstance(origin, type) and issubclass(origin, Mapping | Config)
        for value in values
        for origin in (get_origin(value) or value,)
    )
    return FieldShape(Kind.MAPPING, optional, nested_values=nested)


def _members(annotation: object) -> list[object]:
    """Return the types of a union, or the one type; what `Annotated` adds is left out."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [member for argument in get_args(annotation) for member in _members(argument)]
    return [annotation]
