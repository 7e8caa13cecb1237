"""``firstlight alerts make``: the alerts of a night in one file."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import collections_option, repo_option


@click.command(context_settings={"max_content_width": 110})
@repo_option
@collections_option
@click.option("--night", "day_obs", required=True, type=int, metavar="YYYYMMDD", help="The night (day_obs).")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Avro file.")
@click.option("--size", type=click.IntRange(5, 301), default=63, metavar="PIXEL", help="Side of the stamps, odd.  [63]")
@click.option("--history", type=click.FloatRange(0), default=365.0, metavar="DAYS", help="How far back.  [365]")
@click.option("--candidates", default="dia_source", metavar="TYPE", help="Catalogues.  [dia_source]")
@click.option("--science", default="visit_image", metavar="TYPE", help="Images.  [visit_image]")
@click.option("--template", default="template_matched", metavar="TYPE", help="Templates.  [template_matched]")
@click.option("--difference", default="difference_image", metavar="TYPE", help="Differences.  [difference_image]")
@log_options
def make(
    root: Path,
    collections: tuple[str, ...],
    day_obs: int,
    output: Path,
    size: int,
    history: float,
    candidates: str,
    science: str,
    template: str,
    difference: str,
) -> None:
    """Write the alerts of a night: every detection that 'firstlight associate' kept.

    Equal content gives equal bytes. What is not in the repository, such as a template, is empty in the alerts.

    \b
      firstlight alerts make -b R -i night --night 20260101 -o alerts_20260101.avro

    Exit code: 0 written, 2 a mistake.
    """  # noqa: D301 - click needs the real backspace character
    if size % 2 == 0:
        raise click.UsageError(f"--size must be odd, so that the candidate is on the middle pixel; got {size}.")
    configure_logging()
    from firstlight.execution.alerts import AlertSource, night_alerts
    from firstlight.images.alert_file import write_alerts
    from firstlight.repo.repo import Repo

    with Repo.open(root) as repo:
        runs = collections or tuple(each.name for each in repo.collections() if each.kind == "RUN")
        source = AlertSource(runs, candidates, science, template, difference, size=size, history=history)
        packets = list(night_alerts(repo, day_obs, source))
    write_alerts(packets, output)
    stamps = sum(packet["cutoutDifference"] is not None for packet in packets)
    click.echo(f"{len(packets)} alerts, {stamps} with a stamp of the difference, in {output}")
