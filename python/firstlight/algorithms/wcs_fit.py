"""Fit a TAN-SIP world coordinate system to matched stars by weighted, clipped least squares."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.polynomial_fit import PlaneMap, fit_plane_map, hold_out
from firstlight.algorithms.tan_sip import (
    coefficient_matrix,
    fit_inverse_distortion,
    focal_from_sky,
    frame_center,
    linear_part,
    monomial_powers,
    monomials,
)
from firstlight.algorithms.tangent_plane import plane_to_sky
from firstlight.errors import AstrometryError
from firstlight.images.wcs import TanSip

F8 = NDArray[np.float64]

_MIN_STARS = 3
_N_GRID = 16
_FLOORS_PX = np.concatenate([[0.0], np.geomspace(1e-3, 2.0, 34)])


@dataclass(frozen=True, kw_only=True)
class StarPairs:
    """Detections and the references matched to them.

    Parameters
    ----------
    x, y : (n,) [pixel]
    x_err, y_err : (n,) [pixel]
    ra, dec : (n,) [deg]
    sky_err : (n,) [arcsec]
        Error of the reference position per axis.
    """

    x: F8
    y: F8
    x_err: F8
    y_err: F8
    ra: F8
    dec: F8
    sky_err: F8

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, kw_only=True)
class WcsFitSettings:
    """How `fit_tan_sip` fits.

    Parameters
    ----------
    max_order : int
        Highest total degree of the polynomials.
    clip_sigma : float
        Stars further off in either axis are left out, in robust standard deviations.
    min_error_px : float [pixel]
        Added in quadrature to every centroid error.
    n_folds : int
        Parts for the held-out residuals.
    """

    max_order: int = 5
    clip_sigma: float = 3.0
    min_error_px: float = 0.002
    n_folds: int = 5


@dataclass(frozen=True)
class WcsFit:
    """A fitted world coordinate system and how good it is.

    Parameters
    ----------
    tan_sip : TanSip
    order : int
        Total degree of the polynomials; 1 is linear.
    n_parameters : int
        Free parameters per axis; 2 for a similarity, which has four in all.
    used : (n,)
        Stars that were not clipped.
    dx, dy : (n,) [pixel]
        Detection minus reference.
    rms_px, held_out_rms_px : float [pixel]
        Two-dimensional rms of the used stars, fitted and when left out of the fit in turn.
    error_floor_px : float [pixel]
        Error per axis that the stated errors lack, as estimated from the residuals.
    chi2_dof : float
        chi^2 per degree of freedom with the floor.
    stated_error_px : float [pixel]
        Error of the solution from its covariance, two-dimensional, rms over the frame.
    worst_error_px : float [pixel]
        The same where it is largest in the frame.
    """

    tan_sip: TanSip
    order: int
    n_parameters: int
    used: NDArray[np.bool_]
    dx: F8
    dy: F8
    rms_px: float
    held_out_rms_px: float
    error_floor_px: float
    chi2_dof: float
    stated_error_px: float
    worst_error_px: float


def fit_tan_sip(
    pairs: StarPairs, *, start: TanSip, shape: tuple[int, int], settings: WcsFitSettings | None = None
) -> WcsFit:
    """Fit the sky positions of matched stars as polynomials of their pixel positions.

    The order is chosen by `fit_plane_map`; with fewer than six stars only scale, rotation and shift are fitted. Errors
    are those of centroid and reference in quadrature, with a floor of greatest likelihood. A linear fit goes first and
    leaves out what lies far off, with all stars looked at again afterwards: polynomials of a high order bend to a wrong
    match, and the more so the brighter its star is.

    Parameters
    ----------
    pairs : StarPairs
    start : TanSip
        A solution good to about a degree in rotation and some pixels in position; its shape is kept by a fit with fewer
        than six stars.
    shape : (ny, nx) [pixel]
        Of the frame; the reference pixel of the result is its centre.
    settings : WcsFitSettings

    Raises
    ------
    AstrometryError
        If there are fewer than three stars, or they lie on a line.
    """
    settings = settings or WcsFitSettings()
    if len(pairs) < _MIN_STARS:
        raise AstrometryError(
            f"A world coordinate system needs at least {_MIN_STARS} matched stars; got {len(pairs)}.",
            n_matched=len(pairs),
        )
    frame = Frame(shape)
    u, v = frame.normalised(pairs.x, pairs.y)
    tangent = linear_part(start, x=frame.center[0], y=frame.center[1])
    used = np.ones(len(pairs), dtype=bool)
    design = monomials(u, v, settings.max_order)
    floor = 0.0
    for max_order in sorted({min(1, settings.max_order), settings.max_order}):
        stage = replace(settings, max_order=max_order)
        tangent, used, floor = _settled(pairs, design, tangent, frame, used, floor, stage)
    return _finish(pairs, design, tangent, frame, used, math.hypot(floor, settings.min_error_px), settings)


def _settled(
    pairs: StarPairs,
    design: F8,
    tangent: TanSip,
    frame: Frame,
    used: NDArray[np.bool_],
    floor: float,
    settings: WcsFitSettings,
) -> tuple[TanSip, NDArray[np.bool_], float]:
    """Fit and clip until the same stars remain; return the moved tangent, these stars, and the additional error."""
    for _ in range(12):
        target = _target(pairs, tangent)
        sigma = _errors(pairs, tangent, math.hypot(floor, settings.min_error_px))
        solution = _solve(design, target, sigma, used, frame, settings)
        residual = target - solution.predict(design)
        floor = _likely_floor(residual, _errors(pairs, tangent, settings.min_error_px), used, solution.n_free)
        sigma = _errors(pairs, tangent, math.hypot(floor, settings.min_error_px))
        kept = _clip(residual / sigma, used, solution.n_free, settings.clip_sigma)
        shift = solution.coefficients[0]
        tangent = _moved(tangent, shift)
        if np.array_equal(kept, used) and float(np.hypot(*shift)) < 1e-3:
            break
        used = kept
    return tangent, used, floor


class Frame:
    """The frame's centre and size, and coordinates of order one in it."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.half_height, self.half_width = 0.5 * shape[0], 0.5 * shape[1]
        self.center = frame_center(shape)
        self.unit = max(self.half_height, self.half_width)

    def normalised(self, x: F8, y: F8) -> tuple[F8, F8]:
        """Return positions relative to the centre, in units of half the longer side."""
        return (x - self.center[0]) / self.unit, (y - self.center[1]) / self.unit

    def grid(self, order: int) -> F8:
        """Return the monomials at the middles of cells that divide the frame."""
        middles = (2.0 * np.arange(_N_GRID) + 1.0) / _N_GRID - 1.0
        v, u = np.meshgrid(middles * self.half_height / self.unit, middles * self.half_width / self.unit, indexing="ij")
        return monomials(u.ravel(), v.ravel(), order)


