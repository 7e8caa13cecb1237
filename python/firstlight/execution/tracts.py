"""Which tracts of a skymap the images of visits lie on: what work for each tract is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from firstlight.errors import PipelineError
from firstlight.execution.joins import Found
from firstlight.framework import DataId
from firstlight.images.exposure import separation
from firstlight.repo.repo import Repo
from firstlight.repo.skymaps import TRACT_GRID, tracts_in

if TYPE_CHECKING:
    from firstlight.repo.regions import Region


class Tracts:
    """The tracts in some collections.

    Parameters
    ----------
    repo, collections
        Where to look.
    regions
        Returns where each detector of each visit lies.
    """

    def __init__(self, repo: Repo, collections: Sequence[str], regions: Callable[[], list[Region]]) -> None:
        self._repo = repo
        self._collections = collections
        self._regions = regions

    def placed(self, found: Found) -> Found:
        """Return datasets of visits once for each tract that they touch, with the tract in their data ids.

        Datasets that have a tract, or lie nowhere, are returned as they are.

        Raises
        ------
        PipelineError
            If the collections have no tract.
        """
        if not found.data_ids or "tract" in found.data_ids[0] or "visit" not in found.data_ids[0]:
            return found
        tracts = tracts_in(self._repo, self._collections)
        if not tracts:
            raise PipelineError(
                f"No {TRACT_GRID} is in {', '.join(self._collections)}, so that images of visits lie on no tract; "
                "'firstlight skymap register' makes tracts, and -i NAME looks for them."
            )
        regions = self._regions()
        circles = np.array([(each.ra, each.dec, each.radius) for each in regions]).reshape(-1, 3)
        touching: dict[tuple[object, ...], list[DataId]] = {}
        for tract, grid in tracts:
            ra, dec, radius = grid.sky_circle()
            near = separation(ra, dec, circles[:, 0], circles[:, 1]) <= radius + circles[:, 2]
            for number in np.flatnonzero(near):
                place = regions[number]
                touching.setdefault((place.instrument, place.visit, place.detector), []).append(tract)
        data_ids: list[DataId] = []
        sources: list[int] = []
        for data_id, source in zip(found.data_ids, found.sources, strict=True):
            key = (data_id["instrument"], data_id["visit"], data_id.get("detector", 0))
            for tract in touching.get(key, ()):
                data_ids.append(data_id.joined(tract))
                sources.append(source)
        return Found(data_ids, sources)
