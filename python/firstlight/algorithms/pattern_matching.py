"""Find where on the sky a frame lies by laying pairs of its stars on pairs of reference stars.

Every pair of anchors laid on a pair of targets of a fitting length gives a similarity. The other anchors vote,
brightest first, until a sequential probability-ratio test (Wald 1945) ends, mostly after a handful of look-ups. What
survives is matched with all stars, and accepted when chance would not make so many pairs in all the trials. Anchors are
bright detections (their targets are references) or bright references (their targets are detections): the second way
finds frames whose brightness ranks tell nothing about the catalogue's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from firstlight.algorithms.placement import Placement, StarField, similarity_matrix, verify_placement
from firstlight.kernels.pattern_search import DiscGrid, SearchLimits, disc_grid, pairs_by_length, search_pairs

_SCALE_BIN = 1.5
_MAX_REFERENCES = 6000
_MAX_CELLS = 1000
_N_LENGTH_BINS = 512
_N_CANDIDATES = 32
_MAX_REFUSED = 200
"""After so many placements beyond chance that were not accepted, none will be."""

_SHORTEST = 0.2
"""Shortest pair, in short sides of the frame."""
_LONGEST = 0.8
_LONGEST_ON_SKY = 0.45
"""Longest pair of detections and of references, in diagonals: longer ones on the sky are seldom both on the frame."""
_FIRST_BUDGET = 20_000
_BUDGET_GROWTH = 4
_PAIRS_AT_ONCE = 4
"""Anchor pairs that a rung should get through in one round."""
_LOOSE_LAST = 10.0
"""How much dearer than they are the tolerant rungs count, as few frames need them."""
_HIT_RATE = 0.5
"""Share of the anchors that have a target in a right placement, for the test's alternative."""
_REJECT = -3.0
_ACCEPT = 9.0
"""Log-likelihood ratio at which a candidate is worth a match with all stars, which takes as long as 10,000 tries."""
_DETECTIONS_FIRST = ((12, 12), (20, 20), (30, 30), (60, 30), (20, 60), (60, 60), (20, 200))
_REFERENCES_FIRST = ((40, 20), (100, 20), (300, 20), (1000, 20), (3000, 20), (100, 50), (300, 50), (1000, 50))
"""Pairs of numbers of detections and of references expected in the frame."""


@dataclass(frozen=True)
class PlacementLimits:
    """What is known about a placement beforehand.

    Parameters
    ----------
    scale_range : (2,) [arcsec / pixel]
    parity : int or None
        Sign of the determinant of the map from pixels to the plane, +1 for a mirrored sky; None when unknown.
    turn_deg, max_turn_deg : float [deg]
        Direction of the first pixel axis in the plane, and how far off it may be.
    max_log10_chance : float
        Accept a placement that is at least so unlikely by chance, all trials included.
    max_tries : int
        Give up after so many similarities.
    """

    scale_range: tuple[float, float]
    parity: int | None = None
    turn_deg: float = 0.0
    max_turn_deg: float = 180.0
    max_log10_chance: float = -4.0
    max_tries: int = 50_000_000


@dataclass(frozen=True)
class PlacementSearch:
    """What a search came to.

    Parameters
    ----------
    placement : Placement or None
        The one accepted.
    best : Placement or None
        The least likely by chance of those verified.
    n_tries : int
        Similarities tried.
    n_verified : int
        Similarities that passed the vote.
    """

    placement: Placement | None
    best: Placement | None
    n_tries: int
    n_verified: int


@dataclass(frozen=True)
class _Rung:
    """One rung of the ladder: how many of each list, over which range of scales, how tolerant.

    ``cost`` is the number of similarities it tries in all, ``effort`` the smallest budget that is worth its while.
    """

    detections_first: bool
    n_detections: int
    n_references: int
    scale_low: float
    scale_high: float
    looseness: float
    cost: float
    effort: int

    @property
    def scale(self) -> float:
        return math.sqrt(self.scale_low * self.scale_high)

    @property
    def how(self) -> str:
        lists = "detections on references" if self.detections_first else "references on detections"
        return f"{lists} ({self.n_detections}, {self.n_references})"


