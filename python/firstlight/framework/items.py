"""`Item`: one setting on its way down the tree of configs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

Path = tuple[str, ...]


class Item(NamedTuple):
    """One setting on its way down the tree."""

    path: Path
    """What is left of the path below the place reached."""

    value: object
    origin: str
    rank: int
    """Number of the layer it came from; higher is later."""

    def shortened(self) -> Item:
        """Return the same setting one name further down."""
        return Item(self.path[1:], self.value, self.origin, self.rank)


def by_name(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Return first name -> items; an item for the place itself has the name ``""``."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.path[0] if item.path else "", []).append(item)
    return groups


def by_layer(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield the items of each layer together, the lowest layer first."""
    for _, layer in groupby(items, key=lambda item: item.rank):
        yield list(layer)
