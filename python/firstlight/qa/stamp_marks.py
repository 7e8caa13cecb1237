"""What is drawn over a stamp: arrows to the north and the east, and a bar of a round number of arcseconds."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDE = 128
"""Of a stamp on a page, in the units of the drawing."""

CENTRE, ARROW, LABEL = (24.0, 104.0), 14.0, 20.0
"""Where the arrows begin, how long they are, and how far from their beginning their letters stand."""

BARS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
"""Lengths that a bar may have [arcsec]."""

LONGEST_BAR, BAR_END, BAR_HEIGHT = 44.0, 122.0, 121.0


class Compass(NamedTuple):
    """How a place on a stamp moves along the sky, x to the right and y up [pixel / arcsec]."""

    east: tuple[float, float]
    north: tuple[float, float]


def compasses(jacobians: NDArray[np.float64]) -> list[Compass | None]:
    """Return the directions on stamps; None where pixels do not tell them.

    Parameters
    ----------
    jacobians : (n, 2, 2) [arcsec / pixel]
        As those of ``SkyWcs.local_jacobian``: rows are east and north, columns are x and y.
    """
    found: list[Compass | None] = []
    for (east_x, east_y), (north_x, north_y) in jacobians.tolist():
        area = east_x * north_y - east_y * north_x
        if not math.isfinite(area) or area == 0.0:
            found.append(None)
            continue
        found.append(Compass((north_y / area, -north_x / area), (-east_y / area, east_x / area)))
    return found


def stamp_marks(compass: Compass, *, size: int) -> str:
    """Return arrows and bar as SVG, to be laid over a stamp.

    Parameters
    ----------
    compass
    size : [pixel]
        Side of the stamp.
    """
    parts = []
    for letter, (dx, dy) in (("N", compass.north), ("E", compass.east)):
        length = math.hypot(dx, dy)
        across, up = dx / length, dy / length
        x, y = CENTRE[0] + ARROW * across, CENTRE[1] - ARROW * up
        parts.append(f'<path d="M{CENTRE[0]:.1f} {CENTRE[1]:.1f}L{x:.1f} {y:.1f}"/>')
        at_x, at_y = CENTRE[0] + LABEL * across, CENTRE[1] - LABEL * up
        parts.append(f'<text x="{at_x:.1f}" y="{at_y + 3.5:.1f}">{letter}</text>')
    per_arcsec = SIDE / size * math.sqrt(abs(compass.east[0] * compass.north[1] - compass.east[1] * compass.north[0]))
    fitting = [bar for bar in BARS if bar * per_arcsec <= LONGEST_BAR]
    if fitting:
        width = fitting[-1] * per_arcsec
        parts.append(f'<path d="M{BAR_END - width:.1f} {BAR_HEIGHT}h{width:.1f}"/>')
        parts.append(f'<text x="{BAR_END - width / 2:.1f}" y="{BAR_HEIGHT - 4}">{fitting[-1]:g}&quot;</text>')
    return f'<svg class="marks" viewBox="0 0 {SIDE} {SIDE}" aria-hidden="true">{"".join(parts)}</svg>'
