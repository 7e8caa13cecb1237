"""``firstlight provenance show``: what made a file."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options


@click.command(context_settings={"max_content_width": 110})
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "-b", "--repo", "root", required=True, type=click.Path(path_type=Path), metavar="REPO", help="The repository."
)
@click.option("-r", "--recursive", is_flag=True, help="And what made its inputs, back to the raw images.")
@log_options
def show(path: Path, root: Path, recursive: bool) -> None:
    """Tell what made a file of a repository: run, command, versions, settings with their origins, inputs.

    \b
      firstlight provenance show -b repo repo/night/1/visit_image/.../visit_image_12.fits
      firstlight provenance show -b repo -r FILE
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.execution.provenance import provenance_of, text_of
    from firstlight.repo.repo import Repo

    with Repo.open(root) as repo:
        for line in text_of(repo, provenance_of(repo, path), recursive=recursive):
            click.echo(line)
