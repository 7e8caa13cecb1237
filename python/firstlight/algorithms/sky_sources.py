"""Places on the empty sky, to measure what nothing looks like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firstlight.kernels.arrays import BoolArray

_DIGITS_OF_BASE = {2: 53, 3: 34}


def place_sky_sources(
    occupied: BoolArray, *, count: int = 100, radius: int = 8, seed: int, trials_per_source: int = 5
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Choose positions whose surroundings are empty, spread evenly and the same for the same seed.

    Positions are drawn from a Halton sequence with shuffled digits (Owen 2017, arXiv:1706.02808); a disk of ``radius``
    around each touches neither an occupied pixel nor another disk (LSST `SkyObjectsTask`).

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
    across, along = _shuffled_halton(count * trials_per_source, seed)
    columns = margin + np.floor(across * (nx - 2 * margin)).astype(np.int64)
    rows = margin + np.floor(along * (ny - 2 * margin)).astype(np.int64)
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


def _shuffled_halton(count: int, seed: int) -> list[NDArray[np.float64]]:
    """Return the two coordinates, in [0, 1), of points that fill the unit square evenly.

    The digits of 0, 1, 2... in base 2 and in base 3, each place with a shuffle of its own, read behind the point; as
    many places as double precision has.
    """
    rng = np.random.default_rng(seed)
    coordinates = []
    for base, places in _DIGITS_OF_BASE.items():
        number, coordinate = np.arange(count), np.zeros(count)
        for place in range(1, places + 1):
            coordinate += rng.permutation(base)[number % base] * float(base) ** -place
            number //= base
        coordinates.append(coordinate)
    return coordinates
