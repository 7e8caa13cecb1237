"""Repositories on SQLite and on a real PostgreSQL server, for tests that hold on both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.repo import Repo

from .server import postgresql_server, server_folder

TYPES = (
    DatasetType("number", ("instrument", "visit", "detector"), "json"),
    DatasetType("bias", ("instrument", "detector"), "json"),
    DatasetType("flat", ("instrument", "detector", "physical_filter"), "json"),
    DatasetType("note", (), "json"),
    DatasetType("catalog", ("instrument", "visit"), "table"),
)
NewRepo = Callable[[], Repo]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    programs = server_folder()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed ('apt-get install postgresql')")
    with postgresql_server(programs) as address:
        yield address


@pytest.fixture
def new_database(server: str) -> Iterator[Callable[[], str]]:
    """Make schemas of their own in the server's database; give the address of each."""
    numbers = count()
    with psycopg.connect(server, autocommit=True) as connection:
        made = []

        def make() -> str:
            made.append(f"test_{next(numbers)}")
            connection.execute(f"CREATE SCHEMA {made[-1]}")
            return f"{server}?options=-csearch_path%3D{made[-1]}"

        yield make
        for name in made:
            connection.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture(params=["sqlite", "postgresql"])
def new_repo(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewRepo]:
    """Make repositories that know `TYPES`, as many as a test asks for."""
    address = request.getfixturevalue("new_database") if request.param == "postgresql" else lambda: None
    numbers, made = count(), []

    def make() -> Repo:
        for older in made[:-4]:
            older.close()
        repo = Repo.create(tmp_path / f"repo_{next(numbers)}", database=address())
        made.append(repo)
        for kind in TYPES:
            repo.register_type(kind)
        return repo

    yield make
    for repo in made:
        repo.close()


@pytest.fixture
def repo(new_repo: NewRepo) -> Repo:
    return new_repo()
