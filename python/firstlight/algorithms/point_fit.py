"""Fit a point source and how it may be misshapen to the stamps of candidates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.stamps import distances, middle_of
from firstlight.images.psf import Psf
from firstlight.kernels.arrays import BoolArray, FloatArray

CORE_FWHM = 1.5
"""Radius within which a point source is fitted, in units of the full width at half maximum."""

_RECENTRINGS = 2
_N_SHAPES = 6
_MARGIN = 2
"""Pixels beyond the stamp that its second derivatives need."""
_LEAST_POWER = 1e-300


class PointFit(NamedTuple):
    """The PSF and its derivatives fitted to n stamps.

    Parameters
    ----------
    source : (n, s, s)
        The stamps without the planes that were fitted beside the PSF.
    sigma : (n, s, s)
        Noise of each pixel; infinite where it is not known.
    core : (n, s, s)
        Pixels that are known and near enough to count.
    profile : (n, s, s)
        PSF at the best position.
    flux, flux_err : (n,)
        Of the PSF, fitted together with the planes only.
    coefficients : (n, 6)
        Of the PSF, d/dx, d/dy, Laplacian, d2/dx2 - d2/dy2 and d2/dxdy, fitted together.
    errors : (n, 6)
        As if each were fitted alone with the PSF.
    x, y : (n,) [pixel]
        Best position.
    """

    source: NDArray[np.float64]
    sigma: NDArray[np.float64]
    core: BoolArray
    profile: NDArray[np.float64]
    flux: NDArray[np.float64]
    flux_err: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    errors: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]

    @property
    def snr(self) -> NDArray[np.float64]:
        """(n,) Significance of the flux, at least a half."""
        return np.maximum(self.flux / self.flux_err, 0.5)

    @property
    def pixels(self) -> NDArray[np.float64]:
        """(n, s, s) The source in units of the noise of each pixel."""
        return self.source / self.sigma

    @property
    def expected(self) -> NDArray[np.float64]:
        """(n, s, s) The PSF, as bright as it was fitted, in the same units."""
        return self.flux[:, None, None] * self.profile / self.sigma

    @property
    def residual(self) -> NDArray[np.float64]:
        """(n, s, s) What the PSF leaves, in the same units."""
        return self.pixels - self.expected


def core_half(fwhm: float, *, largest_shift: float) -> int:
    """Return the half size of the stamps that hold all pixels that `fit_points` counts, and their neighbours [pixel].

    Parameters
    ----------
    fwhm : [pixel]
    largest_shift : [pixel]
        Farthest that the best position may lie from the candidate, along each axis.
    """
    return math.floor(CORE_FWHM * fwhm + largest_shift + 0.5) + 1


def fit_points(
    image: FloatArray,
    variance: FloatArray,
    *,
    psf: Psf,
    middle: tuple[FloatArray, FloatArray],
    x: FloatArray,
    y: FloatArray,
    fwhm: float,
    largest_shift: float,
    planes: Sequence[FloatArray] = (),
) -> PointFit:
    """Fit a point source near the middle of each stamp by weighted least squares, going to its best position.

    Parameters
    ----------
    image, variance : (n, s, s)
        Infinite variance where a pixel is not known. Pixels beyond `core_half` only cost time.
    psf
        Of the image.
    middle : (n,) each [pixel]
        Column and row of the middle pixels of the stamps on the image.
    x, y : (n,) [pixel]
        Positions on the image to begin with.
    fwhm : [pixel]
        Pixels within `CORE_FWHM` of it count.
    largest_shift : [pixel]
        Farthest that the best position may lie from the one given, along each axis.
    planes : (n, s, s) each
        What else may be under the source; fitted as well.
    """
    start_x, start_y = (np.asarray(each, dtype=np.float64) for each in (x, y))
    at_x, at_y = start_x, start_y
    column, row = middle
    n, size, half = len(image), image.shape[1], image.shape[1] // 2
    weight = 1.0 / variance.astype(np.float64)
    data = image.astype(np.float64).reshape(n, size**2, 1)
    model = np.empty((n, _N_SHAPES + len(planes), size, size))
    for number, plane in enumerate(planes):
        model[:, _N_SHAPES + number] = plane
    flat = model.reshape(n, model.shape[1], size**2)
    for turn in range(_RECENTRINGS + 1):
        near = distances(half, x=at_x - column, y=at_y - row) <= CORE_FWHM * fwhm
        inside = np.where(near, weight, 0.0)
        profile = _profiles(psf, x=at_x, y=at_y, column=column, row=row, half=half + _MARGIN)
        for number, shape in enumerate(_shapes(profile)):
            model[:, number] = shape
        weighted = flat * inside.reshape(n, 1, size**2)
        matrix, vector = weighted @ flat.transpose(0, 2, 1), (weighted @ data)[:, :, 0]
        coefficients = _solved(matrix, vector)
        if turn == _RECENTRINGS:
            break
        steps = _steps(coefficients)
        at_x = np.clip(at_x + steps[:, 0], start_x - largest_shift, start_x + largest_shift)
        at_y = np.clip(at_y + steps[:, 1], start_y - largest_shift, start_y + largest_shift)
    alone = [0, *range(_N_SHAPES, model.shape[1])]
    block, known = matrix[:, alone][:, :, alone], vector[:, alone]
    fluxes = _solved(block, known)
    power = np.maximum(matrix[:, 0, 0], _LEAST_POWER)
    # What is left of each derivative once the PSF has taken its share of it.
    own = np.einsum("nii->ni", matrix)[:, :_N_SHAPES] - matrix[:, 0, :_N_SHAPES] ** 2 / power[:, None]
    own[:, 0] = power
    return PointFit(
        source=image - np.einsum("ni,niyx->nyx", fluxes[:, 1:], model[:, _N_SHAPES:]),
        sigma=np.sqrt(variance.astype(np.float64)),
        core=inside > 0,
        profile=middle_of(profile, half),
        flux=fluxes[:, 0],
        flux_err=_error_of_first(block),
        coefficients=coefficients[:, :_N_SHAPES],
        errors=1.0 / np.sqrt(np.maximum(own, _LEAST_POWER)),
        x=at_x,
        y=at_y,
    )


def _steps(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 2) the way to a better position that the first derivatives tell, a pixel at most [pixel]."""
    flux = coefficients[:, :1]
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(flux > 0, -coefficients[:, 1:3] / flux, 0.0)
    return np.asarray(np.clip(np.nan_to_num(steps), -1.0, 1.0))


