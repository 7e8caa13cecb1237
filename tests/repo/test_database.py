"""What can be wrong with a database is one line, and whoever writes at the same time loses nothing."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from firstlight.errors import FirstlightError, OutputError, RepoError
from firstlight.repo.database import SQLITE_FILE, Database
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.file_systems import network_file_system
from firstlight.repo.repo import Repo
from firstlight.repo.schema import VERSION, about

from .conftest import TYPES
from .test_repo import ONE

NUMBER = DatasetType("number", ("instrument", "visit", "detector"), "json")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository on SQLite with one dataset, closed."""
    with Repo.create(tmp_path / "repo") as repo:
        repo.register_type(NUMBER)
        repo.make_run("run")
        repo.put(1, "number", run="run", **ONE)
    return tmp_path / "repo"


def message_of(call: Callable[[], object], error: type[FirstlightError] = RepoError) -> str:
    """The one line that a call ends with."""
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    return str(caught.value)


def open_and_find(root: Path) -> object:
    with Repo.open(root) as repo:
        return repo.get("number", collections="run", **ONE)


def as_somebody_else(call: Callable[[], object]) -> str:
    """What a call returns or raises, as text, for a user without rights to the files."""
    if os.getuid() != 0:
        return _told(call)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            os.write(writing, _told(call).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        text = told.read()
    os.waitpid(child, 0)
    return text


def _told(call: Callable[[], object]) -> str:
    try:
        return repr(call())
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent shall see it
        return f"{type(error).__name__}: {error}"


@pytest.fixture
def read_only(root: Path) -> Iterator[Path]:
    """The repository in a place that everybody can read and nobody can write."""
    place = Path(shutil.copytree(root, root.parent / "shared"))
    above = [each for each in place.parents if each.stat().st_uid == os.getuid()]
    modes = {each: each.stat().st_mode for each in above}
    for each in above:
        each.chmod(modes[each] | 0o055)
    for each in (place, *place.rglob("*")):
        each.chmod(0o555 if each.is_dir() else 0o444)
    yield place
    for each in (place, *place.rglob("*")):
        each.chmod(0o755)
    for each, mode in modes.items():
        each.chmod(mode)


@contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_read_only_repository_is_read_and_says_that_it_cannot_be_written(read_only):
    def put_another() -> object:
        with Repo.open(read_only) as repo:
            return repo.put(2, "number", run="run", **ONE | {"visit": 2})

    def make_run() -> object:
        with Repo.open(read_only) as repo:
            return repo.make_run("other")

    assert as_somebody_else(lambda: open_and_find(read_only)) == "1"
    assert as_somebody_else(put_another).startswith(f"OutputError: Cannot write into {read_only}")
    told = as_somebody_else(make_run)
    assert told.startswith(f"OutputError: {read_only / SQLITE_FILE} cannot be written (")
    assert "\n" not in told
    assert sorted(path.name for path in read_only.iterdir()) == [SQLITE_FILE, "run"]


def test_a_read_only_repository_that_is_being_written_is_read(read_only):
    place = read_only
    for each in (place, place / SQLITE_FILE):
        each.chmod(0o755)
    with Repo.open(place) as writer:
        writer.put(7, "number", run="run", **ONE | {"visit": 7})
        for each in place.iterdir():
            each.chmod(0o555 if each.is_dir() else 0o444)
        place.chmod(0o555)

        def find_new() -> object:
            with Repo.open(place) as repo:
                return repo.find("number", collections="run", **ONE | {"visit": 7}).data_id["visit"]

        assert as_somebody_else(find_new) == "7"
        place.chmod(0o755)


def test_a_place_that_is_not_ours_is_one_line(tmp_path):
    place = tmp_path / "theirs"
    place.mkdir(mode=0o555)

    assert as_somebody_else(lambda: Repo.create(place / "repo")).startswith("OutputError: Cannot write into")
    place.chmod(0o700)
    assert as_somebody_else(lambda: Repo.open(place)).startswith(f"RepoError: {place}")


def test_a_full_disk_is_one_line_and_leaves_the_repository_whole(root):
    with Repo.open(root) as repo:
        repo.register_type(DatasetType("note", (), "json"))
        with no_file_grows_beyond(1000):
            told = message_of(lambda: repo.put("x" * 5000, "note", run="run"), OutputError)
        assert told.startswith("Cannot write ")
        with no_file_grows_beyond(0):
            told = message_of(lambda: repo.make_run("other"), OutputError)
        assert told.startswith(f"{root / SQLITE_FILE} cannot be written (")
        assert not repo.check()
        repo.make_run("other")
    assert open_and_find(root) == 1


@pytest.mark.parametrize("damage", ["not a database at all" * 1000, ""])
def test_a_damaged_file_is_one_line(root, damage):
    (root / SQLITE_FILE).write_text(damage)

    assert str(root / SQLITE_FILE) in message_of(lambda: open_and_find(root))


def test_a_file_with_damaged_pages_is_one_line(root):
    content = bytearray((root / SQLITE_FILE).read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    (root / SQLITE_FILE).write_bytes(content)

    assert "is damaged (" in message_of(lambda: open_and_find(root))


def test_a_repository_of_another_version_is_one_line(root):
    for version, expected in {VERSION + 1: "update firstlight", 0: "has the old schema version 0"}.items():
        with sqlite3.connect(root / SQLITE_FILE) as connection:
            connection.execute("UPDATE about SET value = ? WHERE name = 'schema'", (version,))
        connection.close()
        assert expected in message_of(lambda: open_and_find(root))


def test_a_database_of_something_else_is_one_line(root):
    (root / SQLITE_FILE).unlink()
    with sqlite3.connect(root / SQLITE_FILE) as connection:
        connection.execute("CREATE TABLE birds (name TEXT)")
    connection.close()

    assert "holds no repository" in message_of(lambda: open_and_find(root))


def test_a_repository_is_made_in_an_empty_place_only(root, tmp_path):
    assert "is not empty" in message_of(lambda: Repo.create(root))
    assert "Cannot write into" in message_of(lambda: Repo.create(root / SQLITE_FILE), OutputError)
    nowhere = tmp_path / "nowhere"
    told = message_of(lambda: Repo.open(nowhere))
    assert told == f"There is no repository at {nowhere}; 'firstlight repo create {nowhere}' makes one."


def test_a_repository_that_could_not_be_made_can_be_made_later(tmp_path):
    with no_file_grows_beyond(20_000):
        told = message_of(lambda: Repo.create(tmp_path / "repo"), OutputError)

    assert "cannot be written (" in told
    with Repo.create(tmp_path / "repo") as repo:
        assert repo.collections() == []


def test_a_writer_that_keeps_the_database_too_long_is_named(root, monkeypatch):
    monkeypatch.setattr("firstlight.repo.database.WAIT_SECONDS", 0.1)
    with Repo.open(root) as one, Repo.open(root) as other, one.database.write():
        told = message_of(lambda: other.make_run("other"))
        assert other.get("number", collections="run", **ONE) == 1

    assert "is kept by another process that writes" in told


MOUNTS = """22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 0:50 / /nfs rw - nfs4 server:/nfs rw
41 27 0:51 / /nfs/scratch rw - tmpfs none rw
42 27 0:52 / /mnt/big\\040disk rw - lustre lnet:/fs rw
43 27 0:53 / /mnt/far rw - fuse.sshfs jane@far: rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    {
        "/data/repo": "",
        "/nfs/jane/repo": "nfs4",
        "/nfss": "",
        "/nfs/scratch/repo": "",
        "/mnt/big disk/repo": "lustre",
        "/mnt/far": "fuse.sshfs",
    }.items(),
)
def test_a_network_file_system_is_recognised(folder, kind):
    assert network_file_system(Path(folder), mounts=MOUNTS) == kind


def test_a_network_file_system_is_refused_for_sqlite(tmp_path, monkeypatch):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"27 1 254:0 / / rw - ext4 /dev/vda rw\n28 27 0:50 / {tmp_path} rw - nfs server:/x rw\n")
    monkeypatch.setattr("firstlight.repo.file_systems.MOUNTS", mounts)

    told = message_of(lambda: Repo.create(tmp_path / "repo"))
    assert "is on a network file system (nfs)" in told
    assert "--database postgresql://" in told


def test_a_password_is_refused_and_not_repeated(tmp_path):
    for address in ("postgresql://jane:secret@host/db", "postgresql://jane@host/db?password=secret"):
        told = message_of(lambda address=address: Repo.create(tmp_path / "repo", database=address))
        assert "secret" not in told
        assert "PGPASSWORD or ~/.pgpass" in told
        assert "postgresql://jane@host/db" in told


def test_an_address_of_something_else_is_said_without_its_password(tmp_path):
    told = message_of(lambda: Repo.create(tmp_path / "repo", database="mysql://jane:se/c:r@et@host/db"))

    assert told.startswith("'mysql://jane:***@host/db' is not the address of a PostgreSQL database")


@pytest.mark.parametrize("address", ["mysql://host/db", "db", "sqlite:///x", "", "postgresql://host:port/db"])
def test_an_address_of_something_else_is_one_line(tmp_path, address):
    told = message_of(lambda: Repo.create(tmp_path / "repo", database=address))

    assert told == f"{address!r} is not the address of a PostgreSQL database (postgresql://user@host/name)."


def test_a_server_that_does_not_answer_is_one_line(tmp_path, server):
    told = message_of(lambda: Repo.create(tmp_path / "repo", database="postgresql://jane@127.0.0.1:1/db"))

    assert "cannot be reached (" in told


def test_the_address_is_kept_beside_the_files_and_leads_back(tmp_path, new_database):
    address = new_database()
    with Repo.create(tmp_path / "repo", database=address) as repo:
        repo.register_type(NUMBER)
        repo.make_run("run")
        repo.put(1, "number", run="run", **ONE)
    assert open_and_find(tmp_path / "repo") == 1
    assert f"database: {address}" in (tmp_path / "repo" / "repo.yaml").read_text()
    assert "holds a repository" in message_of(lambda: Repo.create(tmp_path / "other", database=address))

    with Repo.create(tmp_path / "second", database=new_database()):
        pass
    shutil.copy(tmp_path / "repo" / "repo.yaml", tmp_path / "second" / "repo.yaml")
    settings = tmp_path / "second" / "repo.yaml"
    settings.write_text(settings.read_text().replace("id: ", "id: x"))
    assert "belongs to another repository" in message_of(lambda: Repo.open(tmp_path / "second"))
    settings.write_text("[")
    assert "cannot be read" in message_of(lambda: Repo.open(tmp_path / "second"))


def test_a_schema_that_is_not_there_is_made(tmp_path, server):
    address = f"{server}?options=-csearch_path%3Dnight_1"
    with psycopg.connect(server, autocommit=True) as connection:
        try:
            with Repo.create(tmp_path / "repo", database=address) as repo:
                repo.make_run("run")
                assert str(repo.database) == address
            with Repo.open(tmp_path / "repo") as repo:
                assert repo.resolve("run") == ["run"]
            tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'night_1'").fetchone()[0]
            assert tables > 5
        finally:
            connection.execute("DROP SCHEMA IF EXISTS night_1 CASCADE")


def test_a_schema_that_may_not_be_made_is_one_line_and_leaves_nothing(tmp_path, server):
    address = f"{server}?options=-csearch_path%3Dnight_2".replace("tester@", "visitor@")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE ROLE visitor LOGIN")
        try:
            told = message_of(lambda: Repo.create(tmp_path / "repo", database=address), OutputError)
            made = connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'night_2'").fetchone()[0]
        finally:
            connection.execute("DROP ROLE visitor")

    assert told.startswith(f"{address} cannot be written (permission denied for database")
    assert made == 0
    assert list((tmp_path / "repo").iterdir()) == []


def test_a_database_without_any_schema_is_one_line(tmp_path, server):
    told = message_of(lambda: Repo.create(tmp_path / "repo", database=f"{server}?options=-csearch_path%3D%22$user%22"))

    assert "has no schema for the tables (" in told


def test_a_user_of_the_server_without_rights_is_one_line(tmp_path, new_database):
    address = new_database()
    with Repo.create(tmp_path / "repo", database=address) as repo:
        repo.make_run("run")
        with psycopg.connect(address, autocommit=True) as connection:
            schema = connection.execute("SHOW search_path").fetchone()[0]
            connection.execute("CREATE ROLE guest LOGIN")
            connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO guest")
            connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO guest")
    settings = tmp_path / "repo" / "repo.yaml"
    settings.write_text(settings.read_text().replace("tester@", "guest@"))
    try:
        with Repo.open(tmp_path / "repo") as repo:
            assert repo.resolve("run") == ["run"]
            told = message_of(lambda: repo.make_run("other"), OutputError)
        assert "cannot be written (permission denied" in told
    finally:
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute("DROP OWNED BY guest")
            connection.execute("DROP ROLE guest")


WRITER = """
import sys
from firstlight.framework.dimensions import DataId
from firstlight.repo.repo import Repo
from firstlight.repo.rows import QuantumRow
root, name = sys.argv[1:]
with Repo.open(root) as repo:
    repo.make_run(name)
    sys.stdin.readline()
    for visit in range(40):
        row = repo.put(visit, "number", run=name, instrument="cam", visit=visit, detector=0)
        repo.save_quanta(name, [QuantumRow("task", f"visit={visit}", "done", "k", {})])
        repo.make_run(f"shared/{visit}")
"""


def test_two_processes_that_write_two_runs_at_once_lose_nothing(repo):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, repo.root, name], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        assert writer.communicate()[1] == ""
        assert writer.returncode == 0

    for name in ("one", "two"):
        rows = repo.datasets("number", collections=name)
        assert [repo.read(row) for row in rows] == list(range(40))
        assert len(repo.quanta(name)) == 40
    assert len(repo.collections("shared/*")) == 40
    assert not repo.check()


RACER = """
import sys
from firstlight.errors import RepoError
from firstlight.repo.repo import Repo
won = 0
with Repo.open(sys.argv[1]) as repo:
    sys.stdin.readline()
    for visit in range(30):
        try:
            repo.put(sys.argv[2], "number", run="run", instrument="cam", visit=visit, detector=0, producer=sys.argv[2])
        except RepoError as error:
            assert "already" in str(error), error
        else:
            won += 1
print(won)
"""


def test_of_two_that_put_the_same_dataset_one_is_refused_and_the_file_is_the_others(repo):
    repo.make_run("run")
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, repo.root, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    told = [racer.communicate() for racer in racers]

    assert [errors for _, errors in told] == ["", ""]
    assert sum(int(won) for won, _ in told) == 30
    rows = repo.datasets("number", collections="run")
    assert all(repo.read(row) == row.producer for row in rows)
    assert not repo.check()


def test_a_forked_process_opens_its_own_connection(repo):
    repo.make_run("run")
    child = os.fork()
    if child == 0:
        try:
            repo.put(2, "number", run="run", **ONE)
        finally:
            os._exit(0)
    os.waitpid(child, 0)

    assert repo.get("number", collections="run", **ONE) == 2


def test_a_block_that_fails_changes_nothing(repo):
    def fail() -> None:
        with repo.database.write() as connection:
            connection.execute(sa.insert(about), {"name": "x", "value": "y"})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with repo.database.read() as connection:
        assert connection.execute(sa.select(about).where(about.c.name == "x")).all() == []


def test_every_type_of_the_tests_is_known(repo):
    assert repo.type_names() == sorted(kind.name for kind in TYPES)
    assert isinstance(repo.database, Database)
