"""Pages of the commands: usage, help and every option, read from click."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from firstlight.cli.main import cli

from .rst import Lines, code, heading, literal, table

SIGNS = ("=", "-", "~", "^")


def command_pages() -> dict[str, Lines]:
    """Return file name -> text of a page, for each command; subcommands stand on the page of their group."""
    root = click.Context(cli, info_name="firstlight")
    return {f"{name}.rst": _command(command, _below(root, command, name), 0) for name, command in _commands(root)}


def _commands(ctx: click.Context) -> Iterator[tuple[str, click.Command]]:
    group = ctx.command
    if isinstance(group, click.Group):
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            if command is not None and not command.hidden:
                yield name, command


def _below(ctx: click.Context, command: click.Command, name: str) -> click.Context:
    return click.Context(command, info_name=name, parent=ctx)


def _command(command: click.Command, ctx: click.Context, level: int) -> Lines:
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    lines = [*heading(ctx.command_path, SIGNS[level]), *code(usage, "text"), *_help(command.help or "")]
    records = [
        record for parameter in command.get_params(ctx) if (record := parameter.get_help_record(ctx)) and record[1]
    ]
    lines += table(
        ("option", "meaning"), [(literal(flags), _verbatim(text)) for flags, text in records], widths=(40, 60)
    )
    for name, below in _commands(ctx):
        lines += _command(below, _below(ctx, below, name), level + 1)
    return lines


def _help(text: str) -> Lines:
    """Return the help of a command; what click leaves as it stands becomes a block."""
    lines: Lines = []
    for paragraph in inspect.cleandoc(text.partition("\f")[0]).split("\n\n"):
        kept = paragraph.strip("\n").splitlines()
        if kept[:1] != ["\b"]:
            lines += [_verbatim(" ".join(paragraph.split())), ""]
            continue
        first, *rest = kept[1:]
        if rest and first.endswith(":"):
            lines += [_verbatim(first), "", *code("\n".join(rest), "text")]
        else:
            lines += code("\n".join(kept[1:]), "text")
    return lines


def _verbatim(text: str) -> str:
    """Return plain text so that no sign in it is taken for markup."""
    return "".join(f"\\{sign}" if sign in r"\*`|_<" else sign for sign in text)


def overview_of_commands() -> Lines:
    """Return a table of the commands, with links to their pages."""
    root = click.Context(cli, info_name="firstlight")
    rows = [
        (f":doc:`firstlight {name} </reference/generated/commands/{name}>`", _verbatim(command.get_short_help_str(90)))
        for name, command in _commands(root)
    ]
    return table(("command", "what it does"), rows, widths=(30, 70))
