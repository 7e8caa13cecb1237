"""A repository of numbers, and a pipeline that calculates with them: runs without images."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from firstlight.cli.main import run
from firstlight.framework import Layer, Pipeline
from firstlight.framework.built_pipeline import BuiltPipeline
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.repo import Repo

TASKS = "firstlight.testing.arithmetic_pipeline"
PIPELINE = f"""
description: Sums of corrected numbers.
inputs: [raw_number, bias_number, reference_number]
tasks:
  correct:
    class: {TASKS}:CorrectTask
    config: {{with_bias: false, step.amount: 1.5}}
  total: {TASKS}:SumTask
  compare: {TASKS}:CompareTask
"""
DETECTORS = (0, 1)


def make_repo(folder: Path, *, visits: int, negative: tuple[int, ...] = (), database: str | None = None) -> Path:
    """Make a repository with numbers for every visit and detector; those of ``negative`` visits fail."""
    with Repo.create(folder / "repo", database=database) as repo:
        repo.register_type(DatasetType("raw_number", ("instrument", "visit", "detector"), "json"))
        repo.make_run("raw/x")
        for visit in range(visits):
            for detector in DETECTORS:
                number = -1.0 if visit in negative else 10.0 * visit + detector
                repo.put(number, "raw_number", run="raw/x", instrument="x", visit=visit, detector=detector)
    (folder / "night.yaml").write_text(PIPELINE)
    return folder / "repo"


def built(folder: Path, *settings: str) -> BuiltPipeline:
    return Pipeline.load(folder / "night.yaml").build(*[Layer.from_assignment(text) for text in settings])


def command(folder: Path, *options: object, output: str = "night") -> list[str]:
    """Return the words of ``firstlight run`` on the repository in ``folder``."""
    firstlight = str(Path(sys.executable).with_name("firstlight"))
    places = ["-b", str(folder / "repo"), "-p", str(folder / "night.yaml"), "-o", output]
    return [firstlight, "run", *places, *map(str, options)]


def call(folder: Path, *options: object, output: str = "night") -> subprocess.CompletedProcess[str]:
    """Call ``firstlight run`` on the repository in ``folder``."""
    return firstlight(command(folder, *options, output=output))


def firstlight(words: list[str]) -> subprocess.CompletedProcess[str]:
    """Call a command: in this process, which saves loading everything again, unless it starts others."""
    if {"-j", "--site", "--timeout", "--memory"} & set(words):
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(words[1:])
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def numbers_of(folder: Path, output: str = "night") -> dict[tuple[str, int, int | None], float]:
    """Return everything that an output collection shows, by type and data id."""
    found = {}
    with Repo.open(folder / "repo") as repo:
        for name in ("corrected_number", "total_number", "ratio_number"):
            if name not in repo.type_names():
                continue
            for row in repo.datasets(name, collections=output):
                found[name, row.data_id["visit"], row.data_id.get("detector")] = repo.read(row)
    return found


def expected(visits: int, *, negative: tuple[int, ...] = ()) -> dict[tuple[str, int, int | None], float]:
    """Return what a run over all visits must show."""
    found: dict[tuple[str, int, int | None], float] = {}
    for visit in range(visits):
        if visit in negative:
            continue
        parts = {detector: 10.0 * visit + detector + 1.5 for detector in DETECTORS}
        found |= {("corrected_number", visit, detector): value for detector, value in parts.items()}
        found["total_number", visit, None] = found["ratio_number", visit, None] = sum(parts.values())
    return found


def leftovers(folder: Path) -> list[str]:
    """Return files in the repository that nothing accounts for, and what its own check finds."""
    with Repo.open(folder / "repo") as repo:
        problems = [str(problem) for problem in repo.check()]
    names = [str(path) for path in (folder / "repo").rglob("*") if ".part" in path.name or path.name.endswith(".tmp")]
    return problems + names


def statuses(folder: Path, run: str) -> dict[str, int]:
    with Repo.open(folder / "repo") as repo:
        rows = repo.quanta(run)
    return {status: sum(row.status == status for row in rows) for status in sorted({row.status for row in rows})}


def about(folder: Path, run: str) -> dict[str, object]:
    return json.loads((folder / "repo" / run / "run.json").read_text())
