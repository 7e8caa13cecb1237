"""Importing what `firstlight.repo.export` wrote: all datasets or none; new dataset types stay known in any case."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from firstlight.errors import OutputError, RepoError
from firstlight.repo import import_rows
from firstlight.repo.collections import require_collection
from firstlight.repo.database import Database
from firstlight.repo.dataset_types import DatasetType, data_key
from firstlight.repo.files import delete_file
from firstlight.repo.names import require_collection_name, require_data_id
from firstlight.repo.rows import NewDataset
from firstlight.repo.schema import collection
from firstlight.repo.schema import dataset as dataset_table
from firstlight.repo.transfer import MANIFEST, Row, copy_checked, read_manifest
from firstlight.repo.type_registry import TypeRegistry
from firstlight.repo.writing import add_datasets

_AT_ONCE = 1000
"""Keys asked for in one statement."""


@dataclass(frozen=True)
class _Arriving:
    """A dataset of the manifest."""

    run: str
    key: str
    new: NewDataset


def import_datasets(database: Database, types: TypeRegistry, folder: Path) -> int:
    """Copy the files and add the rows of an export, and return how many datasets are new.

    Raises
    ------
    RepoError
        If the export cannot be read, or contradicts what is there.
    OutputError
        If a file or the database cannot be written.
    """
    rows = read_manifest(folder)
    by_kind: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_kind[str(row.get("kind"))].append(row)
    if strange := by_kind.keys() - import_rows.KINDS:
        raise RepoError(
            f"{folder / MANIFEST} has rows of kind {sorted(strange)[0]!r}, which this firstlight does not know."
        )
    try:
        _register_types(database, types, by_kind["type"])
        arriving = [_arriving(types, row) for row in by_kind["dataset"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RepoError(f"{folder / MANIFEST} has a row that cannot be understood: {error!r}.") from error
    with database.read() as connection:
        new = _not_there(connection, types, arriving)
        _refuse_other_files(connection, new)
    copied: list[Path] = []
    try:
        for path, checksum in {each.new.path: each.new.checksum for each in new}.items():
            copied.append(database.root / path)
            copy_checked(folder / path, database.root / path, checksum)
        _add(database, types, by_kind, new)
        copied.clear()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RepoError(f"{folder / MANIFEST} has a row that cannot be understood: {error!r}.") from error
    except IntegrityError as error:
        raise RepoError(f"{database.root} has changed while {folder} was imported; import it once more.") from error
    finally:
        for path in copied:
            with suppress(OutputError):
                delete_file(path, root=database.root)
    return len(new)


def _register_types(database: Database, types: TypeRegistry, rows: Iterable[Row]) -> None:
    with database.write(exclusive=True) as connection:
        for row in rows:
            types.register(connection, DatasetType(row["name"], tuple(row["dimensions"]), row["storage"]))


def _arriving(types: TypeRegistry, row: Row) -> _Arriving:
    """Return a dataset whose file will lie below its run, and nowhere else."""
    kind, run = types.find(row["type"]).type, require_collection_name(row["run"])
    data_id, path = require_data_id(row["data_id"]), Path(row["path"])
    if path.is_absolute() or ".." in path.parts or not path.is_relative_to(run):
        raise RepoError(f"The manifest puts a file at {str(path)!r}; it should be below {run}.")
    producer = row["producer"]
    new = NewDataset(
        kind.name,
        data_id,
        path,
        int(row["size"]),
        str(row["checksum"]),
        bool(row["partial"]),
        None if producer is None else str(producer),
    )
    return _Arriving(run, data_key(data_id, kind.dimensions), new)


def _not_there(connection: sa.Connection, types: TypeRegistry, arriving: Sequence[_Arriving]) -> list[_Arriving]:
    """Return the datasets that are not there yet; what is there must be the same."""
    groups: dict[tuple[str, str], list[_Arriving]] = defaultdict(list)
    for each in arriving:
        groups[each.run, each.new.type].append(each)
    new = []
    for (run, type_name), group in groups.items():
        there = _checksums(connection, types.find(type_name).id, run)
        for each in group:
            if there.get(each.key, each.new.checksum) != each.new.checksum:
                raise RepoError(f"{run} has another {type_name} ({each.new.data_id}); import into another repository.")
            if each.key not in there:
                new.append(each)
    return new


def _checksums(connection: sa.Connection, type_id: int, run: str) -> dict[str, str]:
    query = sa.select(dataset_table.c.data_key, dataset_table.c.checksum).join(
        collection, collection.c.id == dataset_table.c.run
    )
    found = connection.execute(query.where(dataset_table.c.type == type_id, collection.c.name == run))
    return dict(found.all())


def _refuse_other_files(connection: sa.Connection, new: Sequence[_Arriving]) -> None:
    """Make sure that no file is replaced that belongs to a dataset with another content."""
    arriving: dict[str, str] = {}
    for each in new:
        path = each.new.path.as_posix()
        if arriving.setdefault(path, each.new.checksum) != each.new.checksum:
            raise RepoError(f"The manifest names two contents for the file {path!r}.")
    paths = sorted(arriving)
    query = sa.select(dataset_table.c.path, dataset_table.c.checksum)
    for start in range(0, len(paths), _AT_ONCE):
        part = query.where(dataset_table.c.path.in_(paths[start : start + _AT_ONCE]))
        for path, checksum in connection.execute(part):
            if arriving[path] != checksum:
                raise RepoError(f"{path} belongs to another dataset; import into another repository.")


def _add(database: Database, types: TypeRegistry, by_kind: Mapping[str, list[Row]], new: Sequence[_Arriving]) -> None:
    runs: dict[str, list[NewDataset]] = defaultdict(list)
    for each in new:
        runs[each.run].append(each.new)
    with database.write(exclusive=True) as connection:
        import_rows.add_collections(connection, by_kind)
        import_rows.add_records(connection, by_kind)
        for run, datasets in runs.items():
            add_datasets(connection, types, database.root, require_collection(connection, run, "RUN"), datasets)
        import_rows.add_certifications_of(connection, types, by_kind["certification"])
        import_rows.add_quanta(connection, by_kind["quantum"])
        import_rows.add_refcats(connection, by_kind["refcat"])
