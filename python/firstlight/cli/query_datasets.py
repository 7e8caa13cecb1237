"""``firstlight query datasets``: datasets that meet a condition."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import collections_option, json_option, repo_option, where_option

if TYPE_CHECKING:
    from firstlight.repo.repo import Repo
    from firstlight.repo.rows import DatasetRow


@click.command(context_settings={"max_content_width": 110})
@click.argument("types", metavar="[TYPE]...", nargs=-1)
@repo_option
@collections_option
@where_option
@click.option("--all", "everything", is_flag=True, help="Also those that an earlier collection hides.")
@json_option
@log_options
def datasets(
    types: tuple[str, ...], root: Path, collections: tuple[str, ...], where: str, *, everything: bool, as_json: bool
) -> None:
    """List datasets of the types TYPE, or of all types, with their files.

    With -i, collections are searched in this order, and a data id that one has is not looked for in later ones.

    \b
      firstlight query datasets -b R
      firstlight query datasets raw -b R -d "detector = 3 and exposure.airmass < 1.5"
      firstlight query datasets visit_image -b R -i night --json
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.cli.tables import print_rows
    from firstlight.errors import NoWorkFound
    from firstlight.repo.repo import Repo

    with Repo.open(root) as repo:
        names = types or tuple(repo.type_names())
        runs = collections or tuple(each.name for each in repo.collections() if each.kind == "RUN")
        first = bool(collections) and not everything
        found = [repo.datasets(name, collections=runs, where=where, find_first=first) for name in names]
        if not any(found):
            raise NoWorkFound(_nothing(repo, names, collections, where))
    for number, rows in enumerate(rows for rows in found if rows):
        if number and not as_json:
            click.echo()
        print_rows([_told(row, as_json=as_json) for row in rows], as_json=as_json)


def _told(row: DatasetRow, *, as_json: bool) -> dict[str, object]:
    told: dict[str, object] = {"type": row.type, **row.data_id, "run": row.run}
    if as_json:
        return {**told, "path": row.location, "size": row.size, "partial": row.partial, "producer": row.producer}
    return {**told, "partial": "partial" if row.partial else "", "path": row.location}


def _nothing(repo: Repo, names: tuple[str, ...], collections: tuple[str, ...], where: str) -> str:
    """Return what to say where nothing is found: what there is."""
    if not repo.type_names():
        return "There are no datasets yet; 'firstlight ingest' brings images in."
    place = f" in {', '.join(collections)}" if collections else ""
    asked = f" that meets {where!r}" if where else ""
    said = ", ".join(f"{each.name} ({each.n_datasets})" for each in repo.collections() if each.n_datasets)
    return f"No dataset of {', '.join(names)}{asked}{place}; there are datasets in {said or 'no collection'}."
