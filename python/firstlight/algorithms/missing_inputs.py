"""Predict what inputs that are missing in a pixel would have added to a weighted mean of images.

Where an input is left out, or ends, stars of the mean have the point-spread function of those that are there, and what
they look like changes from one pixel to the next. What this function ``P`` lacks of that of all, ``P_all - P``, is
``P`` seen through a small kernel, found by a Wiener filter (Press et al., Numerical Recipes, section 13.3); the same
kernel tells what the light about a pixel lacks. Beside a small hole this light has the function of all already, which
is an error of the second order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray

FINEST = 0.01
"""Share of its light per period that a function must have for the kernel to change the period."""

_CHUNK = 1 << 22
"""So many pixels are in hand at a time."""


def completing_kernels(
    stamps: FloatArray, *, used: BoolArray, expected: BoolArray, weights: FloatArray, radius: int
) -> NDArray[np.float64]:
    """Return the kernels that tell what a mean of some inputs lacks of that of others.

    Parameters
    ----------
    stamps : (inputs, s, s)
        Point-spread functions with unit sum in the middle of a pixel, s odd.
    used, expected : (n, inputs)
        Which inputs the n means have, and which they should have; one at least.
    weights : (inputs,)
    radius : [pixel]
        Half size of the kernels.

    Returns
    -------
    (n, 2 radius + 1, 2 radius + 1), each of sum 0.
    """
    side = stamps.shape[1] + 2 * radius
    spread = np.fft.rfft2(np.asarray(stamps, np.float64), s=(side, side))
    there, wanted = (
        np.tensordot(shares / shares.sum(axis=1, keepdims=True), spread, axes=1)
        for shares in (used * weights, expected * weights)
    )
    filters = (wanted - there) * np.conj(there) / (np.abs(there) ** 2 + FINEST**2)
    kernels = np.fft.fftshift(np.fft.irfft2(filters, s=(side, side)), axes=(1, 2))
    middle, reach = side // 2, np.arange(-radius, radius + 1)
    kernels = kernels[:, (middle + reach)[:, None], middle + reach]
    # Cut off at its edge, a kernel would leave spikes there of all bright stars.
    distance = np.hypot(reach[:, None], reach) / (radius + 1)
    taper = np.where(distance < 1.0, np.cos(np.pi * np.clip(distance - 0.5, 0.0, 0.5)) ** 2, 0.0)
    kernels = kernels * taper
    return np.asarray(kernels - taper * (kernels.sum(axis=(1, 2), keepdims=True) / taper.sum()))


def predict_missing(image: FloatArray, *, row: IntArray, column: IntArray, kernel: FloatArray) -> NDArray[np.float64]:
    """Return what some pixels of a mean lack (n,).

    Parameters
    ----------
    image : (ny, nx)
        What is not finite counts as dark.
    row, column : (n,)
    kernel : (s, s)
        One of `completing_kernels`.
    """
    (ny, nx), reach = image.shape, np.arange(len(kernel)) - len(kernel) // 2
    change, step = np.empty(len(row)), max(1, _CHUNK // kernel.size)
    for start in range(0, len(row), step):
        part = np.s_[start : start + step]
        line, along = row[part, None] - reach, column[part, None] - reach
        light = image[np.clip(line, 0, ny - 1)[:, :, None], np.clip(along, 0, nx - 1)[:, None, :]]
        inside = ((line >= 0) & (line < ny))[:, :, None] & ((along >= 0) & (along < nx))[:, None, :]
        change[part] = np.einsum("nij,ij->n", np.where(inside & np.isfinite(light), light, 0.0), kernel)
    return change


def noise_factor(kernel: FloatArray) -> float:
    """Return by which the variance of white noise grows when what it lacks is added to it."""
    return float((kernel**2).sum() + 2.0 * kernel[len(kernel) // 2, len(kernel) // 2] + 1.0)
