"""``firstlight refcat``: reference catalogues."""

from __future__ import annotations

import click

from firstlight.cli.lazy_group import LazyCommand, LazyGroup

COMMANDS = {
    "ingest": LazyCommand("firstlight.cli.refcat_ingest", "Make a store from a table of stars."),
    "fetch": LazyCommand("firstlight.cli.refcat_fetch", "Download the stars of a circle into a store."),
    "register": LazyCommand("firstlight.cli.refcat_register", "Make a store known to a repository."),
    "list": LazyCommand("firstlight.cli.refcat_list", "List the stores that a repository knows.", "list_"),
}


@click.group(cls=LazyGroup, commands_there=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def refcat() -> None:
    """Keep reference catalogues in stores outside of repositories, and make them known there.

    \b
      firstlight refcat fetch gaia_dr3 m67/ --ra 132.85 --dec 11.81 --radius 0.7
      firstlight refcat ingest gaia/ gaia.parquet
      firstlight refcat register -b R gaia/ --name astrometry_refcat
      firstlight refcat list -b R
    """  # noqa: D301 - click needs the real backspace character
