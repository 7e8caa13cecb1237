"""What the type annotation of a field says: its members, what tells them apart, and what stands below a name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


class Unfolded(NamedTuple):
    """The types that an annotation allows."""

    members: tuple[object, ...]
    """The types of a union, or the one type, without None."""

    optional: bool
    """Whether None is allowed."""

    discriminator: str
    """The field that tells the members apart; empty if none is declared."""


def unfolded(annotation: object) -> Unfolded:
    """Return the members of a union, or the one type; what `Annotated` adds is left out."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = unfolded(arguments[0])
        named = (str(each.discriminator or "") for each in arguments[1:] if isinstance(each, FieldInfo))
        return inner._replace(discriminator=inner.discriminator or next(named, ""))
    if origin in (Union, UnionType):
        parts = [unfolded(argument) for argument in arguments]
        return Unfolded(
            tuple(member for part in parts for member in part.members),
            any(part.optional for part in parts),
            next((part.discriminator for part in parts if part.discriminator), ""),
        )
    optional = annotation in (None, NoneType)
    return Unfolded(() if optional else (annotation,), optional, discriminator="")


def whole(field: FieldInfo) -> object:
    """Return the annotation of ``field`` together with its discriminator."""
    return Annotated[field.annotation, field]


def tagged(annotation: Unfolded) -> Mapping[object, type[BaseModel]]:
    """Return discriminator value -> class, for a choice of models told apart by a field."""
    tags: dict[object, type[BaseModel]] = {}
    for member in annotation.members:
        if isinstance(member, type) and issubclass(member, BaseModel):
            field = member.model_fields.get(annotation.discriminator)
            allowed = get_args(field.annotation) if field and get_origin(field.annotation) is Literal else ()
            tags.update({tag.value if isinstance(tag, Enum) else tag: member for tag in allowed})
    return tags


def class_of(annotation: object) -> type | None:
    """Return the class of a type, without its arguments; None for what is no class."""
    origin = get_origin(annotation) or annotation
    return origin if isinstance(origin, type) else None


def below(annotation: object, name: int | str) -> object:
    """Return the annotation of what ``name`` leads to below one type: a field, a value or an item."""
    origin, arguments = class_of(annotation), get_args(annotation)
    if origin is None:
        return Any
    if issubclass(origin, BaseModel):
        field = origin.model_fields.get(str(name))
        return Any if field is None else whole(field)
    if issubclass(origin, Mapping):
        return arguments[1] if len(arguments) > 1 else Any
    if issubclass(origin, tuple) and arguments and Ellipsis not in arguments:
        return arguments[name] if isinstance(name, int) and name < len(arguments) else Any
    return arguments[0] if arguments else Any


def refuse_unfit(config_class: type[BaseModel], name: str, field: FieldInfo) -> None:
    """Refuse a field of a config that could be changed, or whose settings could not be told apart.

    Raises
    ------
    TypeError
        If the name is ``task``; if the type holds a list, a dict or a set, a mapping with None or with keys that are
        neither text nor whole numbers, or configs to choose from without a discriminator.
    """
    where = f"{config_class.__name__}.{name}"
    if name == "task":
        raise TypeError(f"{where}: a slot names its class by 'task'; choose another field name.")
    for member, choice in _inside(whole(field)):
        origin, arguments = class_of(member), get_args(member)
        if origin is None:
            continue
        if issubclass(origin, list | dict | set):
            instead = "Mapping" if issubclass(origin, dict) else "frozenset" if issubclass(origin, set) else "tuple"
            raise TypeError(f"{where} is a {origin.__name__}; declare a {instead} instead.")
        if issubclass(origin, Mapping) and len(arguments) > 1:
            if unfolded(arguments[1]).optional:
                raise TypeError(f"{where}: None removes a value of a mapping, so it cannot be one.")
            if not all(map(_is_name, unfolded(arguments[0]).members)):
                raise TypeError(f"{where}: the keys of a mapping are text or whole numbers.")
        models = [each for each in choice.members if isinstance(each, type) and issubclass(each, BaseModel)]
        if len(models) > 1 and not choice.discriminator:
            raise TypeError(
                f"{where}: configs to choose from need a field that tells them apart: Field(discriminator=...)."
            )


def _is_name(key: object) -> bool:
    if get_origin(key) is Literal:
        return all(isinstance(value, str | int) for value in get_args(key))
    return isinstance(key, type) and issubclass(key, str | int)


def _inside(annotation: object) -> Iterator[tuple[object, Unfolded]]:
    """Yield every type in ``annotation``, each with the union it belongs to."""
    choice = unfolded(annotation)
    for member in choice.members:
        yield member, choice
        if get_origin(member) is not Literal:
            for argument in get_args(member):
                yield from _inside(argument)
