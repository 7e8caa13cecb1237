"""The reference catalogue that a word of a user means: a table, a store, or one that can be downloaded."""

from __future__ import annotations

from pathlib import Path

from firstlight.errors import ReferenceCatalogError
from firstlight.refcats.catalog import ReferenceCatalog
from firstlight.refcats.formats import read_reference_catalog
from firstlight.refcats.online import CATALOGS, OnlineReferenceCatalog
from firstlight.refcats.store import StoredReferenceCatalog


def open_reference_catalog(place: str | Path) -> ReferenceCatalog:
    """Return a reference catalogue.

    Parameters
    ----------
    place
        A folder that `write_store` wrote, a table, or, where there is no such file, a name of `CATALOGS`.

    Raises
    ------
    ReferenceCatalogError
        If it is none of these.
    """
    path = Path(place)
    if path.is_dir():
        return StoredReferenceCatalog(path)
    if path.exists():
        return read_reference_catalog(path)
    if str(place) in CATALOGS:
        return OnlineReferenceCatalog(str(place))
    raise ReferenceCatalogError(
        f"No reference table {place}; check the path, or name a catalogue to be downloaded: {', '.join(CATALOGS)}."
    )
