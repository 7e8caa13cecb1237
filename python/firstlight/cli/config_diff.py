"""``firstlight config diff``: what differs between two sets of settings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.pipeline_options import SettingsOptions, built_pipeline, pipeline_option, settings_options

if TYPE_CHECKING:
    from firstlight.framework import BuiltPipeline


@click.command(context_settings={"max_content_width": 110})
@click.argument("left", metavar="LEFT")
@click.argument("right", metavar="[RIGHT]", default="")
@pipeline_option
@settings_options
@log_options
def diff(left: str, right: str, pipeline: str, given: SettingsOptions) -> int:
    """Tell what differs between two sets of settings, one line for each; the exit code is 1 if anything does.

    LEFT and RIGHT are pipeline files, or files of settings as -C takes them. Without RIGHT, LEFT is compared with the
    pipeline as it is. Further settings (-C, -c) go into both sides.

    \b
      firstlight config diff team.yaml
      firstlight config diff team.yaml yours.yaml
      firstlight config diff night.yaml single_frame.yaml
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.framework import diff_configs

    sides = (left, right) if right else (pipeline, left)
    one, other = (_side(text, pipeline, given).settings for text in sides)
    differences = diff_configs(one, other, labelled=False)
    for difference in differences:
        _, _, path = difference.path.partition(".")
        label, _, below = path.partition(".")
        click.echo(replace(difference, path=f"{label}:{below}" if below else label))
    return 1 if differences else 0


def _side(text: str, pipeline: str, given: SettingsOptions) -> BuiltPipeline:
    """Return the pipeline in a file, or the named pipeline with the settings in the file."""
    if text == pipeline or _is_pipeline(text):
        return built_pipeline(text, given)
    return built_pipeline(pipeline, replace(given, config_files=(text, *given.config_files)))


def _is_pipeline(text: str) -> bool:
    from pathlib import Path

    from firstlight.framework.overrides import read_text
    from firstlight.framework.yaml_lines import read_located

    path = Path(text.partition("#")[0])
    if not path.is_file():
        return ":" not in text
    return bool({"tasks", "imports"} & set(read_located(read_text(path), source=text)))
