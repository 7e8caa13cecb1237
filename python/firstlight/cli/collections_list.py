"""``firstlight collections list``: collections and what is in them."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import json_option, repo_option


@click.command("list", context_settings={"max_content_width": 110})
@click.argument("pattern", metavar="[PATTERN]", default="*")
@repo_option
@json_option
@log_options
def list_(pattern: str, root: Path, *, as_json: bool) -> None:
    """List collections, or those that match PATTERN, with their kind, number of datasets and members.

    \b
      firstlight collections list -b R
      firstlight collections list -b R 'night/*'
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.cli.tables import print_rows
    from firstlight.errors import NoWorkFound
    from firstlight.repo.repo import Repo

    with Repo.open(root) as repo:
        found = repo.collections(pattern)
        if not found:
            names = [each.name for each in repo.collections()]
            hint = f"there are {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
            raise NoWorkFound(f"No collection matches {pattern!r}; {hint if names else 'there are none yet'}.")
    for_people = not as_json
    rows = [
        {
            "collection": each.name,
            "kind": each.kind,
            "datasets": each.n_datasets,
            "members": " ".join(each.members) if for_people else list(each.members),
        }
        for each in found
    ]
    print_rows(rows, as_json=as_json)
