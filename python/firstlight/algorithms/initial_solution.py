"""A linear solution to begin with: where pattern matching or a header puts the frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.matching import PointMatches, match_points
from firstlight.algorithms.pattern_matching import PlacementLimits, PlacementSearch, find_placement
from firstlight.algorithms.placement import Placement, StarField, affine_scale, apply_affine, verify_placement
from firstlight.algorithms.star_lists import StarLists
from firstlight.algorithms.tan_sip import focal_from_sky, frame_center
from firstlight.algorithms.tangent_plane import sky_to_plane
from firstlight.errors import AstrometryError
from firstlight.images.wcs import SkyWcs, TanSip

F8 = NDArray[np.float64]

_NARROW_SHARE = 25
"""Part of the tries that the search near the initial solution may use before its rotation is given up."""


@dataclass(frozen=True)
class Start:
    """A linear solution and the evidence for it.

    Parameters
    ----------
    wcs : TanSip
        Without distortion.
    pairs : PointMatches
        Rows of the cleaned lists that it matches.
    placement : Placement
        How it was found.
    """

    wcs: TanSip
    pairs: PointMatches
    placement: Placement


def start_from_center(
    lists: StarLists,
    center: tuple[float, float],
    *,
    shape: tuple[int, int],
    radius_deg: float,
    limits: PlacementLimits,
) -> Start:
    """Search a disc of the sky for the frame.

    Parameters
    ----------
    lists : StarLists
    center : (ra, dec) [deg]
        Middle of the disc.
    shape : (ny, nx) [pixel]
    radius_deg : float [deg]
        Of the disc, in which the frame's centre lies.
    limits : PlacementLimits

    Raises
    ------
    AstrometryError
        If no placement is significant.
    """
    middle = frame_center(shape)
    field = _star_field(lists, lists.x - middle[0], lists.y - middle[1], center, shape, radius_deg)
    return _start(lists, field, center, middle, find_placement(field, limits))


def start_from_wcs(
    lists: StarLists,
    initial: SkyWcs,
    *,
    shape: tuple[int, int],
    radius_deg: float,
    scale_error: float,
    turn_deg: float,
    max_log10_chance: float,
    max_tries: int,
) -> Start:
    """Take an initial solution as it is, or slightly turned and shifted, or only as a centre and a scale.

    Parameters
    ----------
    lists : StarLists
    initial : SkyWcs
    shape : (ny, nx) [pixel]
    radius_deg : float [deg]
        How far the frame may be from where ``initial`` puts it.
    scale_error : float
        Relative error of the scale of ``initial``.
    turn_deg : float [deg]
        How far it may be rotated before its rotation and parity are given up.
    max_log10_chance, max_tries
        See `PlacementLimits`.

    Raises
    ------
    AstrometryError
        If no placement is significant.
    """
    middle = frame_center(shape)
    ra0, dec0 = initial.pixel_to_sky(x=middle[0], y=middle[1])
    linear = TanSip((float(ra0), float(dec0)), middle, initial.local_jacobian(x=middle[0], y=middle[1]) / 3600.0)
    field = _star_field(lists, *_undistorted(lists, initial, linear), linear.crval, shape, radius_deg)
    matrix = np.hstack([3600.0 * linear.cd, np.zeros((2, 1))])
    for looseness in (1.0, 3.0):
        radius = looseness * field.tolerance_px
        placement = verify_placement(field, matrix, radius_px=radius, n_free=0, how="initial solution")
        if placement.log10_chance <= max_log10_chance:
            return _start(lists, field, linear.crval, middle, PlacementSearch(placement, placement, 1, 1))
    scale = affine_scale(matrix)
    limits = PlacementLimits(
        (scale / (1.0 + scale_error), scale * (1.0 + scale_error)),
        parity=1 if np.linalg.det(linear.cd) > 0 else -1,
        turn_deg=math.degrees(math.atan2(matrix[1, 0], matrix[0, 0])),
        max_turn_deg=turn_deg,
        max_log10_chance=max_log10_chance,
        max_tries=max_tries // _NARROW_SHARE,
    )
    found = find_placement(field, limits)
    if found.placement is None:
        found = find_placement(field, replace(limits, parity=None, max_turn_deg=180.0, max_tries=max_tries))
    return _start(lists, field, linear.crval, middle, found)


def _undistorted(lists: StarLists, initial: SkyWcs, linear: TanSip) -> tuple[F8, F8]:
    """Return where the detections would lie without the distortion that the initial solution knows [pixel]."""
    ra, dec = initial.pixel_to_sky(x=lists.x, y=lists.y)
    u, v = focal_from_sky(linear, ra=ra, dec=dec)
    known = np.isfinite(u) & np.isfinite(v)
    return np.where(known, u, lists.x - linear.crpix[0]), np.where(known, v, lists.y - linear.crpix[1])


def _star_field(
    lists: StarLists, u: F8, v: F8, center: tuple[float, float], shape: tuple[int, int], radius_deg: float
) -> StarField:
    xi, eta = sky_to_plane(lists.ra, lists.dec, ra0=center[0], dec0=center[1])
    near = np.isfinite(xi)
    return StarField(
        u=u,
        v=v,
        xi=3600.0 * xi[near],
        eta=3600.0 * eta[near],
        width=shape[1],
        height=shape[0],
        radius=3600.0 * radius_deg,
    )


def _start(
    lists: StarLists, field: StarField, center: tuple[float, float], middle: tuple[float, float], found: PlacementSearch
) -> Start:
    """Turn an accepted placement into a linear solution with its matches."""
    placement = found.placement
    if placement is None:
        raise _no_placement(lists, field, found)
    xi, eta = sky_to_plane(lists.ra, lists.dec, ra0=center[0], dec0=center[1])
    reach = 1.5 * placement.radius_px * affine_scale(placement.matrix)
    pairs = match_points(*apply_affine(placement.matrix, field.u, field.v), 3600.0 * xi, 3600.0 * eta, radius=reach)
    cd = placement.matrix[:, :2] / 3600.0
    origin = np.linalg.solve(placement.matrix[:, :2], -placement.matrix[:, 2])
    crpix = (middle[0] + float(origin[0]), middle[1] + float(origin[1]))
    return Start(TanSip(center, crpix, cd), pairs, placement)


def _no_placement(lists: StarLists, field: StarField, found: PlacementSearch) -> AstrometryError:
    best = found.best
    matched, expected, chance = (best.n_matched, best.n_expected, best.log10_chance) if best else (0, 0.0, 0.0)
    return AstrometryError(
        f"No placement of {len(field.u)} detections on {len(field.xi)} references is significant: the best of "
        f"{found.n_tries} tries matches {matched} stars where chance gives {expected:.1f} (log10 chance {chance:.1f}).",
        n_detected=lists.n_detected,
        n_detections_usable=len(field.u),
        n_reference=lists.n_reference,
        n_references_usable=len(field.xi),
        n_tries=found.n_tries,
        n_verified=found.n_verified,
        n_matched=matched,
        n_expected=expected,
        log10_chance=chance,
    )
