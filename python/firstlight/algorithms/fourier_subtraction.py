"""Fit a matching kernel of single pixels to a whole image at once, with Fourier transforms in place of stamps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from firstlight.algorithms.kernel_basis import KernelBasis
from firstlight.algorithms.kernel_terms import KernelSolution, KernelTerms, Normals
from firstlight.images.spatial_kernel import chebyshev_terms
from firstlight.kernels.arrays import BoolArray, FloatArray

_TILE = 256
_FOLDS = 5
_SHARE = 0.2
"""What a kernel may miss of a star before the star counts as changed."""


@dataclass(frozen=True)
class FourierFit:
    """A kernel of single pixels, and the terms that it is a solution of.

    Parameters
    ----------
    solution
    terms
        Give the kernel and the background of the solution.
    """

    solution: KernelSolution
    terms: KernelTerms


def star_weights(
    variance: FloatArray, signal: FloatArray, *, x: FloatArray, y: FloatArray, bad: BoolArray, radius: int
) -> NDArray[np.float32]:
    """Return the weight of each pixel: one value on the square about each star, zero elsewhere and on bad pixels.

    It is the inverse of the variance averaged with the square of the star, so that no star decides alone. Where squares
    overlap the brighter star counts.

    Parameters
    ----------
    variance : (ny, nx)
        Of the difference of the images.
    signal : (ny, nx)
        An image with the stars.
    x, y : (n,) [pixel]
    bad : (ny, nx)
    radius : [pixel]
        Half size of the squares.
    """
    weights = np.zeros(signal.shape, dtype=np.float32)
    squares, noises = [], []
    for row, column in zip(np.rint(y).astype(int), np.rint(x).astype(int), strict=True):
        square = np.s_[max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1]
        power = np.where(bad[square], 0.0, signal[square].astype(np.float64) ** 2) + 1e-12
        squares.append(square)
        noises.append(float((power * variance[square]).sum() / power.sum()))
    for i in np.argsort(noises):
        weights[squares[i]] = 1.0 / noises[i]
    weights[bad] = 0.0
    return weights


def fit_fourier_kernel(
    source: FloatArray,
    target: FloatArray,
    *,
    source_variance: FloatArray,
    target_variance: FloatArray,
    weights: FloatArray,
    basis: KernelBasis,
    n_stars: int,
    orders: Sequence[int] = (0, 1),
    scale_order: int = 0,
    background_order: int = 1,
    dampings: Sequence[float] = (1e-3, 1e-2, 1e-1),
    max_condition: float = 1e12,
) -> FourierFit:
    """Fit the kernel to all pixels with a weight.

    The kernel is ``sum_ab c_ab delta_a P_b(x, y)``. As the polynomials multiply the source before it is shifted, the
    normal equations are correlations of products of images at small lags. Both images are multiplied with the square
    root of the weights first, which is exact where a weight is the same over a star and its surroundings. The tiles
    whose spectra are summed belong to one of five parts in turn, by which order and damping are chosen. What the noise
    of the source adds to its squares is taken off.

    Parameters
    ----------
    source, target : (ny, nx)
        All finite where the weight is not zero.
    source_variance, target_variance : (ny, nx)
    weights : (ny, nx)
        For instance from `star_weights`.
    basis
        From `delta_basis`.
    n_stars
        How many stars have a weight; an order needs three for each polynomial.
    orders, scale_order, background_order, dampings, max_condition
        As `fit_matching_kernel` takes them.

    Raises
    ------
    KernelError
        If nothing can be solved.

    References
    ----------
    Hu et al. 2022, ApJ 936, 157 (SFFT, sections 2.2 and 2.3); Bramich 2008, MNRAS 386, L77.
    """
    terms = KernelTerms.for_stars(
        n_stars,
        shape=(source.shape[0], source.shape[1]),
        basis=basis,
        scale_order=scale_order,
        background_order=background_order,
    )
    tried = terms.allowed(orders, n_stars)
    degree = terms.highest(tried)
    parts = _parts(
        [np.where(weights > 0, plane, 0.0) for plane in (source, target, source_variance, target_variance)],
        np.sqrt(weights),
        basis=basis,
        degree=degree,
        n_stars=n_stars,
    )
    solution = terms.choose(parts, orders=tried, dampings=dampings, max_condition=max_condition)
    return FourierFit(solution, terms)


def stamp_residuals(
    residual: FloatArray,
    variance: FloatArray,
    light: FloatArray,
    *,
    x: FloatArray,
    y: FloatArray,
    bad: BoolArray,
    radius: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the root mean square of a residual on the square about each star, and its largest excess, in sigma.

    The excess is ``|residual| - share * |light|``, which is large where something is new or gone and not where a kernel
    misses a few per cent of a bright star.

    Parameters
    ----------
    residual, variance : (ny, nx)
    light : (ny, nx)
        The image that was to be matched.
    x, y : (n,) [pixel]
    bad : (ny, nx)
    radius : [pixel]
        Half size of the squares.

    Returns
    -------
    rms, excess : (n,)
        NaN for a star without good pixels.
    """
    rms, excess = np.full(len(x), np.nan), np.full(len(x), np.nan)
    for i, (row, column) in enumerate(zip(np.rint(y).astype(int), np.rint(x).astype(int), strict=True)):
        square = np.s_[max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1]
        good = ~bad[square]
        if good.any():
            left, noise = np.abs(residual[square][good]), np.sqrt(variance[square][good])
            rms[i] = np.sqrt(((left / noise) ** 2).mean())
            excess[i] = ((left - _SHARE * np.abs(light[square][good])) / noise).max()
    return rms, excess


