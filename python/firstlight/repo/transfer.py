"""What an exported part of a repository looks like: a folder of files, and a manifest of one JSON line a row.

The first line names the format, the last one counts the lines between, so that a cut-off manifest is noticed. A row is
``{"kind": "dataset", ...}``; collections, types and datasets are named, not numbered. Dates without an end are written
as Infinity, which Python's JSON reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from firstlight.errors import OutputError, RepoError
from firstlight.images.atomic import write_atomically
from firstlight.repo.files import make_folder
from firstlight.repo.schema import exposure, region, region_bucket, visit, visit_exposure

MANIFEST = "manifest.jsonl"
FORMAT = 1
"""Version of the layout of a manifest."""

RECORDS: Mapping[str, sa.Table] = {
    "exposure": exposure,
    "visit": visit,
    "visit_exposure": visit_exposure,
    "region": region,
    "region_bucket": region_bucket,
}
"""Kind of row -> table, for what is known about exposures and visits."""

Row = Mapping[str, Any]
_BLOCK = 1 << 20


def write_manifest(folder: Path, rows: list[Row]) -> None:
    """Write the manifest of an export.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    lines = [{"format": FORMAT}, *rows, {"rows": len(rows)}]
    text = "".join(json.dumps(line, ensure_ascii=True, separators=(",", ":")) + "\n" for line in lines)
    write_atomically(folder / MANIFEST, lambda file: file.write(text.encode()))


def read_manifest(folder: Path) -> list[Row]:
    """Return the rows of a manifest.

    Raises
    ------
    RepoError
        If it is not there, cannot be understood or is cut off.
    """
    path = folder / MANIFEST
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError as error:
        raise RepoError(f"{folder} is not an export: it has no {MANIFEST}.") from error
    except (OSError, ValueError) as error:
        raise RepoError(f"{path} cannot be read: {error}.") from error
    if not lines or any(not isinstance(line, dict) for line in lines) or "format" not in lines[0]:
        raise RepoError(f"{path} is not the manifest of an export.")
    if lines[0]["format"] != FORMAT:
        raise RepoError(f"{path} has format {lines[0]['format']!r}; this firstlight reads {FORMAT}.")
    if lines[-1] != {"rows": len(lines) - 2}:
        raise RepoError(f"{path} is cut off after {len(lines) - 1} rows; export once more.")
    return lines[1:-1]


def copy_checked(source: Path, target: Path, checksum: str) -> None:
    """Copy a file that must have a checksum; it appears as a whole or not at all.

    Raises
    ------
    RepoError
        If it is not there, or its content is another.
    OutputError
        If the copy cannot be written.
    """

    def write(file: Any) -> None:
        digest = hashlib.blake2b(digest_size=16)
        for block in _blocks(source):
            digest.update(block)
            file.write(block)
        if digest.hexdigest() != checksum:
            raise RepoError(
                f"{source} is not what it was when it was made known; 'firstlight repo check' lists such files."
            )

    make_folder(target.parent)
    write_atomically(target, write)


def require_empty(folder: Path) -> None:
    """Make sure that a folder is there and has nothing in it.

    Raises
    ------
    RepoError
        If something is in it.
    OutputError
        If it cannot be made.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RepoError(f"{folder} is not an empty folder; give a new or an empty one.")
    make_folder(folder)
    if not folder.is_dir():
        raise OutputError(f"Cannot write into {folder}.")


def _blocks(source: Path) -> Iterator[bytes]:
    try:
        with source.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block
    except OSError as error:
        raise RepoError(f"{source} cannot be read: {error.strerror or error}.") from error
