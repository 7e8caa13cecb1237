"""What stamps around stars say about the kernel that matches two images: their normal equations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from firstlight.algorithms.kernel_basis import KernelBasis
from firstlight.kernels.arrays import FloatArray

_CHUNK = 16


@dataclass(frozen=True)
class StampEquations:
    """Normal equations of each stamp, for the coefficients of a kernel basis and a constant.

    Parameters
    ----------
    matrix : (stamps, n + 1, n + 1)
        ``sum w C_i C_j`` over the pixels; the last row and column are those of the constant.
    vector : (stamps, n + 1)
        ``sum w C_i target``.
    square : (stamps,)
        ``sum w target^2``.
    x, y : (stamps,) [pixel]
        Their middles.
    source_noise, target_noise : (stamps,)
        ``sum w V`` with the variances of both images.
    noise_power : (n, n)
        ``sum B_i B_j`` over the kernels: what they make of white noise. It has been taken off ``matrix``.
    """

    matrix: NDArray[np.float64]
    vector: NDArray[np.float64]
    square: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    source_noise: NDArray[np.float64]
    target_noise: NDArray[np.float64]
    noise_power: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.square)

    def chi2(self, coefficients: FloatArray) -> NDArray[np.float64]:
        """Return the (stamps,) squared residuals with (stamps, n + 1) coefficients, less what the source's noise adds.

        Its expectation is ``target_noise`` where the kernel is right.
        """
        bent = np.einsum("si,sij,sj->s", coefficients, self.matrix, coefficients, optimize=True)
        return np.asarray(self.square - 2.0 * (coefficients * self.vector).sum(axis=1) + bent)

    def residual_rms(self, coefficients: FloatArray) -> NDArray[np.float64]:
        """Return the (stamps,) root mean square residuals in units of the noise expected of both images."""
        shape = coefficients[:, :-1]
        noise = self.source_noise * ((shape @ self.noise_power) * shape).sum(axis=1)
        return np.asarray(np.sqrt(np.maximum(self.chi2(coefficients) + noise, 0.0) / (self.target_noise + noise)))

    def flux_ratio(self, coefficients: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return by how much each stamp is brighter than the matched image, as a factor, and the error of it."""
        shape, level = coefficients[:, :-1], coefficients[:, -1]
        inner = self.matrix[:, :-1, :-1]
        power = np.einsum("si,sij,sj->s", shape, inner, shape, optimize=True)
        cross = (shape * (self.vector[:, :-1] - level[:, None] * self.matrix[:, :-1, -1])).sum(axis=1)
        power = np.maximum(power, 1e-30)
        return cross / power, 1.0 / np.sqrt(power)


def stamp_equations(
    source: FloatArray,
    target: FloatArray,
    *,
    source_variance: FloatArray,
    target_variance: FloatArray,
    x: FloatArray,
    y: FloatArray,
    basis: KernelBasis,
    radius: int,
    kernel_power: float = 1.0,
    shared_noise: bool = False,
) -> StampEquations:
    """Collect the normal equations of stamps.

    A pixel weighs as the inverse of the variance of the difference, averaged over its neighbours: with the variance of
    the pixel alone, which rises with its noise, fluxes would come out too low by about one electron for each pixel.
    The noise of the source image adds to the squares of the convolved images and would pull the kernel down and apart;
    what it adds on average is taken off.

    Parameters
    ----------
    source, target : (ny, nx)
        The image that is convolved, and the one that it is to match.
    source_variance, target_variance : (ny, nx)
    x, y : (stamps,) [pixel]
        Positions; stamps grown by the kernel must lie on the image and be finite.
    basis
    radius : [pixel]
        Half size of the stamps.
    kernel_power
        Sum of the squares of the expected kernel: what it multiplies the variance of the source with.
    shared_noise
        True where both images have the same noise, as an image and a sum that it is part of: nothing is taken off.

    References
    ----------
    Fuller 1987, Measurement Error Models (section 1.2: errors in the variables); Neyman 1949 (weights from counts).
    """
    column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    n, pixels = len(basis), (2 * radius + 1) ** 2
    matrix, vector = np.empty((len(row), n + 1, n + 1)), np.empty((len(row), n + 1))
    square, source_noise, target_noise = np.empty((3, len(row)))
    flat = basis.images.reshape(n, -1)
    noise_power = flat @ flat.T
    for first in range(0, len(row), _CHUNK):
        part = slice(first, first + _CHUNK)
        at = row[part], column[part]
        images = _cut(source, *at, radius + basis.radius)
        design = np.ones((len(images), n + 1, pixels))
        design[:, :-1] = convolved_stamps(images, basis)
        data = _cut(target, *at, radius).reshape(len(images), -1)
        noise = _averaged(_cut(source_variance, *at, radius + 1)), _averaged(_cut(target_variance, *at, radius + 1))
        weight = 1.0 / (noise[1] + kernel_power * noise[0])
        source_noise[part], target_noise[part] = ((weight * each).sum(axis=1) for each in noise)
        weighted = design * weight[:, None, :]
        matrix[part] = weighted @ design.transpose(0, 2, 1)
        if not shared_noise:
            matrix[part, :-1, :-1] -= source_noise[part, None, None] * noise_power
        vector[part] = (weighted @ data[:, :, None])[:, :, 0]
        square[part] = (weight * data**2).sum(axis=1)
    return StampEquations(
        matrix=matrix,
        vector=vector,
        square=square,
        x=column.astype(np.float64),
        y=row.astype(np.float64),
        source_noise=source_noise,
        target_noise=target_noise,
        noise_power=noise_power,
    )


