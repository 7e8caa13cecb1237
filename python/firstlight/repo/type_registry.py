"""Which dataset types a repository knows."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from firstlight.errors import RepoError
from firstlight.repo.database import Database
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.names import no_such
from firstlight.repo.schema import dataset_type


class KnownType(NamedTuple):
    """A dataset type and its number in the database."""

    id: int
    type: DatasetType


class TypeRegistry:
    """The dataset types of a repository; what is known once stays so.

    Parameters
    ----------
    database
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, KnownType] = {}

    def find(self, name: str) -> KnownType:
        """Return the dataset type called ``name``.

        Raises
        ------
        RepoError
            If there is none.
        """
        if name not in self._known:
            with self._database.read() as connection:
                self.load(connection)
        if name not in self._known:
            raise no_such("dataset type", name, list(self._known))
        return self._known[name]

    def names(self) -> list[str]:
        """Return the names of all types, in their order."""
        with self._database.read() as connection:
            self.load(connection)
        return sorted(self._known)

    def register(self, connection: sa.Connection, new: DatasetType) -> None:
        """Make a type known; nothing happens if it is.

        Raises
        ------
        RepoError
            If another type has its name.
        """
        self.load(connection)
        there = self._known.get(new.name)
        if there is not None and there.type != new:
            raise RepoError(f"Dataset type {there.type} is there, so {new} needs another name.")
        if there is None:
            row = {"name": new.name, "dimensions": ",".join(new.dimensions), "storage": new.storage}
            connection.execute(sa.insert(dataset_type), row)

    def load(self, connection: sa.Connection) -> None:
        """Read all types again, where one may be new."""
        for number, name, dimensions, storage in connection.execute(sa.select(dataset_type)):
            if name not in self._known:
                known = DatasetType(name, tuple(dimensions.split(",")) if dimensions else (), storage)
                self._known[name] = KnownType(number, known)
