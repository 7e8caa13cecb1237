"""The scripts in ``bin`` are what they say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ["bin/check", "bin/demo", "bin/firstlight", ".ci/run"]


def call(*arguments: str, cwd: Path = ROOT, **environment: str):
    return subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment})


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_executable_and_sound(script):
    assert os.access(ROOT / script, os.X_OK)
    assert call("bash", "-n", str(ROOT / script)).returncode == 0


@pytest.mark.parametrize("script", ["bin/check", "bin/demo"])
def test_a_script_explains_itself_without_installing_anything(script, tmp_path):
    said = call(str(ROOT / script), "--help", cwd=tmp_path)

    assert said.returncode == 0
    assert script in said.stdout
    assert said.stderr == ""


def test_the_launcher_works_from_any_folder(tmp_path):
    said = call(str(ROOT / "bin" / "firstlight"), "--version", cwd=tmp_path)

    assert said.stdout.startswith("firstlight ")
    assert said.returncode == 0


def find_python(tmp_path: Path, **programs: str):
    """Ask ``find_python`` of environment.sh in a PATH that has these programs only."""
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    code = f'. "{ROOT}/bin/environment.sh"; PATH="{tmp_path}" find_python'
    return call("bash", "-c", code)


def test_a_python_that_is_too_old_or_broken_is_passed_over(tmp_path):
    said = find_python(tmp_path, **{"python3": "exit 1", "python3.13": "exit 127", "python3.12": "exit 0"})

    assert said.stdout == "python3.12\n"


def test_without_a_python_the_script_says_what_to_install(tmp_path):
    said = find_python(tmp_path, python3="exit 1")

    assert said.returncode == 1
    assert "Python 3.11 or newer" in said.stderr
    assert "apt install" in said.stderr
