"""Compare a point-spread function with stars that it was not made from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from firstlight.algorithms.psf_neighbours import Neighbours
from firstlight.algorithms.psf_stamps import StarStamps, cut_stamps
from firstlight.images.psf import Psf
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.moments import adaptive_moments_stamp

_FIT_FWHM = 1.5
_MIN_RADIUS = 4
_SHAPE_FWHM = 2.5
_SAME_FWHM = 0.5
_STEPS = 5
_STEPS_WITH_SLOPES = 2
_FAINTEST = 0.1
_DERIVATIVE_STEP = 0.05
_LARGEST_STEP = 0.3
_LARGEST_SHIFT = 1.5
_MIN_GOOD = 0.8
_PARAMETERS = 4
_SIGMA_PER_MAD = 1.4826
_MEDIAN_ERROR = 1.2533


@dataclass(frozen=True)
class MedianOfStars:
    """A median over stars.

    Parameters
    ----------
    value, error
        Signed median and its standard error; NaN without stars.
    scatter
        Robust standard deviation of single stars.
    n
        Number of stars.
    """

    value: float
    error: float
    scatter: float
    n: int

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> MedianOfStars:
        """Return the median of the finite values."""
        finite = values[np.isfinite(values)]
        if len(finite) == 0:
            return cls(np.nan, np.nan, np.nan, 0)
        middle = float(np.median(finite))
        scatter = float(_SIGMA_PER_MAD * np.median(np.abs(finite - middle)))
        return cls(middle, _MEDIAN_ERROR * scatter / np.sqrt(len(finite)), scatter, len(finite))


@dataclass(frozen=True)
class PsfResiduals:
    """How stars differ from a point-spread function; NaN where a star could not be fitted.

    Parameters
    ----------
    x, y : (n,) [pixel]
        Positions by the model.
    flux, flux_err, sky : (n,) [count]
        Fit of the model: flux of the unit-sum stamp, its error, and what the sky lacked under the star.
    size : (n,)
        Determinant radius of the star over that of the model, minus one.
    e1, e2 : (n,)
        Ellipticity (ixx - iyy, 2 ixy) / (ixx + iyy) of the star minus that of the model.
    chi2 : (n,)
        Chi-square per degree of freedom of the pixels within 1.5 FWHM.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    flux: NDArray[np.float64]
    flux_err: NDArray[np.float64]
    sky: NDArray[np.float64]
    size: NDArray[np.float64]
    e1: NDArray[np.float64]
    e2: NDArray[np.float64]
    chi2: NDArray[np.float64]

    def median(self, name: str, *, which: BoolArray | None = None) -> MedianOfStars:
        """Return the median of a residual (``size``, ``e1``, ``e2`` or ``chi2``), of all stars or of some."""
        values: NDArray[np.float64] = getattr(self, name)
        return MedianOfStars.of(values if which is None else values[which])

    @property
    def snr(self) -> NDArray[np.float64]:
        """Signal-to-noise ratio of the fluxes, (n,)."""
        return np.asarray(self.flux / self.flux_err)


def compare_with_stars(
    image: FloatArray,
    *,
    variance: FloatArray,
    bad: BoolArray,
    psf: Psf,
    x: FloatArray,
    y: FloatArray,
    neighbours: Neighbours | None = None,
) -> PsfResiduals:
    """Fit the model to stars, and measure what it leaves of them.

    Flux, position and sky of each star are free: a model drawn half a tenth of a pixel beside the star has another
    shape where the sampling is coarse. Then the adaptive moments of star and model are measured in the same way, on
    the same pixels.

    Parameters
    ----------
    image, variance : (ny, nx) [count], [count^2]
        Sky-subtracted image and its variance.
    bad : (ny, nx)
        True where a pixel must not be used.
    psf
        The model.
    x, y : (n,) [pixel]
        Stars, good to about half a pixel.
    neighbours
        Sources whose light is subtracted; the stars may be among them.

    References
    ----------
    Rowe 2010, MNRAS 404, 350 (residuals of stars that did not make the model); Hirata & Seljak 2003, MNRAS 343, 459
    (adaptive moments).
    """
    n = len(x)
    rows = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    at_x, at_y = np.asarray(x, np.float64)[rows], np.asarray(y, np.float64)[rows]
    place = psf.average_position
    fwhm = psf.fwhm(x=place[0], y=place[1])
    radius = min(psf.radius, max(_MIN_RADIUS, round(_SHAPE_FWHM * fwhm)))
    stamps = cut_stamps(image, variance=variance, bad=bad, x=at_x, y=at_y, radius=radius)
    if neighbours is not None and len(neighbours.x) and len(rows):
        stamps = _without_neighbours(stamps, psf, neighbours, x=at_x, y=at_y, fwhm=fwhm)
    table = np.full((9, n), np.nan)
    if len(rows):
        table[:, rows] = _measure(stamps, psf, at_x, at_y, fwhm)
    return PsfResiduals(*table)


