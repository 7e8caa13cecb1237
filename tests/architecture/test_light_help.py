"""Help comes at once: it loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from firstlight.cli.main import COMMANDS

HEAVY = ("numpy", "astropy", "scipy", "pydantic", "numba", "matplotlib", "pyarrow", "structlog", "rich", "yaml")
CALL = """
import json, resource, sys
from firstlight.cli.main import run
code = run(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([code, used.ru_utime + used.ru_stime, sorted({name.partition(".")[0] for name in sys.modules})]))
"""
LIMIT_CPU_S = 0.25
CALLS = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]


def ask(arguments: list[str]) -> tuple[int, float, set[str], str]:
    done = subprocess.run([sys.executable, "-c", CALL, *arguments], capture_output=True, text=True, check=True)
    said, _, last = done.stdout.strip().rpartition("\n")
    code, cpu_s, loaded = json.loads(last)
    return code, cpu_s, set(loaded), said


@pytest.mark.parametrize("arguments", CALLS, ids=" ".join)
def test_help_is_light(arguments):
    answers = [ask(arguments) for _ in range(3)]
    code, _, loaded, said = answers[0]

    assert code == 0
    assert said
    assert not loaded & set(HEAVY)
    assert min(cpu_s for _, cpu_s, _, _ in answers) <= LIMIT_CPU_S


def test_every_command_has_the_name_under_which_it_is_found():
    listed = ask(["--help"])[3]

    for name in COMMANDS:
        assert f"  {name} " in listed
        assert ask([name, "--help"])[3].startswith(f"Usage: firstlight {name} ")
