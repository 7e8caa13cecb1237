"""Proper image subtraction: the optimal difference of two images with known PSFs and white noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from firstlight.algorithms.decorrelation import nodes, stamps, transforms
from firstlight.images.psf import Psf
from firstlight.images.spatial_kernel import SpatialKernel

_FLOOR = 1e-7
"""Smallest denominator in units of the largest: where both PSFs let nothing through there is nothing to subtract."""


@dataclass(frozen=True)
class ZogyImage:
    """What proper subtraction has to know of an image.

    Parameters
    ----------
    psf
    sigma : [unit of the image]
        Noise of the sky.
    flux_scale
        Flux in the image of a source of unit flux.
    """

    psf: Psf
    sigma: float
    flux_scale: float = 1.0


def zogy_filters(
    new: ZogyImage, reference: ZogyImage, *, shape: tuple[int, int], order: int = 3, radius: int | None = None
) -> tuple[SpatialKernel, SpatialKernel]:
    """Return the kernels that the two images are convolved with; the difference of the results is D.

    With the transforms of the PSFs, ``D = (f_r P_r N - f_n P_n R) / sqrt(s_n^2 f_r^2 |P_r|^2 + s_r^2 f_n^2 |P_n|^2)``
    over ``F_D = f_r f_n / sqrt(s_n^2 f_r^2 + s_r^2 f_n^2)``: a source of unit flux has unit flux in D. The two filters
    swap when the images do, so that D changes its sign and nothing else. They are computed at positions over the image,
    each with the PSFs there, and follow the PSFs as polynomials in between.

    Parameters
    ----------
    new, reference
    shape : (ny, nx) [pixel]
    order
        Total degree of the variation over the image.
    radius : [pixel]
        Half size of the kernels; twice the larger radius of the PSFs when left out.

    References
    ----------
    Zackay, Ofek & Gal-Yam 2016, ApJ 830, 27 (equations 12 to 16).
    """
    radius = 2 * max(new.psf.radius, reference.psf.radius) if radius is None else radius
    size = fft.next_fast_len(4 * radius + 1, real=True)
    x, y = nodes(shape, order=order)
    x, y = np.rint(x), np.rint(y)
    p_n, p_r = (image.flux_scale * transforms(image.psf.images(x=x, y=y), size) for image in (new, reference))
    power = new.sigma**2 * np.abs(p_r) ** 2 + reference.sigma**2 * np.abs(p_n) ** 2
    root = np.sqrt(np.maximum(power, _FLOOR * power.max(axis=(1, 2), keepdims=True)))
    flux = root[:, :1, :1] / (new.flux_scale * reference.flux_scale)

    def fitted(transform: NDArray[np.complex128]) -> SpatialKernel:
        return SpatialKernel.fit(stamps(transform * flux / root, radius, size), x=x, y=y, shape=shape, order=order)

    return fitted(p_r), fitted(p_n)
