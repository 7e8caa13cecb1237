"""Time storing, finding and querying datasets, beside what daf_butler was measured to take for the same.

Run it as ``python benchmarks/bench_repo.py``, or with the address of an empty PostgreSQL database as argument. Times
are CPU milliseconds of one process; the elapsed time, in which the waiting for disk and server is, stands beside them.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from firstlight.framework.dimensions import DataId
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.files import checksum_of
from firstlight.repo.repo import Repo
from firstlight.repo.rows import NewDataset
from firstlight.repo.schema import exposure, visit
from firstlight.repo.storage import find_storage

SMALL, MANY_VISITS, DETECTORS, REPEATED = 500, 2000, 50, 5
NUMBER = DatasetType("number", ("instrument", "visit", "detector"), "json")
IMAGE = DatasetType("image", ("instrument", "visit", "detector"), "json")
RECORD = {"instrument": "cam", "physical_filter": "R2"}


@dataclass
class Timing:
    """What was timed, for how many datasets, and with which goal."""

    what: str
    each: int = 1
    goal: float | None = None
    rubin: float | None = None
    cpu: float = 0.0
    elapsed: float = 0.0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Time the block [millisecond] for each dataset."""
        cpu, elapsed = time.process_time(), time.perf_counter()
        yield
        self.cpu = (time.process_time() - cpu) * 1e3 / self.each
        self.elapsed = (time.perf_counter() - elapsed) * 1e3 / self.each

    def __str__(self) -> str:
        goal = "" if self.goal is None else f"{self.goal:8.2f}"
        rubin = "" if self.rubin is None else f"{self.rubin:8.2f}"
        return f"{self.what:52} {self.cpu:8.3f} {self.elapsed:9.3f} {goal:>8} {rubin:>8}"


def small_id(number: int) -> dict[str, str | int]:
    """Return the data id of one small dataset."""
    return {"instrument": "cam", "visit": number // 10, "detector": number % 10}


def written(repo: Repo, run: str, number: int) -> NewDataset:
    """Write the file of a small dataset as a worker does, without the database."""
    data_id = small_id(number)
    path = repo.path_for(run, "number", data_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    find_storage("json").write({"value": number}, path)
    return NewDataset("number", DataId(data_id), path, path.stat().st_size, checksum_of(path))


def write_bare(path: Path) -> None:
    """Write one small file that survives a power failure, with nothing but what the system must be asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        file.write(b'{"value": 0}\n')
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def storing(repo: Repo) -> Iterator[Timing]:
    """Time single and batched writing, and reading."""
    for name in ("single", "batched", "warm"):
        repo.make_run(name)
    repo.put({"value": 0}, "number", run="warm", **small_id(0))
    timing = Timing("put one small dataset", SMALL, rubin=9.3)
    with timing.taken():
        for number in range(SMALL):
            repo.put({"value": number}, "number", run="single", **small_id(number))
    yield timing
    timing = Timing("write the same files, without a repository", SMALL)
    with timing.taken():
        for number in range(SMALL):
            path = repo.root / "alone" / str(number // 10) / f"{number}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            find_storage("json").write({"value": number}, path)
    yield timing
    timing = Timing("open, write, sync, rename and sync the folder, bare", SMALL)
    with timing.taken():
        for number in range(SMALL):
            write_bare(repo.root / "bare" / str(number // 10) / f"{number}.json")
    yield timing
    timing = Timing("write files, then register them together", SMALL, 1.0, 9.3)
    with timing.taken():
        repo.insert("batched", [written(repo, "batched", number) for number in range(SMALL)])
    yield timing
    repo.get("number", collections="single", **small_id(0))
    timing = Timing("find by data id", SMALL, 0.5)
    with timing.taken():
        for number in range(SMALL):
            repo.find("number", collections=["batched", "single"], **small_id(number))
    yield timing
    timing = Timing("get by data id: find and read", SMALL, rubin=8.3)
    with timing.taken():
        for number in range(SMALL):
            repo.get("number", collections=["batched", "single"], **small_id(number))
    yield timing
    timing = Timing("prune", SMALL, rubin=0.23)
    with timing.taken():
        repo.prune("number", collections="single")
    yield timing


def many(repo: Repo) -> list[NewDataset]:
    """Return 100,000 datasets whose files nobody reads, of visits that are known."""
    records = [
        RECORD | {"day_obs": 20260101 + number // 500, "band": "gr"[number % 2], "exposure_time": 30.0 + number % 3}
        for number in range(MANY_VISITS)
    ]
    with repo.database.write() as connection:
        connection.execute(sa.insert(visit), [record | {"visit": n} for n, record in enumerate(records)])
        connection.execute(sa.insert(exposure), [record | {"exposure": n} for n, record in enumerate(records)])
    return [
        NewDataset("image", DataId(instrument="cam", visit=n, detector=d), Path(f"many/image/{n}/{d}"), 1, "0" * 32)
        for n in range(MANY_VISITS)
        for d in range(DETECTORS)
    ]


def querying(repo: Repo) -> Iterator[Timing]:
    """Time registering 100,000 datasets, and questions about them."""
    repo.make_run("many")
    repo.make_run("front")
    repo.chain("all", ["front", "many"])
    new = many(repo)
    timing = Timing(f"register {len(new):,} ingested files", len(new), rubin=1.1)
    with timing.taken():
        repo.insert("many", new)
    yield timing
    questions: dict[str, Callable[[], object]] = {
        "find one by data id": lambda: repo.find("image", collections="all", instrument="cam", visit=77, detector=7),
        "one visit": lambda: repo.datasets("image", collections="all", where="instrument = 'cam' and visit = 77"),
        "one visit, without its instrument": lambda: repo.datasets("image", collections="all", where="visit = 77"),
        "one detector in a range of visits": lambda: repo.datasets(
            "image", collections="all", where="visit in (100..300) and detector = 3 and band = 'r'"
        ),
        "a column of the visits": lambda: repo.datasets(
            "image", collections="all", where="visit in (1..9) and visit.exposure_time > 31 and detector = 3"
        ),
        "nothing": lambda: repo.datasets("image", collections="all", where="band = 'u'"),
        "collections with their counts": repo.collections,
    }
    for what, ask in questions.items():
        timings = [Timing(f"of 100,000: {what}", goal=50.0) for _ in range(REPEATED)]
        for timing in timings:
            with timing.taken():
                ask()
        yield min(timings, key=lambda timing: timing.elapsed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    timing = Timing("list all 100,000, each", len(new))
    with timing.taken():
        rows = repo.datasets("image", collections="all")
    yield timing
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / len(rows) * 1024
    print(f"(memory of a listed dataset: {grown:.0f} bytes)")


def main() -> None:
    database = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as folder:
        creating = Timing("create a repository", rubin=600.0)
        with creating.taken():
            repo = Repo.create(Path(folder, "repo"), database=database)
        with repo:
            repo.register_type(NUMBER)
            repo.register_type(IMAGE)
            timings = [creating, *storing(repo), *querying(repo)]
    print(f"{'':52} {'CPU ms':>8} {'wall ms':>9} {'goal':>8} {'butler':>8}")
    for timing in timings:
        print(timing)


if __name__ == "__main__":
    main()
