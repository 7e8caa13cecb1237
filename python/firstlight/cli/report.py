"""The tables that end a call of ``firstlight process``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from firstlight.cli.image_job import ImageOutcome
from firstlight.framework import Gate

COLORS = {"ok": "green", "warn": "yellow", "fail": "red", "stopped": "yellow", "failed": "red", "unreadable": "red"}

COLUMNS = (
    ("stars", "star_count", "{:.0f}"),
    ("FWHM px", "psf_fwhm", "{:.2f}"),
    ('scale "/px', "pixel_scale", "{:.4f}"),
    ("matches", "astrometry_matches_count", "{:.0f}"),
    ("rms px", "astrom_rms_2d_px", "{:.3f}"),
    ("zero point", "zero_point", "{:.3f}"),
    ("depth", "mag_lim", "{:.2f}"),
)
"""Heading, name in the summary and format of the numbers of one image."""

PLAIN_WIDTH = 160
"""Columns of the tables where they do not go to a terminal."""


def report_console() -> Console:
    """Return the console for stdout; wide enough for the tables where it is not a terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def print_report(console: Console, outcomes: Sequence[ImageOutcome]) -> None:
    """Print one line for each image; for a single image its gates too."""
    console.print()
    console.print(overview(outcomes))
    if len(outcomes) == 1 and outcomes[0].gates:
        console.print(gate_table(outcomes[0].gates))


def overview(outcomes: Sequence[ImageOutcome]) -> Table:
    """Return the table with one line for each image."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("image", overflow="fold")
    table.add_column("status")
    for heading, _, _ in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("gates", overflow="fold")
    for outcome in outcomes:
        table.add_row(
            escape(outcome.files.path.name),
            _coloured(outcome.status),
            *(number_text(outcome.summary, name, form) for _, name, form in COLUMNS),
            gates_text(outcome.gates),
        )
    return table


def gate_table(gates: Sequence[Gate]) -> Table:
    """Return the table with one line for each gate: its value, its limits, its status."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("gate", "value", "unit", "warns", "fails", "n", "status"):
        table.add_column(heading, justify="right" if heading in {"value", "warns", "fails", "n"} else "left")
    for gate in gates:
        sign = "above" if gate.sense == "max" else "below"
        table.add_row(
            escape(gate.name),
            f"{gate.value:.4g}",
            escape(gate.unit),
            *("" if limit is None else f"{sign} {limit:.4g}" for limit in (gate.warn, gate.fail)),
            "" if gate.n is None else str(gate.n),
            _coloured(gate.status),
        )
    return table


def number_text(summary: Mapping[str, float], name: str, form: str) -> str:
    """Return a number of the summary, or a dash where it is not known."""
    value = summary.get(name, math.nan)
    return form.format(value) if math.isfinite(value) else "-"


def gates_text(gates: Sequence[Gate]) -> str:
    """Return ``ok``, or the names of the gates that are not, the worst first."""
    groups = [(status, [gate.name for gate in gates if gate.status == status]) for status in ("fail", "warn")]
    words = [f"{_coloured(status)}: {escape(', '.join(names))}" for status, names in groups if names]
    return "; ".join(words) or ("" if not gates else _coloured("ok"))


def _coloured(status: str) -> str:
    return f"[{COLORS.get(status, 'default')}]{status}[/]"
