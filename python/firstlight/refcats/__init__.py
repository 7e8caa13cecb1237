"""Reference catalogues: readers, and the search by region and epoch."""

from firstlight.refcats.catalog import ReferenceCatalog, ReferenceStars
from firstlight.refcats.formats import TableReferenceCatalog, read_reference_catalog

__all__ = ["ReferenceCatalog", "ReferenceStars", "TableReferenceCatalog", "read_reference_catalog"]
