"""``firstlight tasks list``: the tasks of all installed packages."""

from __future__ import annotations

from itertools import groupby

import click

from firstlight.cli.logs import configure_logging, log_options


@click.command("list", context_settings={"max_content_width": 110})
@click.argument("family", metavar="[FAMILY]", default="")
@log_options
def list_(family: str) -> None:
    """List the tasks of all installed packages by family, or those that fit where FAMILY is asked for.

    Any member of a family can stand in a slot of the family: '-c LABEL:SLOT.task=NAME'.

    \b
      firstlight tasks list
      firstlight tasks list PsfTask
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.framework.families import KnownTask, list_tasks, members

    found = members(family) if family else list_tasks()
    ordered = sorted(found, key=lambda each: (each.family, each.name))
    width = max((len(each.name) for each in found), default=0)

    def line(each: KnownTask) -> str:
        package = "" if each.package == "firstlight" else f" [{each.package}]"
        return f"  {each.name:<{width}}  {each.summary}{package}"

    for name, group in groupby(ordered, key=lambda each: each.family):
        click.echo(f"{name or 'cannot be imported'}:")
        click.echo("\n".join(line(each) for each in group))