def find_placement(
    field: StarField, limits: PlacementLimits, *, accept: Callable[[Placement], bool] | None = None
) -> PlacementSearch:
    """Search for the placement of a frame.

    The rungs of the ladder share the work in rounds: each may try as many similarities as the others, four times more
    in every round, so that a frame is found soon whichever rung suits it.

    Parameters
    ----------
    field : StarField
    limits : PlacementLimits
    accept
        What else a placement must fulfil that chance would not make; the search goes on if it does not.
    """
    waiting = _ladder(field, limits)
    running: dict[_Rung, _RungSearch] = {}
    n_tries, n_verified, n_refused, budget = 0, 0, 0, _FIRST_BUDGET
    best: Placement | None = None
    while waiting and n_tries < limits.max_tries:
        for rung in [rung for rung in waiting if rung.effort <= budget]:
            if rung not in running:
                running[rung] = _RungSearch(field, limits, rung)
            search = running[rung]
            for matrix in search.candidates(min(budget, limits.max_tries - n_tries)):
                n_verified += 1
                placement = verify_placement(
                    field,
                    matrix,
                    radius_px=field.tolerance_px * rung.looseness,
                    n_tries=n_tries + search.n_tries,
                    how=rung.how,
                )
                if best is None or placement.log10_chance < best.log10_chance:
                    best = placement
                if placement.log10_chance > limits.max_log10_chance:
                    continue
                if accept is None or accept(placement):
                    return PlacementSearch(placement, placement, n_tries + search.n_tries, n_verified)
                n_refused += 1
                if n_refused >= _MAX_REFUSED:
                    return PlacementSearch(None, best, n_tries + search.n_tries, n_verified)
            n_tries += search.n_tries
            if search.is_done:
                waiting.remove(rung)
                del running[rung]
        budget *= _BUDGET_GROWTH
    return PlacementSearch(None, best, n_tries, n_verified)


class _RungSearch:
    """The candidates of one rung, a bufferful at a time."""

    def __init__(self, field: StarField, limits: PlacementLimits, rung: _Rung) -> None:
        self._rung = rung
        self.n_tries = 0
        self._next_pair = 0
        self._found = np.zeros((_N_CANDIDATES, 6))
        tolerance = field.tolerance_px * rung.looseness
        u, v = _thinned(field.u, field.v, number=rung.n_detections, radius=tolerance)
        near = _in_region(field, rung.scale_high)
        xi, eta = _thinned(field.xi[near], field.eta[near], number=rung.n_references, radius=tolerance * rung.scale)
        shortest = max(_SHORTEST * min(field.width, field.height), 6.0 * tolerance)
        longest = (_LONGEST if rung.detections_first else _LONGEST_ON_SKY) * field.diagonal
        if rung.detections_first:
            anchors, targets, unit = (u, v), (xi, eta), rung.scale
            ratio = rung.scale_low, rung.scale_high
            density = len(xi) / _region_area(field, rung.scale_high)
        else:
            anchors, targets, unit = (xi, eta), (u, v), 1.0
            ratio = 1.0 / rung.scale_high, 1.0 / rung.scale_low
            density = len(u) / field.area
        self._anchors = anchors
        central = np.inf if rung.detections_first else max(field.radius, 0.25 * field.diagonal * rung.scale_high)
        self._pairs = _anchor_pairs(*anchors, shortest * unit / ratio[0], longest * unit / ratio[1], central=central)
        self._bins = pairs_by_length(*targets, shortest * unit, longest * unit, _N_LENGTH_BINS)
        self._grid = _grid_of(*targets, radius=tolerance * unit)
        chance = min(max(density * math.pi * (tolerance * unit) ** 2, 1e-4), 0.3)
        self._limits = _search_limits(field, limits, rung, ratio=ratio, length_error=tolerance * unit, chance=chance)

    @property
    def is_done(self) -> bool:
        return self._next_pair >= len(self._pairs)

    def candidates(self, max_tries: int) -> Iterator[NDArray[np.float64]]:
        """Search on and give the (2, 3) matrices of the similarities that passed the vote, the best first."""
        self.n_tries = 0
        while not self.is_done and self.n_tries < max_tries:
            n_found, self._next_pair, tries = search_pairs(
                *self._anchors,
                self._pairs,
                self._next_pair,
                self._bins,
                self._grid,
                self._limits,
                self._found,
                max_tries - self.n_tries,
            )
            self.n_tries += tries
            found = self._found[:n_found].copy()
            for row in found[np.argsort(-found[:, 5], kind="stable")]:
                yield self._matrix(row)

    def _matrix(self, row: NDArray[np.float64]) -> NDArray[np.float64]:
        factor, shift, parity = complex(row[0], row[1]), complex(row[2], row[3]), int(row[4])
        if not self._rung.detections_first:
            factor, shift = 1.0 / factor, -shift / factor
            if parity < 0:
                factor, shift = factor.conjugate(), shift.conjugate()
        return similarity_matrix(factor, shift, parity=parity)


