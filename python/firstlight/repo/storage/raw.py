"""Raw images, which only their instrument can read and nobody writes."""

from __future__ import annotations

from pathlib import Path

from firstlight.errors import RepoError

TYPES: tuple[type, ...] = ()


def write(_: object, path: Path) -> None:
    """Refuse to write.

    Raises
    ------
    RepoError
        Always.
    """
    raise RepoError(f"{path} would be a raw image, and such files are only ingested.")


def read(path: Path) -> object:
    """Refuse to read without an instrument.

    Raises
    ------
    RepoError
        Always.
    """
    raise RepoError(f"{path} is a raw image; open the repository with a raw_reader, which knows its instrument.")
