"""``firstlight query exposures``: exposures that meet a condition."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import json_option, repo_option, where_option


@click.command(context_settings={"max_content_width": 110})
@repo_option
@where_option
@json_option
@log_options
def exposures(root: Path, where: str, *, as_json: bool) -> None:
    """List exposures, with what their headers said.

    \b
      firstlight query exposures -b R
      firstlight query exposures -b R -d "observation_type = 'flat' and band in ('g', 'r')"
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from dataclasses import asdict

    from firstlight.cli.tables import print_rows
    from firstlight.errors import NoWorkFound
    from firstlight.repo.records import exposures as find_exposures
    from firstlight.repo.repo import Repo

    with Repo.open(root) as repo:
        found = find_exposures(repo, where)
        if not found:
            number = len(find_exposures(repo))
            hint = f"there are {number} others" if number else "'firstlight ingest' brings images in"
            raise NoWorkFound(f"No exposure{f' meets {where!r}' if where else ''}; {hint}.")
    print_rows([asdict(each) for each in found], as_json=as_json)
