"""Compare a point-spread function with stars that it was not made from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from firstlight.algorithms.psf_neighbours import Neighbours
from firstlight.algorithms.psf_stamps import StarStamps, cut_stamps
from firstlight.algorithms.psf_star_fit import fit_stars, star_images
from firstlight.images.psf import Psf
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.moments import adaptive_moments_stamp

_FIT_FWHM = 1.5
_MIN_RADIUS = 4
_SHAPE_FWHM = 2.5
_SAME_FWHM = 0.5
_FAINTEST = 0.1
_LARGEST_SHIFT = 1.5
_MIN_GOOD = 0.8
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
    found = fit_stars(stamps, psf=psf, x=x, y=y, radius=core)
    values, dx, dy = found.values, found.values[:, 1], found.values[:, 2]
    usable &= (values[:, 0] > 0) & (np.hypot(stamps.x + dx - x, stamps.y + dy - y) < _LARGEST_SHIFT)
    model = star_images(stamps, psf=psf, dx=dx, dy=dy, radius=stamps.radius) * values[:, 0, None, None]
    star = np.where(stamps.noise > 0, stamps.data - values[:, 3, None, None], model)
    seen, drawn = _shapes(star, dx, dy, fwhm), _shapes(model, dx, dy, fwhm)
    columns = np.column_stack(
        [
            stamps.x + dx,
            stamps.y + dy,
            values[:, 0],
            found.flux_err,
            values[:, 3],
            seen[:, 0] / drawn[:, 0] - 1.0,
            seen[:, 1:] - drawn[:, 1:],
            found.chi2,
        ]
    )
    return np.where(usable[:, None], columns, np.nan).T


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
