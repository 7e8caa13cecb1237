"""Pixels that rise above their neighbours more sharply than a star can, and what lay under them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from firstlight.kernels.arrays import Whole

_HITS_AT_FLANK = 3
_DY = np.array([0, 1, 1, 1])
_DX = np.array([1, 0, 1, -1])
_NEAR = np.array([0.7737, 0.7737, 0.7358, 0.7358])
_FAR = np.array([-0.2737, -0.2737, -0.2358, -0.2358])


@njit(cache=True, nogil=True, error_model="numpy")
def sharp_pixel(
    work: NDArray[Any],
    variance: NDArray[Any],
    row: int,
    col: int,
    ratios: NDArray[np.float64],
    background: float,
    min_sigma: float,
    margin: float,
    hit: NDArray[np.bool_],
) -> float:
    """Return the mean of the opposing neighbours that prove a pixel too sharp for a star, or NaN.

    Their arithmetic mean proves it on thin tracks; their geometric mean also where a pixel has a bright neighbour on
    one side and none on the other, as on tracks two pixels wide. The ratio of the latter to the pixel between is least
    for a star that is centred on that pixel, and no sum of stars has a smaller one (inequality of Cauchy and Schwarz).

    Parameters
    ----------
    work, variance : (ny, nx)
    row, col
        Not on the border of the image.
    ratios : (4,)
        Least ratio of neighbour to centre of a star along x, y and the two diagonals.
    background : [count]
    min_sigma
        By how many standard deviations the pixel must exceed one of the four means.
    margin
        By how many standard deviations pixel and mean may be wrong in the comparison with the star.
    hit : (ny, nx)
        Pixels of ``work`` that were filled in: what was filled in too low is no dark side of a neighbour.
    """
    value = work[row, col]
    noise = np.sqrt(variance[row, col])
    stands_out = False
    for k in range(4):
        dy, dx = _DY[k], _DX[k]
        mean = 0.5 * (work[row - dy, col - dx] + work[row + dy, col + dx])
        stands_out |= value > mean + min_sigma * noise
    if not stands_out or value < background + (min_sigma - 1.0) * noise:
        return np.nan
    above = value - background
    for k in range(4):
        dy, dx = _DY[k], _DX[k]
        one, other = work[row - dy, col - dx] - background, work[row + dy, col + dx] - background
        one_var, other_var = variance[row - dy, col - dx], variance[row + dy, col + dx]
        mean, mean_noise = 0.5 * (one + other), 0.5 * np.sqrt(one_var + other_var)
        star = ratios[k] * (above - margin * noise)
        if star > mean + margin * mean_noise:
            return float(mean + background)
        if star > 0.0 and not (hit[row - dy, col - dx] or hit[row + dy, col + dx]):
            product_noise = np.sqrt(one * one * other_var + other * other * one_var + one_var * other_var)
            if star * star > max(one, 0.0) * max(other, 0.0) + margin * product_noise:
                return float(mean + background)
    return np.nan


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _row_candidates(
    work: NDArray[Any], variance: NDArray[Any], row: int, min_sigma: float, candidate: NDArray[np.bool_]
) -> bool:
    """Mark the pixels of a row that exceed at least one mean of opposing neighbours; True if there are any."""
    above, here, below = work[row - 1], work[row], work[row + 1]
    limit = np.float32(min_sigma * min_sigma)
    found = 0
    for col in range(1, here.size - 1):
        across = min(here[col - 1] + here[col + 1], above[col] + below[col])
        diagonal = min(above[col - 1] + below[col + 1], above[col + 1] + below[col - 1])
        excess = here[col] - np.float32(0.5) * min(across, diagonal)
        candidate[col] = (excess > 0) & (excess * excess > limit * variance[row, col])
        found += candidate[col]
    return found > 0


def find_hits(
    work: NDArray[Any],
    variance: NDArray[Any],
    blocked: NDArray[np.bool_],
    ratios: NDArray[np.float64],
    background: float,
    min_sigma: float,
    margin: float,
    limit: int,
) -> tuple[NDArray[np.bool_], int]:
    """Find the sharp pixels, replacing each at once so that the rest of its track is seen; ``work`` is changed.

    Returns
    -------
    hit : (ny, nx)
    count
        Stops counting just above ``limit``.
    """
    hit = np.zeros(work.shape, dtype=np.bool_)
    return hit, _mark_hits(work, variance, blocked, ratios, background, min_sigma, margin, limit, hit)


@njit(cache=True, nogil=True, error_model="numpy")
def _mark_hits(
    work: NDArray[Any],
    variance: NDArray[Any],
    blocked: NDArray[np.bool_],
    ratios: NDArray[np.float64],
    background: float,
    min_sigma: float,
    margin: float,
    limit: int,
    hit: NDArray[np.bool_],
) -> int:
    """Mark the hits of `find_hits` and return their number."""
    ny, nx = work.shape
    candidate = np.zeros(nx, dtype=np.bool_)
    count = 0
    for row in range(1, ny - 1):
        _row_candidates(work, variance, row, min_sigma, candidate)
        for col in range(1, nx - 1):
            if (candidate[col] or hit[row, col - 1] or hit[row - 1, col + 1]) and not blocked[row, col]:
                mean = sharp_pixel(work, variance, row, col, ratios, background, min_sigma, margin, hit)
                if mean == mean:
                    work[row, col] = mean
                    hit[row, col] = True
                    count += 1
                    if count > limit:
                        return count
    return count


def drop_weak_groups(
    image: NDArray[Any], hit: NDArray[np.bool_], background: float, min_charge: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Take connected groups (8 neighbours) with too little charge out of ``hit``; return the pixels that stay."""
    count = int(np.count_nonzero(hit))
    rows, cols = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    kept = _drop_groups(image, hit, background, min_charge, np.zeros(hit.shape, dtype=np.bool_), rows, cols)
    return rows[:kept], cols[:kept]