def _measure(
    stamps: StarStamps, psf: Psf, x: NDArray[np.float64], y: NDArray[np.float64], fwhm: float
) -> NDArray[np.float64]:
    """Return the (9, n) columns of `PsfResiduals`."""
    core = min(stamps.radius, max(_MIN_RADIUS, round(_FIT_FWHM * fwhm)))
    usable = stamps.good_fraction(reach=core) > _MIN_GOOD
    values, errors, chi2 = _fit(stamps, psf, x, y, core=core)
    dx, dy = values[:, 1], values[:, 2]
    usable &= (values[:, 0] > 0) & (np.hypot(stamps.x + dx - x, stamps.y + dy - y) < _LARGEST_SHIFT)
    model = _images(psf, stamps, dx, dy, stamps.radius) * values[:, 0, None, None]
    star = np.where(stamps.noise > 0, stamps.data - values[:, 3, None, None], model)
    seen, drawn = _shapes(star, dx, dy, fwhm), _shapes(model, dx, dy, fwhm)
    columns = np.column_stack(
        [
            stamps.x + dx,
            stamps.y + dy,
            values[:, 0],
            errors,
            values[:, 3],
            seen[:, 0] / drawn[:, 0] - 1.0,
            seen[:, 1:] - drawn[:, 1:],
            chi2,
        ]
    )
    return np.where(usable[:, None], columns, np.nan).T


