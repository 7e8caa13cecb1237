"""The connection to a repository's database: SQLite in its folder, or a PostgreSQL server named in ``repo.yaml``."""

from __future__ import annotations

import os
import re
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
import yaml
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError

from firstlight.errors import RepoError
from firstlight.images.atomic import write_text_atomically
from firstlight.repo import schema
from firstlight.repo.database_errors import explained
from firstlight.repo.file_systems import is_there, network_file_system

SQLITE_FILE = "firstlight.sqlite"
SETTINGS_FILE = "repo.yaml"
WAIT_SECONDS = 30
"""How long a writer waits for another one."""

DRIVER = "postgresql+psycopg"
PASSWORD = re.compile(r"(?<=//)([^:@/]*):.*@")
"""Of a user, in an address that may be any text."""

FIRST_SCHEMA = re.compile(r'\s*("(?:[^"]|"")*"|[^,]*)')
USER_SCHEMA = "$user"
"""Stands in a search path for a schema with the name of the role; PostgreSQL leaves it out where there is none."""

LOCK_NUMBER = 0x6669727374
"""Advisory lock of PostgreSQL that whoever changes collections, types or validities holds."""


class Database:
    """The database of one repository; every process that uses it opens its own connection.

    Parameters
    ----------
    root
        Folder of the repository.
    url
        Of the server; None for SQLite in the folder.
    """

    def __init__(self, root: Path, url: sa.URL | None) -> None:
        self.root = root
        self._url = url
        self._connect()

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file in the folder."""
        return self._url is None

    @classmethod
    def create(cls, root: Path, *, url: str | None) -> Database:
        """Make the tables of a new repository in an empty folder.

        Raises
        ------
        RepoError
            If the database cannot be used, or holds a repository.
        OutputError
            If it cannot be written.
        """
        database = cls(_local(root), None) if url is None else cls(root, _server_url(url))
        identity = uuid.uuid4().hex
        with database.closed_on_error(leave_files=False), database.write(exclusive=True) as connection:
            if url is not None:
                _make_schema(connection)
            if sa.inspect(connection).has_table(schema.about.name):
                raise RepoError(f"{database} holds a repository; give another database, or another schema of it.")
            schema.METADATA.create_all(connection)
            rows = {"schema": str(schema.VERSION), "id": identity}
            connection.execute(sa.insert(schema.about), [{"name": name, "value": rows[name]} for name in rows])
            if url is not None:
                settings = yaml.safe_dump({"database": url, "id": identity}, sort_keys=False)
                write_text_atomically(root / SETTINGS_FILE, settings)
        return database

    @classmethod
    def open(cls, root: Path) -> Database:
        """Open the database of the repository in a folder.

        Raises
        ------
        RepoError
            If there is none, it is damaged, or it was made by another version.
        """
        settings = root / SETTINGS_FILE
        if is_there(settings):
            url, identity = _read_settings(settings)
            database = cls(root, _server_url(url))
        elif is_there(root / SQLITE_FILE):
            identity, database = None, cls(_local(root), None)
        else:
            raise RepoError(f"There is no repository at {root}; 'firstlight repo create {root}' makes one.")
        with database.closed_on_error():
            database.require_version(identity)
        return database

    def __str__(self) -> str:
        return str(self.root / SQLITE_FILE) if self._url is None else _as_typed(self._url)

    def close(self) -> None:
        """Close the connection."""
        if self._pid == os.getpid():
            self._engine.dispose()

    @contextmanager
    def closed_on_error(self, *, leave_files: bool = True) -> Iterator[None]:
        """Close the connection if the block fails; without ``leave_files``, delete SQLite's too."""
        done = False
        try:
            yield
            done = True
        finally:
            if not done:
                self.close()
            if not done and not leave_files:
                for path in self.root.glob(f"{SQLITE_FILE}*"):
                    path.unlink()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a transaction that sees one state of the database.

        Raises
        ------
        RepoError
            If the database cannot be read.
        """
        with self._transaction(self._current()) as connection:
            yield connection

    @contextmanager
    def write(self, *, exclusive: bool = False) -> Iterator[sa.Connection]:
        """Open a transaction that is kept when the block ends without an error.

        Parameters
        ----------
        exclusive
            Whether nobody else may be in such a block at the same time; on SQLite every writer is alone.

        Raises
        ------
        RepoError
            If the database cannot be read, or another process keeps it too long.
        OutputError
            If it cannot be written.
        sqlalchemy.exc.IntegrityError
            If a row is there already, or one is missing that another needs.
        """
        engine = self._current().execution_options(for_writing=True)
        with self._transaction(engine) as connection:
            if exclusive and not self.is_sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK_NUMBER)))
            yield connection

    def require_version(self, identity: str | None) -> None:
        """Make sure that the database is of this version, and the one that the folder belongs to.

        Raises
        ------
        RepoError
            If it is not.
        """
        with self.read() as connection:
            if not sa.inspect(connection).has_table(schema.about.name):
                raise RepoError(f"{self} holds no repository; 'firstlight repo create' makes one.")
            about: dict[str, str] = dict(connection.execute(sa.select(schema.about)).all())
        version = int(about.get("schema", 0))
        if version > schema.VERSION:
            raise RepoError(
                f"{self} has schema version {version}, and this firstlight knows {schema.VERSION}; update firstlight."
            )
        if version < schema.VERSION:
            raise RepoError(
                f"{self} has the old schema version {version}, not {schema.VERSION}; export it with the firstlight "
                "that made it, and import it into a new repository."
            )
        if identity is not None and about.get("id") != identity:
            raise RepoError(f"{self} belongs to another repository than {self.root}; correct {SETTINGS_FILE} there.")

    def _connect(self) -> None:
        self._pid = os.getpid()
        if self._url is not None:
            arguments = {"connect_timeout": WAIT_SECONDS}
            self._engine = sa.create_engine(self._url, connect_args=arguments, pool_size=1, max_overflow=8)
            event.listen(self._engine, "connect", _without_jit)
            return
        # What may only be read is opened anew for every transaction: see `_open_sqlite`.
        pool = sa.QueuePool if _is_writable(self.root) else sa.NullPool
        path = self.root / SQLITE_FILE
        self._engine = sa.create_engine("sqlite://", poolclass=pool, creator=lambda: _open_sqlite(path))
        event.listen(self._engine, "begin", _begin_sqlite)

    def _current(self) -> sa.Engine:
        """Return the engine of this process; a forked one must not touch what its parent opened."""
        if self._pid != os.getpid():
            self._engine.dispose(close=False)
            self._connect()
        return self._engine

    @contextmanager
    def _transaction(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        try:
            with engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise explained(error, str(self)) from error


def _open_sqlite(path: Path) -> sqlite3.Connection:
    """Open the file, which must be there; where its folder cannot be written, without SQLite's files beside it."""
    writable = _is_writable(path.parent)
    journal = path.with_name(f"{path.name}-wal")
    alone = not writable and not (journal.is_file() and journal.stat().st_size)
    mode = "mode=rwc" if writable else "mode=ro&immutable=1" if alone else "mode=ro"
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?{mode}",
        uri=True,
        timeout=WAIT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    for pragma in ("foreign_keys=ON", "synchronous=NORMAL", *(["journal_mode=WAL"] if writable else [])):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _is_writable(root: Path) -> bool:
    path = root / SQLITE_FILE
    return os.access(root, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def _without_jit(connection: Any, _record: object) -> None:
    """Keep the server from compiling queries: for a long condition that takes half a minute, and running it none."""
    connection.autocommit = True
    connection.execute("SET jit TO off")
    connection.autocommit = False


def _begin_sqlite(connection: sa.Connection) -> None:
    kind = "IMMEDIATE" if connection.get_execution_options().get("for_writing") else "DEFERRED"
    connection.exec_driver_sql(f"BEGIN {kind}")


def _local(root: Path) -> Path:
    """Return ``root``, which must be on a disk of this host."""
    if kind := network_file_system(root):
        raise RepoError(
            f"{root} is on a network file system ({kind}), where SQLite loses data; keep the files there, and the "
            "database on a PostgreSQL server: 'firstlight repo create --database postgresql://...'."
        )
    return root


def _server_url(text: str) -> sa.URL:
    try:
        url = sa.make_url(text)
        if url.get_backend_name() != "postgresql":
            raise RepoError(_no_address(text))
        if url.password is not None or "password" in url.query:
            shown = _as_typed(_without_password(url))
            raise RepoError(
                f"A password does not belong into the address of a database; give {shown}, and keep the password in "
                "PGPASSWORD or ~/.pgpass."
            )
        url = url.set(drivername=DRIVER)
        url.get_dialect().import_dbapi()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise RepoError(_no_address(text)) from error
    except ImportError as error:
        raise RepoError(
            "PostgreSQL needs the package psycopg; 'pip install firstlight[postgres]' brings it."
        ) from error
    return url


def _no_address(text: str) -> str:
    shown = PASSWORD.sub(r"\1:***@", text)
    return f"{shown!r} is not the address of a PostgreSQL database (postgresql://user@host/name)."


def _as_typed(url: sa.URL) -> str:
    """Return an address as a person writes it: without the name of the driver and without a password."""
    return _without_password(url).set(drivername="postgresql").render_as_string()


def _make_schema(connection: sa.Connection) -> None:
    """Make the first schema in which the connection looks for tables, where the address or the role names one."""
    path = str(connection.execute(sa.select(sa.func.current_setting("search_path"))).scalar_one())
    first = FIRST_SCHEMA.match(path)
    name = first[0].strip() if first else ""
    name = name[1:-1].replace('""', '"') if name.startswith('"') else name
    if name and name != USER_SCHEMA and not sa.inspect(connection).has_schema(name):
        connection.execute(sa.schema.CreateSchema(name))


def _without_password(url: sa.URL) -> sa.URL:
    query = {name: value for name, value in url.query.items() if name != "password"}
    return sa.URL.create(url.drivername, url.username, None, url.host, url.port, url.database, query)


def _read_settings(path: Path) -> tuple[str, str]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        return str(settings["database"]), str(settings["id"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise RepoError(
            f"{path} cannot be read; it should have the lines 'database: postgresql://...' and 'id: ...'."
        ) from error
