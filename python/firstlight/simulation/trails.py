"""Trails of satellites: straight lines across the image, as wide as the point spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.simulation.point_spread import PointSpread
from firstlight.simulation.settings import SimulationSettings
from firstlight.simulation.streams import Stream, random_stream

FloatArray = NDArray[np.float64]

REACH = 12.0
"""Trails are drawn to this distance from their middle [scale radius of the point spread]."""

_NODES = (-0.375, -0.125, 0.125, 0.375)
"""Where a pixel is sampled along each axis [pixel]."""


@dataclass(frozen=True, kw_only=True)
class Trail:
    """A satellite that crosses the whole image.

    Parameters
    ----------
    x, y : [pixel]
        A point on the middle of the trail, zero-based.
    angle : [rad]
        From the x axis towards the y axis.
    peak : [adu]
        Surface brightness along the middle.
    """

    x: float
    y: float
    angle: float
    peak: float


def draw_trails(settings: SimulationSettings, *, seed: int, epoch: int, noise: float) -> tuple[Trail, ...]:
    """Draw where satellites cross; each crosses the inner half of the image.

    Parameters
    ----------
    noise
        Standard deviation of a pixel of empty sky [adu].
    """
    rng = random_stream(seed, Stream.TRAILS, epoch=epoch)
    ny, nx = settings.shape
    low, high = np.log(settings.trail_peak)
    return tuple(
        Trail(
            x=nx * rng.uniform(0.25, 0.75),
            y=ny * rng.uniform(0.25, 0.75),
            angle=np.pi * rng.random(),
            peak=noise * float(np.exp(rng.uniform(low, high))),
        )
        for _ in range(settings.satellite_trails)
    )


def add_trails(image: FloatArray, trails: tuple[Trail, ...], *, spread: PointSpread) -> FloatArray:
    """Add trails to an image in place and return their light alone.

    Parameters
    ----------
    image : (ny, nx) [adu]
    spread
        Its width at the image centre is that of the trails.

    Returns
    -------
    (ny, nx) [adu]

    Notes
    -----
    A Moffat profile of exponent beta summed along a line is ``(1 + d^2 / alpha^2)**(1/2 - beta)`` at distance d.
    """
    light = np.zeros(image.shape)
    alpha = spread.fwhm_centre / (2.0 * np.sqrt(2.0 ** (1.0 / spread.beta) - 1.0))
    rows, columns = np.indices(image.shape)
    for trail in trails:
        cosine, sine = np.cos(trail.angle), np.sin(trail.angle)
        distance = (rows - trail.y) * cosine - (columns - trail.x) * sine
        near = np.abs(distance) < REACH * alpha
        values = np.zeros(np.count_nonzero(near))
        for dx in _NODES:
            for dy in _NODES:
                offset = distance[near] + dy * cosine - dx * sine
                values += (1.0 + (offset / alpha) ** 2) ** (0.5 - spread.beta)
        light[near] += trail.peak * values / len(_NODES) ** 2
    image += light
    return light
