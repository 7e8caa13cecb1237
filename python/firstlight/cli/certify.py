"""``firstlight certify``: calibrations with the time for which they hold."""

from __future__ import annotations

import math
from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import repo_option, where_option


@click.command(context_settings={"max_content_width": 110})
@click.argument("types", metavar="TYPE...", nargs=-1, required=True)
@repo_option
@click.option("--run", required=True, metavar="NAME", help="Run that has the calibrations.")
@click.option("--into", "collection", required=True, metavar="NAME", help="Calibration collection; made if need be.")
@click.option("--begin", metavar="DATE", help="First moment: 2026-01-31, 2026-01-31T12:00 (TAI) or MJD.  [always]")
@click.option("--end", metavar="DATE", help="First moment at which they hold no more.  [never]")
@where_option
@log_options
def certify(
    types: tuple[str, ...], root: Path, run: str, collection: str, begin: str | None, end: str | None, where: str
) -> None:
    """Say from when until when calibrations hold: those of the types TYPE in a run.

    An exposure finds the calibration that holds in the middle of it. Two of the same data id cannot hold at once.

    \b
      firstlight certify bias flat -b R --run calib/1 --into calib --begin 2026-01-01 --end 2026-02-01
      firstlight certify flat -b R --run calib/1 --into calib -d "band = 'r'"
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.errors import NoWorkFound
    from firstlight.repo.repo import Repo

    period = mjd_of_option(begin, -math.inf, "--begin"), mjd_of_option(end, math.inf, "--end")
    with Repo.open(root) as repo:
        found = {name: len(repo.datasets(name, collections=run, where=where)) for name in types}
        for name, n_found in found.items():
            if not n_found:
                of_query = f" that meets {where!r}" if where else ""
                raise NoWorkFound(f"{run} has no {name}{of_query}; 'firstlight query datasets -b {root}' shows all.")
        repo.make_calibration(collection)
        for name in types:
            number = repo.certify(name, run=run, collection=collection, begin=period[0], end=period[1], where=where)
            click.echo(f"{number} {name} certified in {collection}")


def mjd_of_option(text: str | None, default: float, option: str) -> float:
    """Return a date on the command line as MJD TAI."""
    from firstlight.errors import InputError
    from firstlight.images.header_values import mjd_tai

    if text is None:
        return default
    found = mjd_tai(text, scale="tai")
    if found is None:
        raise InputError(f"{option}: {text!r} is no date; write 2026-01-31, 2026-01-31T12:00:00 or an MJD.")
    return found
