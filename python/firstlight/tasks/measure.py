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
from firstlight.algorithms.source_light import SourceLight
from firstlight.framework import Config, Struct, Subtask, Task, plugins_of, subtask
from firstlight.images.exposure import Exposure
from firstlight.images.psf import FWHM_PER_SIGMA
from firstlight.tasks.measure_fluxes import (
    ApertureFluxPlugin,
    BlendednessPlugin,
    KronFluxPlugin,
    PsfFluxPlugin,
)
from firstlight.tasks.measure_pixels import PixelFlagsPlugin, VariancePlugin
from firstlight.tasks.measure_positions import SkyCoordPlugin, SkyShapePlugin, WindowedCentroidPlugin
from firstlight.tasks.measure_shapes import AdaptiveMomentsPlugin, ExtendednessPlugin, FluxExtendednessPlugin
from firstlight.tasks.measurement_plugins import MeasurementPlugin
from firstlight.tasks.measurement_scene import MeasurementScene, psf_sigma


@dataclass(frozen=True)
class MeasureResult(Struct):
    """What a `MeasureTask` returns."""

    catalog: Table
    """One row per detection, in the order of the label image."""


MeasureConfigT = TypeVar("MeasureConfigT", bound=Config, covariant=True, default=Config)


class MeasureTask(Task[MeasureConfigT], ABC):
    """Interface: anything that makes a catalogue of detections."""

    @abstractmethod
    def run(
        self,
        exposure: Exposure,
        detections: Detections,
        *,
        aperture_radius: float,
        light: SourceLight | None = None,
    ) -> MeasureResult:
        """Measure each detection.

        Parameters
        ----------
        exposure
            Background-subtracted, with a PSF.
        detections
            From a `DetectTask`.
        aperture_radius : [pixel]
            The calibration aperture of this exposure.
        light
            The light of each source, from a `DeblendTask`; without it pixels of neighbours are left out.
        """


class PluginMeasureConfig(Config):
    """Settings of `PluginMeasureTask`."""

    plugins: Mapping[str, Subtask[MeasurementPlugin]] = plugins_of(
        centroid=subtask(WindowedCentroidPlugin),
        pixel_flags=subtask(PixelFlagsPlugin),
        moments=subtask(AdaptiveMomentsPlugin),
        aperture=subtask(ApertureFluxPlugin),
        psf_flux=subtask(PsfFluxPlugin),
        kron=subtask(KronFluxPlugin),
        blendedness=subtask(BlendednessPlugin),
        variance=subtask(VariancePlugin),
        extendedness=subtask(ExtendednessPlugin),
        flux_extendedness=subtask(FluxExtendednessPlugin),
        sky_coord=subtask(SkyCoordPlugin),
        sky_shape=subtask(SkyShapePlugin),
    )
    """What is measured; run in the order that the plug-ins state."""


class PluginMeasureTask(MeasureTask[PluginMeasureConfig]):
    """Runs its plug-ins in order, each on all detections at once (LSST `SingleFrameMeasurementTask`)."""

    def __init__(self, config: PluginMeasureConfig | None = None) -> None:
        super().__init__(config)
        made = {name: slot.make() for name, slot in self.config.plugins.items()}
        self.plugins = dict(sorted(made.items(), key=lambda item: item[1].order))

    def run(
        self,
        exposure: Exposure,
        detections: Detections,
        *,
        aperture_radius: float,
        light: SourceLight | None = None,
    ) -> MeasureResult:
        """Measure each detection."""
        catalog = catalog_of(detections, exposure_id=exposure.observation.exposure_id, light=light)
        fwhm = FWHM_PER_SIGMA * psf_sigma(exposure)
        reach = max(
            (plugin.reach(fwhm=fwhm, aperture_radius=aperture_radius) for plugin in self.plugins.values()), default=0.0
        )
        scene = MeasurementScene(exposure, detections, aperture_radius, light, reach)
        for plugin in self.plugins.values():
            for name, column in plugin.run(scene, catalog).items():
                catalog[name] = column
        self.log.info("measured", sources=len(catalog), plugins=list(self.plugins))
        return MeasureResult(catalog=catalog)


def catalog_of(detections: Detections, *, exposure_id: int = 0, light: SourceLight | None = None) -> Table:
    """Return a catalogue with what detection and deblender know.

    The ``id`` counts from 1 above the exposure's own bits. A source is ``primary`` if it is one, no hole or empty
    position, and not part of a blend that was left whole.
    """
    first = (exposure_id & 0x7FFFFFFF) << 32
    pixel = u.pix
    none = np.zeros(detections.n_peaks, dtype=bool)
    skipped = none if light is None else light.skipped
    catalog = Table()
    catalog["id"] = first + 1 + np.arange(detections.n_peaks, dtype=np.int64)
    catalog["parent"] = detections.parent
    catalog["parent_n_child"] = np.bincount(detections.parent, minlength=1)[detections.parent]
    for name in ("x", "y", "peak_x", "peak_y"):
        catalog[name] = getattr(detections, name) * pixel
    catalog["peak_snr"] = detections.peak_snr
    catalog["footprint_area"] = detections.area * pixel
    catalog["blended"] = detections.blended
    catalog["isolated"] = ~detections.blended & ~detections.sky
    catalog["edge"] = detections.edge
    catalog["sky_source"] = detections.sky
    catalog["primary"] = (detections.peak_snr > 0) & ~detections.sky & ~skipped
    catalog["deblend_skipped"] = skipped
    catalog["deblend_point_like"] = none if light is None else light.point_like
    catalog["deblend_symmetric"] = none if light is None else light.symmetric
    return catalog
