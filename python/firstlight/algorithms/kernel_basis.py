"""The shapes that a matching kernel is a sum of: Gaussians times polynomials, or single pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.kernels.arrays import FloatArray

_N_GAUSSIANS = 3
_BETA = 2.0


@dataclass(frozen=True)
class KernelBasis:
    """Kernels that add up to a matching kernel; the first sums to 1 and all others to 0.

    Parameters
    ----------
    images : (n, s, s)
        The basis kernels.
    separable : (along_y, along_x, which) or None
        Vectors (a, s) and (b, s) and the pairs (n, 2) of them whose outer products span the basis.
    mixing : (n, n)
        ``images = mixing @ products``, where the products are those of ``separable``, or the single pixels.
    roughness : (n, n)
        Quadratic form of the coefficients: the summed square of the second differences of the kernel.
    """

    images: NDArray[np.float64]
    separable: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]] | None
    mixing: NDArray[np.float64]
    roughness: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def radius(self) -> int:
        """Half size of the kernels [pixel]."""
        return int(self.images.shape[1] // 2)


def gaussian_widths(
    source_sigma: float,
    target_sigma: float,
    *,
    n_gaussians: int = _N_GAUSSIANS,
    min_sigma: float = 0.7,
    beta: float = _BETA,
) -> tuple[float, ...]:
    """Return the widths of the Gaussians of a basis [pixel], after the rule of LSST.

    The kernel that turns a Gaussian of ``source_sigma`` into one of ``target_sigma`` has
    ``s_k = sqrt(target^2 - source^2)``; the widths are ``s_k / beta``, ``s_k``, ``s_k beta`` and so on, none below
    ``min_sigma``. Where the target is the sharper one the two change places.

    Parameters
    ----------
    source_sigma, target_sigma : [pixel]
        Widths of the PSF of the image that is convolved, and of the other one.
    n_gaussians
    min_sigma : [pixel]
    beta
        Ratio of one width to the next.

    References
    ----------
    Israel, Hessman & Schuh 2007, AN 328, 16 (widths from the seeing); LSST ``ip_diffim``.
    """
    kernel_sigma = math.sqrt(abs(target_sigma**2 - source_sigma**2))
    first = max(min_sigma, kernel_sigma / beta)
    return tuple(first * beta**k for k in range(n_gaussians))


def kernel_radius(sigmas: tuple[float, ...], *, scaling: float = 6.0, min_size: int = 21, max_size: int = 35) -> int:
    """Return the half size of a kernel [pixel]: ``scaling`` times the widest Gaussian across, within limits."""
    size = min(max(int(scaling * max(sigmas)), min_size), max_size)
    return size // 2


def gaussian_basis(sigmas: tuple[float, ...], degrees: tuple[int, ...], *, radius: int) -> KernelBasis:
    """Return Gaussians times polynomials of two variables up to a total degree each.

    Parameters
    ----------
    sigmas : [pixel]
    degrees
        Total degree of the polynomial of each Gaussian.
    radius : [pixel]
        Half size of the kernels.

    References
    ----------
    Alard & Lupton 1998, ApJ 503, 325 (equation 3); Alard 2000, A&AS 144, 363 (only the first term carries flux).
    """
    offsets = np.arange(-radius, radius + 1.0)
    vectors: list[NDArray[np.float64]] = []
    pairs: list[tuple[int, int]] = []
    for sigma, degree in zip(sigmas, degrees, strict=True):
        first = len(vectors)
        profile = np.exp(-0.5 * (offsets / sigma) ** 2)
        # Powers of u/sigma and not of the half width: the terms of one Gaussian then have like sizes.
        vectors += [profile * (offsets / sigma) ** power for power in range(degree + 1)]
        pairs += [(first + total - p, first + p) for total in range(degree + 1) for p in range(total + 1)]
    along = np.array(vectors)
    which = np.array(pairs, dtype=np.int64)
    products = along[which[:, 0], :, None] * along[which[:, 1], None, :]
    mixing = _zero_sum_mixing(products)
    images = np.tensordot(mixing, products, axes=1)
    return KernelBasis(images=images, separable=(along, along, which), mixing=mixing, roughness=_roughness(images))


def delta_basis(radius: int) -> KernelBasis:
    """Return one kernel for each pixel; all but the first, the central one, have its negative at the centre.

    Parameters
    ----------
    radius : [pixel]

    References
    ----------
    Bramich 2008, MNRAS 386, L77; Becker et al. 2012, MNRAS 425, 1341 (regularised).
    """
    side = 2 * radius + 1
    centre = side * side // 2
    mixing = np.eye(side * side)
    mixing[:, centre] -= 1.0
    mixing[centre, centre] = 1.0
    order = np.r_[centre, np.delete(np.arange(side * side), centre)]
    mixing = mixing[order]
    images = mixing.reshape(-1, side, side)
    return KernelBasis(images=images, separable=None, mixing=mixing, roughness=_roughness(images))


def _zero_sum_mixing(products: FloatArray) -> NDArray[np.float64]:
    """Return the matrix that makes the first kernel of unit sum, and the others of zero sum and unit norm."""
    total = products.sum(axis=(1, 2))
    scale = np.abs(products).sum(axis=(1, 2))
    mixing = np.zeros((len(products), len(products)))
    mixing[0, 0] = 1.0 / total[0]
    for i in range(1, len(products)):
        if abs(total[i]) > 1e-9 * scale[i]:
            mixing[i, i], mixing[i, 0] = 1.0 / total[i], -1.0 / total[0]
        else:
            mixing[i, i] = 1.0
        image = np.tensordot(mixing[i], products, axes=1)
        mixing[i] /= np.sqrt((image**2).sum())
    return mixing


def _roughness(images: FloatArray) -> NDArray[np.float64]:
    """Return the summed products of the second differences, taken as if the kernels were zero outside."""
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    along_y, along_x = np.diff(padded, n=2, axis=1), np.diff(padded, n=2, axis=2)
    mixed = np.diff(np.diff(padded, axis=1), axis=2)
    form = np.zeros((len(images), len(images)))
    for differences, weight in ((along_y, 1.0), (along_x, 1.0), (mixed, 2.0)):
        flat = differences.reshape(len(images), -1)
        form += weight * (flat @ flat.T)
    return form
