"""Running a page: its files are written, its code is run, and what is printed is compared with what the page shows."""

from __future__ import annotations

import io
import os
import re
import shlex
import site
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from firstlight.framework import known_tasks

from .pages import OUTPUT, Block, blocks

NUMBER = r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
INSTALLED = "installed"
"""Folder below the page's own into which ``pip install`` puts packages."""


class PageError(AssertionError):
    """A page that does not do what it says."""


def run_page(page: str, *, name: str, folder: Path) -> None:
    """Run a page in ``folder``.

    Raises
    ------
    PageError
        If a command exits otherwise, or something else is printed than the page shows.
    """
    names: dict[str, object] = {"__name__": "__main__"}
    printed: str | None = None
    with _at_home_in(folder):
        for block in blocks(page):
            place = f"{name}:{block.line}"
            if block.skip or (block.needs and not os.environ.get(block.needs)):
                printed = None
            elif block.file:
                _write(folder / block.file, block.text)
                printed = None
            elif block.language == "python":
                printed = _run_python(block, place, names)
            elif block.language == "sh":
                printed = _run_shell(block.text, place, folder, exits=block.exits)
            elif block.language == "console":
                _run_console(block, place, folder)
                printed = None
            elif block.language in OUTPUT and printed is not None:
                _compare(block.text, printed, place, numbers_vary=block.numbers_vary)
                printed = None
            if block.hidden:
                printed = None


@contextmanager
def _at_home_in(folder: Path) -> Iterator[None]:
    """Work in ``folder``; forget afterwards what was imported from there."""
    before, path, modules = Path.cwd(), list(sys.path), set(sys.modules)
    (folder / INSTALLED).mkdir()
    (folder / INSTALLED / "sitecustomize.py").write_text(f"import site\nsite.addsitedir({str(folder / INSTALLED)!r})\n")
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(f"{folder}/"):
                del sys.modules[name]
        known_tasks.cache_clear()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _run_python(block: Block, place: str, names: dict[str, object]) -> str:
    site.addsitedir(str(Path.cwd() / INSTALLED))
    known_tasks.cache_clear()
    code = compile("\n" * (block.line - 1) + block.text, place, "exec")
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(code, names)  # noqa: S102 - the text is our own documentation
    return printed.getvalue()


def _run_shell(text: str, place: str, folder: Path, *, exits: int) -> str:
    """Run a script and return what it printed on both streams."""
    done = subprocess.run(
        ["bash", "-e", "-u", "-o", "pipefail", "-c", text],
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != exits:
        raise PageError(f"{place}: exit code {done.returncode} instead of {exits} of\n{text}\n{done.stdout}")
    return done.stdout


def _environment(folder: Path) -> dict[str, str]:
    installed = str(folder / INSTALLED)
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": installed,
        "COLUMNS": "200",
        "OMP_NUM_THREADS": "1",
        # What a page installs comes from its own folder and stays there.
        "PIP_TARGET": installed,
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip takes the value of a negative option upside down
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }


def _run_console(block: Block, place: str, folder: Path) -> None:
    """Run each line behind a dollar sign; the lines below it, if any, are what it prints."""
    commands = [(text.partition("\n")) for text in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]]
    for number, (command, _, expected) in enumerate(commands, start=1):
        while command.endswith("\\"):
            more, _, expected = expected.partition("\n")
            command = f"{command}\n{more.removeprefix('> ')}"
        printed = _run_shell(command, place, folder, exits=block.exits if number == len(commands) else 0)
        if expected.strip():
            _compare(expected, printed, f"{place}: {shlex.quote(command)}", numbers_vary=block.numbers_vary)


def _compare(expected: str, printed: str, place: str, *, numbers_vary: bool) -> None:
    shown, got = (_trimmed(text) for text in (expected, printed))
    if not re.fullmatch(_pattern(shown, numbers_vary=numbers_vary), got):
        raise PageError(f"{place}: the page shows\n{shown}\nand this was printed:\n{got}")


def _trimmed(text: str) -> str:
    """Return ``text`` without empty lines and without spaces at the ends of lines."""
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def _pattern(shown: str, *, numbers_vary: bool) -> str:
    """Return a regular expression: ``...`` is anything in its line; on a line of its own, any lines."""
    lines = []
    for line in shown.splitlines():
        if line.strip() == "...":
            lines.append(r"(?:[^\n]*\n)*?")
        else:
            lines.append(
                "[^\n]*?".join(_verbatim(part, numbers_vary=numbers_vary) for part in line.split("...")) + "\n"
            )
    # The last line has no end.
    return "".join(lines).removesuffix("\n") + ("" if lines and lines[-1].endswith("\n") else r"[^\n]*")


def _verbatim(text: str, *, numbers_vary: bool) -> str:
    """Return ``text`` escaped; where numbers vary, so does the space around them, and the rules of a table."""
    if not numbers_vary:
        return re.escape(text)
    parts = re.split(rf"({NUMBER}|\s+|─+)", text)
    return "".join(
        _loosely(part) if odd else re.escape(part) for odd, part in zip([0, 1] * len(parts), parts, strict=False)
    )


def _loosely(part: str) -> str:
    return r"[^\S\n]+" if part.isspace() else "─+" if part[0] == "─" else NUMBER
