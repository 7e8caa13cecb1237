"""``firstlight pages``: the pages of a night."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import repo_option


@click.command(context_settings={"max_content_width": 110})
@click.argument("output", metavar="NAME")
@repo_option
@click.option("--night", "day_obs", type=int, metavar="YYYYMMDD", help="The night (day_obs).  [default: the last one]")
@click.option(
    "-o", "--output", "folder", type=click.Path(path_type=Path), metavar="DIR",
    help="Folder for the pages.  [default: REPO/NAME/pages/YYYYMMDD]",
)  # fmt: skip
@log_options
def pages(output: str, root: Path, day_obs: int | None, folder: Path | None) -> None:
    """Write the pages of a night: its exposures, its candidates, one page for each object.

    index.html shows seeing, zero points, depth, what failed and where the time went; candidates.html has science,
    template and difference of each candidate, its score, its history and what is known to shine there, to be sorted
    by a click. They need no network and can be put on any web server; links lead to SIMBAD, NED, Aladin and the TNS.
    NAME is what 'run' or 'watch' was told as -o; 'watch' writes them by itself after each exposure. Candidates that
    only difference.yaml made show too, and their objects once 'firstlight associate' has made them.

    \b
      firstlight pages night -b repo
      firstlight pages night -b repo --night 20261127 -o /var/www/tonight

    Exit code: 0 written, 2 a mistake, 3 nothing of that night.
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.cli.night_pages import NightPages
    from firstlight.repo.repo import Repo

    with Repo.open(root) as repo:
        writer = NightPages(repo, output)
        day = writer.last_night() if day_obs is None else day_obs
        click.echo(writer.write(day, folder))
