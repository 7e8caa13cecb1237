"""The PSF of an image that was convolved with a kernel that varies over it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from firstlight.algorithms.decorrelation import nodes
from firstlight.images.pixel_grid_psf import PixelGridPsf, polynomial_basis
from firstlight.images.psf import Psf
from firstlight.images.spatial_kernel import SpatialKernel

_OVERSAMPLING = 5
_WING_BETA = 3.0
_MIN_VARYING_ORDER = 3


def convolved_psf(psf: Psf, kernel: SpatialKernel, *, order: int = _MIN_VARYING_ORDER) -> PixelGridPsf:
    """Return the PSF convolved with a kernel, sampled on a fine grid at positions over the image.

    Parameters
    ----------
    psf
    kernel
        Its sum does not matter.
    order
        Total degree of the variation over the image.
    """
    ny, nx = kernel.shape
    x, y = nodes(kernel.shape, order=order)
    x, y = np.rint(x), np.rint(y)
    kernels = kernel.images(x=x, y=y)
    fractions = np.array([psf.stamp_fraction(x=a, y=b) for a, b in zip(x, y, strict=True)])
    grids = np.stack([_grid(psf, k, x=a, y=b) for k, a, b in zip(kernels, x, y, strict=True)])
    domain = (-0.5, nx - 0.5, -0.5, ny - 0.5)
    design = polynomial_basis(order, u=(2 * x + 1) / nx - 1, v=(2 * y + 1) / ny - 1)
    scaled = grids * fractions[:, None, None]
    solution, *_ = np.linalg.lstsq(design, np.c_[scaled.reshape(len(x), -1), fractions], rcond=None)
    return PixelGridPsf(
        solution[:, :-1].reshape(-1, *grids.shape[1:]),
        polynomials=np.eye(design.shape[1]),
        oversampling=_OVERSAMPLING,
        radius=psf.radius,
        domain=domain,
        stamp_fractions=solution[:, -1],
        wing=_wing(psf),
        average_position=((nx - 1) / 2, (ny - 1) / 2),
    )


def _grid(psf: Psf, kernel: NDArray[np.float64], *, x: float, y: float) -> NDArray[np.float64]:
    """Return samples of the convolved profile, the star in the middle, whose stamp has unit sum."""
    fine = psf.oversampled(_OVERSAMPLING, x=x, y=y)
    spread = np.zeros([(side - 1) * _OVERSAMPLING + 1 for side in kernel.shape])
    spread[::_OVERSAMPLING, ::_OVERSAMPLING] = kernel
    half = _OVERSAMPLING * (psf.radius + 1) + 2
    around = half - fine.shape[0] // 2
    # The light just outside the stamp continues its edge: a step there would ring in the splines.
    grid = fftconvolve(np.pad(fine, around, mode="edge"), spread, mode="same")
    middle = grid[half % _OVERSAMPLING :: _OVERSAMPLING, half % _OVERSAMPLING :: _OVERSAMPLING]
    cut = (middle.shape[0] - (2 * psf.radius + 1)) // 2
    stamp = middle[cut : middle.shape[0] - cut, cut : middle.shape[1] - cut]
    return np.asarray(grid / stamp.sum())


def _wing(psf: Psf) -> tuple[float, float]:
    """Return scale radius and exponent of a Moffat wing like that of the PSF before."""
    x, y = psf.average_position
    return 0.5 * psf.fwhm(x=x, y=y) / float(np.sqrt(2.0 ** (1.0 / _WING_BETA) - 1.0)), _WING_BETA
