"""Stars from an oversampled grid whose values are polynomials of the position."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True, error_model="numpy")
def polynomial_terms(u: float, v: float, order: int, terms: NDArray[np.float64]) -> None:
    """Fill ``terms`` with the products ``u**p * v**q``, by rising total degree, then by rising q.

    Parameters
    ----------
    u, v
        Position scaled to [-1, 1].
    order
        Total degree.
    terms : ((order + 1) * (order + 2) / 2,)
    """
    terms[0] = 1.0
    at = 1
    for degree in range(1, order + 1):
        before = at - degree
        for q in range(degree):
            terms[at + q] = terms[before + q] * u
        terms[at + degree] = terms[before + degree - 1] * v
        at += degree + 1


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
def collapse(
    coefficients: NDArray[np.float64], terms: NDArray[np.float64], low: int, high: int, local: NDArray[np.float64]
) -> None:
    """Sum the coefficient grids times ``terms`` into ``local``, for rows and columns from ``low`` to below ``high``."""
    for row in range(low, high):
        for col in range(low, high):
            local[row, col] = coefficients[0, row, col]
        for k in range(1, terms.size):
            factor = terms[k]
            for col in range(low, high):
                local[row, col] += factor * coefficients[k, row, col]


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
    coefficients: NDArray[np.float64],
    oversampling: int,
    order: int,
    u: NDArray[np.float64],
    v: NDArray[np.float64],
    dx: NDArray[np.float64],
    dy: NDArray[np.float64],
    radius: int,
) -> NDArray[np.float64]:
    """Return stars at many positions, not normalised.

    Parameters
    ----------
    coefficients : (terms, n, n)
        B-spline coefficients of the polynomial's terms.
    oversampling : steps of the grid in a pixel
    order : total degree of the polynomial
    u, v : (n_star,)
        Positions scaled to [-1, 1].
    dx, dy : (n_star,) [pixel]
        Offsets from the nearest pixel centre.
    radius : half size of the stamps [pixel]

    Returns
    -------
    images : (n_star, 2 * radius + 1, 2 * radius + 1)
    """
    size = 2 * radius + 1
    images = np.empty((u.size, size, size))
    terms = np.empty(coefficients.shape[0])
    local = np.zeros((coefficients.shape[1], coefficients.shape[2]))
    empty = np.empty((0, 0))
    middle = (local.shape[0] - 1) // 2
    reach = min(middle, oversampling * (radius + 1) + 2)
    for star in range(u.size):
        polynomial_terms(u[star], v[star], order, terms)
        collapse(coefficients, terms, middle - reach, middle + reach + 1, local)
        sample_grid(local, oversampling, dx[star], dy[star], radius, images[star], empty, empty)
    return images
