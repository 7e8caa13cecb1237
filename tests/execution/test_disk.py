"""A disk that is full ends a run with a clear line, loses nothing, and the same command goes on when there is room."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .numbers import call, expected, leftovers, make_repo, numbers_of

VISITS = 30


def mount(*words: object) -> bool:
    """Return whether the system let this process mount something."""
    program = shutil.which("mount")
    if program is None or sys.platform != "linux" or os.geteuid() != 0:
        return False
    return subprocess.run([program, *map(str, words)], capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 20 MB in memory with a repository, and a function that leaves so many bytes of it free."""
    place = tmp_path / "small"
    place.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=20m", "tmpfs", place):
        pytest.skip("a small disk can only be mounted by root, on Linux")
    make_repo(place, visits=VISITS)
    numbers = os.statvfs(place)
    used = (numbers.f_blocks - numbers.f_bfree) * numbers.f_frsize

    def leave(free: int) -> None:
        assert mount("-o", f"remount,size={used + free}", place)

    yield place, leave
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("free", [0, 40_000, 120_000, 250_000])
def test_a_full_disk_is_told_in_one_line_and_the_run_goes_on_when_there_is_room(small_disk, free):
    folder, leave = small_disk
    leave(free)
    full = call(folder)
    before = numbers_of(folder) if full.returncode != 2 or free >= 120_000 else {}
    leave(20_000_000)
    done = call(folder)

    lines = [line for line in full.stderr.splitlines() if line.startswith("firstlight: ")]
    assert (full.returncode, len(lines)) == (2, 1), full.stderr
    assert str(Path(folder)) in lines[0]
    assert "No space left on device" in lines[0] or "make room on the disk" in lines[0]
    assert done.returncode == 0, done.stderr
    assert before.items() <= expected(VISITS).items()
    assert numbers_of(folder) == expected(VISITS)
    assert leftovers(folder) == []
