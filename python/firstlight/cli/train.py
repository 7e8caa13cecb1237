"""``firstlight train``: make the models that judge."""

from __future__ import annotations

import click

from firstlight.cli.lazy_group import LazyCommand, LazyGroup

COMMANDS = {"vet": LazyCommand("firstlight.cli.train_vet", "Make a model that tells real changes from artefacts.")}


@click.group(cls=LazyGroup, commands_there=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def train() -> None:
    """Make the models that judge what was found, from simulated images and from your own.

    \b
      firstlight train vet -o models/
    """  # noqa: D301 - click needs the real backspace character
