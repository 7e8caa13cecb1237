"""What differs between two configs, value by value, with where each came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from pydantic_core import PydanticUndefined

from firstlight.framework.config import Change, Config, Slot, default_beside, history_at, plain_value
from firstlight.framework.yaml_text import flow

Path = tuple[str, ...]


class Absent(Enum):
    """The one value of a setting that a config does not have."""

    ABSENT = "absent"
    """There is no such setting on this side: another class, a plug-in that was removed."""


ABSENT: Final = Absent.ABSENT
"""Stands for a value on the side that has no such setting."""


@dataclass(frozen=True)
class Difference:
    """One setting that two configs do not share; ``str`` gives it as one line."""

    path: str
    """Flat path as a user writes it (``calibrate:psf.order``); empty for the class of the config itself."""

    left: object
    """Plain value on the left, or `ABSENT`; a slot or a config is told by the name of its class."""

    right: object
    left_origin: str
    """Where the value on the left came from; of an absent one what removed it, if anything did."""

    right_origin: str

    def __str__(self) -> str:
        sides = ((self.left, self.left_origin), (self.right, self.right_origin))
        told = [f"{_text(value)} ({origin})" if origin else _text(value) for value, origin in sides]
        return f"{self.path or 'class'}: {told[0]} -> {told[1]}"


def diff_configs(left: Config, right: Config, *, labelled: bool = True) -> tuple[Difference, ...]:
    """Return what differs between two configs, in the order of their fields.

    Where a slot holds other classes, its task is one difference; below it, settings that both classes inherit are
    compared, and of the others those that somebody gave are listed. So are the settings of a plug-in that only one
    side has. Equal configs have no differences, whatever their history.

    Parameters
    ----------
    left, right
        The configs.
    labelled
        Whether the slots of the configs are labels, written with a colon (``calibrate:psf.order``).
    """
    found = []
    for path, one, other in _compared(_Place(left), _Place(right), ()):
        labels = labelled and any(isinstance(vars(side).get(path[0]), Slot) for side in (left, right) if path)
        name = f"{path[0]}:{'.'.join(path[1:])}" if labels and len(path) > 1 else ".".join(path)
        found.append(Difference(name, one.plain(), other.plain(), one.origin(), other.origin()))
    return tuple(found)


@dataclass(frozen=True)
class _Place:
    """A value in the tree of a config, and how to find where it came from."""

    value: object
    owner: Config | None = None
    """The innermost config that the value belongs to."""

    path: Path = ()
    """Path of the value below its owner."""

    above: str = ""
    """Where the owner came from."""

    def plain(self) -> object:
        """Return the value as YAML can hold it; a config is told by the name of its class."""
        if self.value is ABSENT:
            return ABSENT
        return type(self.value).__name__ if isinstance(self.value, Config) else plain_value(self.value)

    def origin(self) -> str:
        """Return where the value came from, or else what it belongs to; of an absent one what removed it."""
        if self.value is ABSENT:
            removed = _counted(self.owner, self.path) if self.owner is not None else []
            return removed[-1].origin if removed and removed[-1].value is None else ""
        for length in range(len(self.path), 0, -1):
            if self.owner is not None and (counted := _counted(self.owner, self.path[:length])):
                return counted[-1].origin
        return self.above

    def config(self) -> Config | None:
        """Return the config in a slot, or the nested one."""
        inner = self.value.config if isinstance(self.value, Slot) else self.value
        return inner if isinstance(inner, Config) else None

    def inside(self, name: str) -> _Place:
        """Return what ``name`` leads to: a field of a config or of a slot, or a value of a mapping."""
        if (config := self.config()) is not None:
            return _Place(vars(config).get(name, ABSENT), config, (name,), self.origin())
        value = self.value.get(name, ABSENT) if isinstance(self.value, Mapping) else ABSENT
        return _Place(value, self.owner, (*self.path, name), self.above)


def _counted(config: Config, path: Path) -> list[Change]:
    found = history_at(config, path)
    return [] if found is None else [change for part in found for change in part if not change.note]


def _compared(left: _Place, right: _Place, at: Path) -> Iterator[tuple[Path, _Place, _Place]]:
    if left.value == right.value:
        return
    one, other = left.config(), right.config()
    if one is not None or other is not None:
        yield from _compared_configs(left, right, at)
    elif (names := _names_in(left.value, right.value)) is not None:
        for name in names:
            yield from _compared(left.inside(name), right.inside(name), (*at, str(name)))
    else:
        yield at, left, right


def _names_in(left: object, right: object) -> list[str] | None:
    """Return the names in two mappings, one of which may be absent; None where they are no mappings, or empty."""
    sides = [side for side in (left, right) if side is not ABSENT]
    mappings = [side for side in sides if isinstance(side, Mapping)]
    return list(dict.fromkeys(name for side in mappings for name in side)) or None if mappings == sides else None


def _compared_configs(left: _Place, right: _Place, at: Path) -> Iterator[tuple[Path, _Place, _Place]]:
    if _class(left) is not _class(right):
        slot = isinstance(left.value, Slot) or isinstance(right.value, Slot)
        yield (*at, "task") if slot else at, left, right
    one, other = left.config(), right.config()
    names = [*type(one).model_fields] if one is not None else []
    names += [name for name in type(other).model_fields if name not in names] if other is not None else []
    for name in names:
        sides = (left.inside(name), right.inside(name))
        if one is not None and other is not None and _shared(name, type(one), type(other)):
            yield from _compared(*sides, (*at, name))
            continue
        for index, side in enumerate(sides):
            if side.value is not ABSENT and side.owner is not None and _given(side.owner, name):
                nothing = _Place(ABSENT)
                pair = (side, nothing) if index == 0 else (nothing, side)
                yield from _compared(*pair, (*at, name))


def _class(place: _Place) -> type | None:
    if isinstance(place.value, Slot):
        return place.value.task
    return type(place.value) if isinstance(place.value, Config) else None


def _shared(name: str, one: type[Config], other: type[Config]) -> bool:
    """Return whether both classes inherit the field from the same one, so that it means the same."""
    both = (each for each in one.__mro__ if issubclass(each, Config) and issubclass(other, each))
    return any(name in each.model_fields for each in both)


def _given(config: Config, name: str) -> bool:
    value, default = vars(config)[name], default_beside(config, name)
    return default is PydanticUndefined or value != default


def _text(value: object) -> str:
    return "absent" if value is ABSENT else flow(value)
