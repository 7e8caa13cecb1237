"""Fluxes of all stars of an image at once, by Gauss-Seidel sweeps over the normal equations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from firstlight.kernels.psf_linear import cholesky, cholesky_solve

_MAX_GROUP = 8


def usable_planes(
    image: NDArray[np.float32], variance: NDArray[np.float32], bad: NDArray[np.bool_], *, inverse_variance: bool
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Return image and weight, both 0 where a pixel is bad, not finite or without variance.

    The weight is 1 in single bytes, or one over the variance in single precision.
    """
    light, weight = np.empty_like(image), np.empty(image.shape, dtype=np.float32 if inverse_variance else np.uint8)
    _fill_usable(image, variance, bad, inverse_variance, light, weight)
    return light, weight


@njit(cache=True, nogil=True)
def _fill_usable(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    bad: NDArray[np.bool_],
    inverse_variance: bool,  # noqa: FBT001 - numba kernels take no keyword-only arguments
    light: NDArray[np.float32],
    weight: NDArray[Any],
) -> None:
    """Fill the results of `usable_planes`."""
    one = np.float32(1.0)
    for row in range(image.shape[0]):
        for col in range(image.shape[1]):
            value, spread = image[row, col], variance[row, col]
            if not bad[row, col] and np.isfinite(value) and np.isfinite(spread) and spread > 0.0:
                light[row, col] = value
                weight[row, col] = one / spread if inverse_variance else one
            else:
                light[row, col], weight[row, col] = np.float32(0.0), 0


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def add_star(image: NDArray[np.float32], stamp: NDArray[np.float64], column: int, row: int, factor: float) -> None:
    """Add a stamp times ``factor`` about a pixel, in place; what lies off the image is left out."""
    radius = (stamp.shape[0] - 1) // 2
    low, high = max(0, radius - row), min(stamp.shape[0], image.shape[0] - row + radius)
    left, right = max(0, radius - column), min(stamp.shape[1], image.shape[1] - column + radius)
    for i in range(low, high):
        for j in range(left, right):
            image[row - radius + i, column - radius + j] += factor * stamp[i, j]


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def weighted_product(
    image: NDArray[np.float32], weight: NDArray[Any], stamp: NDArray[np.float64], column: int, row: int
) -> float:
    """Return the sum of image times weight times stamp about a pixel."""
    radius = (stamp.shape[0] - 1) // 2
    low, high = max(0, radius - row), min(stamp.shape[0], image.shape[0] - row + radius)
    left, right = max(0, radius - column), min(stamp.shape[1], image.shape[1] - column + radius)
    total = 0.0
    for i in range(low, high):
        for j in range(left, right):
            y, x = row - radius + i, column - radius + j
            total += image[y, x] * weight[y, x] * stamp[i, j]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def norms(
    weight: NDArray[Any],
    stamps: NDArray[np.float64],
    column: NDArray[np.int64],
    row: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Return weighted square sums, numbers of pixels in use, and the share of the squares in them."""
    n, side = column.size, stamps.shape[1]
    radius = (side - 1) // 2
    norm, count, share = np.zeros(n), np.zeros(n, dtype=np.int64), np.zeros(n)
    for star in range(n):
        full = used = 0.0
        for i in range(side):
            y = row[star] - radius + i
            for j in range(side):
                x = column[star] - radius + j
                square = stamps[star, i, j] ** 2
                full += square
                if 0 <= y < weight.shape[0] and 0 <= x < weight.shape[1] and weight[y, x] > 0.0:
                    norm[star] += weight[y, x] * square
                    used += square
                    count[star] += 1
        share[star] = used / full if full > 0.0 else 0.0
    return norm, count, share


@njit(cache=True, nogil=True, error_model="numpy")
def exchange_stars(
    residual: NDArray[np.float32],
    old: NDArray[np.float64],
    new: NDArray[np.float64],
    column: NDArray[np.int64],
    row: NDArray[np.int64],
    flux: NDArray[np.float64],
) -> None:
    """Put the unit stars ``old`` back and take ``new`` off, in place."""
    for star in range(column.size):
        add_star(residual, old[star], column[star], row[star], flux[star])
        add_star(residual, new[star], column[star], row[star], -flux[star])


@njit(cache=True, nogil=True, error_model="numpy")
def lone_fluxes(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    weight: NDArray[Any],
    cores: NDArray[np.float64],
    column: NDArray[np.int64],
    row: NDArray[np.int64],
    norm: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return flux and chi-square of each star as if it were alone."""
    side = cores.shape[1]
    radius = (side - 1) // 2
    flux, chi2 = np.zeros(column.size), np.zeros(column.size)
    for star in range(column.size):
        if norm[star] <= 0.0:
            continue
        flux[star] = weighted_product(image, weight, cores[star], column[star], row[star]) / norm[star]
        for i in range(max(0, radius - row[star]), min(side, image.shape[0] - row[star] + radius)):
            for j in range(max(0, radius - column[star]), min(side, image.shape[1] - column[star] + radius)):
                y, x = row[star] - radius + i, column[star] - radius + j
                if weight[y, x] > 0.0:
                    chi2[star] += (image[y, x] - flux[star] * cores[star, i, j]) ** 2 / variance[y, x]
    return flux, chi2


@njit(cache=True, nogil=True, error_model="numpy")
def sweep_fluxes(
    residual: NDArray[np.float32],
    weight: NDArray[Any],
    cores: NDArray[np.float64],
    wide: NDArray[np.float64],
    wide_of: NDArray[np.int64],
    column: NDArray[np.int64],
    row: NDArray[np.int64],
    norm: NDArray[np.float64],
    order: NDArray[np.int64],
    first: NDArray[np.int64],
    members: NDArray[np.int64],
    tolerance: NDArray[np.float64],
    max_sweeps: int,
    flux: NDArray[np.float64],
) -> int:
    """Improve ``flux`` in place until no residual is correlated with any star; return the number of sweeps.

    After a sweep over all stars, only those are visited whose neighbours have changed, until none has; then all again.

    Parameters
    ----------
    residual : (ny, nx)
        Image minus all stars at ``flux``; kept up to date in place.
    weight : (ny, nx)
        0 where a pixel is not used.
    cores : (n, s, s)
        Unit stars, on the pixels by which the fluxes are measured.
    wide : (m, s2, s2)
        The bright ones of them on more pixels, which are subtracted.
    wide_of : (n,)
        Index into ``wide``; -1 where the core is subtracted.
    column, row : (n,)
        Middle pixels.
    norm : (n,)
        Weighted square sums of the cores; a star with 0 is left alone.
    order : (n,)
        Stars in the order of the visits.
    first, members
        Neighbours of star i are ``members[first[i]:first[i + 1]]``.
    tolerance : (n,)
        Smaller changes do not count.
    max_sweeps : limit
    flux : (n,)
    """
    active = norm > 0.0
    full = True
    for sweep in range(max_sweeps):
        changed = False
        for star in order:
            if not active[star]:
                continue
            active[star] = False
            step = weighted_product(residual, weight, cores[star], column[star], row[star]) / norm[star]
            flux[star] += step
            if wide_of[star] >= 0:
                add_star(residual, wide[wide_of[star]], column[star], row[star], -step)
            else:
                add_star(residual, cores[star], column[star], row[star], -step)
            if abs(step) > tolerance[star]:
                changed = True
                for k in range(first[star], first[star + 1]):
                    active[members[k]] = norm[members[k]] > 0.0
        if full and not changed:
            return sweep + 1
        full = not changed
        if full:
            for k in range(norm.size):
                active[k] = norm[k] > 0.0
    return max_sweeps


@njit(cache=True, nogil=True, error_model="numpy")
def _overlaps(
    variance: NDArray[np.float32],
    weight: NDArray[Any],
    residual: NDArray[np.float32],
    cores: NDArray[np.float64],
    column: NDArray[np.int64],
    row: NDArray[np.int64],
    group: NDArray[np.int64],
    gram: NDArray[np.float64],
    spread: NDArray[np.float64],
) -> float:
    """Fill the normal matrix of some stars, and the noise in it, on the pixels of the first; return chi-square."""
    size, side, star = group.size, cores.shape[1], group[0]
    radius = (side - 1) // 2
    values = np.zeros(size)
    chi2 = own_gram = own_spread = 0.0
    for y in range(max(0, row[star] - radius), min(weight.shape[0], row[star] + radius + 1)):
        for x in range(max(0, column[star] - radius), min(weight.shape[1], column[star] + radius + 1)):
            if weight[y, x] <= 0.0:
                continue
            chi2 += residual[y, x] ** 2 / variance[y, x]
            values[0] = cores[star, y - row[star] + radius, x - column[star] + radius]
            part = weight[y, x] * values[0]
            own_gram += part * values[0]
            own_spread += part * weight[y, x] * variance[y, x] * values[0]
            for k in range(1, size):
                a, b = y - row[group[k]] + radius, x - column[group[k]] + radius
                values[k] = cores[group[k], a, b] if 0 <= a < side and 0 <= b < side else 0.0
                part = weight[y, x] * values[k]
                for m in range(k + 1):
                    gram[k, m] += part * values[m]
                    spread[k, m] += part * weight[y, x] * variance[y, x] * values[m]
    gram[0, 0], spread[0, 0] = own_gram, own_spread
    return chi2


@njit(cache=True, nogil=True, error_model="numpy")
def flux_errors(
    variance: NDArray[np.float32],
    weight: NDArray[Any],
    residual: NDArray[np.float32],
    cores: NDArray[np.float64],
    column: NDArray[np.int64],
    row: NDArray[np.int64],
    norm: NDArray[np.float64],
    first: NDArray[np.int64],
    members: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return error and chi-square of each star, the fluxes of its nearest neighbours being free.

    Parameters
    ----------
    variance, weight, residual : (ny, nx)
    cores : (n, s, s)
    column, row : (n,)
    norm : (n,)
    first, members
        Neighbours of star i are ``members[first[i]:first[i + 1]]``, nearest first.

    Returns
    -------
    error : (n,)
        NaN where the norm is 0.
    chi2 : (n,)
        Sum over the pixels in use.
    """
    n = column.size
    error, chi2 = np.full(n, np.nan), np.zeros(n)
    solution = np.empty(_MAX_GROUP)
    for star in range(n):
        if norm[star] <= 0.0:
            continue
        group = np.empty(min(_MAX_GROUP, 1 + first[star + 1] - first[star]), dtype=np.int64)
        size = group.size
        group[0] = star
        for k in range(1, size):
            group[k] = members[first[star] + k - 1]
        gram, spread = np.zeros((size, size)), np.zeros((size, size))
        chi2[star] = _overlaps(variance, weight, residual, cores, column, row, group, gram, spread)
        for k in range(1, size):
            gram[k, k] = max(gram[k, k], norm[group[k]])
        alone = spread[0, 0] / (gram[0, 0] * gram[0, 0])
        error[star] = math.sqrt(alone)
        if size > 1 and cholesky(gram, size):
            solution[:] = 0.0
            solution[0] = 1.0
            cholesky_solve(gram, size, solution)
            total = 0.0
            for k in range(size):
                for m in range(size):
                    total += solution[k] * solution[m] * spread[max(k, m), min(k, m)]
            error[star] = math.sqrt(max(total, alone))
    return error, chi2


@njit(cache=True, nogil=True, error_model="numpy")
def position_steps(
    residual: NDArray[np.float32],
    weight: NDArray[Any],
    cores: NDArray[np.float64],
    slopes_x: NDArray[np.float64],
    slopes_y: NDArray[np.float64],
    column: NDArray[np.int64],
    row: NDArray[np.int64],
    flux: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return (n, 2) shifts in x and y that take the residual of each star to its least squares, flux free.

    ``slopes_x`` and ``slopes_y`` are the derivatives of the unit stars ``cores`` with their position.
    """
    n, side = column.size, cores.shape[1]
    radius = (side - 1) // 2
    shift = np.zeros((n, 2))
    normal, right, rows = np.empty((3, 3)), np.empty(3), np.empty(3)
    for star in range(n):
        normal[:], right[:] = 0.0, 0.0
        for i in range(side):
            y = row[star] - radius + i
            if y < 0 or y >= weight.shape[0]:
                continue
            for j in range(side):
                x = column[star] - radius + j
                if x < 0 or x >= weight.shape[1] or weight[y, x] <= 0.0:
                    continue
                rows[0] = cores[star, i, j]
                rows[1], rows[2] = flux[star] * slopes_x[star, i, j], flux[star] * slopes_y[star, i, j]
                for k in range(3):
                    part = weight[y, x] * rows[k]
                    right[k] += part * residual[y, x]
                    for m in range(k + 1):
                        normal[k, m] += part * rows[m]
        if cholesky(normal, right.size):
            cholesky_solve(normal, right.size, right)
            shift[star, 0], shift[star, 1] = right[1], right[2]
    return shift