def _moved(tangent: TanSip, shift: F8) -> TanSip:
    """Move the reference position by a shift in pixels."""
    xi, eta = tangent.cd @ shift
    ra, dec = plane_to_sky(xi, eta, ra0=tangent.crval[0], dec0=tangent.crval[1])
    return replace(tangent, crval=(float(ra), float(dec)))


def _target(pairs: StarPairs, tangent: TanSip) -> F8:
    """Return the (n, 2) offsets of the references from a linear solution [pixel]."""
    u, v = focal_from_sky(tangent, ra=pairs.ra, dec=pairs.dec)
    return np.stack([u - (pairs.x - tangent.crpix[0]), v - (pairs.y - tangent.crpix[1])], axis=1)


def _errors(pairs: StarPairs, tangent: TanSip, floor_px: float) -> F8:
    """Return the (n, 2) errors of centroid and reference with a floor [pixel]."""
    reference = pairs.sky_err / (3600.0 * math.sqrt(abs(np.linalg.det(tangent.cd))))
    return np.sqrt(np.stack([pairs.x_err, pairs.y_err], axis=1) ** 2 + (reference**2 + floor_px**2)[:, None])


def _solve(
    design: F8, target: F8, sigma: F8, used: NDArray[np.bool_], frame: Frame, settings: WcsFitSettings
) -> PlaneMap:
    """Fit the used stars."""
    solution = fit_plane_map(
        design[used],
        target[used],
        sigma[used],
        grid=frame.grid(settings.max_order),
        max_order=settings.max_order,
        n_folds=settings.n_folds,
    )
    if solution is None:
        n = int(used.sum())
        raise AstrometryError(f"The {n} matched stars lie on a line or a point.", n_matched=n)
    return solution


