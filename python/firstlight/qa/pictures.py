"""Figures as pictures inside a page: made without a display, encoded without time or version."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

WIDTH_INCHES = 13.0
DPI = 96
MARGIN_INCHES = 0.7
GAP_INCHES = 0.8
ROW_GAP_INCHES = 0.75


@dataclass(frozen=True)
class Picture:
    """A picture of the page.

    Parameters
    ----------
    alt
        What it shows, for those who cannot see it.
    data
        PNG as base64.
    width
        Width on the page [CSS pixel].
    """

    alt: str
    data: str
    width: int


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Parameters
    ----------
    anchor, title
        Its name in a link, and its heading.
    reading
        How good data look, and what a deviation means.
    pictures
        In order.
    facts
        Tables of numbers: heading of the columns, then rows.
    missing
        Why something is not shown; empty if all is there.
    """

    anchor: str
    title: str
    reading: str
    pictures: tuple[Picture, ...] = ()
    facts: tuple[Facts, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """A small table: names of the columns, and rows of words."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...] = field(default=())


def row_of_panels(
    n: int,
    *,
    aspect: float = 0.75,
    rows: int = 1,
    least_columns: int = 3,
    gap: float = GAP_INCHES,
    row_gap: float = ROW_GAP_INCHES,
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure with ``rows`` rows of ``n`` panels, each `aspect` times as high as wide.

    Parameters
    ----------
    least_columns
        Fewer panels than this do not get wider.
    gap, row_gap
        Between panels, and between rows [inch].
    """
    panel = (WIDTH_INCHES - max(n, least_columns) * gap - MARGIN_INCHES) / max(n, least_columns)
    height = panel * float(np.clip(aspect, 0.3, 2.0))
    width = MARGIN_INCHES + n * (panel + gap)
    total = rows * (height + row_gap)
    figure = Figure(figsize=(width, total), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    made = [
        [
            figure.add_axes(
                (
                    (MARGIN_INCHES + column * (panel + gap)) / width,
                    (0.6 * row_gap + (rows - 1 - row) * (height + row_gap)) / total,
                    panel / width,
                    height / total,
                )
            )
            for column in range(n)
        ]
        for row in range(rows)
    ]
    for axes in (axes for row in made for axes in row):
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))
    return figure, made


def hide(panels: Sequence[Axes]) -> None:
    """Leave panels blank that have nothing to show."""
    for axes in panels:
        axes.set_axis_off()


def encode(figure: Figure, alt: str) -> Picture:
    """Return a figure as a picture."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return Picture(alt, base64.b64encode(buffer.getvalue()).decode("ascii"), round(figure.get_figwidth() * DPI))
