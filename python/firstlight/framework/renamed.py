"""Fields that changed their name, are on their way out, or are gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class FormerName:
    """The name that a field had before: ``order: Annotated[int, FormerName("degree", since="0.2")] = 2``.

    A setting under the former name is taken, and one warning is logged.
    """

    name: str
    """The name it had."""

    since: str = ""
    """The version that renamed it."""


class Former(NamedTuple):
    """What became of a former name."""

    field: str
    """The name of the field now."""

    since: str

    @property
    def in_version(self) -> str:
        """The version as words that can follow the name, or nothing."""
        return f" (since {self.since})" if self.since else ""


@cache
def former_names(config_class: type[BaseModel]) -> Mapping[str, Former]:
    """Return former name -> what became of it, for every field that was renamed.

    Raises
    ------
    TypeError
        If a former name is a field, or two fields had it.
    """
    names: dict[str, Former] = {}
    for field, info in config_class.model_fields.items():
        for each in info.metadata:
            if isinstance(each, FormerName):
                if each.name in config_class.model_fields or each.name in names:
                    raise TypeError(f"{config_class.__name__}.{field}: its former name {each.name!r} is taken.")
                names[each.name] = Former(field, each.since)
    return names


@cache
def removed_fields(config_class: type[BaseModel]) -> Mapping[str, str]:
    """Return name -> what to do instead, for the fields that ``config_class`` and its parents had and dropped.

    Raises
    ------
    TypeError
        If a removed name is a field, or the former name of one.
    """
    removed: dict[str, str] = {}
    for each in reversed(config_class.__mro__):
        removed.update(vars(each).get("removed_fields", {}))
    for name in removed:
        if name in config_class.model_fields or name in former_names(config_class):
            raise TypeError(f"{config_class.__name__}: {name!r} is among the removed fields, but it is one.")
    return removed


def deprecation_of(field: FieldInfo) -> str | None:
    """Return what ``field`` says about its deprecation; None if it is not deprecated."""
    return field.deprecation_message if field.deprecated else None
