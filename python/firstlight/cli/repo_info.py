"""``firstlight repo info``: what is in a repository."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import repo_argument


@click.command(context_settings={"max_content_width": 110})
@repo_argument
@log_options
def info(root: Path) -> None:
    """Tell what is in a repository: exposures, visits, collections, dataset types, reference catalogues.

    \b
      firstlight repo info R
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from collections import Counter

    from firstlight.repo.records import exposures, visits
    from firstlight.repo.reference_catalogs import refcats
    from firstlight.repo.repo import Repo

    with Repo.open(root) as repo:
        cameras = Counter(each.instrument for each in exposures(repo))
        made = Counter(each.instrument for each in visits(repo))
        kinds = Counter(each.kind for each in repo.collections())
        types = [str(repo.dataset_type(name)) for name in repo.type_names()]
        stores = [f"{name} ({row.path})" for name, row in refcats(repo).items()]
        click.echo(f"repository            {repo.root}")
        click.echo(f"database              {repo.database}")
        seen = [f"{name}: {n} exposures, {made[name]} visits" for name, n in sorted(cameras.items())]
        parts = {"instruments": seen, "dataset types": types, "reference catalogues": stores}
        for title, lines in parts.items():
            for number, line in enumerate(lines or ["none yet"]):
                click.echo(f"{'' if number else title:<20}  {line}")
        counted = ", ".join(f"{kinds[kind]} {kind}" for kind in ("RUN", "CHAINED", "CALIBRATION"))
        click.echo(f"collections           {counted}")