def convolved_stamps(images: FloatArray, basis: KernelBasis) -> NDArray[np.float64]:
    """Return stamps convolved with each kernel of a basis, (stamps, n, pixels), where the kernels lie inside.

    Parameters
    ----------
    images : (stamps, s, s)
    basis
    """
    count, side = len(images), images.shape[1] - 2 * basis.radius
    if basis.separable is None:
        reach = 2 * basis.radius + 1
        windows = sliding_window_view(images, (side, side), axis=(1, 2))[:, ::-1, ::-1]
        products = windows.reshape(count, reach * reach, side * side)
        middle = products[:, reach * reach // 2].copy()
        products = np.concatenate(
            [middle[:, None], np.delete(products, reach * reach // 2, axis=1) - middle[:, None]], axis=1
        )
        return np.asarray(products)
    along_y, along_x, which = basis.separable
    rows = np.ascontiguousarray(images) @ _band(along_x, side)
    rows = rows.reshape(count, images.shape[1], len(along_x), side)
    products = np.empty((count, len(which), side, side))
    for term, band in enumerate(np.split(_band(along_y, side), len(along_y), axis=1)):
        members = np.flatnonzero(which[:, 0] == term)
        strip = np.ascontiguousarray(rows[:, :, which[members, 1]]).reshape(count, images.shape[1], -1)
        products[:, members] = (band.T @ strip).reshape(count, side, len(members), side).transpose(0, 2, 1, 3)
    return np.asarray(basis.mixing @ products.reshape(count, len(which), -1))


def _band(vectors: FloatArray, side: int) -> NDArray[np.float64]:
    """Return the (s, n * side) matrix that convolves a line of s pixels with each of n vectors."""
    count, reach = vectors.shape
    band = np.zeros((side + reach - 1, count, side))
    pixel = np.arange(side)
    for tap in range(reach):
        band[pixel + reach - 1 - tap, :, pixel] = vectors[:, tap]
    return band.reshape(side + reach - 1, -1)


def _cut(image: FloatArray, row: NDArray[np.int64], column: NDArray[np.int64], radius: int) -> NDArray[np.float64]:
    offsets = np.arange(-radius, radius + 1)
    return np.asarray(
        image[row[:, None, None] + offsets[:, None], column[:, None, None] + offsets[None, :]], dtype=np.float64
    )


def _averaged(noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means over squares of 3 x 3 pixels, (stamps, pixels)."""
    lines = noise[:, :-2] + noise[:, 1:-1] + noise[:, 2:]
    return np.asarray((lines[:, :, :-2] + lines[:, :, 1:-1] + lines[:, :, 2:]).reshape(len(noise), -1) / 9.0)
