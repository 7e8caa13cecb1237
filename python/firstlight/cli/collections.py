"""``firstlight collections``: look at collections and change them."""

from __future__ import annotations

import click

from firstlight.cli.lazy_group import LazyCommand, LazyGroup

COMMANDS = {
    "list": LazyCommand("firstlight.cli.collections_list", "List collections.", "list_"),
    "chain": LazyCommand("firstlight.cli.collections_chain", "Make a collection that searches others."),
    "remove": LazyCommand("firstlight.cli.collections_remove", "Delete a collection; a run with its files."),
    "prune": LazyCommand("firstlight.cli.collections_prune", "Delete datasets of a type with their files."),
}


@click.group(cls=LazyGroup, commands_there=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def collections() -> None:
    """Look at collections, chain them, remove them.

    A RUN has the datasets of one execution, a CHAINED collection searches others in order, a CALIBRATION collection
    has calibrations with the time for which they hold.

    \b
      firstlight collections list -b R
      firstlight collections chain -b R defaults calib raw/ztf
      firstlight collections remove -b R night/1 --yes
    """  # noqa: D301 - click needs the real backspace character
