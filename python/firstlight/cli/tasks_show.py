"""``firstlight tasks show``: one task, its settings, its slots, what it reads and makes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from firstlight.cli.logs import configure_logging, log_options

if TYPE_CHECKING:
    from firstlight.framework import Task


@click.command(context_settings={"max_content_width": 110})
@click.argument("name", metavar="TASK")
@log_options
def show(name: str) -> None:
    """Explain one task: what it does, its settings with units and defaults, what fits into its slots.

    \b
      firstlight tasks show PixelPsfTask
      firstlight tasks show CalibrateImageTask
      firstlight tasks show PsfTask
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.framework.families import find_family

    click.echo("\n".join(_sections(find_family(name))))


def _sections(task: type[Task[Any]]) -> Iterator[str]:
    from firstlight.framework.families import family_name
    from firstlight.framework.lookup import name_of

    yield f"{name_of(task)} ({'an interface' if inspect.isabstract(task) else 'family ' + family_name(task)})"
    yield inspect.getdoc(task) or ""
    yield from _members(task)
    yield from _connections(task)
    yield from _slots(task)
    settings = task.config_class().to_yaml() if not inspect.isabstract(task) else ""
    if settings and settings != "{}\n":
        yield "\nsettings and their defaults:"
        yield "\n".join(f"  {line}" for line in settings.splitlines())


def _members(task: type[Task[Any]]) -> Iterator[str]:
    from firstlight.framework.families import members

    if inspect.isabstract(task):
        yield "\nwhat can stand for it:"
        yield from (f"  {each.name}: {each.summary}" for each in members(task.__name__))


def _connections(task: type[Task[Any]]) -> Iterator[str]:
    from firstlight.framework import PipelineTask

    if not issubclass(task, PipelineTask) or not task.dimensions:
        return
    yield f"\nruns for each {', '.join(task.dimensions)}"
    for verb, connections in (("reads", task.inputs), ("needs", task.prerequisites), ("makes", task.outputs)):
        for own, each in connections.items():
            when = f", when {each.when} says so" if each.when else ""
            yield f"  {verb} {own}: {each.name} ({getattr(each.type, '__name__', each.type)}{when})"


def _slots(task: type[Task[Any]]) -> Iterator[str]:
    from firstlight.framework.families import members, slots_of

    slots = list(slots_of(task))
    if slots:
        yield "\nslots and what fits into them:"
    for name, family, optional in slots:
        fitting = ", ".join(each.name for each in members(family.__name__))
        yield f"  {name} ({family.__name__}{', may be empty' if optional else ''}): {fitting}"
