"""Resample an image through a map of positions that is linear inside square cells."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

BLOCK = 8
"""Side of the squares of pixels that are searched for bad ones [pixel]."""

_LEAST_WEIGHT = 0.1


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _weights(table: NDArray[np.float32], fraction: float, out: NDArray[np.float32]) -> None:
    """Interpolate the taps between the two nearest tabulated fractions of a pixel."""
    phases = table.shape[0] - 1
    place = fraction * phases
    phase = min(int(place), phases - 1)
    rest = np.float32(place - phase)
    for k in range(table.shape[1]):
        out[k] = table[phase, k] + rest * (table[phase + 1, k] - table[phase, k])


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy", inline="always")
def _six(line: NDArray[np.float32], col: int, w: NDArray[np.float32]) -> np.float32:
    """Return the weighted sum of six neighbours; written out, for it is most of the work of a Lanczos-3 warp."""
    total: np.float32 = (
        (w[0] * line[col] + w[1] * line[col + 1])
        + (w[2] * line[col + 2] + w[3] * line[col + 3])
        + (w[4] * line[col + 4] + w[5] * line[col + 5])
    )
    return total


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy", inline="always")
def _six_by_six(
    image: NDArray[np.float32], row: int, col: int, wx: NDArray[np.float32], wy: NDArray[np.float32]
) -> np.float32:
    """Return the weighted sum of a window of six by six pixels."""
    total: np.float32 = (
        wy[0] * _six(image[row], col, wx)
        + wy[1] * _six(image[row + 1], col, wx)
        + wy[2] * _six(image[row + 2], col, wx)
        + wy[3] * _six(image[row + 3], col, wx)
        + wy[4] * _six(image[row + 4], col, wx)
        + wy[5] * _six(image[row + 5], col, wx)
    )
    return total


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _whole(
    image: NDArray[np.float32], row: int, col: int, wx: NDArray[np.float32], wy: NDArray[np.float32]
) -> np.float32:
    """Return the weighted sum of a window that lies inside the image and holds no bad pixel."""
    if wx.size == 6 and wy.size == 6:
        return _six_by_six(image, row, col, wx, wy)
    total = np.float32(0.0)
    for j in range(wy.size):
        line = np.float32(0.0)
        for i in range(wx.size):
            line += wx[i] * image[row + j, col + i]
        total += wy[j] * line
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _partial(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    bad: NDArray[np.bool_],
    row: int,
    col: int,
    wx: NDArray[np.float32],
    wy: NDArray[np.float32],
) -> tuple[np.float32, np.float32]:
    """Return value and variance from the good pixels of a window, weights renormalised; NaN where too little is left.

    Where the lobes nearly cancel what is left of the core, absolute weights give a plain mean.
    """
    ny, nx = image.shape
    signed, positive = 0.0, 0.0
    for j in range(wy.size):
        for i in range(wx.size):
            y, x = row + j, col + i
            if 0 <= y < ny and 0 <= x < nx and not bad[y, x]:
                signed += wx[i] * wy[j]
                positive += abs(wx[i] * wy[j])
    if positive < _LEAST_WEIGHT:
        return np.float32(np.nan), np.float32(np.nan)
    plain = signed < 0.5
    norm = positive if plain else signed
    value, spread = 0.0, 0.0
    for j in range(wy.size):
        for i in range(wx.size):
            y, x = row + j, col + i
            if 0 <= y < ny and 0 <= x < nx and not bad[y, x]:
                weight = (abs(wx[i] * wy[j]) if plain else wx[i] * wy[j]) / norm
                value += weight * image[y, x]
                spread += weight * weight * variance[y, x]
    return np.float32(value), np.float32(spread)


@njit(cache=True, nogil=True)
def touched_blocks(bad: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Return for each square of ``BLOCK`` pixels a side of pixels whether a bad one lies within ``reach`` of it."""
    ny, nx = bad.shape
    touched = np.zeros(((ny + BLOCK - 1) // BLOCK, (nx + BLOCK - 1) // BLOCK), dtype=np.bool_)
    for y in range(ny):
        for x in range(nx):
            if bad[y, x]:
                for j in range(max(0, y - reach) // BLOCK, min(ny - 1, y + reach) // BLOCK + 1):
                    for i in range(max(0, x - reach) // BLOCK, min(nx - 1, x + reach) // BLOCK + 1):
                        touched[j, i] = True
    return touched


@njit(cache=True, nogil=True, error_model="numpy")
def _bits_near(mask: NDArray[np.int32], col: int, row: int, reach: int) -> np.int32:
    """Return all bits of four neighbours, and within ``reach`` pixels of them."""
    ny, nx = mask.shape
    bits = np.int32(0)
    for j in range(max(0, row - reach), min(ny, row + reach + 2)):
        for i in range(max(0, col - reach), min(nx, col + reach + 2)):
            bits |= mask[j, i]
    return bits


@njit(cache=True, nogil=True, error_model="numpy")
def _square(weights: NDArray[np.float32]) -> None:
    for k in range(weights.size):
        weights[k] *= weights[k]


@njit(cache=True, nogil=True, error_model="numpy")
def _segment(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    mask: NDArray[np.int32],
    bad: NDArray[np.bool_],
    touched: NDArray[np.bool_],
    line: tuple[float, float, float, float, float, float],
    table_x: NDArray[np.float32],
    table_y: NDArray[np.float32],
    flags: NDArray[np.int32],
    out_image: NDArray[np.float32],
    out_variance: NDArray[np.float32],
    out_mask: NDArray[np.int32],
) -> None:
    """Fill a stretch of a row whose positions and areas lie on a straight ``line``: x, y, area and their steps."""
    ny, nx = image.shape
    taps_x, taps_y = table_x.shape[1], table_y.shape[1]
    wx, wy = np.empty(taps_x, dtype=np.float32), np.empty(taps_y, dtype=np.float32)
    all_planes = variance.size > 0
    reach = max(0, max(taps_x, taps_y) // 2 - 3)
    for n in range(out_image.size):
        x, y, area = line[0] + n * line[3], line[1] + n * line[4], np.float32(line[2] + n * line[5])
        value, spread, bits = np.float32(np.nan), np.float32(np.nan), flags[0]
        if -0.5 <= x <= nx - 0.5 and -0.5 <= y <= ny - 0.5:
            col, row = int(np.floor(x)), int(np.floor(y))
            _weights(table_x, x - col, wx)
            _weights(table_y, y - row, wy)
            left, low = col - taps_x // 2 + 1, row - taps_y // 2 + 1
            inside = left >= 0 and low >= 0 and left + taps_x <= nx and low + taps_y <= ny
            bits = _bits_near(mask, col, row, reach) if all_planes else np.int32(0)
            if inside and not touched[row // BLOCK, col // BLOCK]:
                value = area * _whole(image, low, left, wx, wy)
                if all_planes:
                    _square(wx)
                    _square(wy)
                    spread = area * area * _whole(variance, low, left, wx, wy)
            else:
                value, spread = _partial(image, variance if all_planes else image, bad, low, left, wx, wy)
                bits |= (flags[0] if np.isnan(value) else np.int32(0)) | (np.int32(0) if inside else flags[1])
                value, spread = area * value, area * area * spread
        out_image[n] = value
        if all_planes:
            out_variance[n] = spread
            out_mask[n] = bits


@njit(cache=True, nogil=True, error_model="numpy")
def _corners(nodes: NDArray[np.float64], plane: int, row: int, cell: int, t: float) -> tuple[float, float]:
    """Return what the map holds at the left and at the right border of a cell."""
    left, right = nodes[plane, row, cell], nodes[plane, row, cell + 1]
    left += t * (nodes[plane, row + 1, cell] - left)
    right += t * (nodes[plane, row + 1, cell + 1] - right)
    return left, right


@njit(cache=True, nogil=True, error_model="numpy")
def warp(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    mask: NDArray[np.int32],
    bad: NDArray[np.bool_],
    touched: NDArray[np.bool_],
    nodes: NDArray[np.float64],
    step: int,
    table_x: NDArray[np.float32],
    table_y: NDArray[np.float32],
    flags: NDArray[np.int32],
    out_image: NDArray[np.float32],
    out_variance: NDArray[np.float32],
    out_mask: NDArray[np.int32],
) -> None:
    """Fill the output planes.

    Parameters
    ----------
    image, variance, mask, bad : (ny, nx)
        ``variance`` and ``mask`` may be (0, 0): then only the image is made.
    touched
        From `touched_blocks`, with a reach of half the taps.
    nodes : (3, rows, columns)
        Input x, input y and ratio of pixel areas at the corners of the output cells of ``step`` pixels.
    table_x, table_y : (phases + 1, taps)
        Weights by the fraction of a pixel; each row sums to 1.
    flags : (2,)
        Bits set where nothing is known, and where the window leaves the image.
    out_image, out_variance, out_mask
        Output planes.
    """
    height, width = out_image.shape
    all_planes = variance.size > 0
    for row in range(height):
        j = row // step
        t = (row - j * step) / step
        for cell in range((width + step - 1) // step):
            x, x_end = _corners(nodes, 0, j, cell, t)
            y, y_end = _corners(nodes, 1, j, cell, t)
            area, area_end = _corners(nodes, 2, j, cell, t)
            line = (x, y, area, (x_end - x) / step, (y_end - y) / step, (area_end - area) / step)
            first, last = cell * step, min(width, cell * step + step)
            stretch = out_image[row, first:last]
            spread = out_variance[row, first:last] if all_planes else stretch
            bits = out_mask[row, first:last] if all_planes else out_mask[0]
            _segment(image, variance, mask, bad, touched, line, table_x, table_y, flags, stretch, spread, bits)


@njit(cache=True, nogil=True, error_model="numpy")
def warp_stamps(
    stamps: NDArray[np.float32],
    starts: NDArray[np.float64],
    jacobians: NDArray[np.float64],
    table_x: NDArray[np.float32],
    table_y: NDArray[np.float32],
    size: int,
) -> NDArray[np.float32]:
    """Resample stamps through maps that are linear over each of them.

    Parameters
    ----------
    stamps : (n, s, s)
    starts : (n, 2)
        Position x, y on the input stamp of the first output pixel.
    jacobians : (n, 2, 2)
        Rows are input x and y, columns output x and y.
    table_x, table_y : (phases + 1, taps)
    size
        Side of the output stamps.

    Returns
    -------
    stamps : (n, size, size)
        Zero outside the input stamps.
    """
    n, reach = stamps.shape[0], max(table_x.shape[1], table_y.shape[1])
    side = stamps.shape[1] + 2 * reach
    padded = np.zeros((side, side), dtype=np.float32)
    nothing, no_bits = np.empty((1, 0), dtype=np.float32), np.empty((0, 0), dtype=np.int32)
    bad, flags = np.zeros((side, side), dtype=np.bool_), np.zeros(2, dtype=np.int32)
    touched = np.zeros((side // BLOCK + 1, side // BLOCK + 1), dtype=np.bool_)
    out = np.zeros((n, size, size), dtype=np.float32)
    for star in range(n):
        padded[reach : reach + stamps.shape[1], reach : reach + stamps.shape[1]] = stamps[star]
        j = jacobians[star]
        area = abs(j[0, 0] * j[1, 1] - j[0, 1] * j[1, 0])
        for row in range(size):
            x = starts[star, 0] + reach + row * j[0, 1]
            y = starts[star, 1] + reach + row * j[1, 1]
            line = (x, y, area, j[0, 0], j[1, 0], 0.0)
            _segment(
                padded, nothing, no_bits, bad, touched, line, table_x, table_y, flags, out[star, row], nothing[0], flags
            )
        for row in range(size):
            for col in range(size):
                if np.isnan(out[star, row, col]):
                    out[star, row, col] = 0.0
    return out
