"""From a list of detections and a reference catalogue to a world coordinate system with its evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.initial_solution import Start, start_from_center, start_from_wcs
from firstlight.algorithms.matching import PointMatches, count_chance_matches, log10_chance, match_points
from firstlight.algorithms.pattern_matching import PlacementLimits
from firstlight.algorithms.star_lists import Detections, References, StarLists, clean_star_lists
from firstlight.algorithms.tan_sip import (
    focal_coordinates,
    focal_from_sky,
    frame_center,
    sky_to_tan_sip,
)
from firstlight.algorithms.wcs_fit import StarPairs, WcsFit, WcsFitSettings, fit_tan_sip
from firstlight.errors import AstrometryError
from firstlight.images.wcs import SkyWcs, TanSip

F8 = NDArray[np.float64]


_MIN_STARS = 3
_MAX_ITERATIONS = 20
_MAX_MISMATCHED = 0.05
"""Share of wrong matches that the fit bears while the match grows into the corners."""
_MAX_GROWTH = 10.0
_RAYLEIGH_MEDIAN = 1.1774


@dataclass(frozen=True, kw_only=True)
class SolveSettings:
    """How `solve_field` searches and fits.

    Parameters
    ----------
    fit : WcsFitSettings
    saturated_error_px : float [pixel]
        Added in quadrature to the centroid errors of saturated detections.
    min_radius_px, max_radius_px : float [pixel]
        Bounds of the radius of the final match.
    radius_sigma : float
        Radius of the final match in robust standard deviations of the residuals.
    max_log10_chance : float
        Accept a solution that is at least so unlikely by chance, all trials included.
    max_tries : int
        Similarities to try before giving up.
    initial_turn_deg : float [deg]
        How far an initial solution may be rotated.
    initial_scale_error : float
        Relative error of its scale.
    """

    fit: WcsFitSettings = field(default_factory=WcsFitSettings)
    saturated_error_px: float = 0.2
    min_radius_px: float = 1.0
    max_radius_px: float = 5.0
    radius_sigma: float = 5.0
    max_log10_chance: float = -4.0
    max_tries: int = 50_000_000
    initial_turn_deg: float = 3.0
    initial_scale_error: float = 0.03


@dataclass(frozen=True, kw_only=True)
class AstrometricSolution:
    """A world coordinate system, the stars it rests on, and how good it is.

    Parameters
    ----------
    tan_sip : TanSip
    detection, reference : (n,)
        Indices of the matched stars in the lists as given.
    used : (n,)
        Those not clipped in the fit.
    dx, dy : (n,) [pixel]
        Detection minus reference.
    d_ra, d_dec : (n,) [arcsec]
        Detection minus reference on the sky, the first along the parallel.
    n_matched, n_used : int
        Matched stars, and those not clipped.
    n_references_in_frame : int
        References whose position falls in the frame.
    rms_px, rms_arcsec : float
        Two-dimensional rms of the used stars.
    held_out_rms_px : float [pixel]
        The same when they are left out of the fit in turn.
    stated_error_arcsec : float [arcsec]
        Error of the solution by its covariance, two-dimensional, rms over the frame.
    worst_error_arcsec : float [arcsec]
        The same where it is largest in the frame.
    error_floor_px : float [pixel]
        Error per axis that the stated errors lack.
    chi2_dof : float
        chi^2 per degree of freedom with the floor.
    order, n_parameters : int
        Total degree of the polynomials, parameters per axis.
    parity : int
        Sign of the determinant of the CD matrix: -1 for the usual sky, +1 for a mirrored one.
    scale_arcsec : float [arcsec / pixel]
        At the centre.
    radius_px : float [pixel]
        Of the final match.
    log10_chance : float
        log10 of the probability that chance makes as many matches, all trials included.
    n_tries : int
        Similarities tried.
    how : str
        Where the first placement came from.
    funnel : (n_step,) of (name, count)
        What was left after each cut.
    """

    tan_sip: TanSip
    detection: NDArray[np.int64]
    reference: NDArray[np.int64]
    used: NDArray[np.bool_]
    dx: F8
    dy: F8
    d_ra: F8
    d_dec: F8
    n_matched: int
    n_used: int
    n_references_in_frame: int
    rms_px: float
    rms_arcsec: float
    held_out_rms_px: float
    stated_error_arcsec: float
    worst_error_arcsec: float
    error_floor_px: float
    chi2_dof: float
    order: int
    n_parameters: int
    parity: int
    scale_arcsec: float
    radius_px: float
    log10_chance: float
    n_tries: int
    how: str
    funnel: tuple[tuple[str, int], ...]


def solve_field(
    detections: Detections,
    references: References,
    *,
    shape: tuple[int, int],
    initial_wcs: SkyWcs | None = None,
    center: tuple[float, float] | None = None,
    radius_deg: float = 0.5,
    scale_range: tuple[float, float] = (0.1, 60.0),
    parity: int | None = None,
    settings: SolveSettings | None = None,
) -> AstrometricSolution:
    """Find the TAN-SIP world coordinate system of a frame.

    An initial solution is tried as it is, then with a small turn and shift, then only as a centre and a scale. Without
    one, the frame is searched around ``center`` with any rotation. The placement found is refined by matching and
    fitting in turn until the matches no longer change.

    Parameters
    ----------
    detections : Detections
    references : References
        They should cover the frame wherever it may lie: ``radius_deg`` plus half a diagonal around the centre.
    shape : (ny, nx) [pixel]
    initial_wcs : SkyWcs or None
        An approximate solution.
    center : (ra, dec) [deg] or None
        Where the frame's centre should be; not used with ``initial_wcs``.
    radius_deg : float [deg]
        How far from there it may be.
    scale_range : (2,) [arcsec / pixel]
        Bounds of the pixel scale; not used with ``initial_wcs``.
    parity : int or None
        Sign of the determinant of the CD matrix: -1 for the usual sky, +1 mirrored, None when unknown.
    settings : SolveSettings

    Raises
    ------
    AstrometryError
        If there are fewer than three usable stars in a list, or no placement that chance would not make.
    ValueError
        If neither ``initial_wcs`` nor ``center`` is given.
    """
    settings = settings or SolveSettings()
    lists = clean_star_lists(detections, references, saturated_error_px=settings.saturated_error_px, minimum=_MIN_STARS)
    chance, tries = settings.max_log10_chance, settings.max_tries
    if initial_wcs is not None:
        start = start_from_wcs(
            lists,
            initial_wcs,
            shape=shape,
            radius_deg=radius_deg,
            scale_error=settings.initial_scale_error,
            turn_deg=settings.initial_turn_deg,
            max_log10_chance=chance,
            max_tries=tries,
        )
    elif center is not None:
        limits = PlacementLimits(scale_range, parity, max_log10_chance=chance, max_tries=tries)
        start = start_from_center(lists, center, shape=shape, radius_deg=radius_deg, limits=limits)
    else:
        raise ValueError("Give initial_wcs or center.")
    return _refine(lists, start, shape, settings)


def _refine(lists: StarLists, start: Start, shape: tuple[int, int], settings: SolveSettings) -> AstrometricSolution:
    """Fit and match in turn, first as widely as chance allows, then as tightly as the residuals allow."""
    near = _near_frame(lists, start, shape)
    # Distortion moves the corners by more than the middle's residuals show: look further where stars are rare.
    rare = math.sqrt(_MAX_MISMATCHED * shape[0] * shape[1] / (math.pi * len(lists.x)))
    radius = max(
        min(rare, _MAX_GROWTH * start.placement.radius_px, 0.01 * math.hypot(*shape)), 1.5 * start.placement.radius_px
    )
    pairs, wcs, growing = start.pairs, start.wcs, True
    for _ in range(_MAX_ITERATIONS):
        fit = fit_tan_sip(_star_pairs(lists, pairs), start=wcs, shape=shape, settings=settings.fit)
        wcs, before, last_radius = fit.tan_sip, pairs, radius
        if not growing:
            sigma = float(np.median(np.hypot(fit.dx, fit.dy)[fit.used])) / _RAYLEIGH_MEDIAN
            radius = min(max(settings.radius_sigma * sigma, settings.min_radius_px), radius)
        pairs = _match(lists, wcs, near, radius, settings)
        if len(pairs) < _MIN_STARS:
            break
        same = np.array_equal(pairs.first, before.first) and np.array_equal(pairs.second, before.second)
        if same and not growing and radius > 0.95 * last_radius:
            break
        growing = growing and not same
    return _solution(lists, start, near, pairs, radius, shape, settings)


def _near_frame(lists: StarLists, start: Start, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return the references on the frame and a tenth of its size around."""
    middle = frame_center(shape)
    u, v = focal_from_sky(start.wcs, ra=lists.ra, dec=lists.dec)
    dx, dy = np.abs(u + start.wcs.crpix[0] - middle[0]), np.abs(v + start.wcs.crpix[1] - middle[1])
    return np.flatnonzero((dx < 0.6 * shape[1]) & (dy < 0.6 * shape[0]))


