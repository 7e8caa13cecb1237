"""Lay every pair of one star list on every fitting pair of another and let the other stars vote."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

F8 = NDArray[np.float64]

Move = tuple[float, float, float, float, float]
"""Real and imaginary part of the factor, shift in x and y, +1 or -1 when the second axis is reversed first."""


class PairBins(NamedTuple):
    """Pairs of points in logarithmic bins of length."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    start: NDArray[np.int64]
    shortest: float
    per_log: float  # bins per unit of log(length squared)


class DiscGrid(NamedTuple):
    """Points, and for every cell of a grid those whose disc touches it."""

    x: F8
    y: F8
    radius: float
    x0: float
    y0: float
    per_cell: float  # cells per unit of length
    nx: int
    ny: int
    start: NDArray[np.int32]
    members: NDArray[np.int32]


class SearchLimits(NamedTuple):
    """What a similarity from anchor to target coordinates must fulfil, and what a vote weighs.

    The two lengths must agree within the range of scales and ``length_error``; the image of the origin must lie within
    ``free`` plus ``free_per_scale * scale`` of the origin; the rotation must have a cosine of at least ``cos_turn``
    with the direction (``turn_x``, ``turn_y``). Votes are log-likelihood ratios; with a finite ``reach`` the anchors
    within it of the pair's middle vote, the nearest first, as the distant ones are seldom on the frame.
    """

    scale_low: float
    scale_high: float
    length_error: float
    direct: bool
    mirrored: bool
    turn_x: float
    turn_y: float
    cos_turn: float
    free: float
    free_per_scale: float
    reach: float
    hit: float
    miss: float
    accept: float
    reject: float


@njit(cache=True, nogil=True, error_model="numpy")
def pairs_by_length(x: F8, y: F8, shortest: float, longest: float, n_bins: int) -> PairBins:
    """List all pairs of points with a length in a range, sorted into logarithmic bins of length.

    Parameters
    ----------
    x, y : (n,)
    shortest, longest : range of lengths, in units of ``x``.
    n_bins : number of bins, equal in log length.
    """
    n = x.size
    low, high = shortest * shortest, longest * longest
    per_log = n_bins / math.log(high / low)
    counts = np.zeros(n_bins + 1, np.int64)
    first = np.empty(0, np.int32)
    second = np.empty(0, np.int32)
    fill = counts
    for sweep in range(2):
        for i in range(n):
            for j in range(i + 1, n):
                d2 = (x[i] - x[j]) ** 2 + (y[i] - y[j]) ** 2
                if d2 < low or d2 >= high:
                    continue
                b = min(int(math.log(d2 / low) * per_log), n_bins - 1)
                if sweep == 0:
                    counts[b + 1] += 1
                else:
                    first[fill[b]] = i
                    second[fill[b]] = j
                    fill[b] += 1
        if sweep == 0:
            for b in range(n_bins):
                counts[b + 1] += counts[b]
            fill = counts.copy()
            first = np.empty(counts[-1], np.int32)
            second = np.empty(counts[-1], np.int32)
    return PairBins(first, second, counts, shortest, per_log)


@njit(cache=True, nogil=True, error_model="numpy")
def disc_grid(x: F8, y: F8, radius: float, x0: float, y0: float, cell: float, nx: int, ny: int) -> DiscGrid:
    """Make the grid that answers "which points lie within ``radius``?" by one look-up.

    Parameters
    ----------
    x, y : (n,)
    radius : of the discs.
    x0, y0 : corner of the grid.
    cell : side of a cell; ``nx`` by ``ny`` cells.
    """
    start = np.zeros(ny * nx + 1, np.int32)
    members = np.empty(0, np.int32)
    fill = start
    for sweep in range(2):
        for k in range(x.size):
            left, right = (x[k] - x0 - radius) / cell, (x[k] - x0 + radius) / cell
            low, high = (y[k] - y0 - radius) / cell, (y[k] - y0 + radius) / cell
            if right < 0 or left >= nx or high < 0 or low >= ny:
                continue
            for row in range(max(int(low), 0), min(int(high), ny - 1) + 1):
                for col in range(max(int(left), 0), min(int(right), nx - 1) + 1):
                    if sweep == 0:
                        start[row * nx + col + 1] += 1
                    else:
                        members[fill[row * nx + col]] = k
                        fill[row * nx + col] += 1
        if sweep == 0:
            for c in range(ny * nx):
                start[c + 1] += start[c]
            fill = start.copy()
            members = np.empty(start[-1], np.int32)
    return DiscGrid(x, y, radius, x0, y0, 1.0 / cell, nx, ny, start, members)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _votes(
    ax: F8, ay: F8, near: NDArray[np.int64], n_near: int, grid: DiscGrid, move: Move, limits: SearchLimits
) -> float:
    """Return the log-likelihood ratio when Wald's sequential test of the moved anchors ends."""
    cr, ci, tx, ty, s = move
    r2 = grid.radius * grid.radius
    ratio = 0.0
    for m in range(n_near):
        i = near[m]
        x = cr * ax[i] - s * ci * ay[i] + tx
        y = ci * ax[i] + s * cr * ay[i] + ty
        fx, fy = (x - grid.x0) * grid.per_cell, (y - grid.y0) * grid.per_cell
        if fx < 0 or fy < 0 or fx >= grid.nx or fy >= grid.ny:
            continue
        c = int(fy) * grid.nx + int(fx)
        vote = limits.miss
        for k in range(grid.start[c], grid.start[c + 1]):
            j = grid.members[k]
            if (grid.x[j] - x) ** 2 + (grid.y[j] - y) ** 2 <= r2:
                vote = limits.hit
                break
        ratio += vote
        if ratio >= limits.accept or ratio <= limits.reject:
            break
    return ratio


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _is_allowed(move: Move, limits: SearchLimits) -> bool:
    """Tell whether rotation and shift of a similarity are within the limits."""
    scale2 = move[0] ** 2 + move[1] ** 2
    turned = limits.cos_turn > -1.0 and (
        move[0] * limits.turn_x + move[1] * limits.turn_y < limits.cos_turn * math.sqrt(scale2)
    )
    far = move[2] ** 2 + move[3] ** 2 > limits.free**2 + limits.free_per_scale**2 * scale2
    return not (turned or far)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _pair_move(ax: F8, ay: F8, i: int, j: int, grid: DiscGrid, k: int, m: int, s: float) -> Move:
    """Return the similarity that lays anchors i, j on targets k, m; ``s`` is -1 for a mirrored one."""
    dx, dy = ax[j] - ax[i], ay[j] - ay[i]
    ex, ey = grid.x[m] - grid.x[k], grid.y[m] - grid.y[k]
    d2 = dx * dx + dy * dy
    cr = (ex * dx + s * ey * dy) / d2
    ci = (ey * dx - s * ex * dy) / d2
    tx = grid.x[k] - (cr * ax[i] - s * ci * ay[i])
    ty = grid.y[k] - (ci * ax[i] + s * cr * ay[i])
    return cr, ci, tx, ty, s


