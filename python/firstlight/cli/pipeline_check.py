"""``firstlight pipeline check``: every mistake in a pipeline and its settings."""

from __future__ import annotations

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.pipeline_options import SINGLE_FRAME, SettingsOptions, built_pipeline, settings_options


@click.command(context_settings={"max_content_width": 110})
@click.argument("location", metavar="[PIPELINE]", default=SINGLE_FRAME)
@settings_options
@log_options
def check(location: str, given: SettingsOptions) -> None:
    """Find every mistake in a pipeline: files, names, settings, contracts, and whether the tasks fit together.

    Each mistake is one line that says where it stands; then the exit code is 2. Every task is made once, so that what
    a task itself refuses is found too.

    \b
      firstlight pipeline check night.yaml -C team.yaml --instrument ztf
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    built = built_pipeline(location, given)
    built.make_tasks()
    followed = ""
    if built.afterwards is not None:
        from firstlight.cli.candidate_steps import settled_afterwards

        settled_afterwards(built)
        followed = " Objects and alerts follow."
    outside = ", ".join(built.graph.outside) or "nothing"
    tasks = "1 task" if len(built.graph) == 1 else f"{len(built.graph)} tasks"
    click.echo(f"{location}: {tasks} in order ({', '.join(built.graph.nodes)}); from outside: {outside}.{followed}")
