"""A mapping that cannot be changed, for settings and plug-ins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

V = TypeVar("V", covariant=True)
_PLAIN = frozenset({int, float, str, bool, type(None)})


class ReadOnlyMapping(Mapping[str, V]):
    """A mapping with string keys that is read-only, ordered and hashable.

    Parameters
    ----------
    items
        A mapping, or pairs of key and value; copied.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, V] | Iterable[tuple[str, V]] = ()) -> None:
        self._items = dict(items)

    def __getitem__(self, key: str) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._items!r})"


def frozen(value: object) -> object:
    """Return ``value`` with every list made a tuple and every mapping read-only, at any depth."""
    if type(value) in _PLAIN:
        return value
    if type(value) is tuple and _PLAIN.issuperset(map(type, value)):
        return value
    if isinstance(value, Mapping):
        return ReadOnlyMapping({key: frozen(item) for key, item in value.items()})
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return tuple(frozen(item) for item in value)
    return value


def thawed(value: object) -> object:
    """Return ``value`` with every tuple made a list and every mapping a dict, at any depth."""
    if type(value) in _PLAIN:
        return value
    if type(value) is tuple and _PLAIN.issuperset(map(type, value)):
        return list(value)
    if isinstance(value, Mapping):
        return {key: thawed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [thawed(item) for item in value]
    return value
