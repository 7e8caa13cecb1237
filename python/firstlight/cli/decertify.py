"""``firstlight decertify``: calibrations that hold no more."""

from __future__ import annotations

import math
from pathlib import Path

import click

from firstlight.cli.certify import mjd_of_option
from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import repo_option, where_option


@click.command(context_settings={"max_content_width": 110})
@click.argument("types", metavar="TYPE...", nargs=-1, required=True)
@repo_option
@click.option("--from", "collection", required=True, metavar="NAME", help="Calibration collection.")
@click.option("--begin", metavar="DATE", help="First moment: 2026-01-31, 2026-01-31T12:00 (TAI) or MJD.  [always]")
@click.option("--end", metavar="DATE", help="First moment at which they may hold again.  [never]")
@where_option
@log_options
def decertify(
    types: tuple[str, ...], root: Path, collection: str, begin: str | None, end: str | None, where: str
) -> None:
    """Take a period out of the time for which calibrations hold; their files stay.

    \b
      firstlight decertify flat -b R --from calib -d "band = 'r'"
      firstlight decertify bias -b R --from calib --begin 2026-01-10 --end 2026-01-12
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.errors import NoWorkFound
    from firstlight.repo.repo import Repo

    first, last = mjd_of_option(begin, -math.inf, "--begin"), mjd_of_option(end, math.inf, "--end")
    with Repo.open(root) as repo:
        changed = [repo.decertify(name, collection=collection, begin=first, end=last, where=where) for name in types]
    if not any(changed):
        raise NoWorkFound(f"No {' or '.join(types)} is certified in {collection} for that time.")
    for name, number in zip(types, changed, strict=True):
        click.echo(f"{number} {name} changed in {collection}")
