"""Measure sources: a catalogue filled by plug-ins."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import Table
from typing_extensions import TypeVar

from firstlight.algorithms.detection import Detections
from firstlight.framework import Config, Struct, Subtask, Task, plugins_of, subtask
from firstlight.images.exposure import Exposure
from firstlight.tasks.measurement_plugins import (
    AdaptiveMomentsPlugin,
    ApertureFluxPlugin,
    ExtendednessPlugin,
    MeasurementPlugin,
    PixelFlagsPlugin,
    PsfFluxPlugin,
    SkyCoordPlugin,
    WindowedCentroidPlugin,
)


@dataclass(frozen=True)
class MeasureResult(Struct):
    """What a `MeasureTask` returns."""

    catalog: Table
    """One row per detection, in the order of the label image."""


MeasureConfigT = TypeVar("MeasureConfigT", bound=Config, covariant=True, default=Config)


class MeasureTask(Task[MeasureConfigT], ABC):
    """Interface: anything that makes a catalogue of detections."""

    @abstractmethod
    def run(self, exposure: Exposure, detections: Detections, *, aperture_radius: float) -> MeasureResult:
        """Measure each detection.

        Parameters
        ----------
        exposure
            Background-subtracted, with a PSF.
        detections
            From a `DetectTask`.
        aperture_radius : [pixel]
            The calibration aperture of this exposure.
        """


class PluginMeasureConfig(Config):
    """Settings of `PluginMeasureTask`."""

    plugins: Mapping[str, Subtask[MeasurementPlugin]] = plugins_of(
        centroid=subtask(WindowedCentroidPlugin),
        pixel_flags=subtask(PixelFlagsPlugin),
        moments=subtask(AdaptiveMomentsPlugin),
        aperture=subtask(ApertureFluxPlugin),
        psf_flux=subtask(PsfFluxPlugin),
        extendedness=subtask(ExtendednessPlugin),
        sky_coord=subtask(SkyCoordPlugin),
    )
    """What is measured; run in the order that the plug-ins state."""


class PluginMeasureTask(MeasureTask[PluginMeasureConfig]):
    """Runs its plug-ins in order, each on all detections at once (LSST `SingleFrameMeasurementTask`)."""

    def __init__(self, config: PluginMeasureConfig | None = None) -> None:
        super().__init__(config)
        made = {name: slot.make() for name, slot in self.config.plugins.items()}
        self.plugins = dict(sorted(made.items(), key=lambda item: item[1].order))

    def run(self, exposure: Exposure, detections: Detections, *, aperture_radius: float) -> MeasureResult:
        """Measure each detection."""
        catalog = catalog_of(detections, exposure_id=exposure.observation.exposure_id)
        for plugin in self.plugins.values():
            for name, column in plugin.run(exposure, catalog, detections, aperture_radius=aperture_radius).items():
                catalog[name] = column
        self.log.info("measured", sources=len(catalog), plugins=list(self.plugins))
        return MeasureResult(catalog=catalog)


def catalog_of(detections: Detections, *, exposure_id: int = 0) -> Table:
    """Return a catalogue with what the detection knows; ``id`` counts from 1 above the exposure's own bits."""
    first = (exposure_id & 0x7FFFFFFF) << 32
    pixel = u.pix
    catalog = Table()
    catalog["id"] = first + 1 + np.arange(detections.n_peaks, dtype=np.int64)
    catalog["parent"] = detections.parent
    for name in ("x", "y", "peak_x", "peak_y"):
        catalog[name] = getattr(detections, name) * pixel
    catalog["peak_snr"] = detections.peak_snr
    catalog["footprint_area"] = detections.area * pixel
    catalog["blended"] = detections.blended
    catalog["edge"] = detections.edge
    catalog["sky_source"] = detections.sky
    return catalog
