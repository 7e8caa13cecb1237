"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from firstlight.errors import OutputError


def write_atomically(path: Path, write: Callable[[Any], object]) -> None:
    """Write a file under a temporary name beside ``path``, sync it and rename it.

    Parameters
    ----------
    path
        Where the file appears; a file that is there is replaced.
    write
        Called with the open binary file.

    Raises
    ------
    OutputError
        If the file cannot be written. Nothing is left behind, whatever ``write`` raises.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    done = False
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        done = True
        _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        if not done:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text file as `write_atomically` does, in UTF-8."""
    write_atomically(path, lambda file: file.write(text.encode()))


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable, where the system lets a folder be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
