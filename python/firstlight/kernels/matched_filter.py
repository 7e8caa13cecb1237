"""Separable smoothing of an image and its variance, and growing of masks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _smooth_row(
    values: NDArray[np.float32], taps: NDArray[np.float32], padded: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Convolve one row with symmetric ``taps``, zeros beyond its ends."""
    n, reach = values.size, taps.size // 2
    padded[reach : reach + n] = values
    out[:] = 0.0
    for k in range(taps.size):
        factor = taps[k]
        for col in range(n):
            out[col] += factor * padded[col + k]


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def matched_filter(
    image: NDArray[Any], variance: NDArray[Any], bad: NDArray[np.bool_], taps: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Smooth an image with a separable kernel and its variance with the square of that kernel.

    Masked pixels and the outside of the image count neither in the signal nor in the noise.

    Parameters
    ----------
    image, variance, bad : (ny, nx)
    taps : (2 r + 1,)
        The kernel along either axis.

    Returns
    -------
    smoothed, sigma : (ny, nx)
        Their ratio is the significance of a point source; 0 and 1 where nothing is known.
    """
    ny, nx = image.shape
    size = taps.size
    reach = size // 2
    squares = taps * taps
    signal_rows = np.zeros((size, nx), dtype=np.float32)
    noise_rows = np.zeros((size, nx), dtype=np.float32)
    signal = np.empty(nx, dtype=np.float32)
    noise = np.empty(nx, dtype=np.float32)
    padded = np.zeros(nx + 2 * reach, dtype=np.float32)
    smoothed = np.empty((ny, nx), dtype=np.float32)
    sigma = np.empty((ny, nx), dtype=np.float32)
    for row in range(ny + reach):
        slot = row % size
        if row < ny:
            for col in range(nx):
                known = not bad[row, col]
                signal[col] = image[row, col] if known else np.float32(0.0)
                noise[col] = variance[row, col] if known else np.float32(0.0)
            _smooth_row(signal, taps, padded, signal_rows[slot])
            _smooth_row(noise, squares, padded, noise_rows[slot])
        else:
            signal_rows[slot] = 0.0
            noise_rows[slot] = 0.0
        target = row - reach
        if target < 0:
            continue
        signal[:] = 0.0
        noise[:] = 0.0
        for k in range(size):
            source = (target + k - reach) % size
            for col in range(nx):
                signal[col] += taps[k] * signal_rows[source, col]
                noise[col] += squares[k] * noise_rows[source, col]
        for col in range(nx):
            known = noise[col] > 0.0
            smoothed[target, col] = signal[col] if known else np.float32(0.0)
            sigma[target, col] = np.sqrt(noise[col]) if known else np.float32(1.0)
    return smoothed, sigma


@njit(cache=True, nogil=True)
def grow_mask(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Return ``mask`` grown by a disk of ``radius`` pixels."""
    ny, nx = mask.shape
    grown = mask.copy()
    reach = np.empty(2 * radius + 1, dtype=np.int64)
    for step in range(-radius, radius + 1):
        reach[step + radius] = int(np.sqrt(radius * radius - step * step + 0.5))
    for row in range(ny):
        for col in range(nx):
            if not mask[row, col]:
                continue
            inside = 0 < row < ny - 1 and 0 < col < nx - 1
            if inside and mask[row - 1, col] and mask[row + 1, col] and mask[row, col - 1] and mask[row, col + 1]:
                continue
            for step in range(-radius, radius + 1):
                near_row = row + step
                if 0 <= near_row < ny:
                    width = reach[step + radius]
                    grown[near_row, max(0, col - width) : min(nx, col + width + 1)] = True
    return grown
