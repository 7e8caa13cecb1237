"""Reading the pages of the documentation: their fenced blocks, and what stands in comments around them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOC = ROOT / "doc"
GENERATED = DOC / "reference" / "generated"
RUN = ("python", "sh", "console")
OUTPUT = ("text", "output")

PIECE = re.compile(
    r"""
    ^<!--[ ]run[ ](?P<hidden_language>\w+)\n (?P<hidden>.*?) ^-->$
    | ^<!--(?P<comment>.*?)-->$
    | ^(?P<fence>`{3,})(?P<info>[^\n`]*)\n (?P<body>.*?) ^(?P=fence)$
    | ^(?P<prose>[^\n]*\S[^\n]*)$
    """,
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
FILE_NAME = re.compile(r"#\s+([\w./-]*\w\.\w+)\s*\n")
SKIP, EXITS, NEEDS = re.compile(r"skip: (\w.+)"), re.compile(r"exits: (\d+)"), re.compile(r"needs: (\w+)")


@dataclass(frozen=True)
class Block:
    """One block of a page, with what the comment before it says."""

    language: str
    text: str
    line: int
    """Where its first line stands in the page, from 1."""

    file: str = ""
    """The name under which it is written, if it is a file."""

    skip: str = ""
    """Why it is not run."""

    needs: str = ""
    """Environment variable without which it is not run."""

    exits: int = 0
    """Exit code of its last command."""

    numbers_vary: bool = False

    hidden: bool = False
    """Whether readers do not see it: what it prints is not shown either."""


def pages() -> list[Path]:
    """Return every page that is written by hand."""
    written = (page for page in DOC.rglob("*.md") if GENERATED not in page.parents)
    return [*sorted(written), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def is_slow(page: str) -> bool:
    return re.search(r"^<!-- slow -->$", page, flags=re.MULTILINE) is not None


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page in their order, hidden ones included."""
    comment = ""
    for piece in PIECE.finditer(page):
        if piece["comment"] is not None:
            comment += piece["comment"]
            continue
        if piece["hidden"] is not None:
            yield Block(piece["hidden_language"], piece["hidden"], _line(page, piece.start("hidden")), hidden=True)
        elif piece["fence"] is not None:
            yield _block(piece["info"], piece["body"], _line(page, piece.start("body")), comment)
        comment = ""


def _line(page: str, position: int) -> int:
    return page.count("\n", 0, position) + 1


def _block(info: str, body: str, line: int, comment: str) -> Block:
    language, _, rest = info.strip().partition(" ")
    named = FILE_NAME.match(body) if language not in ("sh", "console") else None
    given = rest if "." in rest and not language.startswith("{") else ""
    return Block(
        language,
        body,
        line,
        file=given or (named[1] if named else ""),
        skip=_first(SKIP, comment),
        needs=_first(NEEDS, comment),
        exits=int(_first(EXITS, comment) or 0),
        numbers_vary="numbers vary" in comment,
    )


def _first(pattern: re.Pattern[str], comment: str) -> str:
    found = pattern.search(comment)
    return found[1].strip() if found else ""
