"""``firstlight refcat fetch``: a store from a catalogue on the network."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options


@click.command(context_settings={"max_content_width": 110})
@click.argument("name", metavar="NAME")
@click.argument("folder", metavar="STORE", type=click.Path(path_type=Path))
@click.option("--ra", type=click.FloatRange(0, 360), required=True, metavar="DEG", help="Middle: right ascension.")
@click.option("--dec", type=click.FloatRange(-90, 90), required=True, metavar="DEG", help="Middle: declination.")
@click.option(
    "--radius",
    type=click.FloatRange(0, 5, min_open=True),
    default=0.5,
    show_default=True,
    metavar="DEG",
    help="How far.",
)
@click.option("--timeout", type=click.IntRange(1), default=300, show_default=True, metavar="S", help="For the answer.")
@log_options
def fetch(name: str, folder: Path, ra: float, dec: float, radius: float, timeout: int) -> None:
    """Download the stars of a circle from VizieR into the new folder STORE.

    NAME is gaia_dr3 (the whole sky, best positions, G BP RP), refcat2 (the whole sky, g r i z) or ps1_dr1 (north of -30
    degrees, deep, g r i z y). Stars fainter than magnitude 20 are left out, than 18 beyond 0.6 degrees, 16 beyond 1.2,
    14 beyond 2.5. The store serves process, repositories and calls without a network.

    \b
      firstlight refcat fetch refcat2 m67/ --ra 132.85 --dec 11.81 --radius 0.7
      firstlight process image.fits -o out --refcat m67/

    For one image there is no need of it: process --refcat gaia_dr3 downloads what the image needs, and keeps it.
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.refcats.online import fetch_store
    from firstlight.refcats.store import StoredReferenceCatalog

    made = StoredReferenceCatalog(fetch_store(name, folder, ra=ra, dec=dec, radius=radius, timeout=timeout))
    click.echo(f"{len(made)} stars with {', '.join(made.bands)} in {folder}")