@njit(cache=True, nogil=True, error_model="numpy")
def _voters(ax: F8, ay: F8, i: int, j: int, reach: float, near: NDArray[np.int64], distance: F8) -> int:
    """Fill ``near`` with the other anchors, in their order, or the nearest first when the reach is finite."""
    x, y = 0.5 * (ax[i] + ax[j]), 0.5 * (ay[i] + ay[j])
    n_near = 0
    for n in range(ax.size):
        d2 = (ax[n] - x) ** 2 + (ay[n] - y) ** 2
        if n in (i, j) or d2 > reach * reach:
            continue
        at = n_near
        while math.isfinite(reach) and at > 0 and distance[at - 1] > d2:
            near[at], distance[at] = near[at - 1], distance[at - 1]
            at -= 1
        near[at], distance[at] = n, d2
        n_near += 1
    return n_near


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _fitting_pairs(length: float, bins: PairBins, limits: SearchLimits) -> tuple[int, int]:
    """Return the range of target pairs in bins of fitting length."""
    n_bins = bins.start.size - 1
    shortest = max(length * limits.scale_low - limits.length_error, 1e-30)
    longest = max(length * limits.scale_high + limits.length_error, 1e-30)
    low = math.floor(2.0 * math.log(shortest / bins.shortest) * bins.per_log)
    high = math.floor(2.0 * math.log(longest / bins.shortest) * bins.per_log)
    if high < 0 or low >= n_bins:
        return 0, 0
    return bins.start[max(low, 0)], bins.start[min(high, n_bins - 1) + 1]


@njit(cache=True, nogil=True, error_model="numpy")
def search_pairs(
    ax: F8,
    ay: F8,
    pairs: NDArray[np.int32],
    first_pair: int,
    bins: PairBins,
    grid: DiscGrid,
    limits: SearchLimits,
    found: F8,
    max_tries: int,
) -> tuple[int, int, int]:
    """Try the pairs of anchors on all pairs of targets until ``found`` is full.

    Parameters
    ----------
    ax, ay : (n,)
        The anchors, most trusted first.
    pairs : (n_pair, 2)
        Pairs of anchors in the order of the trial.
    first_pair : where to begin in ``pairs``.
    bins : the pairs of targets.
    grid : the targets.
    limits : what to allow, and the weights of the votes.
    found : (n_found, 6)
        Filled with similarities (real and imaginary part of the factor, shift in x and y, +1 or -1 when mirrored) and
        their log-likelihood ratio.
    max_tries : stop after the anchor pair with which so many similarities have been tried.

    Returns
    -------
    n_found, next_pair, n_tries
        ``n_found`` may reach ``len(found)``: then the rest of the last anchor pair was skipped.
    """
    n_found, n_tries = 0, 0
    near, distance = np.empty(ax.size, np.int64), np.empty(ax.size)
    for p in range(first_pair, pairs.shape[0]):
        if n_found == found.shape[0] or n_tries >= max_tries:
            return n_found, p, n_tries
        i, j = pairs[p, 0], pairs[p, 1]
        n_near = _voters(ax, ay, i, j, limits.reach, near, distance)
        first, last = _fitting_pairs(math.hypot(ax[j] - ax[i], ay[j] - ay[i]), bins, limits)
        for t in range(first, last):
            for way in range(4):
                s = 1.0 if way < 2 else -1.0
                if (s > 0.0 and not limits.direct) or (s < 0.0 and not limits.mirrored):
                    continue
                k = bins.first[t] if way % 2 == 0 else bins.second[t]
                m = bins.second[t] if way % 2 == 0 else bins.first[t]
                move = _pair_move(ax, ay, i, j, grid, k, m, s)
                if not _is_allowed(move, limits):
                    continue
                n_tries += 1
                ratio = _votes(ax, ay, near, n_near, grid, move, limits)
                if ratio >= limits.accept and n_found < found.shape[0]:
                    for c in range(5):
                        found[n_found, c] = move[c]
                    found[n_found, 5] = ratio
                    n_found += 1
    return n_found, pairs.shape[0], n_tries
