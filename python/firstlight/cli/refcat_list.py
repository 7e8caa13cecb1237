"""``firstlight refcat list``: reference catalogues that a repository knows."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import json_option, repo_option


@click.command("list", context_settings={"max_content_width": 110})
@repo_option
@json_option
@log_options
def list_(root: Path, *, as_json: bool) -> None:
    """List the reference catalogues that a repository knows, and where they lie.

    \b
      firstlight refcat list -b R
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.cli.tables import print_rows
    from firstlight.errors import NoWorkFound
    from firstlight.repo.reference_catalogs import refcats
    from firstlight.repo.repo import Repo

    with Repo.open(root) as repo:
        found = refcats(repo)
    if not found:
        raise NoWorkFound("No reference catalogue is registered; 'firstlight refcat register' makes one known.")
    print_rows([{"name": name, "path": row.path} for name, row in found.items()], as_json=as_json)
