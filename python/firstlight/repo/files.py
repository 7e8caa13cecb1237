"""Files of datasets: written whole or not at all, and recognised by their checksum."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from firstlight.errors import OutputError, RepoError

TEMPORARY = re.compile(r"\..*\.part(\..*)?")
"""Names of files that are not finished."""

_BLOCK = 1 << 20


def checksum_of(path: Path) -> str:
    """Return the BLAKE2 checksum of a file, as 32 hexadecimal digits.

    Raises
    ------
    RepoError
        If the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise RepoError(f"{path} cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Give a name to write to before the file gets its own; what is left there is deleted at the end.

    Raises
    ------
    OutputError
        If the folder cannot be made.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{secrets.token_hex(6)}.part{path.suffix}")
    try:
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write into {folder}: {error.strerror or error}.") from error


def rename(temporary: Path, path: Path) -> None:
    """Give a finished file its name.

    Raises
    ------
    OutputError
        If it cannot be renamed.
    """
    try:
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error


def delete_file(path: Path, *, root: Path) -> None:
    """Delete a file below ``root`` and the folders that become empty; one that is not there is deleted already.

    Raises
    ------
    OutputError
        If it cannot be deleted.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot delete {path}: {error.strerror or error}.") from error
    with suppress(OSError):  # a folder that is not empty stays, and those above it
        for folder in path.parents:
            if folder == root or not folder.is_relative_to(root):
                break
            folder.rmdir()
