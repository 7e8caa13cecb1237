"""Groups of commands whose modules are imported only when a command is called."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click


class LazyCommand(NamedTuple):
    """Where a command lives, and what the list of commands says about it."""

    module: str
    summary: str
    attribute: str = ""
    """Name in the module; that of the command where this is empty."""


class LazyGroup(click.Group):
    """A group that imports the module of a command only when the command is called.

    Parameters
    ----------
    *args, **kwargs
        Those of `click.Group`.
    commands_there
        Name -> where the command lives; the module has a click command of the same name.
    """

    def __init__(self, *args: Any, commands_there: Mapping[str, LazyCommand], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands_there = commands_there

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in their order."""
        return list(self.commands_there)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None if there is none of this name."""
        if cmd_name not in self.commands_there:
            return None
        module, _, attribute = self.commands_there[cmd_name]
        command = getattr(importlib.import_module(module), attribute or cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{cmd_name} is not a click command.")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one was probably meant."""
        name = args[0]
        if name not in self.commands_there and not name.startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(name, self.commands_there, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the commands are {', '.join(self.commands_there)}."
            raise click.UsageError(f"No such command {name!r}; {hint}", ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in self.commands_there.items()])
