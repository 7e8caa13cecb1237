"""``firstlight config``: look at settings."""

from __future__ import annotations

import click

from firstlight.cli.lazy_group import LazyCommand, LazyGroup

COMMANDS = {
    "show": LazyCommand("firstlight.cli.config_show", "Print settings with their documentation, as YAML."),
    "history": LazyCommand("firstlight.cli.config_history", "Tell where the value of a setting came from."),
    "diff": LazyCommand("firstlight.cli.config_diff", "Tell what differs between two sets of settings."),
    "schema": LazyCommand("firstlight.cli.config_schema", "Write schemas, with which an editor completes YAML."),
}


@click.group(cls=LazyGroup, commands_there=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def config() -> None:
    """Look at settings: what they are, where they came from, how two sets differ.

    \b
      firstlight config show calibrate:psf
      firstlight config history calibrate:psf.order -C team.yaml -c calibrate:psf.order=3
      firstlight config diff team.yaml yours.yaml
      firstlight config schema -o schemas/
    """  # noqa: D301 - click needs the real backspace character