def _search_limits(
    field: StarField,
    limits: PlacementLimits,
    rung: _Rung,
    *,
    ratio: tuple[float, float],
    length_error: float,
    chance: float,
) -> SearchLimits:
    """Return what a similarity from anchors to targets must fulfil; ``chance`` is that of a vote for a wrong one."""
    # The inverse of an unmirrored map turns back; that of a mirrored one keeps its turn.
    backwards = not rung.detections_first and limits.parity == 1
    turn = math.radians(-limits.turn_deg if backwards else limits.turn_deg)
    return SearchLimits(
        scale_low=ratio[0],
        scale_high=ratio[1],
        length_error=length_error,
        direct=limits.parity != -1,
        mirrored=limits.parity != 1,
        turn_x=math.cos(turn),
        turn_y=math.sin(turn),
        cos_turn=math.cos(math.radians(limits.max_turn_deg)) if limits.max_turn_deg < 180.0 else -2.0,
        free=field.radius if rung.detections_first else 0.0,
        free_per_scale=0.0 if rung.detections_first else field.radius,
        reach=math.inf if rung.detections_first else field.diagonal * rung.scale_high,
        hit=math.log(_HIT_RATE / chance),
        miss=math.log((1.0 - _HIT_RATE) / (1.0 - chance)),
        accept=min(max(math.log(rung.cost / 10.0), 2.0), _ACCEPT),
        reject=_REJECT,
    )


def _ladder(field: StarField, limits: PlacementLimits) -> list[_Rung]:
    """List the rungs, those first that get somewhere with few tries."""
    low, high = limits.scale_range
    n_bins = max(1, math.ceil(math.log(high / low) / math.log(_SCALE_BIN) - 1e-9))
    edges = [low * (high / low) ** (i / n_bins) for i in range(n_bins + 1)]
    ways = (1 if limits.parity else 2) * 2.0 * min(limits.max_turn_deg / 180.0, 1.0)
    rungs: dict[tuple[bool, int, int, float, float], _Rung] = {}
    for scale_low, scale_high in pairwise(edges):
        n_region = int(np.count_nonzero(_in_region(field, scale_high)))
        frames = _region_area(field, scale_high) / (field.area * scale_low * scale_high)
        for looseness in (1.0, 3.0):
            width = math.log(scale_high / scale_low) + 4.0 * field.tolerance_px * looseness / (0.4 * field.diagonal)
            for detections_first, sizes in ((True, _DETECTIONS_FIRST), (False, _REFERENCES_FIRST)):
                for n_det, per_frame in sizes:
                    n_detections = min(n_det, len(field.u))
                    n_references = min(math.ceil(per_frame * frames), n_region, _MAX_REFERENCES)
                    if n_detections < 3 or n_references < 3:
                        continue
                    in_frame = max(min(n_references / frames, n_references), 1.0)
                    detection_pairs, reference_pairs = 0.5 * n_detections**2, 0.5 * n_references * in_frame
                    cost = detection_pairs * reference_pairs * ways * min(width, 1.0)
                    anchor_pairs = detection_pairs if detections_first else reference_pairs
                    effort = _PAIRS_AT_ONCE * cost / anchor_pairs * (1.0 if looseness == 1.0 else _LOOSE_LAST)
                    key = (detections_first, n_detections, n_references, scale_low, looseness)
                    rungs[key] = _Rung(
                        detections_first,
                        n_detections,
                        n_references,
                        scale_low,
                        scale_high,
                        looseness,
                        cost,
                        int(effort),
                    )
    return sorted(rungs.values(), key=lambda rung: rung.effort)


def _region_area(field: StarField, scale: float) -> float:
    return math.pi * (field.radius + 0.5 * field.diagonal * scale) ** 2


def _in_region(field: StarField, scale: float) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = np.hypot(field.xi, field.eta) <= field.radius + 0.5 * field.diagonal * scale
    return inside


def _thinned(
    x: NDArray[np.float64], y: NDArray[np.float64], *, number: int, radius: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Take the first points, without those near an earlier one."""
    points = np.stack([x, y], axis=1)[: 2 * number]
    kept = np.ones(len(points), dtype=bool)
    close = cKDTree(points).query_pairs(radius, output_type="ndarray")
    kept[close.max(axis=1)] = False
    points = np.ascontiguousarray(points[kept][:number].T)
    return points[0], points[1]


def _anchor_pairs(
    x: NDArray[np.float64], y: NDArray[np.float64], shortest: float, longest: float, *, central: float
) -> NDArray[np.int32]:
    """List the pairs of a fitting length with their middle near the origin, those of early points first."""
    bins = pairs_by_length(x, y, shortest, longest, 1)
    i, j = bins.first, bins.second
    kept = np.hypot(x[i] + x[j], y[i] + y[j]) <= 2.0 * central
    return np.stack([i, j], axis=1)[kept][np.lexsort((i[kept], j[kept]))]


def _grid_of(x: NDArray[np.float64], y: NDArray[np.float64], *, radius: float) -> DiscGrid:
    x0, y0 = float(x.min()) - radius, float(y.min()) - radius
    size_x, size_y = float(x.max()) + radius - x0, float(y.max()) + radius - y0
    cell = max(4.0 * radius, max(size_x, size_y) / _MAX_CELLS)
    return disc_grid(x, y, radius, x0, y0, cell, int(size_x / cell) + 1, int(size_y / cell) + 1)
