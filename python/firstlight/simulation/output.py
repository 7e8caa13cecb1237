"""A folder to write into, and the tables in it."""

from __future__ import annotations

from pathlib import Path

from astropy.table import Table

from firstlight.errors import OutputError


def make_folder(folder: Path) -> None:
    """Make a folder, or see that files can be written into one that is there.

    Raises
    ------
    OutputError
        If they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".firstlight-write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"Cannot write into {folder}: {error.strerror}.") from error


def write_table(table: Table, path: Path) -> None:
    """Write a table as Parquet; a file that is there is replaced."""
    table.write(path, format="parquet", overwrite=True)
