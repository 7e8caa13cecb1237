"""Plain values, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from firstlight.framework.mappings import ReadOnlyMapping
from firstlight.images.atomic import write_text_atomically
from firstlight.images.json_values import NUMBER_KEY, to_json
from firstlight.repo.storage.model_files import read_json

TYPES = (float, int, str, bool, type(None), tuple, list, Mapping, ReadOnlyMapping)


def write(value: object, path: Path) -> None:
    """Write numbers, text, booleans, None, and tuples and mappings of these; a list is kept as a tuple.

    Raises
    ------
    TypeError
        If something else is among them.
    """
    _require_plain(value)
    write_text_atomically(path, f"{to_json(value)}\n")


def read(path: Path) -> object:
    """Return the value that `write` wrote.

    Raises
    ------
    RepoError
        If the file is not JSON.
    """
    return _with_tuples(read_json(path))


def _require_plain(value: object) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{key!r} is not text, and the keys of a mapping must be.")
            _require_plain(item)
        if set(value) == {NUMBER_KEY} and isinstance(value[NUMBER_KEY], str):
            raise TypeError(f"a mapping with the only key {NUMBER_KEY!r} and a text stands for a number.")
    elif isinstance(value, list | tuple):
        for item in value:
            _require_plain(item)


def _with_tuples(value: object) -> object:
    if isinstance(value, list):
        return tuple(_with_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    return value
