"""What a profile leaves over, on a grid of cubic B-splines whose coefficients are polynomials of the position."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from firstlight.kernels.psf_grid import collapse, sample_grid, spline_weights


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _spread(
    stamp: NDArray[np.float64],
    oversampling: int,
    dx: float,
    dy: float,
    squared: bool | np.bool_,  # noqa: FBT001 - compiled code takes no keywords
    local: NDArray[np.float64],
) -> None:
    """Add the transpose of sampling, or of its squared weights, to ``local``."""
    side = stamp.shape[0]
    radius = (side - 1) // 2
    middle = (local.shape[0] - 1) // 2
    at_x, at_y = middle - oversampling * (radius + dx), middle - oversampling * (radius + dy)
    first_x, first_y = math.floor(at_x), math.floor(at_y)
    wx, wy, unused = np.empty(4), np.empty(4), np.empty(4)
    spline_weights(at_x - first_x, wx, unused)
    spline_weights(at_y - first_y, wy, unused)
    if squared:
        for k in range(4):
            wx[k] *= wx[k]
            wy[k] *= wy[k]
    for row in range(side):
        top = first_y - 1 + oversampling * row
        for col in range(side):
            value = stamp[row, col]
            if value == 0.0:
                continue
            left = first_x - 1 + oversampling * col
            for a in range(4):
                part = wy[a] * value
                for b in range(4):
                    local[top + a, left + b] += part * wx[b]


@njit(cache=True, nogil=True, error_model="numpy")
def spread_images(
    images: NDArray[np.float64],
    oversampling: int,
    basis: NDArray[np.float64],
    dx: NDArray[np.float64],
    dy: NDArray[np.float64],
    size: int,
) -> NDArray[np.float64]:
    """Return the transpose of `grid_images` applied to ``images``: (terms, size, size)."""
    terms = basis.shape[1]
    total = np.zeros((terms, size, size))
    local = np.empty((size, size))
    for star in range(dx.size):
        local[:] = 0.0
        _spread(images[star], oversampling, dx[star], dy[star], np.bool_(False), local)  # noqa: FBT003 - see _spread
        for k in range(terms):
            factor = basis[star, k]
            for i in range(size):
                for j in range(size):
                    total[k, i, j] += factor * local[i, j]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def diagonal_blocks(
    weights: NDArray[np.float64],
    oversampling: int,
    basis: NDArray[np.float64],
    dx: NDArray[np.float64],
    dy: NDArray[np.float64],
    size: int,
) -> NDArray[np.float64]:
    """Return the blocks of the normal matrix that join the terms of one grid point: (terms, terms, size, size)."""
    terms = basis.shape[1]
    total = np.zeros((terms, terms, size, size))
    local = np.empty((size, size))
    for star in range(dx.size):
        local[:] = 0.0
        _spread(weights[star], oversampling, dx[star], dy[star], np.bool_(True), local)  # noqa: FBT003 - see _spread
        for k in range(terms):
            for m in range(k + 1):
                factor = basis[star, k] * basis[star, m]
                for i in range(size):
                    for j in range(size):
                        total[k, m, i, j] += factor * local[i, j]
    for k in range(terms):
        for m in range(k):
            for i in range(size):
                for j in range(size):
                    total[m, k, i, j] = total[k, m, i, j]
    return total


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def apply_normal(
    coefficients: NDArray[np.float64],
    weights: NDArray[np.float64],
    oversampling: int,
    basis: NDArray[np.float64],
    dx: NDArray[np.float64],
    dy: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the normal matrix applied to ``coefficients``: sample, weigh, spread back."""
    terms, size = coefficients.shape[0], coefficients.shape[1]
    side = weights.shape[1]
    radius = (side - 1) // 2
    total = np.zeros((terms, size, size))
    local, stamp = np.zeros((size, size)), np.empty((side, side))
    empty = np.empty((0, 0))
    for star in range(dx.size):
        collapse(coefficients, basis[star], local)
        sample_grid(local, oversampling, dx[star], dy[star], radius, stamp, empty, empty)
        for row in range(side):
            for col in range(side):
                stamp[row, col] *= weights[star, row, col]
        local[:] = 0.0
        _spread(stamp, oversampling, dx[star], dy[star], np.bool_(False), local)  # noqa: FBT003 - see _spread
        for k in range(terms):
            factor = basis[star, k]
            for row in range(size):
                for col in range(size):
                    total[k, row, col] += factor * local[row, col]
    return total
