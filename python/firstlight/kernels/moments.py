"""Adaptive Gaussian-weighted moments of stars and galaxies, one stamp or many positions at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

OK = 0
NOT_CONVERGED = 1
NO_FLUX = 2
SINGULAR = 3
SHIFTED = 4
TOO_LARGE = 5
OFF_IMAGE = 6
MASKED = 7

_CUT = 5.0
_MIN_SIGMA2 = 0.04
_MIN_WEIGHT_SIGMA2 = 1.0
_MAX_GROWTH = 2.5
_MAX_MASKED = 0.5

Moments = tuple[float, float, float, float, float, float, int]


@njit(cache=True, nogil=True)
def _foreign(label: int, own: int) -> bool:
    """Tell whether a pixel belongs to another source."""
    return own > 0 and label > 0 and label != own


@njit(cache=True, nogil=True, error_model="numpy")
def _weight_scale(state: NDArray[np.float64]) -> float:
    """Return W / M: 1, or more where a matched weight would be too narrow to sum on the pixel grid."""
    area = float(np.sqrt(state[2] * state[3] - state[4] * state[4]))
    return max(1.0, _MIN_WEIGHT_SIGMA2 / area)


@njit(cache=True, nogil=True, error_model="numpy")
def _weighted_sums(
    image: NDArray[Any],
    bad: NDArray[np.bool_],
    labels: NDArray[np.int32],
    own: int,
    state: NDArray[np.float64],
    sums: NDArray[np.float64],
    amplitude: float,
) -> bool:
    """Fill ``sums`` with the weighted sums of orders 0 to 2 and the masked share of the weight; False off the image.

    Along a row the ratio of the weight from one pixel to the next changes by a constant factor.
    """
    scale = _weight_scale(state)
    x, y, wxx, wyy, wxy = state[0], state[1], scale * state[2], scale * state[3], scale * state[4]
    det = wxx * wyy - wxy * wxy
    a, b, c = wyy / det, -wxy / det, wxx / det
    reach_x, reach_y = _CUT * np.sqrt(wxx), _CUT * np.sqrt(wyy)
    left, right = max(0, int(np.ceil(x - reach_x))), min(image.shape[1] - 1, int(np.floor(x + reach_x)))
    low, high = max(0, int(np.ceil(y - reach_y))), min(image.shape[0] - 1, int(np.floor(y + reach_y)))
    if left > right or low > high:
        return False
    s0 = sx = sy = sxx = syy = sxy = lost = total = 0.0
    change = np.exp(-a)
    for row in range(low, high + 1):
        dy = row - y
        middle, half = x - b * dy / a, np.sqrt(max(0.0, _CUT * _CUT * a - dy * dy / det)) / a
        light = light_x = light_xx = 0.0
        first = max(left, int(np.ceil(middle - half)))
        dx = first - x
        weight = np.exp(-0.5 * (a * dx * dx + 2.0 * b * dx * dy + c * dy * dy))
        ratio = np.exp(-0.5 * a * (2.0 * dx + 1.0) - b * dy)
        for col in range(first, min(right, int(np.floor(middle + half))) + 1):
            dx = col - x
            total += weight
            if bad[row, col] or _foreign(labels[row, col], own):
                rho2 = a * dx * dx + 2.0 * b * dx * dy + c * dy * dy
                value = weight * amplitude * np.exp(-0.5 * scale * rho2)
                lost += weight
            else:
                value = weight * image[row, col]
            light += value
            light_x += value * dx
            light_xx += value * dx * dx
            weight *= ratio
            ratio *= change
        s0 += light
        sx += light_x
        sy += light * dy
        sxx += light_xx
        syy += light * dy * dy
        sxy += light_x * dy
    sums[0], sums[1], sums[2], sums[3], sums[4], sums[5] = s0, sx, sy, sxx, syy, sxy
    sums[6] = lost / total if total > 0.0 else 1.0
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _deweight(state: NDArray[np.float64], oxx: float, oyy: float, oxy: float) -> tuple[float, float, float]:
    """Remove the weight from the weighted moments: (O^-1 - W^-1)^-1, or O (1 + M / W) where that is not an ellipse."""
    scale = _weight_scale(state)
    wxx, wyy, wxy = scale * state[2], scale * state[3], scale * state[4]
    odet = oxx * oyy - oxy * oxy
    wdet = wxx * wyy - wxy * wxy
    nxx, nyy, nxy = oyy / odet - wyy / wdet, oxx / odet - wxx / wdet, -oxy / odet + wxy / wdet
    ndet = nxx * nyy - nxy * nxy
    factor = 1.0 + 1.0 / scale
    mxx, myy, mxy = factor * oxx, factor * oyy, factor * oxy
    if nxx > 0.0 and ndet > 0.0:
        mxx, myy, mxy = nyy / ndet, nxx / ndet, -nxy / ndet
    growth = (mxx + myy) / (state[2] + state[3])
    if growth > _MAX_GROWTH:
        shrink = _MAX_GROWTH / growth
        mxx, myy, mxy = mxx * shrink, myy * shrink, mxy * shrink
    return mxx, myy, mxy


@njit(cache=True, nogil=True, error_model="numpy")
def _update(state: NDArray[np.float64], sums: NDArray[np.float64], max_sigma: float) -> tuple[int, float]:
    """Move ``state`` to the moments that ``sums`` imply; return the status and the relative change."""
    s0 = sums[0]
    if not s0 > 0.0:
        return NO_FLUX, np.inf
    mx, my = sums[1] / s0, sums[2] / s0
    oxx, oyy, oxy = sums[3] / s0 - mx * mx, sums[4] / s0 - my * my, sums[5] / s0 - mx * my
    if not (oxx > 0.0 and oxx * oyy - oxy * oxy > 0.0):
        return SINGULAR, np.inf
    mxx, myy, mxy = _deweight(state, oxx, oyy, oxy)
    if not mxx * myy - mxy * mxy > _MIN_SIGMA2 * _MIN_SIGMA2:
        return SINGULAR, np.inf
    if mxx + myy > 2.0 * max_sigma * max_sigma:
        return TOO_LARGE, np.inf
    size2 = 0.5 * (state[2] + state[3])
    change = max(abs(mxx - state[2]), abs(myy - state[3]), abs(mxy - state[4])) / size2
    change = max(change, max(abs(mx), abs(my)) / np.sqrt(size2))
    factor = 1.0 + 1.0 / _weight_scale(state)
    state[0] += factor * mx
    state[1] += factor * my
    state[2], state[3], state[4], state[5] = mxx, myy, mxy, factor * s0
    return OK, change


@njit(cache=True, nogil=True, error_model="numpy")
def _iterate(
    image: NDArray[Any],
    bad: NDArray[np.bool_],
    labels: NDArray[np.int32],
    own: int,
    state: NDArray[np.float64],
    sums: NDArray[np.float64],
    max_shift: float,
    max_sigma: float,
    tolerance: float,
    max_iterations: int,
) -> int:
    """Iterate ``state`` (x, y, ixx, iyy, ixy, flux) until the weight matches the object; return the status."""
    x0, y0 = state[0], state[1]
    amplitude = 0.0
    status, change = NOT_CONVERGED, np.inf
    for _ in range(max_iterations):
        if not _weighted_sums(image, bad, labels, own, state, sums, amplitude):
            return OFF_IMAGE
        if sums[6] > _MAX_MASKED:
            return MASKED
        status, change = _update(state, sums, max_sigma)
        if status != OK or change < tolerance:
            return status
        if np.hypot(state[0] - x0, state[1] - y0) > max_shift:
            return SHIFTED
        amplitude = state[5] / (2.0 * np.pi * np.sqrt(state[2] * state[3] - state[4] * state[4]))
    return NOT_CONVERGED


@njit(cache=True, nogil=True, error_model="numpy")
def adaptive_moments_stamp(stamp: NDArray[np.float64], x0: float, y0: float, sigma_guess: float) -> Moments:
    """Measure the adaptive moments of one object in a stamp.

    The elliptical Gaussian weight W is iterated until the moments of the object, ``(O^-1 - W^-1)^-1`` with O the
    weighted moments, equal W (Bernstein & Jarvis 2002, AJ 123, 583; Hirata & Seljak 2003, MNRAS 343, 459). A Gaussian
    gives its own second moments.

    Parameters
    ----------
    stamp : (ny, nx) float64
    x0, y0 : [pixel of the stamp]
        Where to start.
    sigma_guess : [pixel]
        Width to start from.

    Returns
    -------
    ixx, iyy, ixy : [pixel^2]
    x, y : [pixel of the stamp]
    flux : total flux of the matched Gaussian
    status : 0 if it converged, else one of the constants of this module
    """
    state = np.array([x0, y0, sigma_guess * sigma_guess, sigma_guess * sigma_guess, 0.0, 0.0])
    sums = np.zeros(7)
    bad = np.zeros(stamp.shape, dtype=np.bool_)
    labels = np.zeros(stamp.shape, dtype=np.int32)
    reach = 0.5 * max(stamp.shape[0], stamp.shape[1])
    status = _iterate(stamp, bad, labels, 0, state, sums, reach, reach, 1e-8, 300)
    return state[2], state[3], state[4], state[0], state[1], state[5], status


@njit(cache=True, nogil=True, error_model="numpy")
def _errors(
    variance: NDArray[Any],
    bad: NDArray[np.bool_],
    labels: NDArray[np.int32],
    own: int,
    state: NDArray[np.float64],
    kurtosis: float,
    out: NDArray[np.float64],
) -> None:
    """Fill ``out`` with the variances of ixx, iyy, ixy, x, y and flux by linear response."""
    scale = _weight_scale(state)
    factor = 1.0 + 1.0 / scale
    # A weight that follows the moments passes their errors on, more so where there are wings; a fixed one does not.
    excess = kurtosis if scale == 1.0 else 0.0
    of_size, of_shape = 1.0 / (1.0 - 2.0 * excess), 1.0 / (1.0 - excess)
    x, y, ixx, iyy, ixy = state[0], state[1], state[2], state[3], state[4]
    det = scale * (ixx * iyy - ixy * ixy)
    a, b, c = iyy / det, -ixy / det, ixx / det
    reach_x, reach_y = _CUT * np.sqrt(scale * ixx), _CUT * np.sqrt(scale * iyy)
    out[:] = 0.0
    for row in range(max(0, int(np.ceil(y - reach_y))), min(variance.shape[0] - 1, int(np.floor(y + reach_y))) + 1):
        dy = row - y
        for col in range(max(0, int(np.ceil(x - reach_x))), min(variance.shape[1] - 1, int(np.floor(x + reach_x))) + 1):
            dx = col - x
            rho2 = a * dx * dx + 2.0 * b * dx * dy + c * dy * dy
            if rho2 > _CUT * _CUT or bad[row, col] or _foreign(labels[row, col], own):
                continue
            power = variance[row, col] * np.exp(-rho2)
            along_x, along_y = dx * dx - ixx / factor, dy * dy - iyy / factor
            size, shape = 0.5 * of_size * (along_x + along_y), 0.5 * of_shape * (along_x - along_y)
            out[0] += power * (size + shape) ** 2
            out[1] += power * (size - shape) ** 2
            out[2] += power * (of_shape * (dx * dy - ixy / factor)) ** 2
            out[3] += power * dx * dx
            out[4] += power * dy * dy
            out[5] += power * (1.0 + 0.5 * (factor * rho2 - 2.0 / scale)) ** 2
    s0 = state[5] / factor
    for k in range(3):
        out[k] *= (factor * factor / s0) ** 2
    for k in range(3, 5):
        out[k] *= (factor / s0) ** 2
    out[5] *= factor * factor


@njit(cache=True, nogil=True, error_model="numpy")
def adaptive_moments_many(
    image: NDArray[Any],
    variance: NDArray[Any],
    bad: NDArray[np.bool_],
    labels: NDArray[np.int32],
    own: NDArray[np.int64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    sigma_guess: NDArray[np.float64],
    max_shift: float,
    max_sigma: float,
    tolerance: float,
    kurtosis: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Measure the adaptive moments at many positions of an image, as `adaptive_moments_stamp` does at one.

    Masked pixels take the value of the current Gaussian; an object with more than half of its weight masked fails.

    Parameters
    ----------
    image, variance : (ny, nx)
    bad : (ny, nx)
    labels : (ny, nx)
        Pixels that belong to another source (label > 0 and not ``own``) are treated like bad ones.
    own : (n,)
        Label of each source; 0 to use the pixels of all.
    x, y : (n,) [pixel]
    sigma_guess : (n,) [pixel]
    max_shift : [pixel]
        How far the centroid may move from ``x``, ``y``.
    max_sigma : [pixel]
    tolerance : relative change of the moments at which the iteration stops
    kurtosis
        Weighted fourth moment of the objects over that of a Gaussian, less 1; for the errors.

    Returns
    -------
    values : (n, 6)
        x, y, ixx, iyy, ixy, flux of the last iteration.
    variances : (n, 6)
        Variances of ixx, iyy, ixy, x, y, flux; NaN unless the status is 0.
    status : (n,)
    """
    n = x.size
    values = np.empty((n, 6))
    variances = np.full((n, 6), np.nan)
    status = np.empty(n, dtype=np.int64)
    sums = np.zeros(7)
    for i in range(n):
        size2 = sigma_guess[i] * sigma_guess[i]
        state = values[i]
        state[0], state[1], state[2], state[3], state[4], state[5] = x[i], y[i], size2, size2, 0.0, 0.0
        status[i] = _iterate(image, bad, labels, own[i], state, sums, max_shift, max_sigma, tolerance, 100)
        if status[i] == OK:
            _errors(variance, bad, labels, own[i], state, kurtosis, variances[i])
    return values, variances, status


