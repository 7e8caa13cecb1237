"""Rows of a log in a JSON file that is always whole."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from firstlight.images.atomic import write_text_atomically

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

EntryT = TypeVar("EntryT", bound="DataclassInstance")


def read_entries(path: Path, name: str, kind: type[EntryT]) -> list[EntryT]:
    """Return the entries under a name; none where there is no file, or a damaged one.

    Parameters
    ----------
    path
    name
        Of the list in the file.
    kind
        Dataclass of one entry.
    """
    try:
        return [kind(**row) for row in json.loads(path.read_text(encoding="utf-8"))[name]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def write_entries(path: Path, name: str, entries: Iterable[DataclassInstance]) -> None:
    """Write the entries; the file has the old ones or the new ones at any time.

    Parameters
    ----------
    path
        Its folder is made if it is missing.
    name
        Of the list in the file.
    entries
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, json.dumps({name: [asdict(each) for each in entries]}, indent=1) + "\n")
