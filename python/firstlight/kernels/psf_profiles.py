"""Pixel-integrated profiles of stars and what lies within a circle."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

_MAX_NODES = 6
NODES = np.zeros((_MAX_NODES + 1, _MAX_NODES))
WEIGHTS = np.zeros((_MAX_NODES + 1, _MAX_NODES))
for _n in range(1, _MAX_NODES + 1):
    _x, _w = np.polynomial.legendre.leggauss(_n)
    NODES[_n, :_n], WEIGHTS[_n, :_n] = 0.5 * _x, 0.5 * _w


@njit(cache=True, nogil=True, error_model="numpy")
def node_count(scale2: float) -> int:
    """Return the Gauss-Legendre nodes per axis that integrate a Moffat profile over a pixel to 1e-6 of its flux.

    Parameters
    ----------
    scale2 : [pixel^2]
        As `squared_scale` gives it.
    """
    if scale2 < 2.2:
        return 6
    if scale2 < 4.0:
        return 5
    if scale2 < 8.0:
        return 4
    return 3 if scale2 < 40.0 else 2


@njit(cache=True, nogil=True, error_model="numpy")
def quick_node_count(scale2: float) -> int:
    """Return the nodes per axis that are good to 2e-5 of the peak, one of them with `curvature_factor`."""
    if scale2 < 3.0:
        return 4
    if scale2 < 9.0:
        return 3
    return 2 if scale2 < 20.0 else 1


@njit(cache=True, nogil=True, error_model="numpy")
def squared_scale(narrow2: float, x: float, y: float, beta: float) -> float:
    """Return over what length a Moffat profile changes at an offset, squared [pixel^2]; as if its exponent were 3.

    Parameters
    ----------
    narrow2 : [pixel^2]
        Squared scale radius along the minor axis.
    x, y : [pixel]
        Offset from the centre.
    beta
        Exponent: the larger it is, the faster the profile falls within its scale radius.
    """
    return (narrow2 + x * x + y * y) * 3.0 / max(3.0, beta)


@njit(cache=True, nogil=True, error_model="numpy")
def curvature_factor(x: float, y: float, stretch: float, e1: float, e2: float, beta: float) -> float:
    """Return mean over central value of a pixel to second order: 1 + Laplacian / 24."""
    along, across = stretch * ((1.0 - e1) * x - e2 * y), stretch * ((1.0 + e1) * y - e2 * x)
    q = 1.0 + along * x + across * y
    laplacian = beta / q * (4.0 * (beta + 1.0) * (along * along + across * across) / q - 4.0 * stretch)
    return 1.0 + laplacian / 24.0


@njit(cache=True, nogil=True, error_model="numpy")
def moffat_images(
    dx: NDArray[np.float64],
    dy: NDArray[np.float64],
    shapes: NDArray[np.float64],
    beta: float,
    half: int,
    step: float,
) -> NDArray[np.float64]:
    """Integrate elliptical Moffat profiles of unit total flux over square pixels.

    Parameters
    ----------
    dx, dy : (n,) [pixel]
        Offset of the star from the middle sample.
    shapes : (n, 3)
        Scale radius [pixel] and the ellipticities e1, e2: ``(1 + d' C^-1 d)**-beta`` with
        ``C = alpha**2 / sqrt(1 - e1**2 - e2**2) * [[1 + e1, e2], [e2, 1 - e1]]``.
    beta
        Exponent.
    half
        Samples on each side of the middle one.
    step : [pixel]
        Distance of the centres of neighbouring samples, each of which is one pixel wide; 1 for an image.

    Returns
    -------
    images : (n, 2 * half + 1, 2 * half + 1)
    """
    size = 2 * half + 1
    images = np.empty((dx.size, size, size))
    for star in range(dx.size):
        alpha, e1, e2 = shapes[star, 0], shapes[star, 1], shapes[star, 2]
        e_squared = e1 * e1 + e2 * e2
        stretch = 1.0 / (alpha * alpha * math.sqrt(1.0 - e_squared))
        a, b, c = stretch * (1.0 - e1), -stretch * e2, stretch * (1.0 + e1)
        narrow2 = alpha * alpha * (1.0 - math.sqrt(e_squared))
        peak = (beta - 1.0) / (math.pi * alpha * alpha)
        for row in range(size):
            y = (row - half) * step - dy[star]
            for col in range(size):
                x = (col - half) * step - dx[star]
                n = node_count(squared_scale(narrow2, x, y, beta))
                total = 0.0
                for i in range(n):
                    v = y + NODES[n, i]
                    for j in range(n):
                        u = x + NODES[n, j]
                        q = 1.0 + a * u * u + 2.0 * b * u * v + c * v * v
                        total += WEIGHTS[n, i] * WEIGHTS[n, j] * math.exp(-beta * math.log(q))
                images[star, row, col] = peak * total
    return images


@njit(cache=True, nogil=True, error_model="numpy")
def _corner_area(x: float, y: float, radius: float) -> float:
    """Return the area of the circle about the origin within the rectangle from the origin to (x, y), both >= 0."""
    if x * x + y * y <= radius * radius:
        return x * y
    x, y = min(x, radius), min(y, radius)
    if x * x + y * y <= radius * radius:
        return x * y
    cut_x = math.sqrt(max(radius * radius - y * y, 0.0))
    angle = math.asin(min(1.0, x / radius)) - math.asin(min(1.0, cut_x / radius))
    sector = 0.5 * radius * radius * angle
    upper = 0.5 * x * math.sqrt(max(radius * radius - x * x, 0.0))
    return cut_x * y + sector + upper - 0.5 * cut_x * y


@njit(cache=True, nogil=True, error_model="numpy")
def _signed_area(x: float, y: float, radius: float) -> float:
    area = _corner_area(abs(x), abs(y), radius)
    return area if (x < 0.0) == (y < 0.0) else -area


@njit(cache=True, nogil=True, error_model="numpy")
def flux_in_circle(stamp: NDArray[np.float64], x0: float, y0: float, radius: float) -> float:
    """Sum a stamp within a circle, each pixel with the exact fraction of its area inside.

    Parameters
    ----------
    stamp : (ny, nx)
    x0, y0 : [pixel of the stamp]
        Centre of the circle.
    radius : [pixel]
    """
    total = 0.0
    for row in range(stamp.shape[0]):
        low, high = row - 0.5 - y0, row + 0.5 - y0
        if low > radius or high < -radius:
            continue
        for col in range(stamp.shape[1]):
            left, right = col - 0.5 - x0, col + 0.5 - x0
            area = _signed_area(right, high, radius) - _signed_area(left, high, radius)
            area += _signed_area(left, low, radius) - _signed_area(right, low, radius)
            total += area * stamp[row, col]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def moffat_sums(
    first: NDArray[np.int64],
    dx: NDArray[np.float64],
    dy: NDArray[np.float64],
    flux: NDArray[np.float64],
    shapes: NDArray[np.float64],
    beta: float,
    radius: int,
) -> NDArray[np.float64]:
    """Draw several stars on each of many stamps, to 2e-5 of the peak.

    Parameters
    ----------
    first : (n_stamp + 1,)
        Stars ``first[i]`` to below ``first[i + 1]`` belong to stamp i.
    dx, dy : (n_star,) [pixel]
        Offset of the star from the middle pixel of its stamp; it may lie outside.
    flux : (n_star,)
    shapes : (n_star, 3)
        Scale radius [pixel] and ellipticities, as in `moffat_images`.
    beta
        Exponent.
    radius
        Half size of the stamps [pixel].

    Returns
    -------
    images : (n_stamp, 2 * radius + 1, 2 * radius + 1)
    """
    size = 2 * radius + 1
    images = np.zeros((first.size - 1, size, size))
    for stamp in range(first.size - 1):
        for star in range(first[stamp], first[stamp + 1]):
            alpha, e1, e2 = shapes[star, 0], shapes[star, 1], shapes[star, 2]
            e_squared = e1 * e1 + e2 * e2
            stretch = 1.0 / (alpha * alpha * math.sqrt(1.0 - e_squared))
            a, b, c = stretch * (1.0 - e1), -stretch * e2, stretch * (1.0 + e1)
            narrow2 = alpha * alpha * (1.0 - math.sqrt(e_squared))
            peak = flux[star] * (beta - 1.0) / (math.pi * alpha * alpha)
            for row in range(size):
                y = row - radius - dy[star]
                for col in range(size):
                    x = col - radius - dx[star]
                    n = quick_node_count(squared_scale(narrow2, x, y, beta))
                    total = 0.0
                    for i in range(n):
                        v = y + NODES[n, i]
                        for j in range(n):
                            u = x + NODES[n, j]
                            q = 1.0 + a * u * u + 2.0 * b * u * v + c * v * v
                            total += WEIGHTS[n, i] * WEIGHTS[n, j] * math.exp(-beta * math.log(q))
                    if n == 1:
                        total *= curvature_factor(x, y, stretch, e1, e2, beta)
                    images[stamp, row, col] += peak * total
    return images
