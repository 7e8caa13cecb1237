"""``firstlight export``: part of a repository into a folder."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import collections_option, repo_option, where_option


@click.command(context_settings={"max_content_width": 110})
@click.argument("folder", type=click.Path(path_type=Path))
@repo_option
@collections_option
@click.option("-t", "--type", "types", multiple=True, metavar="TYPE", help="Only this dataset type; repeatable.")
@where_option
@log_options
def export(folder: Path, root: Path, collections: tuple[str, ...], types: tuple[str, ...], where: str) -> None:
    """Copy datasets and what is known about them into FOLDER, which 'firstlight import' reads anywhere.

    \b
      firstlight export -b R -i night -t visit_image -d "band = 'r'" to_go/
      firstlight import -b other to_go/
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.repo.repo import Repo

    with Repo.open(root) as repo:
        number = repo.export(folder, collections=collections or None, types=types or None, where=where)
    click.echo(f"{number} datasets exported to {folder}")
