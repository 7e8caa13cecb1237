"""From a list of detections and a reference catalogue to a world coordinate system with its evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.matching import PointMatches, count_chance_matches, log10_chance, match_points
from firstlight.algorithms.pattern_matching import PlacementLimits, find_placement
from firstlight.algorithms.placement import Placement, StarField, affine_scale, verify_placement
from firstlight.algorithms.star_lists import Detections, References, StarLists, clean_star_lists
from firstlight.algorithms.tan_sip import TanSip, focal_coordinates, focal_from_sky, sky_to_tan_sip, tan_sip_to_sky
from firstlight.algorithms.tangent_plane import plane_to_sky, sky_to_plane
from firstlight.algorithms.wcs_fit import StarPairs, WcsFit, WcsFitSettings, fit_tan_sip
from firstlight.errors import AstrometryError

F8 = NDArray[np.float64]


_MIN_STARS = 3
_MAX_ITERATIONS = 15
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

    fit: WcsFitSettings = WcsFitSettings()
    saturated_error_px: float = 0.5
    min_radius_px: float = 1.0
    max_radius_px: float = 5.0
    radius_sigma: float = 5.0
    max_log10_chance: float = -6.0
    max_tries: int = 50_000_000
    initial_turn_deg: float = 3.0
    initial_scale_error: float = 0.03


@dataclass(frozen=True, kw_only=True)
class AstrometricSolution:
    """A world coordinate system, the stars it rests on, and how good it is.

    Parameters
    ----------
    wcs : TanSip
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

    wcs: TanSip
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
    initial_wcs: TanSip | None = None,
    center: tuple[float, float] | None = None,
    radius_deg: float = 0.5,
    scale_range: tuple[float, float] = (0.1, 60.0),
    parity: int | None = None,
    settings: SolveSettings | None = None,
) -> AstrometricSolution:
    """Find the TAN-SIP world coordinate system of a frame.

    An initial solution is tried as it is, then with a small turn and shift, then only as a centre and a scale. Without one, the frame is
    searched around ``center`` with any rotation. The placement found is refined by matching and fitting in turn until the
    matches no longer change.

    Parameters
    ----------
    detections : Detections
    references : References
        They should cover the frame wherever it may lie: ``radius_deg`` plus half a diagonal around the centre.
    shape : (ny, nx) [pixel]
    initial_wcs : TanSip or None
        An approximate solution.
    center : (ra, dec) [deg] or None
        Where the frame's centre should be; taken from ``initial_wcs`` when None.
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
    if center is None and initial_wcs is None:
        raise ValueError("Give initial_wcs or center.")
    lists = clean_star_lists(
        detections, references, saturated_error_px=settings.saturated_error_px, minimum=_MIN_STARS
    )
    if initial_wcs is not None:
        start, placement = _place_from_wcs(lists, initial_wcs, shape, radius_deg, settings)
    else:
        limits = PlacementLimits(
            scale_range, parity, max_log10_chance=settings.max_log10_chance, max_tries=settings.max_tries
        )
        start, placement = _place_from_center(lists, center, shape, radius_deg, limits)
    return _refine(lists, start, placement, shape, settings)


def _place_from_center(
    lists: StarLists, center: tuple[float, float], shape: tuple[int, int], radius_deg: float, limits: PlacementLimits
) -> tuple[TanSip, Placement]:
    """Search a disc of the sky for the frame."""
    middle = _middle(shape)
    field = _star_field(lists, lists.x - middle[0], lists.y - middle[1], center, shape, radius_deg)
    found = find_placement(field, limits)
    if found.placement is None:
        raise _not_found(lists, field, found)
    return _linear_wcs(found.placement.matrix, center, middle), found.placement


def _place_from_wcs(
    lists: StarLists, initial: TanSip, shape: tuple[int, int], radius_deg: float, settings: SolveSettings
) -> tuple[TanSip, Placement]:
    """Take an initial solution as it is, slightly turned and shifted, or only as a centre and a scale."""
    middle = _middle(shape)
    linear = linear_part(initial, x=middle[0], y=middle[1])
    u, v = focal_coordinates(initial, x=lists.x, y=lists.y)
    u0, v0 = focal_coordinates(initial, x=np.array([middle[0]]), y=np.array([middle[1]]))
    field = _star_field(lists, u - u0, v - v0, linear.crval, shape, radius_deg)
    matrix = np.zeros((2, 3))
    matrix[:, :2] = 3600.0 * initial.cd
    for loosen in (1.0, 3.0):
        placement = verify_placement(field, matrix, radius_px=loosen * field.tolerance_px, n_free=0, how="initial solution")
        if placement.log10_chance <= settings.max_log10_chance:
            return replace(initial), placement
    scale, error = affine_scale(matrix), 1.0 + settings.initial_scale_error
    limits = PlacementLimits(
        (scale / error, scale * error),
        1 if np.linalg.det(initial.cd) > 0 else -1,
        turn_deg=math.degrees(math.atan2(matrix[1, 0], matrix[0, 0])),
        max_turn_deg=settings.initial_turn_deg,
        max_log10_chance=settings.max_log10_chance,
        max_tries=settings.max_tries,
    )
    found = find_placement(field, limits)
    if found.placement is None:
        limits = replace(limits, parity=None, max_turn_deg=180.0)
        found = find_placement(field, limits)
    if found.placement is None:
        raise _not_found(lists, field, found)
    return _linear_wcs(found.placement.matrix, linear.crval, middle), found.placement
