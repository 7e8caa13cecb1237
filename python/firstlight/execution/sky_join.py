"""Which datasets overlap a piece of work on the sky: joins of the circles that hold detectors of visits, and tracts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from firstlight.framework import DataId
from firstlight.repo.regions import Region

FloatArray = NDArray[np.float64]

Circle = tuple[float, float, float]
"""Right ascension, declination and radius [deg]."""


class SkyJoin:
    """The datasets of one type by their place on the sky.

    Two circles overlap where their middles are no farther apart than the sum of their radii.

    Parameters
    ----------
    places
        Where each detector of each visit lies.
    data_ids
        Of the datasets; one without a detector lies where any detector of its visit does.
    tracts
        Skymap and number of a tract -> its place.
    """

    def __init__(
        self,
        places: Iterable[Region],
        data_ids: Sequence[DataId],
        *,
        tracts: Mapping[tuple[str, int], Circle] | None = None,
    ) -> None:
        self._places: dict[tuple[str, int], list[Region]] = {}
        for place in places:
            self._places.setdefault((place.instrument, place.visit), []).append(place)
        self._tracts = tracts or {}
        owners = [(number, place) for number, each in enumerate(data_ids) for place in self._of(each)]
        self._owners = np.array([number for number, _ in owners], np.int64)
        self._middles, self._radii = _circles([place for _, place in owners])
        self._tree = cKDTree(self._middles) if owners else None
        self._widest = float(self._radii.max()) if owners else 0.0

    def overlapping(self, data_id: DataId) -> list[int]:
        """Return the positions of the datasets that overlap a piece of work; none where its place is not known.

        The nearest comes first.
        """
        found: dict[int, float] = {}
        middles, radii = _circles(self._of(data_id))
        if self._tree is None:
            return []
        for middle, radius in zip(middles, radii, strict=True):
            reach = 2.0 * np.sin(min(radius + self._widest, np.pi) / 2.0) + 1e-12
            near = np.asarray(self._tree.query_ball_point(middle, reach), np.int64)
            chord = np.linalg.norm(self._middles[near] - middle, axis=1)
            apart = 2.0 * np.arcsin(np.minimum(chord / 2.0, 1.0))
            touching = apart <= radius + self._radii[near]
            for owner, distance in zip(self._owners[near[touching]].tolist(), apart[touching].tolist(), strict=True):
                found[owner] = min(distance, found.get(owner, distance))
        return sorted(found, key=lambda owner: (found[owner], owner))

    def _of(self, data_id: DataId) -> list[Circle]:
        if "tract" in data_id:
            place = self._tracts.get((str(data_id["skymap"]), int(data_id["tract"])))
            return [] if place is None else [place]
        if "instrument" not in data_id or "visit" not in data_id:
            return []
        visit = self._places.get((str(data_id["instrument"]), int(data_id["visit"])), [])
        own = (place for place in visit if data_id.get("detector", place.detector) == place.detector)
        return [(place.ra, place.dec, place.radius) for place in own]


def _circles(places: Sequence[Circle]) -> tuple[FloatArray, FloatArray]:
    """Return the middles as unit vectors, shape (n, 3), and the radii [radian], shape (n,)."""
    ra, dec, radius = np.radians(places or np.empty((0, 3))).T
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1), radius
