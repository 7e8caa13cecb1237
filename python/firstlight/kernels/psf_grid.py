"""Stars from oversampled grids of B-spline coefficients."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

BLOCK_OF_STARS = 64
"""So many stars are drawn side by side: their stamps fit into the cache."""


@njit(cache=True, nogil=True, error_model="numpy")
def spline_weights(t: float, value: NDArray[np.float64], slope: NDArray[np.float64]) -> None:
    """Fill the four weights of a cubic B-spline at a fraction ``t`` of a step, and their derivatives."""
    s = 1.0 - t
    value[0] = s * s * s / 6.0
    value[1] = (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0
    value[2] = (4.0 - 6.0 * s * s + 3.0 * s * s * s) / 6.0
    value[3] = t * t * t / 6.0
    slope[0] = -0.5 * s * s
    slope[1] = t * (1.5 * t - 2.0)
    slope[2] = s * (2.0 - 1.5 * s)
    slope[3] = 0.5 * t * t


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def collapse(grids: NDArray[np.float64], amplitudes: NDArray[np.float64], local: NDArray[np.float64]) -> None:
    """Fill ``local`` with the sum of the grids times ``amplitudes``."""
    for row in range(local.shape[0]):
        for col in range(local.shape[1]):
            local[row, col] = amplitudes[0] * grids[0, row, col]
        for k in range(1, amplitudes.size):
            factor = amplitudes[k]
            for col in range(local.shape[1]):
                local[row, col] += factor * grids[k, row, col]


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def sample_grid(
    local: NDArray[np.float64],
    oversampling: int,
    dx: float,
    dy: float,
    radius: int,
    stamp: NDArray[np.float64],
    slope_x: NDArray[np.float64],
    slope_y: NDArray[np.float64],
) -> None:
    """Sample one grid of B-spline coefficients at the pixels around a star.

    Parameters
    ----------
    local : (n, n)
        Coefficients; the star is at the centre, ``oversampling`` steps make a pixel.
    dx, dy : [pixel]
        Offset of the star from the centre of the stamp's middle pixel, within 0.5.
    radius
        Half size of the stamp.
    stamp, slope_x, slope_y : (2 * radius + 1, 2 * radius + 1)
        Filled with the values and the derivatives with the position of the star; empty slopes are left out.
    """
    middle = (local.shape[0] - 1) // 2
    at_x, at_y = middle - oversampling * (radius + dx), middle - oversampling * (radius + dy)
    first_x, first_y = math.floor(at_x), math.floor(at_y)
    wx, wy, sx, sy = np.empty(4), np.empty(4), np.empty(4), np.empty(4)
    spline_weights(at_x - first_x, wx, sx)
    spline_weights(at_y - first_y, wy, sy)
    with_slopes = slope_x.size > 0
    for row in range(2 * radius + 1):
        top = first_y - 1 + oversampling * row
        for col in range(2 * radius + 1):
            left = first_x - 1 + oversampling * col
            value = along_x = along_y = 0.0
            for a in range(4):
                line = local[top + a, left : left + 4]
                inner = wx[0] * line[0] + wx[1] * line[1] + wx[2] * line[2] + wx[3] * line[3]
                value += wy[a] * inner
                if with_slopes:
                    along_y += sy[a] * inner
                    along_x += wy[a] * (sx[0] * line[0] + sx[1] * line[1] + sx[2] * line[2] + sx[3] * line[3])
            stamp[row, col] = value
            if with_slopes:
                slope_x[row, col] = -oversampling * along_x
                slope_y[row, col] = -oversampling * along_y


@njit(cache=True, nogil=True, error_model="numpy")
def grid_images(
    grids: NDArray[np.float64],
    oversampling: int,
    amplitudes: NDArray[np.float64],
    dx: NDArray[np.float64],
    dy: NDArray[np.float64],
    radius: int,
) -> NDArray[np.float64]:
    """Return stars at many positions, not normalised.

    Parameters
    ----------
    grids : (components, n, n)
        B-spline coefficients.
    oversampling : steps of the grid in a pixel
    amplitudes : (n_star, components)
        What each grid is multiplied with at each star.
    dx, dy : (n_star,) [pixel]
        Offset of the star from the centre of the stamp's middle pixel, within 0.5.
    radius : half size of the stamps [pixel]

    Returns
    -------
    images : (n_star, 2 * radius + 1, 2 * radius + 1)
    """
    n_star, size = dx.size, 2 * radius + 1
    images = np.zeros((n_star, size, size))
    first = np.empty((2, n_star), dtype=np.int64)
    weights, slope = np.empty((2, n_star, 4)), np.empty(4)
    for star in range(n_star):
        for axis in range(2):
            at = (grids.shape[1] - 1) // 2 - oversampling * (radius + (dy[star] if axis == 0 else dx[star]))
            first[axis, star] = math.floor(at) - 1
            spline_weights(at - math.floor(at), weights[axis, star], slope)
    line, inner = np.empty(oversampling * (size - 1) + 4), np.empty(size)
    # A row of all grids stays in the cache while many stars take what they need of it; the grids as a whole do not.
    for start in range(0, n_star, BLOCK_OF_STARS):
        for row in range(grids.shape[1]):
            for star in range(start, min(start + BLOCK_OF_STARS, n_star)):
                step = row - first[0, star]
                if 0 <= step < line.size and step % oversampling < 4:
                    _add_up(grids, amplitudes[star], row, first[1, star], line)
                    _between(line, oversampling, weights[1, star], inner)
                    _add_row(inner, oversampling, weights[0, star], step, images[star])
    return images


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _add_up(
    grids: NDArray[np.float64], amplitudes: NDArray[np.float64], row: int, left: int, line: NDArray[np.float64]
) -> None:
    """Fill ``line`` with a part of a row, summed over the grids times ``amplitudes``."""
    for k in range(amplitudes.size):
        factor, part = amplitudes[k], grids[k, row, left : left + line.size]
        if k == 0:
            for col in range(line.size):
                line[col] = factor * part[col]
        else:
            for col in range(line.size):
                line[col] += factor * part[col]


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _between(
    line: NDArray[np.float64], oversampling: int, weights: NDArray[np.float64], inner: NDArray[np.float64]
) -> None:
    """Fill ``inner`` with the spline along a row, at each pixel."""
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    for col in range(inner.size):
        at = oversampling * col
        inner[col] = w0 * line[at] + w1 * line[at + 1] + w2 * line[at + 2] + w3 * line[at + 3]


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _add_row(
    inner: NDArray[np.float64], oversampling: int, weights: NDArray[np.float64], step: int, image: NDArray[np.float64]
) -> None:
    """Add a row of the grid, ``step`` rows below the first in use, to all rows of pixels that have it among four."""
    for tap in range(step % oversampling, 4, oversampling):
        row = (step - tap) // oversampling
        if 0 <= row < image.shape[0]:
            for col in range(inner.size):
                image[row, col] += weights[tap] * inner[col]
