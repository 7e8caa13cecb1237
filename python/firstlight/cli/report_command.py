"""``firstlight report``: what became of a run."""

from __future__ import annotations

import json
from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options


@click.command(context_settings={"max_content_width": 110})
@click.argument("output", metavar="NAME")
@click.option(
    "-b", "--repo", "root", required=True, type=click.Path(path_type=Path), metavar="REPO", help="Repository."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page into a file.")
@log_options
def report(output: str, root: Path, as_json: bool, html: Path | None) -> None:
    """Say what became of a run: counts for each task, failures by their reason, gates, times.

    Each group of failures comes with the command that runs one of them again.

    \b
      firstlight report -b repo night
      firstlight report -b repo night --html night.html
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.execution.report import make_report, text_of
    from firstlight.repo.repo import Repo

    with Repo.open(root) as repo:
        made = make_report(repo, output)
    if html is not None:
        from firstlight.execution.report_page import write_report_page

        write_report_page(made, html)
    click.echo(json.dumps(made.to_dict(), indent=1) if as_json else text_of(made))
