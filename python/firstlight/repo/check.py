"""Comparing the files of a repository with what the database says of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

import sqlalchemy as sa

from firstlight.errors import RepoError
from firstlight.repo.database import Database
from firstlight.repo.file_systems import is_there
from firstlight.repo.files import TEMPORARY, checksum_of
from firstlight.repo.rows import Problem
from firstlight.repo.schema import dataset, dataset_type


def find_problems(database: Database, *, checksums: bool) -> list[Problem]:
    """Return what is wrong with the files; see `firstlight.repo.repo.Repo.check`."""
    with database.read() as connection:
        query = sa.select(dataset.c.path, dataset.c.size, dataset.c.checksum).distinct().order_by(dataset.c.path)
        expected = {path: (size, checksum) for path, size, checksum in connection.execute(query)}
        types = frozenset(connection.execute(sa.select(dataset_type.c.name)).scalars())
    problems = [
        problem
        for path, (size, checksum) in expected.items()
        if (problem := _difference(database.root / path, size, checksum if checksums else None)) is not None
    ]
    return problems + list(_surplus(database.root, expected.keys(), types))


def _difference(path: Path, size: int, checksum: str | None) -> Problem | None:
    try:
        if not is_there(path):
            return Problem("missing", path, "the file is gone; put it back, or prune the dataset and make it again.")
        if (found := path.stat().st_size) != size:
            advice = f"it has {found} bytes instead of {size}; prune the dataset and make it again."
            return Problem("checksum", path, advice)
        if checksum is not None and checksum_of(path) != checksum:
            return Problem("checksum", path, "its content has changed; prune the dataset and make it again.")
    except RepoError as error:
        return Problem("missing", path, f"{error} Make it readable, or prune the dataset and make it again.")
    return None


def _surplus(root: Path, expected: Collection[str], types: frozenset[str]) -> Iterator[Problem]:
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if TEMPORARY.fullmatch(name):
                yield Problem("temporary", path, "a file that was not finished; delete it if nothing is being written.")
            elif _looks_like_a_dataset(path.relative_to(root), types) and str(path.relative_to(root)) not in expected:
                yield Problem("orphaned", path, "no dataset belongs to this file; delete it if no run is going on.")


def _looks_like_a_dataset(path: Path, types: frozenset[str]) -> bool:
    """Return whether a dataset of one of ``types`` could have a path: ``run/type/.../type_values.suffix``."""
    return any(part in types and path.name.startswith((f"{part}_", f"{part}.")) for part in path.parts[1:-1])
