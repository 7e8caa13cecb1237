"""Gauss-Newton equations of stars that share a Moffat profile."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from firstlight.kernels.psf_linear import cholesky, cholesky_solve
from firstlight.kernels.psf_profiles import NODES, WEIGHTS, curvature_factor, quick_node_count, squared_scale

N_STAR = 4
"""Parameters of a star: flux, x, y, sky."""

N_SHAPE = 4
"""Parameters of the profile at a position: ln FWHM, e1, e2, 1 / beta."""

_LN2 = math.log(2.0)


@njit(cache=True, nogil=True, error_model="numpy")
def robust_weight(residual: float, variance: float, tolerated: float, clip: float) -> tuple[float, float]:
    """Return weight and loss of a residual: those of least squares, bounded beyond ``clip`` standard deviations.

    ``tolerated`` is the variance of what is too large for the noise but no outlier: it moves the bound only.

    References
    ----------
    Geman & McClure 1987, Bull. Int. Stat. Inst. 52, 5.
    """
    square = residual * residual
    damping = 1.0 / (1.0 + square / ((variance + tolerated) * clip * clip))
    return damping * damping / variance, square / variance * damping


@njit(cache=True, nogil=True, error_model="numpy")
def _profile(x: float, y: float, shape: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Fill ``out`` with a pixel's flux and its derivatives with x, y, ln FWHM, e1, e2, 1 / beta.

    ``shape`` holds alpha, e1, e2, beta, d ln alpha / d beta.
    """
    alpha, e1, e2, beta, slope = shape[0], shape[1], shape[2], shape[3], shape[4]
    e_squared = e1 * e1 + e2 * e2
    round_part = 1.0 / (1.0 - e_squared)
    stretch = math.sqrt(round_part) / (alpha * alpha)
    n = quick_node_count(squared_scale(alpha * alpha * (1.0 - math.sqrt(e_squared)), x, y, beta))
    value = by_x = by_y = by_size = by_e1 = by_e2 = by_log = 0.0
    for i in range(n):
        v = y + NODES[n, i]
        for j in range(n):
            u = x + NODES[n, j]
            q = stretch * ((1.0 - e1) * u * u + (1.0 + e1) * v * v - 2.0 * e2 * u * v)
            log = math.log(1.0 + q)
            c = WEIGHTS[n, i] * WEIGHTS[n, j] * math.exp(-beta * log)
            falling = beta * c / (1.0 + q)
            value += c
            by_log += c * log
            by_size += q * falling
            by_x += falling * ((1.0 - e1) * u - e2 * v)
            by_y += falling * ((1.0 + e1) * v - e2 * u)
            by_e1 += falling * (stretch * (v * v - u * u) + q * e1 * round_part)
            by_e2 += falling * (-2.0 * stretch * u * v + q * e2 * round_part)
    peak = (beta - 1.0) / (math.pi * alpha * alpha)
    if n == 1:
        peak *= curvature_factor(x, y, stretch, e1, e2, beta)
    by_alpha = 2.0 * peak * (by_size - value)
    out[0] = peak * value
    out[1] = 2.0 * stretch * peak * by_x
    out[2] = 2.0 * stretch * peak * by_y
    out[3] = by_alpha
    out[4] = -peak * by_e1
    out[5] = -peak * by_e2
    out[6] = -beta * beta * (peak * (value / (beta - 1.0) - by_log) + slope * by_alpha)


@njit(cache=True, nogil=True, error_model="numpy")
def _accumulate(
    data: NDArray[np.float64],
    noise: NDArray[np.float64],
    extra: NDArray[np.float64],
    star: NDArray[np.float64],
    shape: NDArray[np.float64],
    gain_slope: float,
    floor: float,
    misfit: float,
    clip: float,
    normal: NDArray[np.float64],
    gradient: NDArray[np.float64],
) -> tuple[float, int]:
    """Fill the normal equations of one star; return its loss and the number of pixels used."""
    radius = (data.shape[0] - 1) // 2
    flux, dx, dy, sky = star[0], star[1], star[2], star[3]
    profile, row_values = np.empty(7), np.empty(N_STAR + N_SHAPE)
    normal[:], gradient[:] = 0.0, 0.0
    loss, used = 0.0, 0
    for row in range(data.shape[0]):
        for col in range(data.shape[1]):
            if not noise[row, col] > 0.0:
                continue
            _profile(col - radius - dx, row - radius - dy, shape, profile)
            profile[0] += extra[row, col]
            model = flux * profile[0]
            residual = data[row, col] - model - sky
            variance = noise[row, col] + gain_slope * max(model, 0.0) + (floor * model) ** 2
            weight, term = robust_weight(residual, variance, (misfit * model) ** 2, clip)
            loss += term
            used += 1
            row_values[0], row_values[3] = profile[0], 1.0
            row_values[1], row_values[2] = flux * profile[1], flux * profile[2]
            for k in range(N_SHAPE):
                row_values[N_STAR + k] = flux * profile[3 + k]
            for i in range(N_STAR + N_SHAPE):
                scaled = weight * row_values[i]
                gradient[i] += scaled * residual
                for j in range(i + 1):
                    normal[i, j] += scaled * row_values[j]
    for i in range(N_STAR + N_SHAPE):
        for j in range(i):
            normal[j, i] = normal[i, j]
    return loss, used


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_star(
    factor: NDArray[np.float64],
    gradient: NDArray[np.float64],
    coupling: NDArray[np.float64],
    column: NDArray[np.float64],
    step: NDArray[np.float64],
    response: NDArray[np.float64],
) -> None:
    """Solve one star's own equations: its step, and how it responds to the shape."""
    for m in range(N_STAR):
        column[m] = gradient[m]
    cholesky_solve(factor, column.size, column)
    for m in range(N_STAR):
        step[m] = column[m]
    for k in range(N_SHAPE):
        for m in range(N_STAR):
            column[m] = coupling[m, k]
        cholesky_solve(factor, column.size, column)
        for m in range(N_STAR):
            response[m, k] = -column[m]


