"""Habits of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

from .source_files import ROOT, modules, tree

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60
VAGUE_NAMES = {"utils", "util", "base", "common", "helpers", "helper", "misc", "core"}
UNFINISHED = re.compile("|".join(["TO" + "DO", "FIX" + "ME", "X" * 3, "Not" + "ImplementedError"]))
SILENCED = re.compile(r"#\s*(?:type:\s*ignore\[[^\]]+\]|noqa:\s*[A-Z0-9, ]+)(.*)")
SILENCED_BLINDLY = re.compile(r"#\s*(?:type:\s*ignore(?!\[)|noqa(?!:))")
MACHINE_PLACE = re.compile(r"(?<![\w.])/(?:work|root|home|Users)/\w")
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".sh", ".table", ""}

every_module = pytest.mark.parametrize("path", modules().values(), ids=list(modules()))


def project_texts() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    paths = [ROOT / name for name in listed] or list(modules().values())
    return [path for path in paths if path.suffix in TEXT and path.is_file()]


@every_module
def test_a_module_says_first_what_it_is_about(path):
    assert path.stat().st_size == 0 or ast.get_docstring(tree(path))


@every_module
def test_a_file_stays_short(path):
    assert path.read_text().count("\n") <= MOST_LINES_OF_A_FILE


@every_module
def test_a_function_stays_short(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            docstring = (ast.get_docstring(node, clean=False) or "").count("\n")
            body = (node.end_lineno or 0) - node.body[0].lineno - docstring
            assert body <= MOST_LINES_OF_A_FUNCTION, f"{node.name} has {body} lines"


@every_module
def test_names_say_something(path):
    assert not VAGUE_NAMES & set(path.with_suffix("").parts[path.parts.index("firstlight") :])


@every_module
def test_nothing_is_left_unfinished(path):
    assert not UNFINISHED.search(path.read_text())


@every_module
def test_what_is_silenced_has_its_reason_on_the_line(path):
    for line in path.read_text().splitlines():
        assert not SILENCED_BLINDLY.search(line), line
        if silenced := SILENCED.search(line):
            assert re.search(r"\S{4}", silenced.group(1)), f"no reason given: {line.strip()}"


def test_no_text_names_a_place_on_somebodys_machine():
    named = [
        f"{path.name}: {found.group()}" for path in project_texts() if (found := MACHINE_PLACE.search(path.read_text()))
    ]

    assert not named