@njit(cache=True, nogil=True)
def _drop_groups(
    image: NDArray[Any],
    hit: NDArray[np.bool_],
    background: float,
    min_charge: float,
    seen: NDArray[np.bool_],
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
) -> int:
    """Drop the groups of `drop_weak_groups`, list the pixels that stay, and return their number."""
    ny, nx = image.shape
    kept = 0
    for row in range(ny):
        for col in range(nx):
            if not hit[row, col] or seen[row, col]:
                continue
            first, end = kept, kept + 1
            rows[first], cols[first] = row, col
            seen[row, col] = True
            charge = 0.0
            while first < end:
                here_y, here_x = rows[first], cols[first]
                charge += image[here_y, here_x] - background
                first += 1
                for y in range(max(0, here_y - 1), min(ny, here_y + 2)):
                    for x in range(max(0, here_x - 1), min(nx, here_x + 2)):
                        if hit[y, x] and not seen[y, x]:
                            seen[y, x] = True
                            rows[end], cols[end] = y, x
                            end += 1
            if charge < min_charge:
                for i in range(kept, end):
                    hit[rows[i], cols[i]] = False
            else:
                kept = end
    return kept


@njit(cache=True, nogil=True)
def _sort_few(values: NDArray[np.float64], n: Whole) -> None:
    """Sort the first ``n`` values in place."""
    for i in range(1, n):
        for j in range(i, 0, -1):
            if values[j] < values[j - 1]:
                values[j], values[j - 1] = values[j - 1], values[j]


