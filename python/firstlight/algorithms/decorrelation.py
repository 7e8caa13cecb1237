"""Make the noise of a difference image white again, and say how large it is and what its PSF has become."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from firstlight.algorithms.noise import typical_value
from firstlight.algorithms.spatial_convolution import convolve_sum
from firstlight.images.spatial_kernel import SpatialKernel
from firstlight.kernels.arrays import FloatArray

_NODES = 5
"""Positions along each axis at which filters are computed; a polynomial of degree 3 needs 4."""

_FLOOR = 1e-4
"""Smallest power in units of that of the sky: where both kernels let nothing through, noise is not blown up."""


@dataclass(frozen=True)
class DifferenceFilters:
    """A difference image as ``science_filter * science - template_filter * template``.

    Parameters
    ----------
    whitening
        What the difference of the matched images is convolved with.
    science_filter, template_filter
        What the science and the template image have been convolved with, in all.
    """

    whitening: SpatialKernel
    science_filter: SpatialKernel
    template_filter: SpatialKernel


def whitening_filters(
    science_kernel: SpatialKernel | None,
    template_kernel: SpatialKernel | None,
    *,
    science_variance: float,
    template_variance: float,
    order: int | None = None,
) -> DifferenceFilters:
    """Return the filter that whitens the difference of two images with white noise, one or both convolved.

    With C and K the transforms of the kernels, ``psi = sqrt((v_s C(0)^2 + v_t K(0)^2) / (v_s |C|^2 + v_t |K|^2))``; it
    leaves the flux of a source as it is. It is computed on a grid of positions and follows the kernels over the image.

    Parameters
    ----------
    science_kernel, template_kernel
        What each image was convolved with before they were subtracted; None for nothing. One of them is there.
    science_variance, template_variance : [unit^2]
        Variance of the sky in the images before.
    order
        Total degree of the variation of the filters; that of the kernels when left out.

    References
    ----------
    Reiss & Lupton 2016, DMTN-021 (section 2).
    """
    known = [kernel for kernel in (science_kernel, template_kernel) if kernel is not None]
    shape, radius = known[0].shape, max(kernel.radius for kernel in known)
    order = max(kernel.order for kernel in known) if order is None else order
    size = fft.next_fast_len(8 * radius + 1, real=True)
    x, y = nodes(shape, order=order)
    spectra = [
        np.ones((1, size, size // 2 + 1)) if kernel is None else transforms(kernel.images(x=x, y=y), size)
        for kernel in (science_kernel, template_kernel)
    ]
    power = science_variance * np.abs(spectra[0]) ** 2 + template_variance * np.abs(spectra[1]) ** 2
    whitening = np.sqrt(power[:, :1, :1] / np.maximum(power, _FLOOR * power[:, :1, :1]))

    def fitted(transform: NDArray[np.complexfloating], reach: int) -> SpatialKernel:
        return SpatialKernel.fit(stamps(transform, reach, size), x=x, y=y, shape=shape, order=order)

    return DifferenceFilters(
        whitening=fitted(whitening, 2 * radius),
        science_filter=fitted(whitening * spectra[0], 2 * radius),
        template_filter=fitted(whitening * spectra[1], 2 * radius),
    )


def filtered_variance(pairs: list[tuple[FloatArray, SpatialKernel]], *, order: int = 1) -> NDArray[np.float32]:
    """Return the variance of a sum of images convolved with kernels: each variance convolved with its squared kernel.

    Parameters
    ----------
    pairs
        Variances (ny, nx), all finite, and the kernels of the images.
    order
        Total degree of the variation of the squared kernels.
    """
    squared = []
    for variance, kernel in pairs:
        order_here = min(order, kernel.order)
        x, y = nodes(kernel.shape, order=order_here)
        squares = kernel.images(x=x, y=y) ** 2
        squared.append((variance, SpatialKernel.fit(squares, x=x, y=y, shape=kernel.shape, order=order_here)))
    total = convolve_sum(squared)
    least = 1e-3 * typical_value(total)
    return np.maximum(total, np.float32(max(least, 1e-30)))


def nodes(shape: tuple[int, int], *, order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the positions x, y [pixel] at which something that varies with a total degree is to be known."""
    count = 1 if order == 0 else max(_NODES, order + 2)
    along = np.cos(np.pi * (np.arange(count) + 0.5) / count)
    x, y = ((side * (along + 1.0) - 1.0) / 2.0 for side in (shape[1], shape[0]))
    grid_y, grid_x = np.meshgrid(y, x, indexing="ij")
    return grid_x.ravel(), grid_y.ravel()


def transforms(kernels: FloatArray, size: int) -> NDArray[np.complex128]:
    """Return the transforms of (n, s, s) kernels on ``size`` pixels, the middle of each on pixel 0."""
    side = kernels.shape[1]
    padded = np.zeros((len(kernels), size, size))
    padded[:, :side, :side] = kernels
    return np.asarray(fft.rfft2(np.roll(padded, -(side // 2), axis=(1, 2))))


def stamps(spectra: NDArray[np.complexfloating], radius: int, size: int) -> NDArray[np.float64]:
    """Return the middles (n, s, s) of what the transforms belong to; the inverse of `transforms`."""
    kernels = np.roll(fft.irfft2(spectra, s=(size, size)), radius, axis=(1, 2))
    return np.asarray(kernels[:, : 2 * radius + 1, : 2 * radius + 1])
