"""What an error of the database means for a person, in one line."""

from __future__ import annotations

from sqlalchemy.exc import DataError, DBAPIError

from firstlight.errors import FirstlightError, OutputError, RepoError

_MEANINGS: tuple[tuple[type[FirstlightError], str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        RepoError,
        "is damaged ({}); put back a copy of it, or import an export into a new repository.",
        ("malformed", "not a database", "file is encrypted"),
        ("XX001", "XX002"),
    ),
    (
        OutputError,
        "cannot be written ({}); ask its owner for the right to write.",
        ("readonly", "read-only"),
        ("25006", "42501"),
    ),
    (
        OutputError,
        "cannot be written ({}); make room on the disk.",
        ("is full", "disk i/o error", "file is too large"),
        ("53100", "58030"),
    ),
    (
        RepoError,
        "is kept by another process that writes ({}); wait until it has ended and try again.",
        ("is locked",),
        ("40001", "40P01", "55P03"),
    ),
    (
        RepoError,
        "has no schema for the tables ({}); name one in the address: '...?options=-csearch_path%3DNAME'.",
        (),
        ("3F000",),
    ),
    (
        RepoError,
        "cannot be opened ({}); look whether its folder is there and may be read.",
        ("unable to open",),
        (),
    ),
)
"""Error, sentence, and what in the text of SQLite and which SQLSTATE of PostgreSQL tell of it."""


def explained(error: DBAPIError, database: str) -> FirstlightError | DBAPIError:
    """Return what to raise in place of ``error``; the error itself where it is a bug.

    Parameters
    ----------
    error
    database
        How the database is named to people.
    """
    said = str(error.orig or error).strip() or type(error).__name__
    first, text = said.splitlines()[0].rstrip("."), said.lower()
    state = getattr(error.orig, "sqlstate", "")
    for kind, sentence, signs, states in _MEANINGS:
        if state in states or any(sign in text for sign in signs):
            return kind(f"{database} {sentence.format(first)}")
    if isinstance(error, DataError):
        return RepoError(f"{database} cannot keep a value ({first}); put in another one.")
    if error.connection_invalidated or (state is None and type(error.orig).__name__ == "OperationalError"):
        return RepoError(f"{database} cannot be reached ({first}); look whether the server runs and lets you in.")
    return error
