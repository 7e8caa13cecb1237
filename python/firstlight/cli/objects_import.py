"""``firstlight objects import``: objects that were exported from another repository."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import repo_option


@click.command("import", context_settings={"max_content_width": 110})
@click.argument("folder", type=click.Path(path_type=Path))
@repo_option
@log_options
def import_(folder: Path, root: Path) -> None:
    """Take in everything that 'firstlight objects export' wrote into FOLDER, or nothing.

    What is there already stays. A repository with other images, or other detections of one of them, is left as it is:
    objects depend on all images together, and 'firstlight associate' finds those of both.

    \b
      firstlight objects import -b other to_go/
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.repo.object_transfer import import_objects
    from firstlight.repo.repo import Repo

    with Repo.open(root) as repo:
        n = import_objects(repo, folder)
    click.echo(
        f"{root} has {n.objects} objects, {n.detections} detections of {n.images} images and {n.forced_fluxes} fluxes "
        "at known places now"
    )
