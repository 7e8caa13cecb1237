"""``firstlight ingest``: files of a telescope into a repository."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from firstlight.cli.exit_codes import DONE, FAILED_ON_DATA
from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.messages import complain
from firstlight.cli.repo_options import repo_option


@click.command(context_settings={"max_content_width": 110})
@click.argument("files", metavar="FILES...", nargs=-1, required=True, type=click.Path(path_type=Path))
@repo_option
@click.option("--instrument", metavar="NAME", help="Camera; without it each header tells.")
@click.option("--run", metavar="NAME", help="Where the images go.  [raw/<instrument>]")
@click.option(
    "--mode",
    type=click.Choice(["copy", "link", "direct"]),
    default="copy",
    show_default=True,
    help="Copy the files, link them, or leave them where they are.",
)
@click.option("--dry-run", is_flag=True, help="Only tell what would happen.")
@log_options
def ingest(
    files: tuple[Path, ...], root: Path, instrument: str | None, run: str | None, mode: str, *, dry_run: bool
) -> int:
    """Make images known: translate their headers, define visits and their places on the sky, bring the files in.

    Biases, darks and flats go in the same way. What is there already stays as it is, so the command can be repeated.
    A file that cannot be used is told with its reason, and the others go in, all together.

    \b
      firstlight ingest -b R night/*.fits
      firstlight ingest -b R --mode link --dry-run night/*.fits

    Exit code: 0 all files are in, 1 some could not be used.
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.instruments import get_instrument
    from firstlight.instruments.translation import translate_file
    from firstlight.repo.ingest import MODES
    from firstlight.repo.ingest import ingest as ingest_files
    from firstlight.repo.repo import Repo

    translate = partial(translate_file, instrument=None if instrument is None else get_instrument(instrument))
    with Repo.open(root) as repo:
        report = ingest_files(repo, files, translate=translate, run=run, mode=MODES[mode], dry_run=dry_run)
    for path, reason in report.rejected:
        complain(f"{path} {reason}", FAILED_ON_DATA)
    verb = "would be added" if dry_run else "added"
    click.echo(
        f"{len(report.added)} {verb}, {len(report.there_already)} there already, {len(report.rejected)} rejected"
    )
    return FAILED_ON_DATA if report.rejected else DONE