@njit(cache=True, nogil=True, error_model="numpy")
def moffat_equations(
    data: NDArray[np.float64],
    noise: NDArray[np.float64],
    extra: NDArray[np.float64],
    stars: NDArray[np.float64],
    shapes: NDArray[np.float64],
    gain_slope: float,
    floor: float,
    misfit: float,
    clip: float,
    sky_prior: float,
) -> tuple[
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.int64],
]:
    """Linearise the fit of each star and eliminate what belongs to the star alone.

    Parameters
    ----------
    data : (n, s, s)
    noise : (n, s, s)
        Variance of the pixels without the star's own photons; 0 where a pixel is not used.
    extra : (n, s, s)
        What is added to the profiles of unit flux.
    stars : (n, 4)
        Flux, dx, dy, sky.
    shapes : (n, 4)
        ln FWHM, e1, e2, 1 / beta at the positions of the stars.
    gain_slope
        Variance per count of the star.
    floor
        Error of the model as a fraction of the star's flux in the pixel.
    misfit
        The same, as far as it does not make a pixel an outlier.
    clip
        Where the loss is bounded [standard deviation].
    sky_prior
        Inverse variance of the local sky about zero.

    Returns
    -------
    matrix : (n, 4, 4)
        Information on the shape at each star, the star's own parameters eliminated.
    vector : (n, 4)
        Right-hand side that goes with it.
    response : (n, 4, 4)
        Change of the star's parameters with the shape's.
    step : (n, 4)
        Change of the star's parameters at a fixed shape.
    loss : (n,)
        NaN where the equations are singular.
    used : (n,)
        Pixels used.
    """
    n = data.shape[0]
    matrix, vector = np.zeros((n, N_SHAPE, N_SHAPE)), np.zeros((n, N_SHAPE))
    response, step = np.zeros((n, N_STAR, N_SHAPE)), np.zeros((n, N_STAR))
    loss, used = np.full(n, np.nan), np.zeros(n, dtype=np.int64)
    size = N_STAR + N_SHAPE
    normal, gradient = np.empty((size, size)), np.empty(size)
    shape, column = np.empty(5), np.empty(N_STAR)
    for i in range(n):
        inverse = shapes[i, 3]
        beta = 1.0 / inverse
        power = math.exp(inverse * _LN2)
        shape[0] = 0.5 * math.exp(shapes[i, 0]) / math.sqrt(power - 1.0)
        shape[1], shape[2], shape[3] = shapes[i, 1], shapes[i, 2], beta
        shape[4] = 0.5 * power * _LN2 * inverse * inverse / (power - 1.0)
        total, count = _accumulate(
            data[i], noise[i], extra[i], stars[i], shape, gain_slope, floor, misfit, clip, normal, gradient
        )
        used[i] = count
        normal[3, 3] += sky_prior
        gradient[3] -= sky_prior * stars[i, 3]
        coupling = normal[:N_STAR, N_STAR:].copy()
        if not cholesky(normal, column.size):
            continue
        loss[i] = total
        _solve_star(normal, gradient, coupling, column, step[i], response[i])
        for k in range(N_SHAPE):
            vector[i, k] = gradient[N_STAR + k]
            for m in range(N_STAR):
                vector[i, k] -= coupling[m, k] * step[i, m]
            for j in range(N_SHAPE):
                matrix[i, k, j] = normal[N_STAR + k, N_STAR + j]
                for m in range(N_STAR):
                    matrix[i, k, j] += coupling[m, k] * response[i, m, j]
    return matrix, vector, response, step, loss, used
