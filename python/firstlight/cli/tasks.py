"""``firstlight tasks``: look at tasks."""

from __future__ import annotations

import click

from firstlight.cli.lazy_group import LazyCommand, LazyGroup

COMMANDS = {
    "list": LazyCommand("firstlight.cli.tasks_list", "List tasks, or what fits where a family is asked for.", "list_"),
    "show": LazyCommand("firstlight.cli.tasks_show", "Explain one task: settings, slots, what it reads and makes."),
}


@click.group(cls=LazyGroup, commands_there=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def tasks() -> None:
    """Look at tasks: what there is in all installed packages, and what can stand in for what.

    \b
      firstlight tasks list
      firstlight tasks list PsfTask
      firstlight tasks show PixelPsfTask
    """  # noqa: D301 - click needs the real backspace character
