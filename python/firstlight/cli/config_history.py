"""``firstlight config history``: where the value of a setting came from."""

from __future__ import annotations

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.pipeline_options import SettingsOptions, built_pipeline, pipeline_option, settings_options


@click.command(context_settings={"max_content_width": 110})
@click.argument("path", metavar="LABEL:PATH")
@pipeline_option
@settings_options
@log_options
def history(path: str, pipeline: str, given: SettingsOptions) -> None:
    """Tell every value that a setting was given, and where: first the default, last the one that counts.

    \b
      firstlight config history calibrate:psf.order -C team.yaml -c calibrate:psf.order=3
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.framework.yaml_text import flow

    changes = built_pipeline(pipeline, given).history(path)
    values = [flow(_plain(change.value)) for change in changes]
    counts = max((index for index, change in enumerate(changes) if not change.note), default=-1)
    width = max(map(len, values), default=0)
    click.echo(path)
    for index, (value, change) in enumerate(zip(values, changes, strict=True)):
        mark = "*" if index == counts else " "
        note = f"   {change.note}" if change.note else ""
        click.echo(f"{mark} {value:<{width}}   {change.origin}{note}")


def _plain(value: object) -> object:
    from firstlight.framework.config import plain_value

    return plain_value(value)
