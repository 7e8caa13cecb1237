"""``firstlight ingest``: files of a telescope into a repository."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from firstlight.cli.exit_codes import DONE, FAILED_ON_DATA, NOTHING_TO_DO
from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.messages import complain
from firstlight.cli.repo_options import repo_option

if TYPE_CHECKING:
    from firstlight.repo.incoming import Reject
    from firstlight.repo.ingest import IngestReport

MOST_OF_A_KIND = 5
"""Files that are skipped for the same reason and told by name."""


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
    A mask that lies beside its image (NAME_mask.fits, or as the camera names it) goes in with it, and is used whenever
    the image is. Other files that are no images are told and left out. An image that cannot be used is told with its
    reason, and the others go in, all together.

    \b
      firstlight ingest -b R night/*.fits
      firstlight ingest -b R --mode link --dry-run night/*.fits

    Exit code: 0 all images are in, 1 some could not be used, 3 there was no image.
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.cli.progress import file_bar
    from firstlight.instruments import get_instrument
    from firstlight.instruments.translation import translate_file
    from firstlight.repo.ingest import MODES
    from firstlight.repo.ingest import ingest as ingest_files
    from firstlight.repo.repo import Repo

    translate = partial(translate_file, instrument=None if instrument is None else get_instrument(instrument))
    with Repo.open(root) as repo, file_bar() as tell:
        report = ingest_files(repo, files, translate=translate, run=run, mode=MODES[mode], dry_run=dry_run, tell=tell)
    for path, reason in report.rejected:
        complain(f"{path} {reason}", FAILED_ON_DATA)
    for line in _skipped_lines(report.skipped):
        complain(line, DONE)
    click.echo(_counts(report, "would be added" if dry_run else "added"))
    if report.rejected:
        return FAILED_ON_DATA
    return DONE if report.added or report.there_already else NOTHING_TO_DO


def _counts(report: IngestReport, verb: str) -> str:
    masks = f" ({len(report.masks)} with a mask)" if report.masks else ""
    parts = [f"{len(report.added)} {verb}{masks}", f"{len(report.there_already)} there already"]
    parts += [f"{len(report.rejected)} rejected", *([f"{len(report.skipped)} skipped"] if report.skipped else [])]
    return ", ".join(parts)


def _skipped_lines(skipped: Sequence[Reject]) -> Iterator[str]:
    """Yield a line for each file, or for the first ones of a kind where there are many."""
    kinds: dict[tuple[str, str], list[Reject]] = {}
    for each in skipped:
        # What a line says but for the name of the image that a companion belongs to.
        kinds.setdefault((each.path.suffix, each.reason.partition(" of ")[0]), []).append(each)
    for (suffix, _), files in kinds.items():
        for path, reason in files[:MOST_OF_A_KIND]:
            yield f"skipped: {path} {reason}"
        if len(files) > MOST_OF_A_KIND:
            yield f"skipped: {len(files) - MOST_OF_A_KIND} more files *{suffix} for the same reason."
