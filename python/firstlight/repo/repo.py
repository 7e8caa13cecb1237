"""`Repo`: datasets in the files of one folder, found by type, collection and data id.

Whatever lies in a run stays as it is: nothing is ever overwritten.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import sqlalchemy as sa

from firstlight.errors import RepoError
from firstlight.framework.dimensions import Value
from firstlight.repo import calibrations, removal
from firstlight.repo.check import find_problems
from firstlight.repo.collections import (
    list_collections,
    make_collection,
    require_collection,
    search_order,
    set_members,
)
from firstlight.repo.database import Database
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.datasets import select_datasets
from firstlight.repo.export import Selection, export_datasets
from firstlight.repo.file_systems import is_there
from firstlight.repo.files import make_folder
from firstlight.repo.import_export import import_datasets
from firstlight.repo.names import require_data_id
from firstlight.repo.quanta import list_quanta, save_quanta
from firstlight.repo.query import where_clause
from firstlight.repo.rows import Certified, CollectionInfo, DatasetRow, NewDataset, Problem, QuantumRow
from firstlight.repo.searching import find_dataset
from firstlight.repo.storage import find_storage
from firstlight.repo.type_registry import KnownType, TypeRegistry
from firstlight.repo.writing import insert_datasets, put_object

BELONGING = {"raw": ("raw_mask",)}
"""Types whose datasets are pruned with those of another type."""

RawReader = Callable[[Path, Mapping[str, Value]], object]
"""Returns the image in a file of a telescope, given its data id."""


class Repo:
    """A repository; made by `Repo.create` or `Repo.open`, and closed at the end of a ``with`` block.

    Every method raises `RepoError` for what is not there, is there already or does not fit, and `OutputError` for what
    cannot be written. ``where`` is a condition as in `firstlight.repo.query`, ``date`` an MJD in TAI.

    Parameters
    ----------
    database
        Where it keeps what it knows.
    raw_reader
        Reads raw images; None where nobody asks for any.
    """

    def __init__(self, database: Database, *, raw_reader: RawReader | None = None) -> None:
        self.root = database.root
        """Folder of the repository."""
        self.database = database
        """What the modules of this package read and write through."""
        self._raw_reader = raw_reader
        self._types = TypeRegistry(database)

    @classmethod
    def create(cls, path: str | Path, *, database: str | None = None) -> Self:
        """Make a repository in a new or empty folder.

        Parameters
        ----------
        path
            The folder.
        database
            Of a PostgreSQL server: ``postgresql://user@host/name``. None keeps an SQLite file in the folder.

        Raises
        ------
        RepoError
            If there is something in the folder, or the database cannot be used.
        OutputError
            If the folder cannot be written.
        """
        root = Path(path).resolve()
        make_folder(root)
        if any(root.iterdir()):
            raise RepoError(f"{root} is not empty; give a new or an empty folder for the repository.")
        return cls(Database.create(root, url=database))

    @classmethod
    def open(cls, path: str | Path, *, raw_reader: RawReader | None = None) -> Self:
        """Open a repository.

        Parameters
        ----------
        path
            Its folder.
        raw_reader
            Reads raw images.

        Raises
        ------
        RepoError
            If there is none, it is damaged, or it was made by another version.
        """
        return cls(Database.open(Path(path).resolve()), raw_reader=raw_reader)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Repo({str(self.root)!r})"

    def register_type(self, kind: DatasetType) -> None:
        """Make a dataset type known; it is an error if another one has its name."""
        with self.database.write(exclusive=True) as connection:
            self._types.register(connection, kind)

    def dataset_type(self, name: str) -> DatasetType:
        """Return the dataset type called ``name``."""
        return self._types.find(name).type

    def type_names(self) -> list[str]:
        """Return the names of all dataset types."""
        return self._types.names()

    def make_run(self, name: str) -> None:
        """Make a run, which datasets can be put in; nothing happens if it is there."""
        with self.database.write(exclusive=True) as connection:
            make_collection(connection, name, "RUN")

    def make_calibration(self, name: str) -> None:
        """Make a calibration collection, in which datasets can be certified; nothing happens if it is there."""
        with self.database.write(exclusive=True) as connection:
            make_collection(connection, name, "CALIBRATION")

    def make_chain(self, name: str, members: Sequence[str]) -> None:
        """Make a chain; if it is there, it must have the same members, which only `chain` changes."""
        with self.database.write(exclusive=True) as connection:
            for there in list_collections(connection, name):
                if there.kind == "CHAINED" and there.members != tuple(members):
                    raise RepoError(f"{name} is there and searches {', '.join(there.members) or 'nothing'}.")
            set_members(connection, name, members)

    def chain(self, name: str, members: Sequence[str]) -> None:
        """Make a chain search ``members`` in this order, whatever it searched before; none may lead back to it."""
        with self.database.write(exclusive=True) as connection:
            set_members(connection, name, members)

    def collections(self, pattern: str = "*") -> list[CollectionInfo]:
        """Return the collections whose names match ``pattern`` (``*``, ``?``, ``[...]``), ordered by name."""
        with self.database.read() as connection:
            return list_collections(connection, pattern)

    def resolve(self, names: str | Iterable[str]) -> list[str]:
        """Return the runs and calibration collections that are searched in order, chains depth first, each one once."""
        with self.database.read() as connection:
            return [each.name for each in search_order(connection, names)]

    def path_for(self, run: str, type_name: str, data_id: Mapping[str, Value]) -> Path:
        """Return the path that the file of a dataset has; always the same, and below `root`."""
        return self.root / self.dataset_type(type_name).path(run, require_data_id(data_id))

    def put(
        self,
        obj: object,
        type_name: str,
        /,
        *,
        run: str,
        partial: bool = False,
        producer: str | None = None,
        **data_id: Value,
    ) -> DatasetRow:
        """Write an object to a file and make it known.

        Parameters
        ----------
        obj
        type_name
            Its dataset type.
        run
            Where it is put.
        partial
            Whether a later step of the work that made it failed.
        producer
            The piece of work that made it.
        **data_id
            ``instrument="ztf", visit=12, detector=3``.
        """
        given = require_data_id(data_id)
        return put_object(
            self.database, self._types, obj, type_name, given, run=run, partial=partial, producer=producer
        )

    def insert(self, run: str, rows: Sequence[NewDataset]) -> None:
        """Make datasets known whose files are there, all of them or none."""
        insert_datasets(self.database, self._types, run, rows)

    def find(
        self, type_name: str, /, *, collections: str | Iterable[str], date: float | None = None, **data_id: Value
    ) -> DatasetRow:
        """Return the dataset of a data id in the first of the collections that has one.

        Parameters
        ----------
        type_name
            Its dataset type.
        collections
            Searched in this order, chains depth first.
        date : [MJD TAI]
            When a calibration must hold; None takes that of the visit or exposure in the data id.
        **data_id
            What does not tell datasets of this type apart may be given too, and must not contradict.
        """
        return find_dataset(self.database, self._types, type_name, collections, require_data_id(data_id), date)

    def get(
        self, type_name: str, /, *, collections: str | Iterable[str], date: float | None = None, **data_id: Value
    ) -> object:
        """Return the object that `find` finds."""
        return self.read(self.find(type_name, collections=collections, date=date, **data_id))

    def read(self, row: DatasetRow) -> object:
        """Return the object in the file of a dataset."""
        storage = find_storage(self._types.find(row.type).type.storage)
        if storage.name == "raw" and self._raw_reader is not None and is_there(row.path):
            return self._raw_reader(row.path, row.data_id)
        return storage.read(row.path)

    def datasets(
        self, type_name: str, /, *, collections: str | Iterable[str], where: str = "", find_first: bool = True
    ) -> list[DatasetRow]:
        """Return the datasets of a type in collections, in the order of their data ids.

        Parameters
        ----------
        type_name
        collections
            Searched in this order, chains depth first; a calibration collection has what is certified in it.
        where
            Only what meets it is looked at.
        find_first
            Whether a data id that one collection has is not looked for in later ones.
        """
        known = self._types.find(type_name)
        clause = _clause(where, known)
        with self.database.read() as connection:
            order = search_order(connection, collections)
            return select_datasets(connection, known, self.root, order, clause, only_first=find_first)

    def certify(
        self, type_name: str, /, *, run: str, collection: str, begin: float, end: float, where: str = ""
    ) -> int:
        """Certify datasets of a run as valid from ``begin`` until just before ``end``, and return how many.

        Parameters
        ----------
        type_name
        run
            Where they are.
        collection
            The calibration collection.
        begin, end : [MJD TAI]
            Both may be infinite. Nothing else of the same data id may be certified there for any time between.
        where
            Which of the datasets; all if it is empty.
        """
        known = self._types.find(type_name)
        calibrations.require_period(begin, end)
        with self.database.write(exclusive=True) as connection:
            source = require_collection(connection, run, "RUN")
            place = require_collection(connection, collection, "CALIBRATION")
            return calibrations.certify(connection, known, source, place, begin, end, _clause(where, known))

    def decertify(
        self, type_name: str, /, *, collection: str, begin: float = -math.inf, end: float = math.inf, where: str = ""
    ) -> int:
        """Take a period out of the validity of datasets, and return how many certifications that changes."""
        known = self._types.find(type_name)
        calibrations.require_period(begin, end)
        with self.database.write(exclusive=True) as connection:
            place = require_collection(connection, collection, "CALIBRATION")
            return calibrations.decertify(connection, known, place, begin, end, _clause(where, known))

    def certified(self, type_name: str, /, *, collections: str | Iterable[str]) -> list[Certified]:
        """Return the certified datasets of a type, by collection, data id and date."""
        known = self._types.find(type_name)
        with self.database.read() as connection:
            order = search_order(connection, collections)
            return calibrations.list_certified(connection, known, self.root, order)

    def save_quanta(self, run: str, records: Sequence[QuantumRow]) -> None:
        """Keep how pieces of work of a run ended; a record of the same label and data id is replaced."""
        with self.database.write() as connection:
            save_quanta(connection, require_collection(connection, run, "RUN").id, records)

    def quanta(self, run: str) -> list[QuantumRow]:
        """Return how the pieces of work of a run ended, by label and data id."""
        with self.database.read() as connection:
            return list_quanta(connection, require_collection(connection, run, "RUN").id)

    def remove_run(self, name: str) -> None:
        """Delete a run with its files, unless one of its datasets is certified; chains search it no more."""
        with removal.removing(self.database) as connection:
            paths = removal.forget_run(connection, require_collection(connection, name, "RUN"))
        removal.delete_files(self.database, paths)

    def remove_collection(self, name: str) -> None:
        """Delete a chain, or a calibration collection with its certifications; every dataset stays."""
        with removal.removing(self.database) as connection:
            removal.forget_collection(connection, require_collection(connection, name, "CHAINED", "CALIBRATION"))

    def prune(self, type_name: str, /, *, collections: str | Iterable[str], where: str = "") -> list[DatasetRow]:
        """Delete the datasets of a type with their files, and return them; none may be certified.

        With raw images go the masks that came in with them.
        """
        known = self.type_names()
        names = [type_name, *(name for name in BELONGING.get(type_name, ()) if name in known)]
        rows = [
            row for name in names for row in self.datasets(name, collections=collections, where=where, find_first=False)
        ]
        with removal.removing(self.database) as connection:
            paths = removal.forget_datasets(connection, [row.id for row in rows])
        removal.delete_files(self.database, paths)
        return rows

    def check(self, *, checksums: bool = True) -> list[Problem]:
        """Return what is wrong with the files: gone, changed, not finished, or of no dataset.

        Parameters
        ----------
        checksums
            Whether every file is read; otherwise only its size is looked at.
        """
        return find_problems(self.database, checksums=checksums)

    def export(
        self,
        folder: str | Path,
        *,
        collections: str | Iterable[str] | None = None,
        types: Sequence[str] | None = None,
        where: str = "",
    ) -> int:
        """Copy datasets, and what is known about them, to a new or empty folder; return how many there are.

        Parameters
        ----------
        folder
        collections
            Whose datasets; None for all.
        types
            Names of their types; None for all.
        where
            Which of them; all if it is empty.
        """
        place = Path(folder).resolve()
        chosen = Selection(collections, types, where)
        return export_datasets(self.database, self._types, place, chosen)

    def import_(self, folder: str | Path) -> int:
        """Take in all datasets that `export` wrote, or none; return how many were not there yet."""
        return import_datasets(self.database, self._types, Path(folder).resolve())


def _clause(where: str, known: KnownType) -> sa.ColumnElement[bool] | None:
    return where_clause(where, dimensions=known.type.dimensions) if where.strip() else None
