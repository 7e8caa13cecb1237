"""What a run does about work that takes too long, takes too much memory, dies, or raises."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from firstlight.repo.repo import Repo

from .numbers import about, command, leftovers, make_repo, numbers_of, statuses

TROUBLE = """
description: Numbers in trouble.
inputs: [raw_number, reference_number]
tasks:
  correct:
    class: trouble:{task}
    config: {{kind: {kind}, count: '{count}', {more}}}
  total: firstlight.testing.arithmetic_pipeline:SumTask
"""
VISITS = 4


@pytest.fixture
def trouble(tmp_path):
    """Return a function that runs a pipeline in which visit 1, detector 0 is in trouble, and how often it was tried."""
    make_repo(tmp_path, visits=VISITS)

    def run(
        kind: str, *options: object, more: str = "once: false", task: str = "TroubleTask"
    ) -> tuple[subprocess.CompletedProcess[str], int]:
        count = tmp_path / "count"
        before = len(count.read_text()) if count.exists() else 0
        (tmp_path / "night.yaml").write_text(TROUBLE.format(task=task, kind=kind, count=count, more=more))
        done = subprocess.run(
            command(tmp_path, *options),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent / "importable")},
        )
        return done, (len(count.read_text()) if count.exists() else 0) - before

    return run


def record(folder: Path, label: str = "correct") -> dict[str, object]:
    with Repo.open(folder / "repo") as repo:
        [row] = [
            r
            for r in repo.quanta("night/1")
            if r.label == label and "visit=1" in r.data_key and ("detector=0" in r.data_key or label == "total")
        ]
    return {"status": row.status, **row.record}


def test_work_that_takes_too_long_is_stopped_and_tried_again(tmp_path, trouble):
    done, tries = trouble("sleep", "--timeout", 1, "--retries", 1)

    assert (done.returncode, tries) == (1, 2)
    assert statuses(tmp_path, "night/1") == {"done": 11, "timeout": 1}
    found = record(tmp_path)
    assert found["status"] == "timeout"
    assert "the limit is 1 s (--timeout)" in found["error"]["message"]
    assert ("corrected_number", 1, 1) in numbers_of(tmp_path)
    assert leftovers(tmp_path) == []


def test_the_memory_that_work_may_take_doubles_with_each_try(tmp_path, trouble):
    done, tries = trouble("memory", "--memory", 600, "--retries", 2, more="megabytes: 700")

    assert (done.returncode, tries) == (0, 2), done.stderr
    assert record(tmp_path)["status"] == "done"
    assert len(numbers_of(tmp_path)) == 3 * VISITS


def test_work_beyond_the_last_limit_is_said_with_both_numbers(tmp_path, trouble):
    done, tries = trouble("memory", "--memory", 400, "--retries", 0, more="megabytes: 600")

    assert (done.returncode, tries) == (1, 1)
    assert "the limit is 400 MB (--memory)" in record(tmp_path)["error"]["message"]


@pytest.mark.parametrize("kind", ["kill", "exit"])
def test_work_whose_worker_dies_is_tried_again(tmp_path, trouble, kind):
    done, tries = trouble(kind, "-j", 2, more="once: true")

    assert (done.returncode, tries) == (0, 2), done.stderr
    assert len(numbers_of(tmp_path)) == 3 * VISITS
    assert leftovers(tmp_path) == []


def test_work_that_always_kills_its_worker_ends_as_lost_and_the_rest_is_done(tmp_path, trouble):
    done, tries = trouble("kill", "-j", 2, "--retries", 2)

    assert (done.returncode, tries) == (1, 3)
    assert "correct (instrument=x visit=1 detector=0) lost: the worker process ended (signal 9)." in done.stderr
    assert record(tmp_path)["status"] == "lost"
    assert numbers_of(tmp_path)["total_number", 3, None] == 61.0
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("kind", "status", "tries"), [("algorithm", "failed", 1), ("raise", "error", 1), ("memory_error", "memory", 3)]
)
def test_what_would_end_in_the_same_way_again_is_not_tried_again(tmp_path, trouble, kind, status, tries, jobs):
    done, tried = trouble(kind, "-j", jobs, "--retries", 2)

    assert (done.returncode, tried) == (1, tries), done.stderr
    assert record(tmp_path)["status"] == status


def test_what_was_in_trouble_is_run_by_the_same_command_and_only_that(tmp_path, trouble):
    trouble("kill", "-j", 2, "--retries", 0)
    done, _ = trouble("kill", "-j", 2, "--dry-run")

    assert "2 to do in night/2, 10 done before" in done.stderr


def test_what_was_made_without_a_lost_number_is_made_again_with_it(tmp_path, trouble):
    trouble("kill", "-j", 2, "--retries", 0, more="once: true")
    without = numbers_of(tmp_path)["total_number", 1, None]
    done, _ = trouble("kill", "-j", 2, more="once: true")

    assert done.returncode == 0, done.stderr
    assert (without, numbers_of(tmp_path)["total_number", 1, None]) == (11.0, 21.0)


def test_fail_fast_starts_nothing_more_and_the_same_command_goes_on(tmp_path, trouble):
    done, _ = trouble("raise", "--fail-fast", more="once: true")
    there = len(numbers_of(tmp_path))
    state = about(tmp_path, "night/1")["status"]
    again, _ = trouble("raise", "--fail-fast", more="once: true")

    assert (done.returncode, state) == (1, "running")
    assert there < 2 * VISITS
    assert again.returncode == 0, again.stderr
    assert len(numbers_of(tmp_path)) == 3 * VISITS
    assert leftovers(tmp_path) == []


def test_a_task_that_cannot_be_made_in_a_worker_fails_its_work_and_is_not_tried_again(tmp_path, trouble):
    done, _ = trouble("none", "-j", 2, task="BrokenTask")

    assert done.returncode == 1
    assert statuses(tmp_path, "night/1") == {"blocked": VISITS, "error": 2 * VISITS}
    assert "Traceback" not in done.stderr
    assert "this task cannot be made" in done.stderr
