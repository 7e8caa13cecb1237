"""A driver or a worker that is killed loses nothing that was finished, and leaves nothing half done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from firstlight.execution.lock import only_driver

from .numbers import call, command, expected, leftovers, make_repo, numbers_of

VISITS = 120
CRASHES = int(os.environ.get("FIRSTLIGHT_CRASHES", "3"))
"""How often something is killed."""


def descendants(pid: int) -> list[int]:
    """Return every process that a process started, or that those started."""
    with suppress(OSError):
        below = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [each for child in below for each in (child, *descendants(child))]
    return []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(CRASHES))
def test_a_kill_at_any_moment_loses_nothing(tmp_path, seed):
    make_repo(tmp_path, visits=VISITS)
    choice = random.Random(seed)  # noqa: S311 - it chooses a moment
    with subprocess.Popen(command(tmp_path, "-j", 2), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        time.sleep(choice.uniform(0.5, 6.0))
        started = descendants(driver.pid)
        victim = choice.choice([driver.pid, *started])
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        driver.wait(timeout=60)
    done = call(tmp_path, "-j", 2)

    assert done.returncode == 0, done.stderr
    assert numbers_of(tmp_path) == expected(VISITS)
    assert leftovers(tmp_path) == []


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    make_repo(tmp_path, visits=VISITS)
    with subprocess.Popen(command(tmp_path, "-j", 2), stderr=subprocess.PIPE, text=True) as driver:
        time.sleep(3.0)
        driver.send_signal(signal.SIGINT)
        _, said = driver.communicate(timeout=60)
    done = call(tmp_path, "-j", 2)

    assert driver.returncode in (0, 130, -signal.SIGINT), said
    assert done.returncode == 0, done.stderr
    assert numbers_of(tmp_path) == expected(VISITS)
    assert leftovers(tmp_path) == []


def test_a_second_driver_of_the_same_output_is_refused_and_told_who_has_it(tmp_path):
    make_repo(tmp_path, visits=2)
    with only_driver(tmp_path / "repo" / "night", output="night"):
        second = call(tmp_path)
        other = call(tmp_path, output="another")

    lines = [line for line in second.stderr.splitlines() if line.startswith("firstlight: ")]
    assert (second.returncode, len(lines)) == (2, 1)
    assert f"process {os.getpid()}" in lines[0]
    assert other.returncode == 0, other.stderr
    assert call(tmp_path).returncode == 0
