"""``firstlight alerts schema``: the Avro schema of our alerts."""

from __future__ import annotations

import click


@click.command()
def schema() -> None:
    """Print the schema of our alerts, which explains every field."""
    import json

    from firstlight.images.alert_file import alert_schema

    click.echo(json.dumps(alert_schema(), indent=2))
