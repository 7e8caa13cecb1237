"""``firstlight import``: what was exported from another repository."""

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
    """Take in everything that 'firstlight export' wrote into FOLDER, or nothing; what is there already stays.

    \b
      firstlight import -b R to_go/
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.repo.repo import Repo

    with Repo.open(root) as repo:
        number = repo.import_(folder)
    click.echo(f"{number} datasets imported")