def _parts(
    planes: list[NDArray[np.floating]],
    root: FloatArray,
    *,
    basis: KernelBasis,
    degree: int,
    n_stars: int,
) -> list[Normals]:
    """Return the normal equations of each fifth of the tiles."""
    reach = 2 * basis.radius
    sums = [_Correlations(basis.radius, degree) for _ in range(_FOLDS)]
    ny, nx = root.shape
    step = _TILE - 2 * reach
    corners = [(y, x) for y in range(0, ny, step) for x in range(0, nx, step) if root[y : y + step, x : x + step].any()]
    padded = [np.pad(plane, reach).astype(np.float32) for plane in (planes[0] * root, planes[1] * root, root)]
    for number, (y, x) in enumerate(corners):
        square = np.s_[y : y + step, x : x + step]
        weight = root[square].astype(np.float64) ** 2
        sums[number % _FOLDS].add(
            [plane[y : y + step + 2 * reach, x : x + step + 2 * reach] for plane in padded],
            corner=(y, x),
            shape=(ny, nx),
            source_noise=weight * planes[2][square],
            target_noise=float((weight * planes[3][square]).sum()),
        )
    filled = [each for each in sums if each.expected > 0.0]
    share = n_stars / max(len(filled), 1)
    return [each.normals(basis, round(share)) for each in filled]