@njit(cache=True, nogil=True, error_model="numpy")
def interpolate_pixels(
    image: NDArray[Any],
    work: NDArray[Any],
    hit: NDArray[np.bool_],
    blocked: NDArray[np.bool_],
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    background: float,
    lowest: bool,  # noqa: FBT001 - numba kernels take no keyword-only arguments
) -> None:
    """Write into ``work`` at the given pixels the median of the estimates along the four directions through each.

    With ``lowest`` the least of them is taken, which parts of a track not yet found disturb least. An estimate needs
    two good pixels on either side (Rybicki's linear prediction for a star of about two pixels, coefficients of SDSS
    photo); if no direction has them, the mean of the good pixels around is taken, and ``background`` without any.
    """
    ny, nx = image.shape
    estimates = np.empty(4)
    for i in range(rows.size):
        row, col = rows[i], cols[i]
        n = np.int64(0)
        for k in range(4):
            dy, dx = _DY[k], _DX[k]
            if row - 2 * dy < 0 or row + 2 * dy >= ny or min(col - 2 * dx, col + 2 * dx) < 0:
                continue
            if max(col - 2 * dx, col + 2 * dx) >= nx:
                continue
            clean = True
            for step in (-2, -1, 1, 2):
                y, x = row + step * dy, col + step * dx
                clean &= not (hit[y, x] or blocked[y, x])
            if clean:
                near = image[row - dy, col - dx] + image[row + dy, col + dx]
                far = image[row - 2 * dy, col - 2 * dx] + image[row + 2 * dy, col + 2 * dx]
                estimates[n] = _NEAR[k] * near + _FAR[k] * far
                n += 1
        if n > 0:
            _sort_few(estimates, n)
            work[row, col] = estimates[0] if lowest else 0.5 * (estimates[(n - 1) // 2] + estimates[n // 2])
            continue
        work[row, col] = _mean_around(image, hit, blocked, row, col, background)


@njit(cache=True, nogil=True, error_model="numpy")
def _mean_around(
    image: NDArray[Any], hit: NDArray[np.bool_], blocked: NDArray[np.bool_], row: int, col: int, background: float
) -> float:
    """Return the mean of the good pixels in the smallest square ring that has any, out to 5 pixels."""
    ny, nx = image.shape
    for reach in range(1, 6):
        total = 0.0
        number = 0
        for y in range(max(0, row - reach), min(ny, row + reach + 1)):
            for x in range(max(0, col - reach), min(nx, col + reach + 1)):
                if not hit[y, x] and not blocked[y, x]:
                    total += image[y, x]
                    number += 1
        if number > 1:
            return total / number
    return background


@njit(cache=True, nogil=True)
def _hits_around(hit: NDArray[np.bool_], row: int, col: int) -> int:
    """Return how many of the eight neighbours of a pixel inside the border are hits; the pixel itself is none."""
    count = 0
    for y in range(row - 1, row + 2):
        for x in range(col - 1, col + 2):
            count += 1 if hit[y, x] else 0
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def grow_hits(
    image: NDArray[Any],
    work: NDArray[Any],
    variance: NDArray[Any],
    blocked: NDArray[np.bool_],
    hit: NDArray[np.bool_],
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    ratios: NDArray[np.float64],
    strict_ratios: NDArray[np.float64],
    background: float,
    min_sigma: float,
    flank_sigma: float,
    strict_margin: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Add to ``hit`` the sharp pixels next to the given ones; return the new pixels.

    ``strict_ratios`` and ``strict_margin`` hold where the neighbours are not sky, since a star may lie under the
    track, no margin elsewhere; ``flank_sigma`` in place of ``min_sigma`` where three hits lie around a pixel.
    """
    ny, nx = image.shape
    new_rows = np.empty(8 * rows.size, dtype=np.int64)
    new_cols = np.empty(8 * rows.size, dtype=np.int64)
    count = 0
    for i in range(rows.size):
        for y in range(max(1, rows[i] - 1), min(ny - 1, rows[i] + 2)):
            for x in range(max(1, cols[i] - 1), min(nx - 1, cols[i] + 2)):
                if hit[y, x] or blocked[y, x]:
                    continue
                least = flank_sigma if _hits_around(hit, y, x) >= _HITS_AT_FLANK else min_sigma
                mean = sharp_pixel(work, variance, y, x, ratios, background, least, 0.0, hit)
                if mean - background > min_sigma * np.sqrt(variance[y, x]):
                    mean = sharp_pixel(work, variance, y, x, strict_ratios, background, least, strict_margin, hit)
                if mean == mean:
                    hit[y, x] = True
                    new_rows[count], new_cols[count] = y, x
                    count += 1
    return new_rows[:count], new_cols[:count]


@njit(cache=True, nogil=True)
def _brightest_beside(
    image: NDArray[Any], hit: NDArray[np.bool_], unusable: NDArray[np.bool_], row: int, col: int
) -> float:
    """Return the greatest of the good neighbours of a pixel that are no hits; minus infinity without any."""
    ny, nx = image.shape
    brightest = -np.inf
    for y in range(max(0, row - 1), min(ny, row + 2)):
        for x in range(max(0, col - 1), min(nx, col + 2)):
            if not (hit[y, x] or unusable[y, x] or (y == row and x == col)):
                brightest = max(brightest, image[y, x])
    return brightest


@njit(cache=True, nogil=True, error_model="numpy")
def extend_hits(
    image: NDArray[Any],
    variance: NDArray[Any],
    unusable: NDArray[np.bool_],
    blocked: NDArray[np.bool_],
    hit: NDArray[np.bool_],
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    background: float,
    min_sigma: float,
    share: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Add to ``hit`` bright neighbours of the given pixels that have too few neighbours of their own to be tested.

    They lie on the border of the image or beside a defect, where a track goes on. Each must exceed the sky by
    ``min_sigma`` standard deviations, hold at least ``share`` of the charge of the hit, and be twice as bright as any
    neighbour that is no hit, unlike the flank of a star.
    """
    ny, nx = image.shape
    new_rows = np.empty(8 * rows.size, dtype=np.int64)
    new_cols = np.empty(8 * rows.size, dtype=np.int64)
    count = 0
    for i in range(rows.size):
        charge = image[rows[i], cols[i]] - background
        for y in range(max(0, rows[i] - 1), min(ny, rows[i] + 2)):
            for x in range(max(0, cols[i] - 1), min(nx, cols[i] + 2)):
                on_border = y == 0 or x == 0 or y == ny - 1 or x == nx - 1
                if hit[y, x] or unusable[y, x] or not (on_border or blocked[y, x]):
                    continue
                value = image[y, x] - background
                around = _brightest_beside(image, hit, unusable, y, x) - background
                if value > max(min_sigma * np.sqrt(variance[y, x]), share * charge, 2.0 * around):
                    hit[y, x] = True
                    new_rows[count], new_cols[count] = y, x
                    count += 1
    return new_rows[:count], new_cols[:count]


@njit(cache=True, nogil=True)
def count_surrounded(hit: NDArray[np.bool_], rows: NDArray[np.int64], cols: NDArray[np.int64]) -> int:
    """Return how many of the given pixels have only hits around them."""
    count = 0
    for i in range(rows.size):
        row, col = rows[i], cols[i]
        surrounded = 0 < row < hit.shape[0] - 1 and 0 < col < hit.shape[1] - 1
        for y in range(row - 1, row + 2 if surrounded else row - 1):
            for x in range(col - 1, col + 2):
                surrounded &= hit[y, x]
        count += 1 if surrounded else 0
    return count
