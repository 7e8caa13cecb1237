"""``firstlight repo check``: files against what the database says."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.exit_codes import DONE, FAILED_ON_DATA
from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import repo_argument


@click.command(context_settings={"max_content_width": 110})
@repo_argument
@click.option("--quick", is_flag=True, help="Compare sizes only, without reading every file.")
@log_options
def check(root: Path, *, quick: bool) -> int:
    """Look for files that are gone, changed, not finished or of no dataset.

    Each is told with what to do about it; nothing is changed.

    \b
      firstlight repo check R
      firstlight repo check R --quick

    Exit code: 0 all is well, 1 something is wrong.
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.repo.repo import Repo

    with Repo.open(root) as repo:
        problems = repo.check(checksums=not quick)
        for each in problems:
            click.echo(str(each))
        click.echo(f"{len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'} in {repo.root}")
    return FAILED_ON_DATA if problems else DONE