def _match(
    lists: StarLists, wcs: TanSip, near: NDArray[np.int64], radius_px: float, settings: SolveSettings
) -> PointMatches:
    """Pair stars within the radius; one whose own error is larger, as when saturated, may lie as far off as that."""
    own = settings.fit.clip_sigma * np.hypot(lists.x_err, lists.y_err)
    allowed = np.maximum(radius_px, np.minimum(np.nan_to_num(own), settings.max_radius_px))
    u, v = focal_coordinates(wcs, x=lists.x, y=lists.y)
    reference_u, reference_v = focal_from_sky(wcs, ra=lists.ra[near], dec=lists.dec[near])
    found = match_points(u, v, reference_u, reference_v, radius=float(allowed.max()))
    close = found.distance <= allowed[found.first]
    return PointMatches(found.first[close], near[found.second[close]], found.distance[close])


def _star_pairs(lists: StarLists, pairs: PointMatches) -> StarPairs:
    d, r = pairs.first, pairs.second
    return StarPairs(
        x=lists.x[d],
        y=lists.y[d],
        x_err=lists.x_err[d],
        y_err=lists.y_err[d],
        ra=lists.ra[r],
        dec=lists.dec[r],
        sky_err=lists.sky_err[r],
    )


def _require_significance(
    lists: StarLists,
    start: Start,
    near: NDArray[np.int64],
    fit: WcsFit,
    radius: float,
    shape: tuple[int, int],
    settings: SolveSettings,
) -> float:
    """Return log10 of the probability that chance makes as many matches, all trials included; refuse a large one."""
    n_matched = len(fit.used)
    u, v = focal_coordinates(fit.tan_sip, x=lists.x, y=lists.y)
    xi, eta = focal_from_sky(fit.tan_sip, ra=lists.ra[near], dec=lists.dec[near])
    uniform = len(u) * len(near) / 1.44 * math.pi * radius**2 / (shape[0] * shape[1])
    expected = max(count_chance_matches(u, v, xi, eta, radius=radius), uniform)
    trials = math.log10(max(start.placement.n_tries, 1))
    n_free = min(fit.n_parameters, 3) if start.placement.n_tries > 1 else 0
    chance = log10_chance(n_matched - n_free, expected=expected) + trials
    if not chance <= settings.max_log10_chance:
        raise AstrometryError(
            f"The solution fell apart: {n_matched} matches within {radius:.2f} pixels, where chance gives "
            f"{expected:.1f} (log10 chance {chance:.1f}).",
            n_matched=n_matched,
            n_expected=expected,
            log10_chance=chance,
        )
    return chance


