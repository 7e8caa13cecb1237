"""``firstlight objects``: objects of one repository for another one."""

from __future__ import annotations

import click

from firstlight.cli.lazy_group import LazyCommand, LazyGroup

COMMANDS = {
    "export": LazyCommand("firstlight.cli.objects_export", "Write objects and their fluxes into Parquet files."),
    "import": LazyCommand("firstlight.cli.objects_import", "Take in objects that were exported.", "import_"),
}


@click.group(cls=LazyGroup, commands_there=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def objects() -> None:
    """Bring objects, their detections and their fluxes into another repository.

    'firstlight associate' and night.yaml make objects; 'firstlight export' copies images and catalogues, not objects.

    \b
      firstlight objects export -b R to_go/
      firstlight objects import -b other to_go/
    """  # noqa: D301 - click needs the real backspace character
