"""Convolve whole images with kernels that vary over them, tile by tile in Fourier space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from firstlight.images.spatial_kernel import SpatialKernel, chebyshev_degrees
from firstlight.kernels.arrays import FloatArray

_TILE = 256
_MAX_BORDER = 0.4
"""Largest share of a tile that its border may take; with wider kernels the tiles grow."""


def convolve(image: FloatArray, kernel: SpatialKernel) -> NDArray[np.float32]:
    """Return an image convolved with a kernel that varies over it; see `convolve_sum`."""
    return convolve_sum([(image, kernel)])


def convolve_sum(pairs: Sequence[tuple[FloatArray, SpatialKernel]]) -> NDArray[np.float32]:
    """Return the sum of images, each convolved with its own kernel: ``sum_p K(p; q) I(p - q)``, exact everywhere.

    A kernel that is a polynomial of the position of the output pixel is a sum of constant kernels times polynomials, so
    that each tile takes one transform of each image and one back for each term (overlap-save). Zeros lie outside.

    Parameters
    ----------
    pairs
        Images (ny, nx), all finite and of one shape, and their kernels.

    References
    ----------
    Alard & Lupton 1998, ApJ 503, 325 (section 2.3); Oppenheim & Schafer, Discrete-Time Signal Processing (8.7.3).
    """
    shape = np.shape(pairs[0][0])
    border = max(kernel.radius for _, kernel in pairs)
    size = fft.next_fast_len(max(_TILE, int(2 * border / _MAX_BORDER)), real=True)
    terms = max(len(kernel.components) for _, kernel in pairs)
    spectra = [_spectra(kernel, size) for _, kernel in pairs]
    rows, columns = _polynomials(pairs[0][1].shape, shape)
    p, q = chebyshev_degrees(max(kernel.order for _, kernel in pairs))
    total = np.zeros(shape, dtype=np.float32)
    for y, x in _corners(shape, size - 2 * border):
        tiles = [_tile(image, y - border, x - border, size) for image, _ in pairs]
        if not any(tile.any() for tile in tiles):
            continue
        seen = [fft.rfft2(tile) for tile in tiles]
        part = total[y : y + size - 2 * border, x : x + size - 2 * border]
        cut = np.s_[border : border + part.shape[0], border : border + part.shape[1]]
        for term in range(terms):
            # One term after the other stays in the cache; all at once do not.
            products = [each[term] * light for each, light in zip(spectra, seen, strict=True) if term < len(each)]
            filtered = fft.irfft2(sum(products[1:], products[0]), s=(size, size), overwrite_x=True)[cut]
            if term > 0:
                filtered *= rows[y : y + part.shape[0], q[term], None] * columns[x : x + part.shape[1], p[term]]
            part += filtered
    return total


def _spectra(kernel: SpatialKernel, size: int) -> NDArray[np.complex64]:
    """Return the transforms of the components, the middle of each on pixel 0."""
    padded = np.zeros((len(kernel.components), size, size))
    side = 2 * kernel.radius + 1
    padded[:, :side, :side] = kernel.components
    return np.asarray(fft.rfft2(np.roll(padded, -kernel.radius, axis=(1, 2))), dtype=np.complex64)


def _polynomials(domain: tuple[int, int], shape: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the Chebyshev polynomials along the rows and along the columns, (ny, 8) and (nx, 8)."""
    along = []
    for side, full in zip(shape, domain, strict=True):
        scaled = np.clip((2.0 * np.arange(side) + 1.0) / full - 1.0, -1.0, 1.0)
        along.append(np.polynomial.chebyshev.chebvander(scaled, 7).astype(np.float32))
    return along[0], along[1]


def _corners(shape: tuple[int, ...], step: int) -> Iterator[tuple[int, int]]:
    return ((y, x) for y in range(0, shape[0], step) for x in range(0, shape[1], step))


def _tile(image: FloatArray, y: int, x: int, size: int) -> NDArray[np.float32]:
    """Return a square of the image with zeros where it lies outside."""
    tile = np.zeros((size, size), dtype=np.float32)
    y0, x0 = max(y, 0), max(x, 0)
    part = image[y0 : y + size, x0 : x + size]
    tile[y0 - y : y0 - y + part.shape[0], x0 - x : x0 - x + part.shape[1]] = part
    return tile
