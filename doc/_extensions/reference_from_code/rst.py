"""Pieces of reStructuredText."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Sequence

Lines = list[str]


def heading(text: str, sign: str = "=") -> Lines:
    """Return a heading; ``sign`` tells its level: ``=``, ``-``, ``~``."""
    return [text, sign * len(text), ""]


def indented(lines: Iterable[str], by: str = "   ") -> Lines:
    """Return ``lines`` moved to the right; empty ones stay empty."""
    return [f"{by}{line}" if line else "" for line in lines]


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, widths: Sequence[int]) -> Lines:
    """Return a table; cells may hold several lines. No lines if there are no rows."""
    body = [line for row in (tuple(head), *rows) for line in _row(row)]
    if len(body) == len(head):
        return []
    options = [":header-rows: 1", f":widths: {' '.join(map(str, widths))}", ":width: 100%", ""]
    return [".. list-table::", *indented(options), *indented(body), ""]


def _row(cells: Sequence[str]) -> Lines:
    lines: Lines = []
    for number, cell in enumerate(cells):
        first, *rest = cell.splitlines() or [""]
        lines += [f"{'*' if number == 0 else ' '} - {first}".rstrip(), *indented(rest, "    ")]
    return lines


def code(text: str, language: str) -> Lines:
    """Return ``text`` as a block of code."""
    return [f".. code-block:: {language}", "", *indented(textwrap.dedent(text).strip("\n").splitlines()), ""]


def literal(text: str) -> str:
    """Return ``text`` in the type of code; nothing for nothing."""
    return f"``{text}``" if text.strip() else ""


def summary(thing: object) -> str:
    """Return the first paragraph of a docstring, on one line."""
    first = (inspect.getdoc(thing) or "").partition("\n\n")[0]
    return " ".join(first.split())


def link(thing: type) -> str:
    """Return a link to the place where a class is described."""
    return f":py:class:`~{thing.__module__}.{thing.__qualname__}`"
