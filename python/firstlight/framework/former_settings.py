"""Settings under former names of fields: they are taken, and said to be out of date."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from firstlight.framework.config import Config
from firstlight.framework.items import Item, by_layer
from firstlight.framework.renamed import Former, former_names


class Taken(NamedTuple):
    """Settings of one layer under a former name."""

    name: str
    former: Former
    items: list[Item]
    also: Item | None
    """A setting of the same layer under the name that the field has now: a mistake."""


def under_former_names(cls: type[Config], groups: Mapping[str, list[Item]]) -> Iterator[Taken]:
    """Yield the settings under former names, layer by layer."""
    for name, former in former_names(cls).items():
        for layer in by_layer(groups.get(name, ())):
            others = (item for item in groups.get(former.field, ()) if item.rank == layer[0].rank)
            yield Taken(name, former, layer, next(others, None))


def renamed(taken: Taken) -> list[Item]:
    """Return the settings under the name that the field has now; their origin tells the former one."""
    field = (taken.former.field,)
    return [
        Item((*field, *item.path[1:]), item.value, f"{item.origin}, as {taken.name!r}", item.rank)
        for item in taken.items
    ]
