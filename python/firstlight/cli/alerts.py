"""``firstlight alerts``: what a night showed, for those who look at it or follow it up."""

from __future__ import annotations

import click

from firstlight.cli.lazy_group import LazyCommand, LazyGroup

COMMANDS = {
    "make": LazyCommand("firstlight.cli.alerts_make", "Write the alerts of a night into one file."),
    "show": LazyCommand("firstlight.cli.alerts_show", "List alerts, and draw them."),
    "schema": LazyCommand("firstlight.cli.alerts_schema", "Print the schema of our alerts."),
}


@click.group(cls=LazyGroup, commands_there=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def alerts() -> None:
    """Write alerts of a night, and look at them.

    An alert is one detection with the history of its object, three stamps, scores and where it comes from, in an Avro
    file whose names are those of ZTF and Rubin. 'show' reads those of ZTF and of surveys like it too.

    \b
      firstlight alerts make -b R -i night --night 20260101 -o alerts_20260101.avro
      firstlight alerts show alerts_20260101.avro -o alerts.png
    """  # noqa: D301 - click needs the real backspace character
