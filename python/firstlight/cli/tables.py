"""Rows of values as text: columns for people, JSON lines for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import click

Row = Mapping[str, object]


def print_rows(rows: Iterable[Row], *, as_json: bool) -> None:
    """Print rows that all have the same names; columns without any value are left out of a table for people."""
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        return
    listed = list(rows)
    names = [name for name in (listed[0] if listed else ()) if any(row[name] not in (None, "") for row in listed)]
    texts = [[_text(name, row[name]) for name in names] for row in listed]
    widths = [max(len(text) for text in column) for column in zip(names, *texts, strict=True)]
    numbers = [all(isinstance(row[name], int | float | None) for row in listed) for name in names]
    for line in (names, *texts):
        cells = [
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(line, widths, numbers, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def _text(name: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.5f}" if name in ("mjd", "mjd_tai", "ra", "dec") else f"{value:.6g}"
    return str(value)
