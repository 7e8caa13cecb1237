"""Flag sources that lie on one line with others: a satellite that glints as it tumbles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat

from firstlight.algorithms.glints import GlintTrail, find_glint_trails
from firstlight.framework import Config, Struct, Task


@dataclass(frozen=True)
class GlintResult(Struct):
    """What `GlintTask.run` returns."""

    trails: tuple[GlintTrail, ...]
    """The lines that were found, the richest first."""

    flag: NDArray[np.bool_]
    """(n_sources,) True for sources on one of them."""


class GlintConfig(Config):
    """Settings of `GlintTask`."""

    radius: PositiveFloat = 500.0
    """A line is looked for within this distance of one of its sources [pixel]."""

    width: PositiveFloat = 5.0
    """Largest distance of a source from the line [pixel]."""

    min_points: int = Field(default=5, ge=4)
    """Least number of sources on a line."""

    max_chance: PositiveFloat = 0.01
    """A line is none where sources at random would show more than this many like it."""


class GlintTask(Task[GlintConfig]):
    """Lines of positive sources, richer than chance makes them (compare LSST ``findGlintTrails``)."""

    def run(self, sources: Table) -> GlintResult:
        """Look for lines among the positive sources that are no dipoles.

        Parameters
        ----------
        sources
            With ``x``, ``y`` [pixel], and ``is_negative`` and ``is_dipole`` where known.
        """
        usable = np.ones(len(sources), dtype=bool)
        for name in ("is_negative", "is_dipole"):
            if name in sources.colnames:
                usable &= ~np.asarray(sources[name], dtype=bool)
        trails = find_glint_trails(
            np.asarray(sources["x"], dtype=np.float64),
            np.asarray(sources["y"], dtype=np.float64),
            usable=usable,
            radius=self.config.radius,
            width=self.config.width,
            min_points=self.config.min_points,
            max_chance=self.config.max_chance,
        )
        flag = np.zeros(len(sources), dtype=bool)
        for trail in trails:
            flag[trail.members] = True
        self.metadata.count("glint_trails", len(trails))
        self.log.info("glints", trails=len(trails), sources=int(flag.sum()))
        return GlintResult(trails=trails, flag=flag)