def _solution(
    lists: StarLists,
    start: Start,
    near: NDArray[np.int64],
    pairs: PointMatches,
    radius: float,
    shape: tuple[int, int],
    settings: SolveSettings,
) -> AstrometricSolution:
    """Fit the final matches, and refuse them when chance would make as many."""
    stars = _star_pairs(lists, pairs)
    fit = fit_tan_sip(stars, start=start.wcs, shape=shape, settings=settings.fit)
    chance = _require_significance(lists, start, near, fit, radius, shape, settings)
    reference_x, reference_y = sky_to_tan_sip(fit.tan_sip, ra=lists.ra[near], dec=lists.dec[near])
    inside = (np.abs(reference_x - frame_center(shape)[0]) < 0.5 * shape[1]) & (
        np.abs(reference_y - frame_center(shape)[1]) < 0.5 * shape[0]
    )
    d_xi, d_eta = 3600.0 * fit.tan_sip.cd @ np.stack([fit.dx, fit.dy])
    scale = 3600.0 * math.sqrt(abs(float(np.linalg.det(fit.tan_sip.cd))))
    order = np.argsort(lists.detection_row[pairs.first], kind="stable")
    return AstrometricSolution(
        tan_sip=fit.tan_sip,
        detection=lists.detection_row[pairs.first][order],
        reference=lists.reference_row[pairs.second][order],
        used=fit.used[order],
        dx=fit.dx[order],
        dy=fit.dy[order],
        d_ra=d_xi[order],
        d_dec=d_eta[order],
        n_matched=len(pairs),
        n_used=int(fit.used.sum()),
        n_references_in_frame=int(inside.sum()),
        rms_px=fit.rms_px,
        rms_arcsec=fit.rms_px * scale,
        held_out_rms_px=fit.held_out_rms_px,
        stated_error_arcsec=fit.stated_error_px * scale,
        worst_error_arcsec=fit.worst_error_px * scale,
        error_floor_px=fit.error_floor_px,
        chi2_dof=fit.chi2_dof,
        order=fit.order,
        n_parameters=fit.n_parameters,
        parity=1 if np.linalg.det(fit.tan_sip.cd) > 0 else -1,
        scale_arcsec=scale,
        radius_px=radius,
        log10_chance=chance,
        n_tries=start.placement.n_tries,
        how=start.placement.how,
        funnel=(
            ("detected", lists.n_detected),
            ("detections with a position", len(lists.x)),
            ("references", lists.n_reference),
            ("references with a position", len(lists.ra)),
            ("references in the frame", int(inside.sum())),
            ("matched", len(pairs)),
            ("used in the fit", int(fit.used.sum())),
        ),
    )