@njit(cache=True, nogil=True, error_model="numpy")
def adaptive_moments_stamps(
    stamps: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    sigma_guess: float,
    tolerance: float,
) -> NDArray[np.float64]:
    """Return (n, 3) adaptive moments ixx, iyy, ixy [pixel^2] of one object in each of many stamps; NaN for none.

    Parameters
    ----------
    stamps : (n, s, s)
    x, y : (n,) [pixel of the stamp]
        Where to start.
    sigma_guess : [pixel]
        Width to start from.
    tolerance : relative change of the moments at which the iteration stops
    """
    n, reach = x.size, 0.5 * stamps.shape[1]
    shapes = np.full((n, 3), np.nan)
    bad = np.zeros(stamps.shape[1:], dtype=np.bool_)
    labels = np.zeros(stamps.shape[1:], dtype=np.int32)
    sums, state = np.zeros(7), np.zeros(6)
    size2 = sigma_guess * sigma_guess
    for i in range(n):
        state[0], state[1], state[2], state[3], state[4], state[5] = x[i], y[i], size2, size2, 0.0, 0.0
        if _iterate(stamps[i], bad, labels, 0, state, sums, reach, reach, tolerance, 300) == OK:
            shapes[i, 0], shapes[i, 1], shapes[i, 2] = state[2], state[3], state[4]
            size2 = 0.5 * (state[2] + state[3])
    return shapes
