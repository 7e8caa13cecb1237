"""``firstlight config schema``: files with which an editor completes and checks YAML."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options


@click.command(context_settings={"max_content_width": 110})
@click.option(
    "-o",
    "--output",
    default="schemas",
    show_default=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for the schemas; made if missing.",
)
@log_options
def schema(output: Path) -> None:
    """Write JSON Schema files for every kind of YAML file: settings, pipelines, instruments, each task.

    An editor that knows JSON Schema completes names, shows what they mean, and marks mistakes as you type. They list
    the tasks of all installed packages: write them again after installing one.

    \b
      firstlight config schema -o schemas/
    and as the first line of a pipeline file:
      # yaml-language-server: $schema=schemas/pipeline.schema.json
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.cli.schema_files import write_schemas

    written = write_schemas(output)
    size = sum(path.stat().st_size for path in written)
    click.echo(f"{len(written)} schemas in {output}, {size / 1e6:.1f} MB")
