"""Several drivers at work in one repository, and drivers that may only read it, on both databases."""

from __future__ import annotations

import os
import shutil
import subprocess
from ast import literal_eval
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from astropy.table import Table

from firstlight.execution.lock import only_driver
from firstlight.refcats.formats import TableReferenceCatalog
from firstlight.refcats.store import write_store
from firstlight.repo.repo import Repo

from ..execution.numbers import call, command, expected, firstlight, leftovers, make_repo, numbers_of, statuses
from .test_database import as_somebody_else
from .test_ingest import frame

VISITS = 15


@pytest.fixture(params=["sqlite", "postgresql"])
def new_address(request: pytest.FixtureRequest) -> Callable[[], str | None]:
    return request.getfixturevalue("new_database") if request.param == "postgresql" else lambda: None


@pytest.fixture
def folder(tmp_path: Path, new_address: Callable[[], str | None]) -> Path:
    make_repo(tmp_path, visits=VISITS, database=new_address())
    return tmp_path


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line with which a command ends in vain."""
    assert done.returncode == 2, done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("firstlight: ")]
    return line.removeprefix("firstlight: ")


def test_two_drivers_with_two_outputs_lose_nothing(folder):
    outputs = ("one", "two")
    drivers = {
        output: subprocess.Popen(command(folder, output=output), stderr=subprocess.PIPE, text=True)
        for output in outputs
    }
    told = {output: driver.communicate(timeout=120)[1] for output, driver in drivers.items()}

    for output in outputs:
        assert drivers[output].returncode == 0, told[output]
        assert numbers_of(folder, output) == expected(VISITS)
        assert statuses(folder, f"{output}/1") == {"done": 4 * VISITS}
    assert leftovers(folder) == []


def test_a_second_driver_of_the_same_output_is_told_who_has_it(folder):
    with only_driver(folder / "repo" / "night", output="night"):
        line = complaint(call(folder))

    assert line.startswith("night: is being run by ")
    assert f", process {os.getpid()}" in line
    assert line.endswith("wait for it, or stop it.")
    with Repo.open(folder / "repo") as repo:
        assert repo.collections("night*") == []


@pytest.fixture
def guest(server: str) -> Iterator[str]:
    """A role of the server that may read every table and write none."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute("GRANT pg_read_all_data TO reader")
        yield "reader"
        connection.execute("DROP OWNED BY reader")
        connection.execute("DROP ROLE reader")


def test_a_run_by_somebody_who_may_only_read_the_database_is_one_line(tmp_path, new_database, guest):
    make_repo(tmp_path, visits=1, database=new_database())
    settings = tmp_path / "repo" / "repo.yaml"
    settings.write_text(settings.read_text().replace("tester@", f"{guest}@"))

    assert "cannot be written (permission denied for table" in complaint(call(tmp_path))
    assert call(tmp_path, "--dry-run").returncode == 0


WRITING = (
    "run -b {} -p night.yaml -o night",
    "ingest -b {} raw.fits",
    "collections chain -b {} all raw/x",
    "refcat register -b {} store --name stars",
    "certify raw_number -b {} --run raw/y --into calib --begin 2026-01-01",
    "decertify raw_number -b {} --from calib --begin 50100",
    "collections remove -b {} calib --yes",
    "collections prune -b {} raw_number -i raw/x --yes",
    "collections remove -b {} raw/x --yes",
)
READING = ("repo info {}", "query datasets -b {} raw_number", "run -b {} -p night.yaml -o other --dry-run")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder with a repository ``shared`` that everybody can read and nobody can write, and the same as ``repo``."""
    make_repo(tmp_path, visits=1)
    with Repo.open(tmp_path / "repo") as repo:
        repo.make_calibration("calib")
        repo.make_run("raw/y")
        repo.put(1.0, "raw_number", run="raw/y", instrument="x", visit=0, detector=0)
        repo.certify("raw_number", run="raw/y", collection="calib", begin=50_000, end=51_000)
    frame(tmp_path / "raw.fits")
    stars = Table({"ra": [10.0], "dec": [20.0], "r": [15.0]})
    write_store(TableReferenceCatalog(stars, name="stars"), tmp_path / "store")
    shutil.copytree(tmp_path / "repo", tmp_path / "shared")
    above = [each for each in (tmp_path, *tmp_path.parents) if each.stat().st_uid == os.getuid()]
    modes = {each: each.stat().st_mode for each in above}
    inside = [tmp_path / "shared", *(tmp_path / "shared").rglob("*")]
    for each in above:
        each.chmod(modes[each] | 0o055)
    for each in inside:
        each.chmod(0o555 if each.is_dir() else 0o444)
    yield tmp_path
    for each in inside:
        each.chmod(0o755)
    for each, mode in modes.items():
        each.chmod(mode)


def answers(commands: tuple[str, ...], repo: str) -> list[tuple[int, list[str]]]:
    """The exit code of each command, and what it says on stderr."""
    done = [firstlight(["firstlight", *words.format(repo).split()]) for words in commands]
    return [(each.returncode, each.stderr.splitlines()) for each in done]


def test_a_read_only_repository_gives_one_line_for_every_command_that_writes(read_only, monkeypatch):
    monkeypatch.chdir(read_only)
    # What they load may be out of reach for somebody else, so all are called here first.
    allowed = answers((*WRITING, *READING), "repo")
    before = sorted((read_only / "shared").rglob("*"))

    refused = literal_eval(as_somebody_else(lambda: answers(WRITING, "shared")))
    read = literal_eval(as_somebody_else(lambda: answers(READING, "shared")))

    assert [code for code, _ in allowed[: len(WRITING)]] == [0] * len(WRITING), allowed
    for words, (code, lines) in zip(WRITING, refused, strict=True):
        told = [line for line in lines if line.startswith("firstlight: ")]
        assert (code, len(told)) == (2, 1), (words, lines)
        assert str(read_only / "shared") in told[0], words
        assert "annot" in told[0], words
    assert [code for code, _ in read] == [0] * len(READING), read
    assert sorted((read_only / "shared").rglob("*")) == before
