"""Dipoles: a source that lies at one place in the science image and at another one in the template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firstlight.images.box import Box
from firstlight.images.psf import Psf
from firstlight.kernels.arrays import BoolArray, FloatArray

_STEP = 0.05
_N_PLACES = 4
_FLUX = slice(4, 6)
_N_PARAMETERS = 10
_TOLERANCE = 1e-3
_POINT_SHIFTS = np.linspace(-0.6, 0.6, 5)


@dataclass(frozen=True)
class DipoleImages:
    """What dipoles are fitted to.

    Parameters
    ----------
    difference, difference_variance : (ny, nx) [unit], [unit^2]
    science, science_variance : (ny, nx)
        In the same unit.
    template : (ny, nx)
        In the same unit, with the flux scale of the science image.
    bad : (ny, nx)
        Pixels that must not be used.
    difference_psf, science_psf, template_psf
    """

    difference: FloatArray
    difference_variance: FloatArray
    science: FloatArray
    science_variance: FloatArray
    template: FloatArray
    bad: BoolArray
    difference_psf: Psf
    science_psf: Psf
    template_psf: Psf

    @property
    def psfs(self) -> tuple[Psf, Psf, Psf]:
        """Of difference, science and template."""
        return self.difference_psf, self.science_psf, self.template_psf


@dataclass(frozen=True)
class Dipoles:
    """Fitted dipoles; NaN where a fit has no result.

    Parameters
    ----------
    positive_x, positive_y, negative_x, negative_y : (n,) [pixel]
        Where the source lies in the science image and in the template.
    positive_flux, negative_flux : (n,) [unit]
        Its flux in both, both positive for a dipole.
    positive_flux_err, negative_flux_err : (n,) [unit]
    separation_err : (n,) [pixel]
    chi2, point_chi2 : (n,)
        Chi-square per degree of freedom of the difference: of the dipole, and of a point source at the stronger peak.
    converged : (n,)
    """

    positive_x: NDArray[np.float64]
    positive_y: NDArray[np.float64]
    negative_x: NDArray[np.float64]
    negative_y: NDArray[np.float64]
    positive_flux: NDArray[np.float64]
    negative_flux: NDArray[np.float64]
    positive_flux_err: NDArray[np.float64]
    negative_flux_err: NDArray[np.float64]
    separation_err: NDArray[np.float64]
    chi2: NDArray[np.float64]
    point_chi2: NDArray[np.float64]
    converged: BoolArray

    @property
    def separation(self) -> NDArray[np.float64]:
        """Distance from the negative to the positive lobe [pixel]."""
        return np.hypot(self.positive_x - self.negative_x, self.positive_y - self.negative_y)

    @property
    def angle(self) -> NDArray[np.float64]:
        """Direction from the negative to the positive lobe, from +x towards +y [degree]."""
        return np.degrees(np.arctan2(self.positive_y - self.negative_y, self.positive_x - self.negative_x))

    @property
    def flux(self) -> NDArray[np.float64]:
        """Mean of the fluxes of both lobes [unit]."""
        return 0.5 * (np.abs(self.positive_flux) + np.abs(self.negative_flux))

    @property
    def snr(self) -> NDArray[np.float64]:
        """Signal-to-noise ratios of both lobes added in quadrature."""
        return np.hypot(self.positive_flux / self.positive_flux_err, self.negative_flux / self.negative_flux_err)


def fit_dipoles(
    images: DipoleImages,
    *,
    positive_x: FloatArray,
    positive_y: FloatArray,
    negative_x: FloatArray,
    negative_y: FloatArray,
    radius: int,
    direct_weight: float = 0.5,
    max_shift: float,
    max_iterations: int = 20,
) -> Dipoles:
    """Fit a positive and a negative point source to the difference and one of them to each image, all at once.

    The difference alone cannot tell a faint wide dipole from a bright narrow one; the images can (Reiss 2016, LSST
    DMTN-007). The sky under the pair is a plane in both images, with a level of its own in each. The errors are those
    of the images that went in: the difference is not counted twice.

    Parameters
    ----------
    images
    positive_x, positive_y, negative_x, negative_y : (n,) [pixel]
        Peaks of the two lobes.
    radius : [pixel]
        How far beyond both peaks pixels are used.
    direct_weight
        Weight of the pixels of the two images over that of the difference.
    max_shift : [pixel]
        Each lobe stays this near to its own peak.
    max_iterations
    """
    rows = [
        _fit(images, np.array(start, dtype=np.float64), radius, direct_weight, max_shift, max_iterations)
        for start in zip(positive_x, positive_y, negative_x, negative_y, strict=True)
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, 12)
    columns: list[Any] = [*table.T[:11], table[:, 11] > 0]
    return Dipoles(*columns)


class _Planes(NamedTuple):
    """Pixels of one fit, those of the three images one after the other."""

    box: Box
    data: NDArray[np.float64]
    weight: NDArray[np.float64]
    science_variance: NDArray[np.float64]
    template_variance: NDArray[np.float64]
    sky: NDArray[np.float64]


def _fit(
    images: DipoleImages,
    start: NDArray[np.float64],
    radius: int,
    direct_weight: float,
    max_shift: float,
    max_iterations: int,
) -> tuple[float, ...]:
    """Return the columns of `Dipoles` for one pair of peaks."""
    planes = _planes(images, start, radius, direct_weight)
    if int((planes.weight > 0).sum()) < 3 * _N_PARAMETERS:
        return (np.nan,) * 11 + (0.0,)
    places, damping, done = start.copy(), 1e-3, False
    design, fluxes, left = _linear_fit(images, planes, places)
    cost = float(planes.weight @ left**2)
    for _ in range(max_iterations):
        matrix = _with_slopes(images, planes, places, fluxes, design)
        normal = matrix.T @ (planes.weight[:, None] * matrix)
        damped = normal + damping * np.diag(np.diag(normal) + 1e-30)
        step = np.linalg.lstsq(damped, matrix.T @ (planes.weight * left), rcond=None)[0][:_N_PLACES]
        trial = np.clip(places + np.clip(step, -1.0, 1.0), start - max_shift, start + max_shift)
        moved = float(np.abs(trial - places).max())
        tried = _linear_fit(images, planes, trial)
        new_cost = float(planes.weight @ tried[2] ** 2)
        if new_cost <= cost:
            places, (design, fluxes, left), cost = trial, tried, new_cost
            damping = max(damping * 0.2, 1e-9)
        else:
            damping *= 10.0
        if moved < _TOLERANCE:
            done = True
            break
    return _columns(images, planes, places, design, fluxes, left, start, done)


def _columns(
    images: DipoleImages,
    planes: _Planes,
    places: NDArray[np.float64],
    design: NDArray[np.float64],
    fluxes: NDArray[np.float64],
    left: NDArray[np.float64],
    start: NDArray[np.float64],
    done: bool,  # noqa: FBT001 - a value of the fit among others
) -> tuple[float, ...]:
    covariance = _covariance(planes, _with_slopes(images, planes, places, fluxes, design))
    errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    n = len(left) // 3
    weight = planes.weight[:n]
    used = int((weight > 0).sum())
    chi2 = float(weight @ left[:n] ** 2) / max(used - 6, 1)
    offset = places[:2] - places[2:4]
    along = offset / max(float(np.hypot(*offset)), 1e-9)
    gradient = np.concatenate([along, -along])
    separation_err = float(np.sqrt(max(gradient @ covariance[:4, :4] @ gradient, 0.0)))
    return (
        *places,
        *fluxes[:2],
        *errors[_FLUX],
        separation_err,
        chi2,
        _point_chi2(images, planes, start),
        float(done and np.isfinite(fluxes).all()),
    )


def _planes(images: DipoleImages, start: NDArray[np.float64], radius: int, direct_weight: float) -> _Planes:
    ny, nx = images.difference.shape
    columns, rows = np.rint(start[0::2]).astype(int), np.rint(start[1::2]).astype(int)
    box = Box.between(
        x=(int(columns.min()) - radius, int(columns.max()) + radius + 1),
        y=(int(rows.min()) - radius, int(rows.max()) + radius + 1),
    ).clip(Box.of_shape((ny, nx)))
    cut = [
        np.asarray(plane[box.slices], dtype=np.float64).ravel()
        for plane in (images.difference, images.science, images.template)
    ]
    difference_variance, science_variance = (
        np.asarray(plane[box.slices], dtype=np.float64).ravel()
        for plane in (images.difference_variance, images.science_variance)
    )
    template_variance = np.maximum(difference_variance - science_variance, 0.05 * difference_variance)
    good = ~images.bad[box.slices].ravel() & np.isfinite(np.sum(cut, axis=0)) & (difference_variance > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = [
            np.where(good, share / variance, 0.0)
            for share, variance in (
                (1.0, difference_variance),
                (direct_weight, difference_variance),
                (direct_weight, difference_variance),
            )
        ]
    grid_y, grid_x = np.mgrid[box.y0 : box.y1, box.x0 : box.x1]
    scale = max(float(radius), 1.0)
    u, v = ((grid_x - start[0]) / scale).ravel(), ((grid_y - start[1]) / scale).ravel()
    none, one = np.zeros_like(u), np.ones_like(u)
    sky = np.stack(
        [
            np.concatenate([none, one, none]),
            np.concatenate([none, none, one]),
            np.concatenate([none, u, u]),
            np.concatenate([none, v, v]),
        ],
        axis=1,
    )
    return _Planes(
        box=box,
        data=np.where(np.tile(good, 3), np.concatenate(cut), 0.0),
        weight=np.concatenate(weights),
        science_variance=science_variance,
        template_variance=template_variance,
        sky=sky,
    )


def _linear_fit(
    images: DipoleImages, planes: _Planes, places: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the design for positions that are held, its coefficients (fluxes, sky), and what they leave."""
    lobes = [_drawn(psf, places[0::2], places[1::2], planes.box) for psf in images.psfs]
    design = np.column_stack([_lobe(lobes, 0), _lobe(lobes, 1), planes.sky])
    root = np.sqrt(planes.weight)
    found = np.linalg.lstsq(design * root[:, None], planes.data * root, rcond=None)[0]
    return design, found, planes.data - design @ found


