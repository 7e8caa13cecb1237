"""Places on the empty sky, to measure what nothing looks like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from firstlight.kernels.arrays import BoolArray


def place_sky_sources(
    occupied: BoolArray, *, count: int = 100, radius: int = 8, seed: int, trials_per_source: int = 5
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Choose positions whose surroundings are empty, spread evenly and the same for the same seed.

    Positions are drawn from a scrambled Halton sequence; a disk of ``radius`` around each touches neither an occupied
    pixel nor another disk (LSST `SkyObjectsTask`).

    Parameters
    ----------
    occupied : (ny, nx)
        Detected, bad and missing pixels.
    count
        Number of positions wanted.
    radius : [pixel]
    seed
        From the exposure id.
    trials_per_source
        How many positions are tried at most, over ``count``.

    Returns
    -------
    x, y : (n,) [pixel]
        At most ``count``; fewer in a crowded field, none in an image too small for a disk.
    """
    ny, nx = occupied.shape
    margin = radius + 1
    if min(ny, nx) <= 2 * margin:
        return np.empty(0), np.empty(0)
    steps = np.arange(-radius, radius + 1)
    disk = steps[:, None] ** 2 + steps[None, :] ** 2 <= radius**2
    draws = qmc.Halton(d=2, scramble=True, rng=seed).random(count * trials_per_source)
    columns = margin + np.floor(draws[:, 0] * (nx - 2 * margin)).astype(np.int64)
    rows = margin + np.floor(draws[:, 1] * (ny - 2 * margin)).astype(np.int64)
    taken = occupied.copy()
    chosen: list[tuple[int, int]] = []
    for col, row in zip(columns.tolist(), rows.tolist(), strict=True):
        box = taken[row - radius : row + radius + 1, col - radius : col + radius + 1]
        if (box & disk).any():
            continue
        box |= disk
        chosen.append((col, row))
        if len(chosen) == count:
            break
    positions = np.array(chosen, dtype=np.float64).reshape(-1, 2)
    return positions[:, 0], positions[:, 1]
