"""``firstlight config show``: settings with their documentation, as YAML that can be given back with ``-C``."""

from __future__ import annotations

from textwrap import indent
from typing import TYPE_CHECKING

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.pipeline_options import SettingsOptions, built_pipeline, pipeline_option, settings_options

if TYPE_CHECKING:
    from firstlight.framework import BuiltPipeline, Config


@click.command(context_settings={"max_content_width": 110})
@click.argument("what", metavar="[PATH|TASK]", default="")
@pipeline_option
@settings_options
@log_options
def show(what: str, pipeline: str, given: SettingsOptions) -> None:
    """Print settings with their documentation, as YAML.

    Without an argument: every setting of the pipeline. PATH is a label, a slot or a setting; TASK is the name of a
    task, whose own defaults are shown.

    \b
      firstlight config show                         everything, in a form that -C reads
      firstlight config show calibrate:psf           one slot
      firstlight config show calibrate:psf.order     one value
      firstlight config show GaussianPsfTask         the settings of a task
      firstlight config show calibrate -C team.yaml  with the settings of a file
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.framework import known_tasks
    from firstlight.framework.families import find_family
    from firstlight.framework.setting_value import value_at

    label = what.partition(":")[0].partition(".")[0]
    if what in known_tasks() or (":" in what and "." in what.partition(":")[0]):
        task = find_family(what)
        click.echo(f"# {what}: {(task.__doc__ or '').partition(chr(10))[0]}")
        click.echo(task.config_class().to_yaml(), nl=False)
        return
    built = built_pipeline(pipeline, given)
    follows = _afterwards(built)
    if not what:
        last = [] if follows is None else [f"# Afterwards, with the candidates of each image.\n{follows.to_yaml()}"]
        click.echo("\n".join([*(_label_yaml(built, node.label) for node in built), *last]), nl=False)
    elif follows is not None and label in type(follows).model_fields:
        click.echo(_shown(value_at(follows, what.replace(":", ".", 1).split("."), path=what)), nl=False)
    elif what == label:
        built.config(label)
        click.echo(_label_yaml(built, label), nl=False)
    else:
        click.echo(_path_yaml(built, what), nl=False)


def _label_yaml(built: BuiltPipeline, label: str) -> str:
    from firstlight.framework.lookup import name_of

    slot = built.settings.tasks[label]
    return f"{label}:\n  task: {name_of(slot.task)}\n{indent(slot.config.to_yaml(), '  ')}"


def _path_yaml(built: BuiltPipeline, path: str) -> str:
    return _shown(built.value(path))


def _afterwards(built: BuiltPipeline) -> Config | None:
    """Return the settings of what follows the tasks; None where nothing does."""
    if built.afterwards is None:
        return None
    from firstlight.cli.candidate_steps import settled_afterwards

    return settled_afterwards(built)


def _shown(value: object) -> str:
    from firstlight.framework import Config, Subtask
    from firstlight.framework.config import plain_value
    from firstlight.framework.lookup import name_of
    from firstlight.framework.yaml_text import flow

    if isinstance(value, Subtask):
        return f"task: {name_of(value.task)}\n{value.config.to_yaml()}"
    if isinstance(value, Config):
        return value.to_yaml()
    return f"{flow(plain_value(value))}\n"
