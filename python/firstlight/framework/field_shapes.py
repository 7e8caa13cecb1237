"""What kind of value each field of a config takes: a plain one, a nested config, a slot, plug-ins or a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cache
from typing import Any, get_args

from firstlight.framework.annotations import class_of, tagged, unfolded, whole
from firstlight.framework.config import Config
from firstlight.framework.renamed import deprecation_of
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

    choices: Mapping[object, type[Config]] = field(default_factory=dict)
    """Value of the discriminator -> class."""

    value: FieldShape | None = None
    """What the values of a mapping take; or the items of a tuple, where these are configs or slots."""

    computed: bool = False
    """Whether the default follows from other fields."""

    deprecated: str | None = None
    """What to do instead of setting it; None for a field that is not deprecated."""

    @property
    def nested_values(self) -> bool:
        """Whether the values of a mapping have names below them."""
        return self.value is not None and self.value.kind is not Kind.PLAIN


@cache
def field_shapes(config_class: type[Config]) -> Mapping[str, FieldShape]:
    """Return field name -> what it takes."""
    return {
        name: replace(
            _shape(whole(info)),
            computed=bool(info.default_factory_takes_validated_data),
            deprecated=deprecation_of(info),
        )
        for name, info in config_class.model_fields.items()
    }


def _shape(annotation: object) -> FieldShape:
    choice = unfolded(annotation)
    optional = choice.optional
    if choice.discriminator:
        choices = {tag: cls for tag, cls in tagged(choice).items() if issubclass(cls, Config)}
        return FieldShape(Kind.CHOICE, optional, discriminator=choice.discriminator, choices=choices)
    return _of_one_type(choice.members[0], optional) if len(choice.members) == 1 else FieldShape(Kind.PLAIN, optional)


def _of_one_type(annotation: object, optional: bool) -> FieldShape:  # noqa: FBT001 - what the shape is made with
    origin, arguments = class_of(annotation) or object, get_args(annotation)
    if issubclass(origin, Subtask):
        return FieldShape(Kind.SLOT, optional, family=family_of(annotation))
    if issubclass(origin, Config):
        return FieldShape(Kind.CONFIG, optional, config_class=origin)
    if issubclass(origin, Mapping):
        value = _shape(arguments[1] if arguments else Any)
        plugins = value.kind is Kind.SLOT
        return FieldShape(Kind.PLUGINS if plugins else Kind.MAPPING, optional, family=value.family, value=value)
    item = _shape(arguments[0]) if issubclass(origin, tuple) and arguments else None
    made = item is not None and item.kind in (Kind.SLOT, Kind.CONFIG, Kind.CHOICE)
    return FieldShape(Kind.PLAIN, optional, value=item if made else None)
