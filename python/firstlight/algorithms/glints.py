"""Lines of many sources, as a tumbling satellite leaves them when it glints."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from firstlight.kernels.arrays import BoolArray, FloatArray

_STRIPS_BESIDE = 8
"""Strips of equal width beside a line, by which the sources about it are counted."""


@dataclass(frozen=True)
class GlintTrail:
    """Sources on one line.

    Parameters
    ----------
    x, y : [pixel]
        Middle of the trail.
    angle : [degree]
        Direction of the trail from +x towards +y, 0 to 180.
    length : [pixel]
        From the first source to the last.
    rms : [pixel]
        Of the distances from the line.
    chance
        How many such lines sources at random would show.
    members : (n,)
        Indices of the sources.
    """

    x: float
    y: float
    angle: float
    length: float
    rms: float
    chance: float
    members: NDArray[np.int64]


def find_glint_trails(
    x: FloatArray,
    y: FloatArray,
    *,
    usable: BoolArray,
    radius: float,
    width: float,
    min_points: int,
    max_chance: float = 1e-2,
) -> tuple[GlintTrail, ...]:
    """Find the lines on which more sources lie than chance brings together.

    Each pair of sources within a radius gives a line; about the first of them, it collects what lies within the radius
    and near the line. Lines are taken by their number of sources, and each source belongs to one. How many lines as
    rich as this chance would give is the number of pairs times the probability that so many of the neighbours lie in a
    strip by themselves: the strip's part of the circle or, where more sources than that lie in the strips beside it,
    the part that these say. LSST looks for such lines by random samples (``findGlintTrails`` of ``ip_diffim``); here
    all pairs are tried, so that nothing depends on a seed. About each source the others are sorted by their direction:
    n sources within the radius of each other take a time that grows with n^2 log n.

    Parameters
    ----------
    x, y : (n,) [pixel]
    usable : (n,)
        Sources that may be glints.
    radius : [pixel]
        A trail is no longer than twice this.
    width : [pixel]
        Largest distance of a source from the line.
    min_points
        Least number of sources.
    max_chance
        A line of which chance would show more than this many is none.
    """
    left = np.flatnonzero(usable & np.isfinite(x) & np.isfinite(y))
    found: list[GlintTrail] = []
    while len(left) >= min_points:
        members, chance = _richest(x[left], y[left], radius=radius, width=width)
        if len(members) < min_points or chance > max_chance:
            break
        found.append(_trail(x, y, left[members], chance))
        left = np.delete(left, members)
    return tuple(found)


def _richest(x: FloatArray, y: FloatArray, *, radius: float, width: float) -> tuple[NDArray[np.int64], float]:
    """Return the sources of the line with most of them, and how many such lines chance would give."""
    best, neighbours, beside, pairs = np.zeros(0, dtype=np.int64), 0, 0, 0
    for i in range(len(x)):
        dx, dy = x - x[i], y - y[i]
        distance = np.hypot(dx, dy)
        near = np.flatnonzero((distance < radius) & (distance > width))
        pairs += len(near)
        if len(near) < max(len(best), 1):
            continue
        angle, half = np.arctan2(dy[near], dx[near]), np.arcsin(width / distance[near])
        counts = _strips_over(angle, half)
        if counts.max() + 1 > len(best):
            along = angle[np.argmax(counts)]
            across = np.abs(np.sin(angle - along)) * distance[near]
            best, neighbours = np.sort(np.append(near[across <= width], i)), len(near)
            beside = int(np.sum((across > width) & (across <= (1 + _STRIPS_BESIDE) * width)))
    # A strip takes this part of the circle, or more of the sources where these lie along it, as in a narrow image.
    share = max(4.0 * width / (math.pi * radius), beside / (_STRIPS_BESIDE * max(neighbours, 1)))
    # The first two make the line.
    return best, 0.5 * pairs * float(binom.sf(len(best) - 3, max(neighbours - 1, 0), min(share, 1.0)))


def _strips_over(angle: FloatArray, half: FloatArray) -> NDArray[np.int64]:
    """Return for each direction how many of them, turned by up to their ``half`` [radian] either way, lead along it."""
    turned = np.mod(angle, math.pi)
    begin = np.sort(np.concatenate([turned - half + turn for turn in (-math.pi, 0.0, math.pi)]))
    end = np.sort(np.concatenate([turned + half + turn for turn in (-math.pi, 0.0, math.pi)]))
    return np.asarray(np.searchsorted(begin, turned, side="right") - np.searchsorted(end, turned, side="left"))


def _trail(x: FloatArray, y: FloatArray, members: NDArray[np.int64], chance: float) -> GlintTrail:
    places = np.stack([x[members], y[members]], axis=1)
    middle = places.mean(axis=0)
    _, _, axes = np.linalg.svd(places - middle)
    along, across = (places - middle) @ axes[0], (places - middle) @ axes[1]
    centre = middle + 0.5 * (along.min() + along.max()) * axes[0]
    return GlintTrail(
        x=float(centre[0]),
        y=float(centre[1]),
        angle=math.degrees(math.atan2(axes[0, 1], axes[0, 0])) % 180.0,
        length=float(np.ptp(along)),
        rms=float(np.sqrt(np.mean(across**2))),
        chance=chance,
        members=members,
    )
