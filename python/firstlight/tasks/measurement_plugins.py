"""The interface of the measurements that a catalogue is made of; each fills columns for all sources at once.

A plug-in never raises for a source: what cannot be measured is NaN and flagged. Columns come in threes: a value, its
error ``<value>_err`` and ``<name>_flag``, which is set where any of the specific flags ``<name>_flag_<what>`` is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, TypedDict

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from typing_extensions import TypeVar

from firstlight.framework import Config, Task
from firstlight.kernels.arrays import BoolArray
from firstlight.tasks.measurement_scene import MeasurementScene

Columns = Mapping[str, object]
"""Column name -> values, one per source; quantities where they have a unit."""

EMPTY = ("BAD", "NO_DATA")
"""Mask planes whose pixels hold no light; saturated ones hold some."""

MeasurementConfigT = TypeVar("MeasurementConfigT", bound=Config, covariant=True, default=Config)


class MeasurementPlugin(Task[MeasurementConfigT], ABC):
    """Interface: one kind of measurement."""

    order: ClassVar[float] = 0.0
    """Plug-ins run by rising order: centroids 0, flags 1, shapes 2, fluxes 3, what needs these 4, sky positions 5."""

    def reach(self, *, fwhm: float, aperture_radius: float) -> float:
        """Return how far from a centroid the pixels are needed [pixel].

        Tiles reach 3 times the FWHM in any case, and never more than 6 times; use `pixels_within` for what may look
        further.

        Parameters
        ----------
        fwhm, aperture_radius : [pixel]
        """
        return 0.0

    @abstractmethod
    def run(self, scene: MeasurementScene, catalog: Table) -> Columns:
        """Measure all sources of ``catalog``, which holds the columns of the plug-ins before this one.

        Parameters
        ----------
        scene
            The exposure, its sources, and each source on a tile of its own without its neighbours.
        catalog
            One row per detection.
        """


class Positions(TypedDict):
    """Positions of sources [pixel]."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]


class SecondMoments(TypedDict):
    """Second moments of sources [pixel^2]."""

    ixx: NDArray[np.float64]
    iyy: NDArray[np.float64]
    ixy: NDArray[np.float64]


def values(catalog: Table, name: str) -> NDArray[np.float64]:
    """Return a column as plain numbers."""
    return np.asarray(catalog[name], dtype=np.float64)


def moments_of(catalog: Table, *, prefix: str = "") -> SecondMoments:
    """Return the second moments of the sources [pixel^2], or with the prefix ``psf_`` of the PSF there; NaN if none."""
    nothing = np.full(len(catalog), np.nan)
    ixx, iyy, ixy = (
        values(catalog, prefix + name) if prefix + name in catalog.colnames else nothing
        for name in ("ixx", "iyy", "ixy")
    )
    return {"ixx": ixx, "iyy": iyy, "ixy": ixy}


def on_tiles(scene: MeasurementScene, catalog: Table) -> Positions:
    """Return the centroids on the sheet of tiles, as ``x`` and ``y`` [pixel]."""
    x, y = scene.tiles.at(values(catalog, "x"), values(catalog, "y"))
    return {"x": x, "y": y}


class SourcePixels(TypedDict):
    """Pixels, and where the sources lie on them."""

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    bad: BoolArray
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def pixels_within(scene: MeasurementScene, catalog: Table, radius: float, *, bad: tuple[str, ...]) -> SourcePixels:
    """Return the tiles if they hold circles of ``radius`` [pixel] about the sources, else the whole image.

    On the whole image the light of neighbours counts.

    Parameters
    ----------
    scene
    catalog
    radius : [pixel]
    bad
        Mask planes whose pixels must not be used.
    """
    if radius <= scene.tile_reach:
        tiles, at = scene.tiles, on_tiles(scene, catalog)
        return {"image": tiles.image, "variance": tiles.variance, "bad": scene.bad(*bad), "x": at["x"], "y": at["y"]}
    exposure = scene.exposure
    return {
        "image": exposure.image,
        "variance": exposure.variance,
        "bad": exposure.mask.any_of(*bad),
        "x": values(catalog, "x"),
        "y": values(catalog, "y"),
    }
