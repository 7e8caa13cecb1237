"""The typed examples of the house style hold under mypy strict."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TYPED = Path(__file__).parent / "typed"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def mypy_errors():
    pytest.importorskip("mypy")
    options = ["--strict", "--no-error-summary", f"--config-file={ROOT / 'pyproject.toml'}"]
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            *options,
            f"--cache-dir={ROOT / '.mypy_cache'}",
            "style_examples.py",
            "mistakes.py",
        ],
        cwd=TYPED,
        env={"MYPYPATH": f"{ROOT / 'python'}:{TYPED}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stderr == ""
    return re.findall(r"^(\w+)\.py:(\d+): error: .*\[([\w-]+)\]$", run.stdout, re.MULTILINE)


@pytest.mark.slow
def test_the_examples_of_the_house_style_are_accepted(mypy_errors):
    assert [error for error in mypy_errors if error[0] == "style_examples"] == []


@pytest.mark.slow
def test_every_mistake_against_a_type_is_refused_on_its_line(mypy_errors):
    lines = (TYPED / "mistakes.py").read_text().splitlines()
    expected = {
        (str(number), match[1])
        for number, line in enumerate(lines, start=1)
        if (match := re.search(r"# \[([\w-]+)\]$", line))
    }

    assert {(line, code) for name, line, code in mypy_errors if name == "mistakes"} == expected
