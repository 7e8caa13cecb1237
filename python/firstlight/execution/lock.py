"""One driver at a time for each output collection."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from firstlight.errors import OutputError, RepoError
from firstlight.repo.files import make_folder

NAME = ".driver"


@contextmanager
def only_driver(folder: Path, *, output: str) -> Iterator[None]:
    """Hold the output collection for the length of the block; a driver that is killed lets go of it.

    Raises
    ------
    RepoError
        If another driver holds it; the error says which.
    OutputError
        If the repository cannot be written.
    """
    make_folder(folder)
    with _opened(folder / NAME) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise RepoError(f"{output}: is being run by {_who(file.read())}; wait for it, or stop it.") from error
        try:
            file.seek(0)
            file.truncate()
            json.dump({"user": user_name(), "host": platform.node(), "pid": os.getpid()}, file)
            file.flush()
        except OSError as error:
            raise OutputError(f"Cannot write {folder / NAME}: {error.strerror or error}.") from error
        yield


def _opened(path: Path) -> TextIO:
    try:
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error


def user_name() -> str:
    """Return who runs this process; its number where the system has no name for it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())


def _who(text: str) -> str:
    try:
        said = json.loads(text)
        return f"{said['user']} on {said['host']}, process {said['pid']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