def _profiles(
    psf: Psf, *, x: FloatArray, y: FloatArray, column: FloatArray, row: FloatArray, half: int
) -> NDArray[np.float64]:
    """Return PSFs at x, y on squares about the given pixels; 0 beyond the stamps of the PSF."""
    drawn = psf.images(x=x, y=y)
    steps = np.arange(-half, half + 1)
    rows = psf.radius + steps[None, :] - (np.rint(y) - row).astype(np.intp)[:, None]
    columns = psf.radius + steps[None, :] - (np.rint(x) - column).astype(np.intp)[:, None]
    size = 2 * psf.radius + 1
    inside = ((rows >= 0) & (rows < size))[:, :, None] & ((columns >= 0) & (columns < size))[:, None, :]
    which = np.arange(len(x))[:, None, None]
    taken = drawn[which, np.clip(rows, 0, size - 1)[:, :, None], np.clip(columns, 0, size - 1)[:, None, :]]
    return np.where(inside, taken, 0.0)


def _shapes(profile: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the middles of the profile, its first derivatives, and its second ones as sum, difference and cross.

    They are central differences, so that `_MARGIN` pixels are lost on each side.
    """
    along_x, along_y = profile[:, :, 2:] - profile[:, :, :-2], profile[:, 2:] - profile[:, :-2]
    xx = along_x[:, 2:-2, 2:] - along_x[:, 2:-2, :-2]
    yy = along_y[:, 2:, 2:-2] - along_y[:, :-2, 2:-2]
    xy = along_y[:, 1:-1, 3:-1] - along_y[:, 1:-1, 1:-3]
    inner = profile[:, 2:-2, 2:-2]
    first = 0.5 * along_x[:, 2:-2, 1:-1], 0.5 * along_y[:, 1:-1, 2:-2]
    return [inner, *first, 0.25 * (xx + yy), 0.25 * (xx - yy), 0.25 * xy]


def _scaled(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return normal equations with a unit diagonal, a little raised so that they have a solution, and the scales."""
    scale = np.sqrt(np.maximum(np.einsum("nii->ni", matrix), _LEAST_POWER))
    return matrix / (scale[:, :, None] * scale[:, None, :]) + 1e-6 * np.eye(matrix.shape[1]), scale


def _solved(matrix: NDArray[np.float64], vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the solutions of the normal equations; what the pixels do not tell stays small."""
    even, scale = _scaled(matrix)
    return np.asarray(np.linalg.solve(even, (vector / scale)[:, :, None])[:, :, 0] / scale)


def _error_of_first(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n,) the error of the first unknown of the normal equations."""
    even, scale = _scaled(matrix)
    return np.asarray(np.sqrt(np.linalg.inv(even)[:, 0, 0]) / scale[:, 0])
