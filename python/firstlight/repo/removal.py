"""Taking datasets and collections out of a repository, rows first and files after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from firstlight.errors import RepoError
from firstlight.repo.collections import Collection, drop_collection
from firstlight.repo.database import Database
from firstlight.repo.files import delete_file
from firstlight.repo.schema import certification, collection, dataset, quantum

_AT_ONCE = 1000
"""Rows named in one statement."""


@contextmanager
def removing(database: Database) -> Iterator[sa.Connection]:
    """Open a transaction that takes rows out, and in which nobody else changes collections.

    Raises
    ------
    RepoError
        If somebody puts something in at the same time that needs what is taken out.
    """
    try:
        with database.write(exclusive=True) as connection:
            yield connection
    except IntegrityError as error:
        raise RepoError(
            f"Somebody is writing to what should be removed from {database.root}; wait for the end."
        ) from error


def forget_datasets(connection: sa.Connection, numbers: Sequence[int]) -> list[str]:
    """Delete the rows of datasets, and return the paths of files that belong to no other dataset.

    Raises
    ------
    RepoError
        If one is certified.
    """
    paths: set[str] = set()
    parts = [numbers[start : start + _AT_ONCE] for start in range(0, len(numbers), _AT_ONCE)]
    for part in parts:
        _refuse_certified(connection, part)
        paths.update(connection.execute(sa.select(dataset.c.path).where(dataset.c.id.in_(part))).scalars())
        connection.execute(sa.delete(dataset).where(dataset.c.id.in_(part)))
    ordered = sorted(paths)
    for start in range(0, len(ordered), _AT_ONCE):
        shared = sa.select(dataset.c.path).where(dataset.c.path.in_(ordered[start : start + _AT_ONCE]))
        paths.difference_update(connection.execute(shared).scalars())
    return sorted(paths)


def forget_run(connection: sa.Connection, run: Collection) -> list[str]:
    """Delete a run with its datasets and records, and return the paths of its files.

    Raises
    ------
    RepoError
        If one of its datasets is certified.
    """
    numbers = connection.execute(sa.select(dataset.c.id).where(dataset.c.run == run.id)).scalars().all()
    paths = forget_datasets(connection, numbers)
    connection.execute(sa.delete(quantum).where(quantum.c.run == run.id))
    drop_collection(connection, run)
    return paths


def forget_collection(connection: sa.Connection, found: Collection) -> None:
    """Delete a chain, or a calibration collection with its certifications; no dataset is deleted."""
    connection.execute(sa.delete(certification).where(certification.c.collection == found.id))
    drop_collection(connection, found)


def delete_files(database: Database, paths: Sequence[str]) -> None:
    """Delete files below the root; those that lie elsewhere belong to somebody else.

    Raises
    ------
    OutputError
        If one cannot be deleted.
    """
    for path in paths:
        if not path.startswith("/"):
            delete_file(database.root / path, root=database.root)


def _refuse_certified(connection: sa.Connection, numbers: Sequence[int]) -> None:
    query = sa.select(certification.c.dataset, collection.c.name).join(
        collection, collection.c.id == certification.c.collection
    )
    found = connection.execute(query.where(certification.c.dataset.in_(numbers))).all()
    if found:
        places = ", ".join(sorted({name for _, name in found}))
        raise RepoError(
            f"{len({number for number, _ in found})} of them are certified in {places}; decertify them first."
        )
