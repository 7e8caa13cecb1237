"""``firstlight refcat register``: a store becomes known to a repository."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import repo_option


@click.command(context_settings={"max_content_width": 110})
@click.argument("folder", metavar="STORE", type=click.Path(path_type=Path))
@repo_option
@click.option("--name", required=True, metavar="NAME", help="What pipelines call it.")
@log_options
def register(folder: Path, root: Path, name: str) -> None:
    """Make the store of reference stars in the folder STORE known to a repository; it stays where it is.

    \b
      firstlight refcat register -b R tycho2/ --name astrometry_refcat
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.refcats.store import manifest_checksum
    from firstlight.repo.reference_catalogs import register_refcat
    from firstlight.repo.repo import Repo

    checksum = manifest_checksum(folder)
    with Repo.open(root) as repo:
        register_refcat(repo, name, folder, checksum)
        click.echo(f"{name} is {folder.resolve()}")
