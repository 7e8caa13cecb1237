"""``firstlight collections chain``: a collection that searches others."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import repo_option


@click.command(context_settings={"max_content_width": 110})
@click.argument("name", metavar="NAME")
@click.argument("members", metavar="MEMBER...", nargs=-1, required=True)
@repo_option
@log_options
def chain(name: str, members: tuple[str, ...], root: Path) -> None:
    """Make NAME search the collections MEMBER in this order, whatever it searched before.

    \b
      firstlight collections chain -b R defaults calib raw/ztf
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.repo.repo import Repo

    with Repo.open(root) as repo:
        repo.chain(name, members)
    click.echo(f"{name} searches {', '.join(members)}")
