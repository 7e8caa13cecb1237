"""A process that works on images keeps its memory."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PAGES = 16_384
FAULTS_OF_A_SECOND_BLOCK = f"""
import resource
from firstlight.execution.startup import keep_freed_memory
print(keep_freed_memory())
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = bytearray(b"x") * ({PAGES} * resource.getpagesize())
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    del block
print(faults)
"""


def told(**environment: str) -> tuple[str, int]:
    """Return what `keep_freed_memory` says in a process of its own, and how often a second block calls the kernel."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    call = [sys.executable, "-c", FAULTS_OF_A_SECOND_BLOCK]
    done = subprocess.run(call, env={**clean, **environment}, capture_output=True, text=True, check=True)
    answer, faults = done.stdout.split()
    return answer, int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_a_block_of_memory_is_used_again_without_the_kernel():
    answer, faults = told()

    assert answer == "True"
    assert faults < 0.01 * PAGES


def test_what_the_environment_says_of_memory_is_left_alone():
    answer, _ = told(MALLOC_ARENA_MAX="4")

    assert answer == "False"