class _Correlations:
    """Sums over tiles of the spectra of which the normal equations are made."""

    def __init__(self, radius: int, degree: int) -> None:
        self._radius, self._degree = radius, degree
        self._count = (degree + 1) * (degree + 2) // 2
        half = (_TILE, _TILE // 2 + 1)
        fields = self._count
        self._pairs = np.zeros((fields, fields, *half), dtype=np.complex128)
        self._with_target = np.zeros((fields, *half), dtype=np.complex128)
        self._with_sky = np.zeros((fields, fields, *half), dtype=np.complex128)
        self._sky = np.zeros((fields, fields))
        self._sky_target = np.zeros(fields)
        self._noise = np.zeros((fields, fields))
        self._square = self.expected = 0.0

    def add(
        self,
        planes: list[NDArray[np.float32]],
        *,
        corner: tuple[int, int],
        shape: tuple[int, int],
        source_noise: NDArray[np.float64],
        target_noise: float,
    ) -> None:
        """Add one tile: weighted source and target and the root of the weight, with a border of twice the radius."""
        reach = 2 * self._radius
        rows, columns = planes[0].shape[0] - 2 * reach, planes[0].shape[1] - 2 * reach
        y, x = (axis.ravel() for axis in np.indices(planes[0].shape, dtype=np.float64))
        values = chebyshev_terms(self._degree, x=x + corner[1] - reach, y=y + corner[0] - reach, shape=shape)
        phi = np.ascontiguousarray(values.T, dtype=np.float32).reshape(-1, *planes[0].shape)
        inner = np.s_[reach : reach + rows, reach : reach + columns]
        # A shifted source overlaps the target, the sky or another shifted source: the one is cut, the other is whole.
        whole = fft.rfft2(_padded(phi * planes[0]))
        cut = np.zeros((self._count, *planes[0].shape), dtype=np.float32)
        cut[(slice(None), *inner)] = phi[(slice(None), *inner)] * planes[0][inner]
        sky = np.zeros_like(cut)
        sky[(slice(None), *inner)] = phi[(slice(None), *inner)] * planes[2][inner]
        target = np.zeros_like(planes[1])
        target[inner] = planes[1][inner]
        cut_hat, sky_hat, target_hat = (fft.rfft2(_padded(each)) for each in (cut, sky, target))
        self._with_target += target_hat * whole.conj()
        for i in range(self._count):
            self._pairs[i] += cut_hat[i] * whole.conj()
            self._with_sky[i] += sky_hat[i] * whole.conj()
        flat_sky, flat_target = sky.reshape(self._count, -1).astype(np.float64), target.ravel().astype(np.float64)
        self._sky += flat_sky @ flat_sky.T
        self._sky_target += flat_sky @ flat_target
        inside = phi[(slice(None), *inner)].reshape(self._count, -1).astype(np.float64)
        self._noise += (inside * source_noise.ravel()) @ inside.T
        self._square += float(flat_target @ flat_target)
        self.expected += target_noise

    def normals(self, basis: KernelBasis, n_stars: int) -> Normals:
        """Return the equations in the layout of `KernelTerms`."""
        radius, fields, n = self._radius, self._count, len(basis)
        offsets = np.arange(-radius, radius + 1)
        dy, dx = (axis.ravel() for axis in np.meshgrid(offsets, offsets, indexing="ij"))
        lag_y, lag_x = dy[:, None] - dy[None, :], dx[:, None] - dx[None, :]
        matrix = np.zeros((n + 1, fields, n + 1, fields))
        vector = np.zeros((n + 1, fields))
        power = basis.images.reshape(n, -1)
        power = power @ power.T
        mixing = basis.mixing
        for i in range(fields):
            pairs = fft.irfft2(self._pairs[i], s=(_TILE, _TILE))
            skies = fft.irfft2(self._with_sky[i], s=(_TILE, _TILE))
            for j in range(fields):
                # Kernel pixel a moves the source by +a: T_i(p - a) T_j(p - b) summed is a correlation at lag b - a.
                block = mixing @ pairs[j][-lag_y, -lag_x] @ mixing.T - self._noise[i, j] * power
                matrix[:n, i, :n, j] = block
                matrix[n, i, :n, j] = mixing @ skies[j][dy, dx]
                matrix[:n, j, n, i] = matrix[n, i, :n, j]
            vector[:n, i] = mixing @ fft.irfft2(self._with_target[i], s=(_TILE, _TILE))[dy, dx]
        matrix[n, :, n, :] = self._sky
        vector[n] = self._sky_target
        size = (n + 1) * fields
        full = matrix.reshape(size, size)
        return Normals(0.5 * (full + full.T), vector.reshape(size), self._square, self.expected, n_stars)


def _padded(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return planes with zeros up to the size of a tile."""
    before = [(0, 0)] * (planes.ndim - 2)
    return np.pad(planes, [*before, *((0, _TILE - side) for side in planes.shape[-2:])])
