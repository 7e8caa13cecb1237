"""Separable smoothing of an image and its variance, and growing of masks."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_four(
    out: NDArray[np.float32],
    taps: NDArray[np.float32],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    third: NDArray[np.float32],
    fourth: NDArray[np.float32],
) -> None:
    """Add four lines times four taps one after the other, so that ``out`` is read and written once, not four times."""
    one, two, three, four = taps[0], taps[1], taps[2], taps[3]
    for col in range(out.size):
        total = out[col] + one * first[col]
        total += two * second[col]
        total += three * third[col]
        out[col] = total + four * fourth[col]


@njit(cache=True, nogil=True)
def _smooth(
    image: NDArray[np.float32], bad: NDArray[np.bool_], taps: NDArray[np.float32], smoothed: NDArray[np.float32]
) -> None:
    """Fill ``smoothed`` with an image convolved with symmetric ``taps``, zeros at bad pixels and outside."""
    ny, nx = image.shape
    size, reach = taps.size, taps.size // 2
    whole = 4 * ((size + 3) // 4)
    fours = np.zeros(whole, dtype=np.float32)
    for k in range(size):
        fours[k] = taps[k]
    rows = np.zeros((size, nx), dtype=np.float32)
    padded = np.zeros(nx + 2 * reach + 3, dtype=np.float32)
    for row in range(ny + reach):
        line = rows[row % size]
        line[:] = 0.0
        if row < ny:
            for col in range(nx):
                padded[reach + col] = np.float32(0.0) if bad[row, col] else image[row, col]
            for k in range(0, whole, 4):
                a, b, c, d = padded[k : k + nx], padded[k + 1 : k + 1 + nx], padded[k + 2 : k + 2 + nx], padded[k + 3 :]
                _add_four(line, fours[k : k + 4], a, b, c, d)
        if row >= reach:
            out = smoothed[row - reach]
            out[:] = 0.0
            start = row + size - 2 * reach
            for k in range(0, whole, 4):
                a, b = rows[(start + k) % size], rows[(start + k + 1) % size]
                c, d = rows[(start + k + 2) % size], rows[(start + k + 3) % size]
                _add_four(out, fours[k : k + 4], a, b, c, d)


def matched_filter(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    bad: NDArray[np.bool_],
    taps: NDArray[np.float32],
    own_noise: float,
    faint: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Smooth an image with a separable kernel and its variance with the square of that kernel.

    Masked pixels and the outside of the image count neither in the signal nor in the noise.

    Parameters
    ----------
    image, variance, bad : (ny, nx)
    taps : (2 r + 1,)
        The kernel along either axis.
    own_noise
        Smoothed variance that each unit of smoothed light brings along.
    faint
        The variance that light brings along is left out up to this many standard deviations of it, either sign; on bad
        pixels, which see the light from the rim of the kernel only, it is not left out.

    Returns
    -------
    smoothed, sigma : (ny, nx)
        Their ratio is the significance of a point source; 0 and 1 where nothing is known.
    """
    smoothed, sigma = np.empty(image.shape, dtype=np.float32), np.empty(image.shape, dtype=np.float32)
    _fill_filtered(image, variance, bad, taps, own_noise, faint, smoothed, sigma)
    return smoothed, sigma


@njit(cache=True, nogil=True)
def _fill_filtered(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    bad: NDArray[np.bool_],
    taps: NDArray[np.float32],
    own_noise: float,
    faint: float,
    smoothed: NDArray[np.float32],
    sigma: NDArray[np.float32],
) -> None:
    """Fill the results of `matched_filter`."""
    _smooth(image, bad, taps, smoothed)
    _smooth(variance, bad, taps * taps, sigma)
    for row in range(sigma.shape[0]):
        for col in range(sigma.shape[1]):
            total = sigma[row, col]
            light = min(abs(smoothed[row, col]), faint * np.sqrt(max(total, np.float32(0.0))))
            own = 0.0 if bad[row, col] else own_noise * (light if smoothed[row, col] > 0.0 else -light)
            sigma[row, col] = np.sqrt(max(total - own, 0.25 * total)) if total > 0.0 else np.float32(1.0)


def grow_mask(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Return ``mask`` grown by a disk of ``radius`` pixels."""
    grown = mask.copy()
    _grow(mask, radius, grown)
    return grown


@njit(cache=True, nogil=True)
def _grow(mask: NDArray[np.bool_], radius: int, grown: NDArray[np.bool_]) -> None:
    """Set the pixels of ``grown`` that lie within ``radius`` of one of ``mask``."""
    ny, nx = mask.shape
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
                    for near_col in range(max(0, col - width), min(nx, col + width + 1)):
                        grown[near_row, near_col] = True