def _likely_floor(residual: F8, sigma: F8, used: NDArray[np.bool_], n_free: float) -> float:
    """Return the additional error per axis of greatest likelihood [pixel]."""
    n = int(used.sum())
    squared = residual[used] ** 2 * (n / max(n - n_free, 1.0))
    variance = sigma[used] ** 2
    costs = [float((np.log(total := variance + floor**2) + squared / total).sum()) for floor in _FLOORS_PX]
    return float(_FLOORS_PX[int(np.argmin(costs))])


def _clip(pull: F8, used: NDArray[np.bool_], n_free: float, clip_sigma: float) -> NDArray[np.bool_]:
    """Return which stars lie within ``clip_sigma`` robust standard deviations in both axes."""
    n = len(pull)
    spread = 1.4826 * float(np.median(np.abs(pull))) * math.sqrt(n / max(n - n_free, 1.0))
    kept = np.all(np.abs(pull) <= clip_sigma * max(spread, 1.0), axis=1)
    return kept if kept.sum() >= _MIN_STARS else used


def _finish(
    pairs: StarPairs,
    design: F8,
    tangent: TanSip,
    frame: Frame,
    used: NDArray[np.bool_],
    floor: float,
    settings: WcsFitSettings,
) -> WcsFit:
    """Fit once more with the reference position at the centre, and measure the result."""
    sigma = _errors(pairs, tangent, floor)
    for _ in range(5):
        target = _target(pairs, tangent)
        solution = _solve(design, target, sigma, used, frame, settings)
        shift = solution.coefficients[0]
        if float(np.hypot(*shift)) < 1e-9:
            break
        tangent = _moved(tangent, shift)
    tan_sip, to_pixel = _assemble(solution, tangent, frame)
    residual = target - solution.predict(design)
    offset = -residual @ to_pixel.T
    held_out = hold_out(design[used], target[used], sigma[used], order=solution.order, n_folds=settings.n_folds)
    freedom = 2.0 * (int(used.sum()) - solution.n_free)
    chi2_dof = float(((residual / sigma)[used] ** 2).sum()) / freedom if freedom > 0 else 1.0
    variance = solution.variance(frame.grid(settings.max_order)) * max(chi2_dof, 1.0)
    return WcsFit(
        tan_sip=tan_sip,
        order=max(solution.order, 1),
        n_parameters=int(solution.n_free),
        used=used,
        dx=offset[:, 0],
        dy=offset[:, 1],
        rms_px=_rms(offset[used]),
        held_out_rms_px=_rms(held_out),
        error_floor_px=floor,
        chi2_dof=chi2_dof,
        stated_error_px=math.sqrt(float(variance.mean()) + solution.doubt),
        worst_error_px=math.sqrt(float(variance.max()) + solution.doubt),
    )


def _assemble(solution: PlaneMap, tangent: TanSip, frame: Frame) -> tuple[TanSip, F8]:
    """Turn polynomials into CD matrix and SIP coefficients; also return the matrix to the new pixels."""
    order = 1
    while len(monomial_powers(order)) < len(solution.coefficients):
        order += 1
    powers = monomial_powers(order)
    by_axis = [coefficient_matrix(column, powers, frame.unit) for column in solution.coefficients.T]
    linear = np.eye(2) + np.array([[m[1, 0], m[0, 1]] for m in by_axis])
    to_pixel = np.linalg.inv(linear)
    if order == 1:
        return replace(tangent, cd=tangent.cd @ linear), to_pixel
    curved = [m.copy() for m in by_axis]
    for m in curved:
        m[0, 0] = m[1, 0] = m[0, 1] = 0.0
    a = to_pixel[0, 0] * curved[0] + to_pixel[0, 1] * curved[1]
    b = to_pixel[1, 0] * curved[0] + to_pixel[1, 1] * curved[1]
    ap, bp = fit_inverse_distortion(a, b, half_width=frame.half_width, half_height=frame.half_height)
    return replace(tangent, cd=tangent.cd @ linear, a=a, b=b, ap=ap, bp=bp), to_pixel


def _rms(residual: F8) -> float:
    return math.sqrt(float((residual**2).sum(axis=1).mean()))
