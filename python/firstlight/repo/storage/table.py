"""Tables, as Parquet with units in the schema."""

from astropy.table import Table

from firstlight.images.catalog import read_catalog, write_catalog

TYPES = (Table,)
write = write_catalog
read = read_catalog
