"""``firstlight query``: what a repository has."""

from __future__ import annotations

import click

from firstlight.cli.lazy_group import LazyCommand, LazyGroup

COMMANDS = {
    "datasets": LazyCommand("firstlight.cli.query_datasets", "List datasets."),
    "exposures": LazyCommand("firstlight.cli.query_exposures", "List exposures."),
    "visits": LazyCommand("firstlight.cli.query_visits", "List visits, also by their place on the sky."),
    "collections": LazyCommand("firstlight.cli.collections_list", "List collections.", "list_"),
}


@click.group(cls=LazyGroup, commands_there=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def query() -> None:
    """List what a repository has, by conditions on dimensions and on what headers said.

    \b
      firstlight query exposures -b R -d "day_obs = 20260101 and exposure_time > 30"
      firstlight query visits -b R --ra 30.98 --dec 46.83
      firstlight query datasets raw -b R -d "visit in (1..5, 9) and not (band = 'r' or object_name like 'M%')"
      firstlight query collections -b R

    Exit code: 0 found, 2 a mistake, 3 nothing found.
    """  # noqa: D301 - click needs the real backspace character
