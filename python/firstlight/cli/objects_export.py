"""``firstlight objects export``: objects and their fluxes as Parquet files."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import repo_option


@click.command(context_settings={"max_content_width": 110})
@click.argument("folder", type=click.Path(path_type=Path))
@repo_option
@log_options
def export(folder: Path, root: Path) -> None:
    """Write objects, detections, images and fluxes at the places of objects into FOLDER, one Parquet file each.

    'firstlight objects import' reads them anywhere, and so does everything that reads Parquet: positions are in
    degrees, fluxes in nJy, times MJD TAI; 'object_id' of a detection is 'id' of its object.

    \b
      firstlight objects export -b R to_go/
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.repo.object_transfer import export_objects
    from firstlight.repo.repo import Repo

    with Repo.open(root) as repo:
        n = export_objects(repo, folder)
    click.echo(
        f"{n.objects} objects, {n.detections} detections of {n.images} images and {n.forced_fluxes} fluxes at known "
        f"places exported to {folder}"
    )
