"""``firstlight refcat ingest``: a store from a table of stars."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options


@click.command(context_settings={"max_content_width": 110})
@click.argument("folder", metavar="STORE", type=click.Path(path_type=Path))
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--column", "columns", multiple=True, metavar="MEANING=NAME", help="ra, dec, mag_r, ...; repeatable.")
@log_options
def ingest(folder: Path, table: Path, columns: tuple[str, ...]) -> None:
    """Make a store in the new folder STORE from TABLE: Parquet, FITS, CSV, ECSV or VOTable.

    A store is divided by places on the sky, and reading the stars of an image reads only what lies around it. Column
    names of Gaia, Pan-STARRS, Tycho-2, ATLAS-refcat2 and LSST are known; --column names others.

    \b
      firstlight refcat ingest tycho2/ tycho2.parquet
      firstlight refcat ingest mine/ mine.csv --column ra=alpha --column dec=delta --column mag_r=brightness
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.errors import InputError
    from firstlight.refcats import read_reference_catalog
    from firstlight.refcats.store import StoredReferenceCatalog, write_store

    given = {}
    for text in columns:
        meaning, sign, name = text.partition("=")
        if not (meaning and sign and name):
            raise InputError(f"--column {text!r} is not of the form MEANING=NAME, as in mag_r=brightness.")
        given[meaning] = name
    write_store(read_reference_catalog(table, columns=given), folder)
    made = StoredReferenceCatalog(folder)
    click.echo(f"{len(made)} stars with {', '.join(made.bands)} in {folder}")
