"""``firstlight repo create``: a new repository."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import repo_argument


@click.command(context_settings={"max_content_width": 110})
@repo_argument
@click.option("--database", metavar="URL", help="PostgreSQL server that keeps the tables: postgresql://user@host/name.")
@log_options
def create(root: Path, database: str | None) -> None:
    """Make a repository in the folder REPO, which must be new or empty.

    Its database is an SQLite file in the folder, for one host; several hosts share one on a PostgreSQL server, whose
    password stands in PGPASSWORD or ~/.pgpass.

    \b
      firstlight repo create R
      firstlight repo create R --database postgresql://survey@db.example.org/night
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.repo.repo import Repo

    with Repo.create(root, database=database) as made:
        click.echo(f"{made.root} is a repository; 'firstlight ingest -b {root} FILES' brings images in.")
