"""``firstlight collections prune``: delete datasets."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import repo_option, where_option


@click.command(context_settings={"max_content_width": 110})
@click.argument("types", metavar="TYPE...", nargs=-1, required=True)
@repo_option
@click.option("-i", "--input", "collections", multiple=True, required=True, metavar="NAME", help="Where; repeatable.")
@where_option
@click.option("--yes", is_flag=True, help="Do it; without this the command only tells what it would delete.")
@log_options
def prune(types: tuple[str, ...], root: Path, collections: tuple[str, ...], where: str, *, yes: bool) -> None:
    """Delete the datasets of the types TYPE, with their files, from collections.

    \b
      firstlight collections prune difference_image -b R -i night/1 -d "visit in (1..100)" --yes
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.errors import InputError, NoWorkFound
    from firstlight.repo.repo import Repo

    with Repo.open(root) as repo:
        found = {name: repo.datasets(name, collections=collections, where=where, find_first=False) for name in types}
        n_bytes = sum(row.size for rows in found.values() for row in rows)
        what = f"{', '.join(f'{len(rows)} {name}' for name, rows in found.items())} ({n_bytes / 1e6:.1f} MB)"
        if not any(found.values()):
            raise NoWorkFound(f"No {' or '.join(types)} to delete in {', '.join(collections)}.")
        if not yes:
            raise InputError(f"This would delete {what}; add --yes to do it.")
        for name in types:
            repo.prune(name, collections=collections, where=where)
    click.echo(f"deleted {what}")
