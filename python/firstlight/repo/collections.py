"""Collections: runs, chains of others, and calibrations; and the order in which they are searched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import sqlalchemy as sa

from firstlight.errors import RepoError
from firstlight.repo.names import is_collection_name, no_such, require_collection_name
from firstlight.repo.rows import CollectionInfo, CollectionKind
from firstlight.repo.schema import certification, chain, collection, dataset

_ARTICLE: Mapping[CollectionKind, str] = {
    "RUN": "a run",
    "CHAINED": "a chain",
    "CALIBRATION": "a calibration collection",
}


@dataclass(frozen=True)
class Collection:
    """A collection as the database has it."""

    id: int
    name: str
    kind: CollectionKind


def make_collection(connection: sa.Connection, name: str, kind: CollectionKind) -> Collection:
    """Return the collection called ``name``, made if it is not there.

    Raises
    ------
    RepoError
        If the name is not allowed, or belongs to a collection of another kind.
    """
    require_collection_name(name)
    there = known_collection(connection, name)
    if there is None:
        row = {"name": name, "kind": kind, "created": datetime.now(UTC).isoformat(timespec="seconds")}
        made = connection.execute(sa.insert(collection), row).inserted_primary_key
        return Collection(int(made[0]) if made else 0, name, kind)
    if there.kind != kind:
        raise RepoError(f"{name} is {_ARTICLE[there.kind]}, so it cannot be {_ARTICLE[kind]}; take another name.")
    return there


def known_collection(connection: sa.Connection, name: str) -> Collection | None:
    """Return the collection called ``name``; None if there is none."""
    found = connection.execute(_NAMED, {"wanted": name}).one_or_none() if is_collection_name(name) else None
    return None if found is None else Collection(*found)


def require_collection(connection: sa.Connection, name: str, *kinds: CollectionKind) -> Collection:
    """Return the collection called ``name``, of one of ``kinds``, or of any if none is given.

    Raises
    ------
    RepoError
        If there is none, or it is of another kind.
    """
    found = known_collection(connection, name)
    if found is None:
        known = connection.execute(sa.select(collection.c.name, collection.c.kind)).all()
        raise no_such("collection", name, [each for each, kind in known if not kinds or kind in kinds])
    if kinds and found.kind not in kinds:
        wanted = " or ".join(_ARTICLE[kind] for kind in kinds)
        raise RepoError(f"{name} is {_ARTICLE[found.kind]}; give {wanted}.")
    return found


def set_members(connection: sa.Connection, name: str, members: Sequence[str]) -> None:
    """Make the chain ``name`` search ``members``, in this order.

    Raises
    ------
    RepoError
        If a member is not there, is given twice, or leads back to the chain.
    """
    repeated = sorted({each for each in members if list(members).count(each) > 1})
    if repeated:
        raise RepoError(f"{repeated[0]} is given twice as a member of {name}; give it once.")
    children = [require_collection(connection, each) for each in members]
    parent = make_collection(connection, name, "CHAINED")
    for child in children:
        if child.id == parent.id or any(each.id == parent.id for each in reachable(connection, [child.name])):
            raise RepoError(f"{child.name} leads to {name}, so it cannot be a member of it.")
    connection.execute(sa.delete(chain).where(chain.c.parent == parent.id))
    if children:
        rows = [{"parent": parent.id, "position": i, "child": child.id} for i, child in enumerate(children)]
        connection.execute(sa.insert(chain), rows)


def search_order(connection: sa.Connection, names: str | Iterable[str]) -> list[Collection]:
    """Return the runs and calibration collections that ``names`` lead to, depth first and each once.

    Raises
    ------
    RepoError
        If there is no collection of a name.
    """
    wanted = [names] if isinstance(names, str) else list(names)
    return [each for each in reachable(connection, wanted) if each.kind != "CHAINED"]


def reachable(connection: sa.Connection, names: Sequence[str]) -> list[Collection]:
    """Return every collection that ``names`` are or lead to, depth first and each once.

    Raises
    ------
    RepoError
        If there is no collection of a name.
    """
    by_name: dict[str, Collection] = {}
    by_id: dict[int, Collection] = {}
    members: dict[int, list[tuple[int, int]]] = {}
    wanted = [name for name in names if is_collection_name(name)]
    for parent, position, number, name, kind in connection.execute(_REACHABLE, {"wanted": wanted}).all():
        one = by_id.setdefault(number, Collection(number, name, kind))
        by_name[one.name] = one
        if parent:
            members.setdefault(parent, []).append((position, one.id))
    for name in names:
        if name not in by_name:
            require_collection(connection, name)
    order: dict[int, Collection] = {}
    waiting = [by_name[name].id for name in reversed(names)]
    while waiting:
        current = waiting.pop()
        if current not in order:
            order[current] = by_id[current]
            waiting += [child for _, child in sorted(members.get(current, ()), reverse=True)]
    return list(order.values())


def list_collections(connection: sa.Connection, pattern: str) -> list[CollectionInfo]:
    """Return the collections whose names match ``pattern`` (``*``, ``?``, ``[...]``), in the order of their names."""
    rows = connection.execute(sa.select(collection.c.id, collection.c.name, collection.c.kind)).all()
    found = {row[0]: Collection(*row) for row in rows}
    members: dict[int, list[int]] = {}
    for parent, child in connection.execute(sa.select(chain.c.parent, chain.c.child).order_by(chain.c.position)):
        members.setdefault(parent, []).append(child)
    counts: dict[int, int] = {}
    for query in (_COUNT_OF_RUNS, _COUNT_OF_CALIBRATIONS):
        counts.update(connection.execute(query).all())

    def led_to(current: int, seen: set[int]) -> Iterator[int]:
        if current not in seen:
            seen.add(current)
            yield current
            for child in members.get(current, ()):
                yield from led_to(child, seen)

    return [
        CollectionInfo(
            name=one.name,
            kind=one.kind,
            members=tuple(found[each].name for each in members.get(one.id, ())),
            n_datasets=sum(counts.get(each, 0) for each in led_to(one.id, set())),
        )
        for one in sorted(found.values(), key=lambda each: each.name)
        if fnmatchcase(one.name, pattern)
    ]


def drop_collection(connection: sa.Connection, found: Collection) -> None:
    """Forget a collection that nothing is in any more, also as a member of chains."""
    parents = sa.select(chain.c.parent).where(chain.c.child == found.id)
    for parent in connection.execute(parents).scalars().all():
        kept = sa.select(chain.c.child).where(chain.c.parent == parent, chain.c.child != found.id)
        children = connection.execute(kept.order_by(chain.c.position)).scalars().all()
        connection.execute(sa.delete(chain).where(chain.c.parent == parent))
        if children:
            rows = [{"parent": parent, "position": i, "child": child} for i, child in enumerate(children)]
            connection.execute(sa.insert(chain), rows)
    connection.execute(sa.delete(collection).where(collection.c.id == found.id))


def _reachable() -> sa.Select[Any]:
    """Return every step from the wanted names down: parent (0 for none), position, and the collection."""
    columns = (collection.c.id, collection.c.name, collection.c.kind)
    start = sa.select(sa.cast(0, sa.BigInteger).label("parent"), sa.literal(0).label("position"), *columns)
    walk = start.where(collection.c.name.in_(sa.bindparam("wanted", expanding=True))).cte("walk", recursive=True)
    below = sa.select(chain.c.parent, chain.c.position, *columns).select_from(
        walk.join(chain, chain.c.parent == walk.c.id).join(collection, collection.c.id == chain.c.child)
    )
    return sa.select(walk.union(below))


_NAMED = sa.select(collection.c.id, collection.c.name, collection.c.kind).where(
    collection.c.name == sa.bindparam("wanted")
)
_REACHABLE = _reachable()
_COUNT_OF_RUNS = sa.select(dataset.c.run, sa.func.count()).group_by(dataset.c.run)
_COUNT_OF_CALIBRATIONS = sa.select(certification.c.collection, sa.func.count()).group_by(certification.c.collection)
