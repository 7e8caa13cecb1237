"""``firstlight provenance``: how a file came to be."""

from __future__ import annotations

import click

from firstlight.cli.lazy_group import LazyCommand, LazyGroup

COMMANDS = {
    "show": LazyCommand("firstlight.cli.provenance_show", "Tell what made a file: run, settings, versions, inputs."),
}


@click.group(cls=LazyGroup, commands_there=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def provenance() -> None:
    """Tell how a file of a repository came to be.

    \b
      firstlight provenance show -b repo repo/night/1/visit_image/.../visit_image_12.fits
    """  # noqa: D301 - click needs the real backspace character
