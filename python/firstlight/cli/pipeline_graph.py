"""``firstlight pipeline graph``: which task makes what for which."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.pipeline_options import SINGLE_FRAME, SettingsOptions, built_pipeline, settings_options

if TYPE_CHECKING:
    from firstlight.framework import TaskGraph


@click.command(context_settings={"max_content_width": 110})
@click.argument("location", metavar="[PIPELINE]", default=SINGLE_FRAME)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "mermaid"]),
    default="text",
    show_default=True,
    help="How to draw it.",
)
@settings_options
@log_options
def graph(location: str, form: str, given: SettingsOptions) -> None:
    """Draw the tasks of a pipeline and the datasets between them.

    Mermaid text is drawn by code-hosting sites, by many editors, and by mermaid.live.

    \b
      firstlight pipeline graph single_frame.yaml
      firstlight pipeline graph single_frame.yaml --format mermaid > single_frame.mmd
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    built = built_pipeline(location, given)
    click.echo("\n".join(_mermaid(built.graph) if form == "mermaid" else _text(built.graph)))


def _text(tasks: TaskGraph) -> Iterator[str]:
    """Yield one line for each dataset: before the task that makes it what it reads, after it who uses it."""
    for name, readers in tasks.outside.items():
        yield f"  {name} -> {', '.join(readers)}"
    for node in tasks:
        yield f"[{node.label}]"
        for name in node.writes:
            users = [other.label for other in tasks if name in other.reads]
            yield f"  {name}" + (f" -> {', '.join(users)}" if users else "")


def _mermaid(tasks: TaskGraph) -> Iterator[str]:
    yield "flowchart TD"
    names = [*tasks.outside, *tasks.made]
    dataset = {name: f"d{index}" for index, name in enumerate(names)}
    task = {label: f"t{index}" for index, label in enumerate(tasks.nodes)}
    for label, key in task.items():
        yield f'  {key}["{label}<br/><small>{tasks.nodes[label].slot.task.__name__}</small>"]'
    for name, key in dataset.items():
        yield f'  {key}(["{name}"])'
    for node in tasks:
        for name in node.reads:
            yield f"  {dataset[name]} --> {task[node.label]}"
        for name in node.writes:
            yield f"  {task[node.label]} --> {dataset[name]}"
