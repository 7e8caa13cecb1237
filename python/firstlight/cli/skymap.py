"""``firstlight skymap``: tracts of the sky."""

from __future__ import annotations

import click

from firstlight.cli.lazy_group import LazyCommand, LazyGroup

COMMANDS = {
    "register": LazyCommand("firstlight.cli.skymap_register", "Give each field of a repository a tract of its own."),
}


@click.group(cls=LazyGroup, commands_there=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def skymap() -> None:
    """Divide the sky into tracts, on which templates are made.

    \b
      firstlight skymap register -b R fields -i night
      firstlight run -b R -p template.yaml -i night -i skymaps/fields -o templates
    """  # noqa: D301 - click needs the real backspace character
