"""``firstlight query visits``: visits that meet a condition or show a place on the sky."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import json_option, repo_option, where_option


@click.command(context_settings={"max_content_width": 110})
@repo_option
@where_option
@click.option("--ra", type=float, metavar="DEG", help="Only visits that may show this place.")
@click.option("--dec", type=click.FloatRange(-90, 90), metavar="DEG", help="Its declination.")
@click.option("--radius", type=click.FloatRange(0, 180), default=0.0, metavar="DEG", help="Size of the place.  [0]")
@json_option
@log_options
def visits(root: Path, where: str, ra: float | None, dec: float | None, radius: float, *, as_json: bool) -> None:
    """List visits: what is processed as one, an exposure or several snaps.

    Until an image is calibrated its place is that of the header, made larger by the camera's pointing error. Then there
    are also the seeing [arcsec], the zero point [AB mag of one count] and the depth [AB mag], means over its detectors.

    \b
      firstlight query visits -b R -d "band = 'r'"
      firstlight query visits -b R --ra 30.98 --dec 46.83 --radius 0.1
    """  # noqa: D301 - click needs the real backspace character
    if (ra is None) != (dec is None):
        raise click.UsageError("--ra and --dec belong together.")
    configure_logging()
    from dataclasses import asdict, fields

    from firstlight.cli.tables import print_rows
    from firstlight.errors import NoWorkFound
    from firstlight.repo.records import visits as find_visits
    from firstlight.repo.regions import visits_at
    from firstlight.repo.repo import Repo
    from firstlight.repo.summaries import VisitSummary, visit_summaries

    with Repo.open(root) as repo:
        if ra is None or dec is None:
            found = find_visits(repo, where)
        else:
            found = visits_at(repo, ra=ra, dec=dec, radius=radius, where=where)
        if not found:
            number = len(find_visits(repo))
            asked = f" meets {where!r}" if where else ""
            place = f"{' and' if where else ''} may show ra {ra:g}, dec {dec:g}" if ra is not None else ""
            hint = f"there are {number} others" if number else "'firstlight ingest' brings images in"
            raise NoWorkFound(f"No visit{asked}{place}; {hint}.")
        summaries = visit_summaries(repo)
    unknown = dict.fromkeys(field.name for field in fields(VisitSummary))
    rows = []
    for each in found:
        summary = summaries.get((each.instrument, each.visit))
        like = unknown if summary is None else asdict(summary)
        rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in like.items()}
        rows.append(asdict(each) | rounded)
    print_rows(rows, as_json=as_json)