def _with_slopes(
    images: DipoleImages,
    planes: _Planes,
    places: NDArray[np.float64],
    fluxes: NDArray[np.float64],
    design: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the derivatives by all parameters: the four coordinates, then the columns of ``design``."""
    x, y = places[0::2], places[1::2]
    shifts = [(-_STEP, 0.0), (_STEP, 0.0), (0.0, -_STEP), (0.0, _STEP)]
    all_x = np.concatenate([x + dx for dx, _ in shifts])
    all_y = np.concatenate([y + dy for _, dy in shifts])
    drawn = [_drawn(psf, all_x, all_y, planes.box).reshape(4, 2, -1) for psf in images.psfs]
    columns = []
    for lobe in (0, 1):
        for low, high in ((0, 1), (2, 3)):
            slopes = [(stamps[high] - stamps[low]) / (2.0 * _STEP) for stamps in drawn]
            columns.append(fluxes[lobe] * _lobe(slopes, lobe))
    return np.column_stack([*columns, design])


def _lobe(drawn: list[NDArray[np.float64]], lobe: int) -> NDArray[np.float64]:
    """Return how a lobe appears in difference, science and template."""
    of_difference, of_science, of_template = (stamps[lobe] for stamps in drawn)
    none = np.zeros_like(of_difference)
    if lobe == 0:
        return np.concatenate([of_difference, of_science, none])
    return np.concatenate([-of_difference, none, of_template])


def _drawn(psf: Psf, x: FloatArray, y: FloatArray, box: Box) -> NDArray[np.float64]:
    """Return unit stars at positions on the pixels of a box, (n, pixels)."""
    stamps, radius = psf.images(x=x, y=y), psf.radius
    sheets = np.zeros((len(x), box.height, box.width))
    for sheet, stamp, column, row in zip(sheets, stamps, np.rint(x).astype(int), np.rint(y).astype(int), strict=True):
        left, low = column - radius - box.x0, row - radius - box.y0
        size = 2 * radius + 1
        inner = np.s_[
            max(low, 0) : max(min(low + size, box.height), 0), max(left, 0) : max(min(left + size, box.width), 0)
        ]
        target = sheet[inner]
        top, side = max(-low, 0), max(-left, 0)
        target += stamp[top : top + target.shape[0], side : side + target.shape[1]]
    return sheets.reshape(len(x), -1)


def _covariance(planes: _Planes, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the covariance of all parameters, with the difference made of the noise of the two images."""
    n = len(planes.science_variance)
    inverse = np.linalg.pinv(matrix.T @ (planes.weight[:, None] * matrix))
    gain = inverse @ (matrix * planes.weight[:, None]).T
    by_difference, by_science, by_template = gain[:, :n], gain[:, n : 2 * n], gain[:, 2 * n :]
    of_science, of_template = by_difference + by_science, by_template - by_difference
    return np.asarray(
        (of_science * planes.science_variance) @ of_science.T + (of_template * planes.template_variance) @ of_template.T
    )


def _point_chi2(images: DipoleImages, planes: _Planes, start: NDArray[np.float64]) -> float:
    """Return chi-square per degree of freedom of the best single point source near either peak."""
    n = len(planes.science_variance)
    data, weight = planes.data[:n], planes.weight[:n]
    shift_y, shift_x = (axis.ravel() for axis in np.meshgrid(_POINT_SHIFTS, _POINT_SHIFTS, indexing="ij"))
    x, y = ((start[axis::2, None] + shift).ravel() for axis, shift in ((0, shift_x), (1, shift_y)))
    profiles = _drawn(images.difference_psf, x, y, planes.box)
    power = np.maximum(profiles**2 @ weight, 1e-30)
    gained = (profiles @ (weight * data)) ** 2 / power
    return float((weight @ data**2 - gained.max()) / max(int((weight > 0).sum()) - 1, 1))
