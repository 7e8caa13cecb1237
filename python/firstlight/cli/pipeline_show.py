"""``firstlight pipeline show``: what a pipeline does, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.pipeline_options import SINGLE_FRAME, SettingsOptions, built_pipeline, settings_options

if TYPE_CHECKING:
    from firstlight.framework import BuiltPipeline, Pipeline
    from firstlight.framework.task_graph import TaskNode


@click.command(context_settings={"max_content_width": 110})
@click.argument("location", metavar="[PIPELINE]", default=SINGLE_FRAME)
@settings_options
@log_options
def show(location: str, given: SettingsOptions) -> None:
    """Print the tasks of a pipeline in their order: class, what it is done for, what it reads and makes.

    \b
      firstlight pipeline show single_frame.yaml
      firstlight pipeline show night.yaml#..calibrate -c calibrate:psf.task=GaussianPsfTask

    'firstlight config show -p PIPELINE' prints every setting.
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.framework import Pipeline

    pipeline = Pipeline.load(location)
    built = built_pipeline(location, given)
    click.echo(
        "\n".join([*_head(pipeline), *(line for node in built for line in _task(node)), *_tail(pipeline, built)])
    )


def _head(pipeline: Pipeline) -> list[str]:
    about = [pipeline.source, *([pipeline.description] if pipeline.description else [])]
    return [*about, *([f"instrument: {pipeline.instrument}"] if pipeline.instrument else [])]


def _task(node: TaskNode) -> list[str]:
    from firstlight.framework.families import summary_of
    from firstlight.framework.lookup import name_of

    task = node.slot.task
    lines = ["", f"{node.label}: {name_of(task)}", f"  {summary_of(task)}"]
    lines.append(f"  for each {', '.join(node.connections.dimensions)}")
    for own, connection in node.connections.arguments.items():
        notes = [word for word, holds in (("all", connection.multiple), ("optional", connection.minimum == 0)) if holds]
        note = f" ({', '.join(notes)})" if notes else ""
        lines.append(f"  reads {connection.name} as {own}{note}")
    lines += [f"  makes {output.name} from {own}" for own, output in node.connections.outputs.items()]
    return lines


def _tail(pipeline: Pipeline, built: BuiltPipeline) -> list[str]:
    lines = ["", "from outside: " + ", ".join(built.graph.outside)] if built.graph.outside else [""]
    if pipeline.parameters:
        given = ", ".join(f"{name}={setting.value}" for name, setting in pipeline.parameters.items())
        lines.append(f"parameters: {given}")
    for name, subset in pipeline.subsets.items():
        if not set(subset.labels) & set(built.graph.nodes):
            continue
        about = f"   {subset.description}" if subset.description else ""
        lines.append(f"subset {name}: {', '.join(subset.labels)}{about}")
    lines += [f"contract: {contract.text}" for contract in pipeline.contracts]
    return lines
