"""``firstlight repo``: make a repository and look after it."""

from __future__ import annotations

import click

from firstlight.cli.lazy_group import LazyCommand, LazyGroup

COMMANDS = {
    "create": LazyCommand("firstlight.cli.repo_create", "Make a repository."),
    "info": LazyCommand("firstlight.cli.repo_info", "Tell what is in a repository."),
    "check": LazyCommand("firstlight.cli.repo_check", "Look for files that are gone, changed or of no dataset."),
}


@click.group(cls=LazyGroup, commands_there=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def repo() -> None:
    """Make a repository and look after it.

    \b
      firstlight repo create R
      firstlight ingest -b R night/*.fits
      firstlight repo info R
      firstlight repo check R
    """  # noqa: D301 - click needs the real backspace character
