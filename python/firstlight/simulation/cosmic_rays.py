"""Charge that cosmic rays leave: straight muon tracks and curled tracks of electrons."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

CHARGE_PER_PIXEL = 1200.0
"""Most probable ionisation of a muon along one 15 micron pixel of silicon (80 electrons per micron) [electron]."""

ELECTRON_FRACTION = 0.25
"""Share of the tracks that are Compton electrons from radioactive decay in the camera."""

DIFFUSION = 0.30
"""Standard deviation of the charge cloud at the gates, for charge from the far side [pixel]."""

STEP = 0.1
"""Length of a track segment [pixel]."""

LONGEST = 400.0
"""Longest track [pixel]."""


def draw_cosmic_rays(
    shape: tuple[int, int], *, per_megapixel: float, thickness: float, rng: np.random.Generator
) -> FloatArray:
    """Draw the charge of all tracks of one exposure.

    Parameters
    ----------
    shape : (ny, nx) [pixel]
    per_megapixel
        Mean number of tracks in 1024 x 1024 pixels.
    thickness
        Depth of the silicon [pixel].

    Returns
    -------
    (ny, nx) [electron]

    Notes
    -----
    Muons arrive with the cosine-squared law, so on a detector that looks up their slant follows cos^3 sin, and a
    track is ``thickness * tan(slant)`` long; each segment's charge fluctuates after Moyal's form of Landau's law.
    """
    ny, nx = shape
    n = int(rng.poisson(per_megapixel * ny * nx / 1024**2))
    charge = np.zeros(ny * nx)
    for _ in range(n):
        start = rng.uniform(-0.5, [nx - 0.5, ny - 0.5])
        if rng.random() < ELECTRON_FRACTION:
            x, y, depth, electrons = _electron_track(thickness, rng=rng)
        else:
            x, y, depth, electrons = _muon_track(thickness, rng=rng)
        spread = DIFFUSION * np.sqrt(depth)
        clones = 12
        column = np.round(start[0] + x[:, None] + spread[:, None] * rng.normal(size=(len(x), clones))).astype(int)
        row = np.round(start[1] + y[:, None] + spread[:, None] * rng.normal(size=(len(x), clones))).astype(int)
        inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
        share = np.broadcast_to(electrons[:, None] / clones, inside.shape)
        np.add.at(charge, row[inside] * nx + column[inside], share[inside])
    return charge.reshape(shape)


def _muon_track(thickness: float, *, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return offsets x, y [pixel], depth (0 at the gates, 1 at the far side) and charge [electron] of the segments."""
    cosine = max(rng.random() ** 0.25, 0.02)
    length = min(thickness * np.sqrt(1.0 - cosine**2) / cosine, LONGEST)
    path = np.hypot(length, thickness)
    segments = max(int(np.ceil(path / STEP)), 2)
    along = (np.arange(segments) + 0.5) / segments
    direction = 2.0 * np.pi * rng.random()
    # A pixel-long piece fluctuates by about 15 %; a short segment by more, as the inverse root of its length.
    width = min(0.15 / np.sqrt(path / segments), 0.4)
    moyal = -np.log(np.maximum(rng.normal(size=segments) ** 2, 1e-12))
    electrons = CHARGE_PER_PIXEL * path / segments * np.maximum(1.0 + width * (moyal - 1.27) + 0.2, 0.05)
    return length * along * np.cos(direction), length * along * np.sin(direction), 1.0 - along, electrons


def _electron_track(
    thickness: float, *, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return a random walk that turns more as the electron slows down; see `_muon_track`."""
    length = min(thickness * rng.lognormal(0.3, 0.7), LONGEST)
    segments = max(int(np.ceil(length / STEP)), 2)
    remaining = 1.0 - (np.arange(segments) + 0.5) / segments
    turns = rng.normal(size=segments) * 0.35 / np.sqrt(remaining + 0.05) * np.sqrt(STEP / 0.1)
    direction = 2.0 * np.pi * rng.random() + np.cumsum(turns)
    dip = rng.uniform(0.3, 1.0)
    x, y = (length / segments * dip * np.cumsum(f(direction)) for f in (np.cos, np.sin))
    electrons = 1.3 * CHARGE_PER_PIXEL * length / segments * (remaining + 0.1) ** -0.4 * rng.uniform(0.7, 1.3, segments)
    return x, y, np.full(segments, rng.random()), electrons