def _fit(
    stamps: StarStamps, psf: Psf, x: NDArray[np.float64], y: NDArray[np.float64], *, core: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return (n, 4) flux, dx, dy, sky, the errors of the flux and chi-square per degree of freedom."""
    cut = slice(stamps.radius - core, stamps.radius + core + 1)
    data, noise = stamps.data[:, cut, cut], stamps.noise[:, cut, cut]
    values = np.column_stack([np.zeros(len(x)), x - stamps.x, y - stamps.y, np.zeros(len(x))])
    for step in range(_STEPS):
        model = _images(psf, stamps, values[:, 1], values[:, 2], core)
        if step < _STEPS_WITH_SLOPES:
            slopes = _slopes(psf, stamps, values[:, 1], values[:, 2], core)
        if step == 0:
            good = noise > 0
            values[:, 0] = (model * data).sum(axis=(1, 2)) / np.maximum((model**2 * good).sum(axis=(1, 2)), 1e-30)
        flux = np.maximum(values[:, 0], 1e-30)[:, None, None]
        expected = noise + stamps.gain_slope * np.maximum(flux * model, 0.0)
        weight = np.where(noise > 0, 1.0 / np.where(noise > 0, expected, 1.0), 0.0)
        residual = data - flux * model - values[:, 3, None, None]
        design = np.stack([model, flux * slopes[0], flux * slopes[1], np.ones_like(model)], axis=1)
        design = design.reshape(len(x), _PARAMETERS, -1)
        weighted = design * weight.reshape(len(x), 1, -1)
        matrix = weighted @ design.transpose(0, 2, 1)
        scale = 1.0 / np.sqrt(np.maximum(np.einsum("naa->na", matrix), 1e-30))
        matrix = matrix * scale[:, :, None] * scale[:, None, :] + 1e-9 * np.eye(_PARAMETERS)
        inverse = np.linalg.inv(matrix) * scale[:, :, None] * scale[:, None, :]
        change = (inverse @ (weighted @ residual.reshape(len(x), -1, 1)))[:, :, 0]
        chi2 = (weight * residual**2).sum(axis=(1, 2)) / np.maximum((weight > 0).sum(axis=(1, 2)) - _PARAMETERS, 1)
        shift = np.hypot(change[:, 1], change[:, 2])
        change[:, 1:3] *= np.minimum(1.0, _LARGEST_STEP / np.maximum(shift, 1e-30))[:, None]
        values = values + change
    return values, np.sqrt(inverse[:, 0, 0]), chi2


def _images(
    psf: Psf, stamps: StarStamps, dx: NDArray[np.float64], dy: NDArray[np.float64], radius: int
) -> NDArray[np.float64]:
    """Return unit stars about the middle pixels of the stamps, wherever in or near these pixels the stars are."""
    x, y = stamps.x + dx, stamps.y + dy
    images = np.zeros((len(x), 2 * radius + 1, 2 * radius + 1))
    reach = min(psf.radius, radius + 1)
    cores = psf.cores(reach, x=x, y=y)
    off_x, off_y = (np.rint(a).astype(int) for a in (np.rint(x) - stamps.x, np.rint(y) - stamps.y))
    pad = radius + 2 - reach + 1
    padded = np.pad(cores, ((0, 0), (pad, pad), (pad, pad)))
    start = reach + pad - radius
    for i in range(len(x)):
        a, b = start - int(np.clip(off_y[i], -2, 2)), start - int(np.clip(off_x[i], -2, 2))
        images[i] = padded[i, a : a + 2 * radius + 1, b : b + 2 * radius + 1]
    return images


def _slopes(
    psf: Psf, stamps: StarStamps, dx: NDArray[np.float64], dy: NDArray[np.float64], radius: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the derivatives of unit stars with their positions."""
    h = _DERIVATIVE_STEP
    left, right = (_images(psf, stamps, dx + a, dy, radius) for a in (-h, h))
    down, up = (_images(psf, stamps, dx, dy + a, radius) for a in (-h, h))
    return (right - left) / (2.0 * h), (up - down) / (2.0 * h)


def _shapes(
    images: NDArray[np.float64], dx: NDArray[np.float64], dy: NDArray[np.float64], fwhm: float
) -> NDArray[np.float64]:
    """Return (n, 3) determinant radius [pixel], e1, e2; NaN where the moments do not converge."""
    middle = (images.shape[1] - 1) / 2
    shapes = np.full((len(images), 3), np.nan)
    for i, image in enumerate(images):
        place = middle + float(np.clip(dx[i], -2, 2)), middle + float(np.clip(dy[i], -2, 2))
        ixx, iyy, ixy, *_, status = adaptive_moments_stamp(np.ascontiguousarray(image), *place, 0.45 * fwhm)
        if status == 0:
            shapes[i] = (ixx * iyy - ixy**2) ** 0.25, (ixx - iyy) / (ixx + iyy), 2.0 * ixy / (ixx + iyy)
    return shapes


def _without_neighbours(
    stamps: StarStamps,
    psf: Psf,
    neighbours: Neighbours,
    *,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    fwhm: float,
) -> StarStamps:
    """Subtract the other sources by the model; pixels within a FWHM of a source of unknown flux are not used."""
    placed = np.flatnonzero(np.isfinite(neighbours.x) & np.isfinite(neighbours.y))
    if len(placed) == 0:
        return stamps
    place = np.column_stack([neighbours.x, neighbours.y])[placed]
    flux = np.asarray(neighbours.flux, np.float64)[placed]
    lists = cKDTree(place).query_ball_point(np.column_stack([x, y]), np.sqrt(2.0) * stamps.radius + fwhm)
    star = np.repeat(np.arange(len(stamps)), [len(members) for members in lists])
    member = np.concatenate([np.asarray(members, dtype=np.int64) for members in lists])
    other = np.hypot(place[member, 0] - x[star], place[member, 1] - y[star]) > _SAME_FWHM * fwhm
    noise_level = float(np.sqrt(np.median(stamps.noise[stamps.noise > 0]))) if (stamps.noise > 0).any() else np.inf
    # The peak of a star is about its flux over 1.1 FWHM^2.
    seen = ~(flux[member] / fwhm**2 < _FAINTEST * noise_level)
    star, member = star[other & seen], member[other & seen]
    known = np.isfinite(flux[member])
    light = _drawn(stamps, psf, star[known], place[member[known]], flux[member[known]])
    noise = np.where(stamps.noise > 0, stamps.noise + stamps.gain_slope * np.maximum(light, 0.0), 0.0)
    steps = np.arange(-stamps.radius, stamps.radius + 1)
    for i, at in zip(star[~known], place[member[~known]], strict=True):
        dx, dy = at - (stamps.x[i], stamps.y[i])
        noise[i] *= np.hypot(steps[None, :] - dx, steps[:, None] - dy) > fwhm
    return replace(stamps, data=np.where(noise > 0, stamps.data - light, 0.0), noise=noise)


def _drawn(
    stamps: StarStamps,
    psf: Psf,
    star: NDArray[np.int64],
    place: NDArray[np.float64],
    flux: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the light of sources at ``place`` on the stamps ``star``, (n, s, s)."""
    light = np.zeros_like(stamps.data)
    reach, size = min(psf.radius, 2 * stamps.radius), 2 * stamps.radius + 1
    cores = psf.cores(reach, x=place[:, 0], y=place[:, 1])
    left = np.rint(place[:, 0] - stamps.x[star]).astype(int) - reach + stamps.radius
    top = np.rint(place[:, 1] - stamps.y[star]).astype(int) - reach + stamps.radius
    for i, core, total, column, row in zip(star, cores, flux, left.tolist(), top.tolist(), strict=True):
        rows, columns = slice(max(row, 0), row + 2 * reach + 1), slice(max(column, 0), column + 2 * reach + 1)
        if row < size and column < size and rows.stop > 0 and columns.stop > 0:
            light[i, rows, columns] += (
                total * core[rows.start - row : size - row, columns.start - column : size - column]
            )
    return light
