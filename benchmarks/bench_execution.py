"""Time planning and running, beside what ctrl_mpexec was measured to take for the same.

Run it as ``python benchmarks/bench_execution.py``; ``--million`` plans 1,000,000 quanta too. Each number is from a
process of its own: CPU seconds of it and of the workers it started, and memory above that of the repository opened.
"""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from firstlight.execution.driver import DriverOptions
from firstlight.execution.executor import InProcessExecutor
from firstlight.execution.local import LocalExecutor
from firstlight.execution.planner import make_plan
from firstlight.execution.run import RunRequest, run_pipeline
from firstlight.framework import DataId, Pipeline
from firstlight.framework.built_pipeline import BuiltPipeline
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.repo import Repo
from firstlight.repo.rows import NewDataset
from firstlight.repo.schema import visit
from firstlight.repo.storage import storage_of

DETECTORS, QUANTA, WORK = 100, 10_000, 1_000
RECORD = {"instrument": "cam", "physical_filter": "R2", "band": "r", "day_obs": 20260101, "exposure_time": 30.0}
AT_ONCE = 100_000
TASKS = "firstlight.testing.arithmetic_pipeline"
PR_SET_CHILD_SUBREAPER = 36
"""Linux: processes whose starter has ended are left to the one that asks for it."""

HELP = 20
"""Calls of ``--help`` that are averaged."""


def pipeline(labels: int) -> BuiltPipeline:
    """Return one task that corrects numbers; with three labels, a sum and a comparison for each visit too."""
    lines = [f"  correct: {{class: '{TASKS}:CorrectTask', config: {{with_bias: false}}}}"]
    lines += [f"  total: {{class: '{TASKS}:SumTask'}}", f"  compare: {{class: '{TASKS}:CompareTask'}}"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "numbers.yaml"
        head = "description: numbers.\ninputs: [raw_number, reference_number]\ntasks:\n"
        path.write_text(head + "\n".join(lines[:labels]) + "\n", encoding="utf-8")
        return Pipeline.load(path).build()


def filled(root: Path, numbers: int, *, files: bool) -> None:
    """Make a repository of so many numbers, 100 for each visit."""
    place = root / "number.json"
    with Repo.create(root) as repo:
        place.write_text("1.0", encoding="utf-8")
        repo.register_type(DatasetType("raw_number", ("instrument", "visit", "detector"), "json"))
        repo.make_run("raw/x")
        with repo.database.write() as connection:
            connection.execute(sa.insert(visit), [RECORD | {"visit": n} for n in range(-(-numbers // DETECTORS))])
        for start in range(0, numbers, AT_ONCE):
            rows = []
            for number in range(start, min(start + AT_ONCE, numbers)):
                where = DataId(instrument="cam", visit=number // DETECTORS, detector=number % DETECTORS)
                path = place if files else Path(f"raw/x/{number}")
                rows.append(NewDataset("raw_number", where, path, 3, f"{number:032x}"))
            repo.insert("raw/x", rows)


def resident_mb(*, peak: bool) -> float:
    """Return the memory of this process [MB]."""
    if peak:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_s() -> float:
    """Return the CPU time of this process and of the children that have ended [s]."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def planning(root: Path) -> str:
    """Return CPU seconds, added MB and quanta of one plan."""
    built = pipeline(3)
    storage_of(float)  # looks at every storage, and so loads what they are made of
    with Repo.open(root) as repo:
        cpu, before = cpu_s(), resident_mb(peak=False)
        plan = make_plan(built, repo, collections=["raw/x"])
        return f"{cpu_s() - cpu} {resident_mb(peak=True) - before} {len(plan)}"


def running(root: Path, jobs: int) -> str:
    """Return CPU seconds before the run, elapsed milliseconds of one piece of work that does nothing, and how many."""
    built = pipeline(1)
    storage_of(float)
    executor = LocalExecutor(jobs) if jobs > 1 else InProcessExecutor()
    with Repo.open(root) as repo:
        cpu, wall = cpu_s(), time.perf_counter()
        outcome = run_pipeline(
            repo,
            lambda: make_plan(built, repo, collections=["raw/x"]),
            RunRequest(output=f"out{jobs}"),
            executor,
            DriverOptions(jobs=jobs),
            planned=lambda _: None,
            tell=lambda _: None,
        )
        number = sum(outcome.counts.values())
        return f"{cpu} {(time.perf_counter() - wall) * 1e3 / number} {number}"


def run_of_nothing(root: Path, jobs: int) -> tuple[float, float, float]:
    """Return CPU and elapsed milliseconds of one piece of work, with all that is around it, and how many there were."""
    before = cpu_s()
    start_s, wall_ms, number = measured("run", root, jobs)
    with suppress(ChildProcessError):  # workers belong to a process that ends after the driver and is left to this one
        while True:
            os.wait()
    return (cpu_s() - before - start_s) * 1e3 / number, wall_ms, number


def measured(*words: object) -> list[float]:
    """Return the numbers that this script says in another process."""
    place = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {place!r}); import bench_execution; bench_execution.answer(sys.argv[1:])"
    command = [sys.executable, "-c", code, *map(str, words)]  # so that workers do not load this script, as in real runs
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(word) for word in said.stdout.split()]


def lines(*, million: bool) -> Iterator[str]:
    """Yield the lines of the table."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    yield f"{'what':44} {'CPU':>11} {'elapsed':>11} {'memory':>9} {'goal':>18} {'Rubin':>20}"
    with tempfile.TemporaryDirectory() as folder:
        for numbers in (QUANTA, *([100 * QUANTA] if million else [])):
            root = Path(folder) / f"plan{numbers}"
            filled(root, numbers, files=False)
            cpu, added, quanta = measured("plan", root)
            goal = "1.5 s, 60 MB" if numbers == QUANTA else "150 s, linear"
            rubin = "12.5 s, 229 MB" if numbers == QUANTA else ""
            yield f"{f'plan {quanta:,.0f} quanta':44} {cpu:9.2f} s {'':11} {added:6.0f} MB {goal:>18} {rubin:>20}"
        root = Path(folder) / "work"
        filled(root, WORK, files=True)
        for jobs, rubin in ((1, "108 ms"), (2, "2700 ms")):
            cpu, wall, number = run_of_nothing(root, jobs)
            what = f"quantum that does nothing, -j{jobs} ({number:.0f})"
            yield f"{what:44} {cpu:8.2f} ms {wall:8.2f} ms {'':9} {'3 ms':>18} {rubin:>20}"
    program = str(Path(sys.executable).with_name("firstlight"))
    before = cpu_s()
    for _ in range(HELP):
        subprocess.run([program, "run", "--help"], check=True, stdout=subprocess.DEVNULL)
    yield f"{'firstlight run --help':44} {(cpu_s() - before) / HELP:9.2f} s {'':11} {'':9} {'0.25 s':>18} {'2.2 s':>20}"


def answer(words: list[str]) -> None:
    """Say the numbers that `measured` asked for."""
    what, root, *more = words
    print(planning(Path(root)) if what == "plan" else running(Path(root), int(more[0])))


if __name__ == "__main__":
    for line in lines(million="--million" in sys.argv):
        print(line, flush=True)
