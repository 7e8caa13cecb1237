"""Find how the pixels of one image lie on another from the stars in both, without any WCS.

The patterns of the stars give a similarity (`pattern_matching`), the matched stars a smooth map: polynomials of the
order that they can bear (`polynomial_fit`), with outliers left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.matching import PointMatches, match_points
from firstlight.algorithms.pattern_matching import PlacementLimits, PlacementSearch, find_placement
from firstlight.algorithms.placement import Placement, StarField, affine_scale, apply_affine
from firstlight.algorithms.polynomial_fit import PlaneMap, fit_plane_map, hold_out
from firstlight.algorithms.rivals import is_unrivalled
from firstlight.algorithms.tan_sip import monomials
from firstlight.algorithms.wcs_fit import Frame
from firstlight.errors import AstrometryError
from firstlight.kernels.arrays import BoolArray, FloatArray

F8 = NDArray[np.float64]

_ROUNDS = 8
_MIN_ERROR_PX = 0.005
_TIGHTEST_PX = 0.5
_SIGMAS = 5.0


@dataclass(frozen=True, kw_only=True)
class StarPositions:
    """Stars of one image; rows whose position is not finite are never used.

    Parameters
    ----------
    x, y : (n,) [pixel]
    error : (n,) [pixel]
        Error of the position per axis.
    flux : (n,)
        Only the order matters.
    shape
        Rows and columns of the image.
    """

    x: F8
    y: F8
    error: F8
    flux: F8
    shape: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class PatternSettings:
    """How `align_by_patterns` searches and fits.

    Parameters
    ----------
    scale_range
        Pixels of the source image in one pixel of the target image, along a side.
    max_turn_deg : [deg]
        Largest rotation.
    mirrored
        Whether one image may be the mirror image of the other; None for either.
    max_order
        Highest total degree of the polynomials.
    clip_sigma
        Stars further off are left out, in robust standard deviations.
    """

    scale_range: tuple[float, float] = (0.5, 2.0)
    max_turn_deg: float = 180.0
    mirrored: bool | None = None
    max_order: int = 3
    clip_sigma: float = 3.5


@dataclass(frozen=True)
class PatternAlignment:
    """A smooth map from the pixels of the target to those of the source."""

    matrix: F8
    """(2, 3) affine part, from target positions relative to the centre of the target [source pixel]."""

    offsets: PlaneMap
    """What the affine part lacks."""

    frame: Frame
    """Of the target."""

    pairs: PointMatches
    """Rows of target and source stars."""

    used: BoolArray
    """(n_pairs,) False for outliers."""

    dx: F8
    """(n_pairs,) Source star minus mapped target star [source pixel]."""

    dy: F8

    rms: float
    """Of the used stars, per axis [source pixel]."""

    held_out_rms: float
    """The same of stars that are left out of the fit in turn."""

    log10_chance: float
    """log10 of the number of placements as good as this that chance would give."""

    def position(self, x: FloatArray, y: FloatArray) -> tuple[F8, F8]:
        """Return the source position of target positions, of any shape."""
        flat_x, flat_y = np.ravel(np.asarray(x, np.float64)), np.ravel(np.asarray(y, np.float64))
        mapped = self.affine(flat_x, flat_y)
        u, v = self.frame.normalised(flat_x, flat_y)
        moved = self.offsets.predict(monomials(u, v, max(self.offsets.order, 1)))
        shape = np.shape(x)
        return (mapped[0] + moved[:, 0]).reshape(shape), (mapped[1] + moved[:, 1]).reshape(shape)

    def affine(self, x: F8, y: F8) -> tuple[F8, F8]:
        """Return the source position by the affine part alone."""
        return apply_affine(self.matrix, x - self.frame.center[0], y - self.frame.center[1])


def align_by_patterns(
    target: StarPositions, source: StarPositions, *, settings: PatternSettings | None = None
) -> PatternAlignment:
    """Find the map from the pixels of ``target`` to those of ``source``.

    Parameters
    ----------
    target, source
        Stars of the two images.
    settings

    Raises
    ------
    AstrometryError
        If no placement of the stars on each other is beyond chance, or too few match.
    """
    settings = settings or PatternSettings()
    target_rows, source_rows = _bright_first(target), _bright_first(source)
    frame, center = Frame(target.shape), Frame(source.shape).center
    field = StarField(
        u=target.x[target_rows] - frame.center[0],
        v=target.y[target_rows] - frame.center[1],
        xi=source.x[source_rows] - center[0],
        eta=source.y[source_rows] - center[1],
        width=target.shape[1],
        height=target.shape[0],
        radius=0.5 * math.hypot(*source.shape),
    )
    parity = None if settings.mirrored is None else (-1 if settings.mirrored else 1)
    limits = PlacementLimits(
        scale_range=settings.scale_range, parity=parity, max_turn_deg=settings.max_turn_deg, max_tries=5_000_000
    )
    flux = target.flux[target_rows], source.flux[source_rows]

    def accept(placement: Placement) -> bool:
        moved = apply_affine(placement.matrix, field.u, field.v)
        radius = placement.radius_px * affine_scale(placement.matrix)
        return is_unrivalled(*moved, flux[0], field.xi, field.eta, flux[1], radius=radius)

    found = find_placement(field, limits, accept=accept)
    if found.placement is None:
        raise _no_placement(field, found, repeated=_is_beyond_chance(found, limits))
    placement = found.placement
    matrix = placement.matrix.copy()
    matrix[:, 2] += center
    start = PatternAlignment(
        matrix=matrix,
        offsets=PlaneMap(np.zeros((3, 2)), np.zeros((2, 3, 3)), 1, 3.0),
        frame=frame,
        pairs=PointMatches(*(np.empty(0, np.int64),) * 2, np.empty(0)),
        used=np.empty(0, bool),
        dx=np.empty(0),
        dy=np.empty(0),
        rms=math.nan,
        held_out_rms=math.nan,
        log10_chance=placement.log10_chance,
    )
    return _refined(start, target, source, radius=1.5 * placement.radius_px * affine_scale(matrix), settings=settings)


def _refined(
    alignment: PatternAlignment,
    target: StarPositions,
    source: StarPositions,
    *,
    radius: float,
    settings: PatternSettings,
) -> PatternAlignment:
    """Match and fit in turn while the radius follows the residuals down."""
    for _ in range(_ROUNDS):
        mapped_x, mapped_y = alignment.position(target.x, target.y)
        pairs = match_points(mapped_x, mapped_y, source.x, source.y, radius=radius)
        fitted = _fitted(alignment, pairs, target, source, settings)
        settled = np.array_equal(pairs.first, alignment.pairs.first) and radius <= _limit(fitted.rms)
        alignment, radius = fitted, min(radius, _limit(fitted.rms))
        if settled:
            break
    return alignment


def _limit(rms: float) -> float:
    return max(_TIGHTEST_PX, _SIGMAS * rms)


def _fitted(
    before: PatternAlignment,
    pairs: PointMatches,
    target: StarPositions,
    source: StarPositions,
    settings: PatternSettings,
) -> PatternAlignment:
    """Fit the offsets from the affine part to matched stars, outliers left out."""
    x, y = target.x[pairs.first].astype(np.float64), target.y[pairs.first].astype(np.float64)
    mapped = np.stack(before.affine(x, y), axis=1)
    offset = np.stack([source.x[pairs.second], source.y[pairs.second]], axis=1) - mapped
    errors = np.hypot(target.error[pairs.first] * affine_scale(before.matrix), source.error[pairs.second])
    sigma = np.repeat(np.hypot(np.nan_to_num(errors, nan=1.0), _MIN_ERROR_PX)[:, None], 2, axis=1)
    design = monomials(*before.frame.normalised(x, y), settings.max_order)
    grid = before.frame.grid(settings.max_order)
    used = np.ones(len(pairs), bool)
    while True:
        solution = fit_plane_map(design[used], offset[used], sigma[used], grid=grid, max_order=settings.max_order)
        if solution is None:
            n = int(used.sum())
            raise AstrometryError(f"The {n} stars that match lie on a line or a point.", n_matched=n)
        residual = offset - solution.predict(design)
        pull = np.abs(residual / sigma).max(axis=1)
        spread = max(1.0, float(np.median(np.abs(residual[used] / sigma[used]))) / 0.6745)
        kept = pull <= settings.clip_sigma * spread
        if kept.sum() < 3 or np.array_equal(kept, used) or kept.sum() > used.sum():
            break
        used = kept
    left_out = hold_out(design[used], offset[used], sigma[used], order=solution.order)
    return PatternAlignment(
        matrix=before.matrix,
        offsets=solution,
        frame=before.frame,
        pairs=pairs,
        used=used,
        dx=residual[:, 0],
        dy=residual[:, 1],
        rms=float(np.sqrt(np.mean(residual[used] ** 2))),
        held_out_rms=float(np.sqrt(np.nanmean(left_out**2))) if np.isfinite(left_out).any() else math.nan,
        log10_chance=before.log10_chance,
    )


def _bright_first(stars: StarPositions) -> NDArray[np.int64]:
    rows = np.flatnonzero(np.isfinite(stars.x) & np.isfinite(stars.y))
    return rows[np.argsort(-np.nan_to_num(stars.flux[rows], nan=-np.inf), kind="stable")]


def _is_beyond_chance(found: PlacementSearch, limits: PlacementLimits) -> bool:
    return found.best is not None and found.best.log10_chance <= limits.max_log10_chance


def _no_placement(field: StarField, found: PlacementSearch, *, repeated: bool) -> AstrometryError:
    n_matched = found.best.n_matched if found.best else 0
    doubt = (
        "their pattern repeats itself, as a lattice does, and their brightness does not tell which is which."
        if repeated
        else "do both images show the same field?"
    )
    return AstrometryError(
        f"The patterns of {len(field.u)} and {len(field.xi)} stars do not lie on each other: the best of "
        f"{found.n_tries} tries matches {n_matched}; {doubt}",
        n_target=len(field.u),
        n_source=len(field.xi),
        n_tries=found.n_tries,
        n_matched=n_matched,
    )
