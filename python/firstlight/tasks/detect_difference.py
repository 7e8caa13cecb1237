"""Find what changed on a difference image, and measure it there and on the two images behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table, vstack
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from firstlight.algorithms.detection import Detections, SmoothedImage
from firstlight.algorithms.detection_lists import selected
from firstlight.algorithms.difference_sources import MergedSigns, detect_changes, merge_signs
from firstlight.algorithms.glints import GlintTrail
from firstlight.algorithms.star_residuals import ResidualShare
from firstlight.algorithms.streaks import Streak
from firstlight.framework import Config, Funnel, Gate, Struct, Subtask, Task, plugins_of, subtask
from firstlight.images.catalog import with_sky_positions
from firstlight.images.exposure import Exposure
from firstlight.images.psf import FWHM_PER_SIGMA
from firstlight.images.spatial_kernel import MatchingKernel
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.matched_filter import grow_mask
from firstlight.tasks.aperture_correction import with_total_flux
from firstlight.tasks.calibrated_columns import with_njy_names
from firstlight.tasks.difference_catalog import with_merging, with_sign, without_rejected
from firstlight.tasks.difference_checks import (
    difference_funnel,
    n_dipoles,
    require_good_subtraction,
    require_psfs,
    residuals_of,
    scatter_of_empty,
)
from firstlight.tasks.difference_planes import CORES, FURTHER_PLANES, prepared, with_detections
from firstlight.tasks.difference_plugins import DifferencePlugin, DifferenceScene
from firstlight.tasks.difference_significance import FloorSettings, difference_significance
from firstlight.tasks.glints import GlintTask
from firstlight.tasks.hidden_changes import HiddenChangesTask
from firstlight.tasks.measure import MeasureTask, PluginMeasureTask
from firstlight.tasks.measure_dipoles import DipolePlugin
from firstlight.tasks.measure_fluxes import ApertureFluxPlugin, PsfFluxPlugin
from firstlight.tasks.measure_forced import ForcedFluxPlugin
from firstlight.tasks.measure_pixels import PixelFlagsPlugin
from firstlight.tasks.measure_positions import SkyCoordPlugin, WindowedCentroidPlugin
from firstlight.tasks.measure_shapes import AdaptiveMomentsPlugin
from firstlight.tasks.measure_trails import TrailPlugin
from firstlight.tasks.measurement_scene import psf_sigma
from firstlight.tasks.sky_sources import SkySourcesTask
from firstlight.tasks.source_ids import PackedSourceIdTask, SourceIdTask
from firstlight.tasks.streaks import StreakTask


@dataclass(frozen=True)
class DetectDifferenceResult(Struct):
    """What `DetectDifferenceTask.run` returns."""

    difference: Exposure
    """The difference with its DETECTED, DETECTED_NEGATIVE and STREAK planes set."""

    sources: Table
    """What changed, one row each, the positive ones first; those that vanished have negative fluxes."""

    significance: NDArray[np.float32]
    """Significance of a point source centred on each pixel, by which they were found [y, x]; 0 where masked."""

    sky_sources: Table | None
    """Empty places measured in the same way, for the noise; None where none are asked for."""

    streaks: tuple[Streak, ...]
    """Trails of satellites."""

    glints: tuple[GlintTrail, ...]
    """Lines of sources, as of a tumbling satellite."""

    gates: tuple[Gate, ...]
    """How good subtraction and detection are."""

    funnel: Funnel
    """How many peaks each selection left."""


class DetectDifferenceConfig(Config):
    """Settings of `DetectDifferenceTask`."""

    threshold: PositiveFloat = 5.0
    """Significance that a peak of either sign exceeds [standard deviation]."""

    min_prominence: PositiveFloat = 2.0
    """A peak of its own rises above the saddle to a brighter one by this [standard deviation]."""

    grow: NonNegativeInt = 2
    """Footprints of the two signs that come this near to each other are one [pixel]."""

    bad_planes: tuple[str, ...] = ("BAD", "NO_DATA", "EDGE", "SAT", "SAT_TEMPLATE")
    """Mask planes on which nothing is looked for."""

    core_grow_fwhm: NonNegativeFloat = 0.5
    """Saturated cores of either image are grown by this, in units of the full width at half maximum."""

    systematic_share: NonNegativeFloat | None = None
    """Share of the light of a source that the subtraction may leave, added to the noise; when left out, what bright
    stars leave of theirs, variable ones not counted, and 0 for none."""

    share_snr: PositiveFloat = 100.0
    """Stars more significant than this tell that share [standard deviation]."""

    min_share_stars: PositiveInt = 5
    """With fewer such stars nothing is measured, and nothing added."""

    halo_snr: PositiveFloat | None = 100.0
    """About stars more significant than this, and saturated ones, what is left in rings is added to the noise: the
    wings beyond the kernel; null for none."""

    halo_fwhm: PositiveFloat = 10.0
    """How far rings reach about stars of significance 10,000 and more, in units of the full width at half maximum."""

    ids: Subtask[SourceIdTask] = subtask(PackedSourceIdTask)
    """Numbers the sources."""

    hidden: Subtask[HiddenChangesTask] | None = subtask(HiddenChangesTask)
    """Finds the sources beside brighter ones; empty to skip it."""

    streaks: Subtask[StreakTask] | None = None
    """Marks the trails of satellites before anything is looked for; empty to skip it."""

    glints: Subtask[GlintTask] | None = subtask(GlintTask)
    """Flags sources on one line; empty to skip it."""

    sky_sources: Subtask[SkySourcesTask] | None = None
    """Measures empty places too, in a table of their own; empty to skip it."""

    measurement: Subtask[MeasureTask] = subtask(
        PluginMeasureTask,
        plugins=plugins_of(
            centroid=subtask(WindowedCentroidPlugin),
            pixel_flags=subtask(PixelFlagsPlugin, further_planes=FURTHER_PLANES),
            moments=subtask(AdaptiveMomentsPlugin),
            aperture=subtask(ApertureFluxPlugin),
            psf_flux=subtask(PsfFluxPlugin),
            sky_coord=subtask(SkyCoordPlugin),
        ),
    )
    """Measures the difference; sources that vanished on its negative."""

    plugins: Mapping[str, Subtask[DifferencePlugin]] = plugins_of(
        dipoles=subtask(DipolePlugin), forced=subtask(ForcedFluxPlugin), trails=subtask(TrailPlugin)
    )
    """What is measured with the images behind the difference; run in the order that the plug-ins state."""

    rejecting_flags: tuple[str, ...] = (
        "off_image",
        "bad_center",
        "no_data_center",
        "saturated_center",
        "sat_template_center",
        "interpolated_center_all",
        "spike_center",
    )
    """Sources with one of these flags are left out."""

    min_snr: NonNegativeFloat = 3.0
    """Sources whose PSF flux is less significant than this are left out: their peak was not that of a star."""

    aperture_fwhm: PositiveFloat = 2.0
    """Radius of the aperture in units of the full width at half maximum, where the science exposure has none."""

    warn_core_fraction: float = Field(default=0.03, ge=0.0, le=1.0)
    """A larger share of the image under saturated cores is a warning."""

    warn_systematic_share: PositiveFloat = 0.05
    """A larger share of the light of bright sources that is left is a warning."""

    warn_residual_scatter: PositiveFloat = 0.2
    """A larger scatter of what is left of the stars is a warning."""

    fail_residual_scatter: PositiveFloat = 0.4
    """A larger scatter of what is left of the stars is a failure."""

    max_residual_ratio: PositiveFloat | None = 0.2
    """A larger mean share of the light of the stars that is left is an error; null to go on."""

    max_residual_scatter: PositiveFloat | None = 0.4
    """A larger scatter of it is an error; null to go on."""

    warn_sky_scatter: PositiveFloat = 1.2
    """A larger scatter of the fluxes of empty places, in units of their errors, is a warning."""

    warn_dipole_fraction: float = Field(default=0.3, ge=0.0, le=1.0)
    """A larger share of dipoles among the sources tells of a wrong registration."""


class DetectDifferenceTask(Task[DetectDifferenceConfig]):
    """Sources of both signs, with dipoles, trails and forced fluxes (LSST `DetectAndMeasureTask`)."""

    def __init__(self, config: DetectDifferenceConfig | None = None) -> None:
        super().__init__(config)
        self.ids = self.config.ids.make()
        self.hidden = self.config.hidden and self.config.hidden.make()
        self.streaks = self.config.streaks and self.config.streaks.make()
        self.glints = self.config.glints and self.config.glints.make()
        self.sky_sources = self.config.sky_sources and self.config.sky_sources.make()
        self.measurement = self.config.measurement.make()
        made = {name: slot.make() for name, slot in self.config.plugins.items()}
        self.plugins = dict(sorted(made.items(), key=lambda item: item[1].order))

    def run(
        self,
        difference: Exposure,
        *,
        science: Exposure,
        template: Exposure,
        kernel: MatchingKernel,
        score: FloatArray | None = None,
        kernel_sources: Table | None = None,
    ) -> DetectDifferenceResult:
        """Find and measure what changed.

        Parameters
        ----------
        difference
            From a `SubtractTask`, with its PSF.
        science
        template
            On the pixels of the science exposure, with its own PSF.
        kernel
            How one was matched to the other.
        score : (ny, nx)
            Significance of a point source at each pixel; made with the PSF of the difference when left out.
        kernel_sources
            The stars of the subtraction, to judge it by.

        Raises
        ------
        PsfError
            If an exposure has no PSF.
        BadSubtractionError
            If the subtraction leaves too much of the stars.
        ConfigError
            If the numbers of the sources have no room for them.
        """
        left = residuals_of(kernel_sources)
        require_good_subtraction(
            left, max_mean=self.config.max_residual_ratio, max_scatter=self.config.max_residual_scatter
        )
        require_psfs({"difference": difference, "science exposure": science, "template": template})
        difference = prepared(difference)
        difference, streaks = self._with_streaks(difference)
        unusable, cores = self._unusable(difference)
        smoothed, floor = difference_significance(
            difference,
            science=science,
            template=template,
            kernel=kernel,
            score=score,
            unusable=unusable,
            cores=cores,
            settings=self._floor_settings(),
        )
        scene = DifferenceScene(difference, science, template, kernel, unusable)
        told = self._both_signs(scene, smoothed)
        found = tuple(detections for detections, _ in told)
        merged = merge_signs(*found, grow=self.config.grow)
        difference = difference.replace(mask=with_detections(difference.mask, *found, grow=self.config.grow))
        scene = replace(scene, difference=difference)
        measured = self._measured(scene, told, merged)
        sources = without_rejected(measured, flags=self.config.rejecting_flags, min_snr=self.config.min_snr)
        sources["id"] = self.ids.run(difference, n_sources=len(sources)).ids
        glints = self._mark_glints(sources)
        empty = self._empty_places(scene, found[0])
        self._tell(sources, floor)
        return DetectDifferenceResult(
            difference=difference,
            sources=with_njy_names(sources) if difference.unit == "nJy" else sources,
            significance=smoothed.snr,
            sky_sources=empty,
            streaks=streaks,
            glints=glints,
            gates=self._gates(float(cores.mean()), floor, left, empty, sources),
            funnel=difference_funnel(found, measured=measured, sources=sources),
        )

    def _floor_settings(self) -> FloorSettings:
        return FloorSettings(
            share=self.config.systematic_share,
            share_snr=self.config.share_snr,
            min_stars=self.config.min_share_stars,
            threshold=self.config.threshold,
            halo_snr=self.config.halo_snr,
            halo_fwhm=self.config.halo_fwhm,
        )

    def _with_streaks(self, difference: Exposure) -> tuple[Exposure, tuple[Streak, ...]]:
        """Return the difference with trails marked in its mask, and the trails."""
        if not self.streaks:
            return difference, ()
        marked = self.streaks.run(difference)
        return marked.exposure, marked.streaks

    def _mark_glints(self, sources: Table) -> tuple[GlintTrail, ...]:
        """Flag, in place, the sources that lie on lines of glints; return the lines."""
        if not self.glints:
            return ()
        lines = self.glints.run(sources)
        sources["glint_trail"] = lines.flag
        return lines.trails

    def _unusable(self, difference: Exposure) -> tuple[BoolArray, BoolArray]:
        """Return where nothing is looked for, and which part of it are saturated cores."""
        mask = difference.mask
        grow = round(self.config.core_grow_fwhm * FWHM_PER_SIGMA * psf_sigma(difference))
        cores = grow_mask(mask.any_of(*(name for name in CORES if name in self.config.bad_planes)), grow)
        others = mask.any_of(*(name for name in self.config.bad_planes if name in mask.planes))
        return cores | others | ~(difference.variance > 0), cores

    def _both_signs(self, scene: DifferenceScene, smoothed: SmoothedImage) -> list[tuple[Detections, Table]]:
        """Return what is found of either sign with its catalogue; what has vanished is positive there."""
        exposure = scene.difference.replace(mask=scene.difference.mask.with_plane("NO_DATA", scene.unusable))
        radius = scene.aperture_radius(self.config.aperture_fwhm)
        # One sign after the other: each takes planes of its own, which are freed once it is measured.
        return [self._of_sign(exposure, smoothed, radius, negative=negative) for negative in (False, True)]

    def _of_sign(
        self, exposure: Exposure, smoothed: SmoothedImage, radius: float, *, negative: bool
    ) -> tuple[Detections, Table]:
        if negative:
            exposure = exposure.replace(image=-exposure.image)
        found = detect_changes(
            smoothed,
            psf_sigma=psf_sigma(exposure),
            threshold=self.config.threshold,
            min_prominence=self.config.min_prominence,
            negative=negative,
        )
        light = None
        if self.hidden:
            told = self.hidden.run(exposure, found, noise=smoothed.sigma, threshold=self.config.threshold)
            found, light = told.detections, told.light
        shown = replace(found, peak_snr=np.abs(found.peak_snr))
        return found, self.measurement.run(exposure, shown, aperture_radius=radius, light=light).catalog

    def _measured(self, scene: DifferenceScene, told: Sequence[tuple[Detections, Table]], merged: MergedSigns) -> Table:
        """Return the catalogues of both signs in one, with what is measured on all the images."""
        tables = []
        for sign, kept in enumerate((merged.positive, merged.negative)):
            table = with_merging(told[sign][1], told[1 - sign][0], merged, sign=sign)
            tables.append(with_sign(table[kept], negative=bool(sign)))
        catalog = vstack(tables, join_type="exact", metadata_conflicts="silent")
        for plugin in self.plugins.values():
            for name, column in plugin.run(scene, catalog).items():
                catalog[name] = column
        if "psf_inst_flux" in catalog.colnames:
            catalog = with_total_flux(catalog, scene.science)
        return with_sky_positions(catalog, scene.difference.wcs) if "ra" in catalog.colnames else catalog

    def _empty_places(self, scene: DifferenceScene, found: Detections) -> Table | None:
        """Return empty places, measured as sources are."""
        if self.sky_sources is None:
            return None
        exposure = scene.difference.replace(mask=scene.difference.mask.with_plane("NO_DATA", scene.unusable))
        none = selected(found, np.zeros(found.n_peaks, dtype=bool))
        placed = self.sky_sources.run(exposure, none).detections
        radius = scene.aperture_radius(self.config.aperture_fwhm)
        table = self.measurement.run(exposure, placed, aperture_radius=radius).catalog
        return with_njy_names(table) if exposure.unit == "nJy" else table

    def _tell(self, sources: Table, floor: ResidualShare) -> None:
        self.metadata.count("sources", len(sources))
        self.metadata.count("bright_stars", floor.n_stars)
        self.metadata.count("bright_stars_that_changed", floor.n_outliers)
        self.metadata.note("systematic_share", floor.share)
        signs = {"negative": int(np.sum(sources["is_negative"])), "dipoles": n_dipoles(sources)}
        self.log.info("found", sources=len(sources), **signs, systematic_share=floor.share)

    def _gates(
        self,
        core_fraction: float,
        floor: ResidualShare,
        left: FloatArray | None,
        empty: Table | None,
        sources: Table,
    ) -> tuple[Gate, ...]:
        config, n_sources = self.config, len(sources)
        dipoles = n_dipoles(sources) / max(n_sources, 10)
        gates = [
            Gate("masked_core_fraction", core_fraction, warn=config.warn_core_fraction),
            Gate("systematic_share", floor.share, warn=config.warn_systematic_share, n=floor.n_stars),
            Gate("dipole_fraction", dipoles, warn=config.warn_dipole_fraction, n=n_sources),
        ]
        if left is not None:
            scatter = float(np.std(left)) if len(left) else np.nan
            warn, fail = config.warn_residual_scatter, config.fail_residual_scatter
            gates.append(Gate("residual_scatter", scatter, warn=warn, fail=fail, n=len(left)))
        if empty is not None:
            gates.append(
                Gate("sky_source_scatter", scatter_of_empty(empty), warn=config.warn_sky_scatter, n=len(empty))
            )
        return tuple(gates)
