"""``firstlight pipeline``: look at pipelines."""

from __future__ import annotations

import click

from firstlight.cli.lazy_group import LazyCommand, LazyGroup

COMMANDS = {
    "show": LazyCommand("firstlight.cli.pipeline_show", "Print what a pipeline does, step by step."),
    "check": LazyCommand("firstlight.cli.pipeline_check", "Find every mistake in a pipeline and its settings."),
    "graph": LazyCommand("firstlight.cli.pipeline_graph", "Draw which task makes what for which."),
}


@click.group(cls=LazyGroup, commands_there=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def pipeline() -> None:
    """Look at pipelines: what they do, whether they fit together.

    \b
      firstlight pipeline show single_frame.yaml
      firstlight pipeline check night.yaml -C team.yaml
      firstlight pipeline graph night.yaml#..measure --format mermaid

    After '#': labels or subsets, separated by commas; '..label' for a task and what it needs; 'label..' for a task
    and what needs it.
    """  # noqa: D301 - click needs the real backspace character
