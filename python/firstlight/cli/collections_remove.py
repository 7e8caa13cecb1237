"""``firstlight collections remove``: delete a collection."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import repo_option


@click.command(context_settings={"max_content_width": 110})
@click.argument("name", metavar="NAME")
@repo_option
@click.option("--yes", is_flag=True, help="Do it; without this the command only tells what it would delete.")
@log_options
def remove(name: str, root: Path, *, yes: bool) -> None:
    """Delete a collection: a run with all its files; of a chain or a calibration collection only the list.

    \b
      firstlight collections remove -b R night/1 --yes
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.errors import InputError
    from firstlight.repo.repo import Repo

    with Repo.open(root) as repo:
        repo.resolve(name)
        [found] = [each for each in repo.collections() if each.name == name]
        is_run = found.kind == "RUN"
        what = f"{name} with {found.n_datasets} datasets and their files" if is_run else f"{name} ({found.kind})"
        if not yes:
            raise InputError(f"This would delete {what}; add --yes to do it.")
        (repo.remove_run if is_run else repo.remove_collection)(name)
    click.echo(f"deleted {what}")
