"""Reference catalogues outside the repository that it knows by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from firstlight.errors import RepoError
from firstlight.repo.names import require_type_name
from firstlight.repo.schema import dataset_type, refcat

if TYPE_CHECKING:
    from firstlight.repo.repo import Repo


class RefcatRow(NamedTuple):
    """One reference catalogue."""

    name: str
    path: str
    """Absolute path of the store."""

    checksum: str
    """Changes when any of its files changes."""


def register_refcat(repo: Repo, name: str, path: Path, checksum: str) -> None:
    """Make a reference catalogue known, or tell where it lies now.

    Raises
    ------
    RepoError
        If the name is not allowed, belongs to a dataset type, or to a catalogue with other contents.
    """
    require_type_name(name)
    row = {"name": name, "path": str(path.resolve()), "checksum": checksum}
    with repo.database.write(exclusive=True) as connection:
        if connection.execute(sa.select(dataset_type.c.id).where(dataset_type.c.name == name)).first():
            raise RepoError(f"{name!r} is the name of a dataset type; give the reference catalogue another one.")
        there = connection.execute(sa.select(refcat.c.checksum).where(refcat.c.name == name)).scalar()
        if there is None:
            connection.execute(sa.insert(refcat), [row])
        elif there == checksum:
            connection.execute(sa.update(refcat).where(refcat.c.name == name).values(path=row["path"]))
        else:
            raise RepoError(f"{name!r} is a reference catalogue with other contents; give this one another name.")


def refcats(repo: Repo) -> dict[str, RefcatRow]:
    """Return name -> reference catalogue."""
    query = sa.select(refcat.c.name, refcat.c.path, refcat.c.checksum).order_by(refcat.c.name)
    with repo.database.read() as connection:
        return {row.name: RefcatRow(*row) for row in connection.execute(query)}
