"""What `CalibrateImageTask` can be told and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from astropy.table import Table
from pydantic import Field, PositiveFloat

from firstlight.framework import Funnel, Gate, PipelineTaskConfig, Struct, Subtask, plugins_of, subtask
from firstlight.images.background import BackgroundList
from firstlight.images.exposure import Exposure
from firstlight.images.footprint import Footprints
from firstlight.images.mask import Mask
from firstlight.images.photo_calib import PhotoCalib
from firstlight.tasks.aperture_correction import ApertureCorrectionTask, StarApertureCorrectionTask
from firstlight.tasks.astrometry import AstrometryTask, PatternAstrometryTask
from firstlight.tasks.background import BackgroundTask, MeshBackgroundTask
from firstlight.tasks.deblend import DeblendTask, SymmetricDeblendTask
from firstlight.tasks.detect import DetectTask, MatchedFilterDetectTask
from firstlight.tasks.hidden_stars import HiddenStarsTask
from firstlight.tasks.measure import MeasureTask, PluginMeasureTask
from firstlight.tasks.measure_fluxes import ApertureFluxPlugin, PsfFluxPlugin
from firstlight.tasks.measure_pixels import PixelFlagsPlugin
from firstlight.tasks.measure_positions import SkyCoordPlugin, WindowedCentroidPlugin
from firstlight.tasks.measure_shapes import AdaptiveMomentsPlugin, ExtendednessPlugin, HigherMomentsPlugin
from firstlight.tasks.photo_cal import PhotoCalTask, ZeroPointPhotoCalTask
from firstlight.tasks.psf import PixelPsfTask, PsfTask
from firstlight.tasks.repair import CosmicRayTask, MorphologyCosmicRayTask
from firstlight.tasks.scale_variance import ScaleVarianceTask
from firstlight.tasks.seeing import SeeingTask, StarSeeingTask
from firstlight.tasks.select_stars import ScienceStarSelectTask, StarSelectTask
from firstlight.tasks.sky_sources import SkySourcesTask
from firstlight.tasks.snap_combine import SnapCombineTask, SumSnapsTask
from firstlight.tasks.source_ids import PackedSourceIdTask, SourceIdTask
from firstlight.tasks.star_background import StarBackgroundTask
from firstlight.tasks.streaks import StreakTask
from firstlight.tasks.summarize import ExposureSummaryTask, SummarizeTask

PSF_PLUGINS = plugins_of(
    centroid=subtask(WindowedCentroidPlugin),
    pixel_flags=subtask(PixelFlagsPlugin),
    moments=subtask(AdaptiveMomentsPlugin),
    aperture=subtask(ApertureFluxPlugin),
    psf_flux=subtask(PsfFluxPlugin),
    sky_coord=subtask(SkyCoordPlugin),
)
"""What PSF, aperture correction and astrometry need to know of a source."""

STAR_PLUGINS = plugins_of(
    centroid=subtask(WindowedCentroidPlugin),
    pixel_flags=subtask(PixelFlagsPlugin),
    moments=subtask(AdaptiveMomentsPlugin),
    higher_moments=subtask(HigherMomentsPlugin),
    aperture=subtask(ApertureFluxPlugin),
    psf_flux=subtask(PsfFluxPlugin),
    extendedness=subtask(ExtendednessPlugin),
    sky_coord=subtask(SkyCoordPlugin),
)
"""What the selection of stars, photometry and the summary need to know of a source."""

OptionalOutput = Literal[
    "psf_stars", "psf_stars_footprints", "stars_footprints", "astrometry_matches", "photometry_matches", "mask"
]
"""Products that are made only on request."""


@dataclass(frozen=True)
class CalibrateImageResult(Struct):
    """What `CalibrateImageTask.run` returns."""

    exposure: Exposure
    """Calibrated, background-subtracted exposure; in nJy when there was a reference catalogue."""

    stars: Table
    """Bright, unresolved sources without bad flags; their fluxes are NaN without a reference."""

    stars_footprints: Footprints | None
    """Pixels of ``stars``; the peaks have the ``id``. None unless asked for."""

    psf_stars: Table
    """Sources of the PSF passes; ``stars.psf_id`` joins to their ``id``."""

    psf_stars_footprints: Footprints | None
    """Pixels of ``psf_stars``; the peaks have the ``id``. None unless asked for."""

    background: BackgroundList
    """Models that were subtracted, in the unit of the exposure."""

    mask: Mask | None
    """The mask of the exposure alone. None unless asked for."""

    astrometry_matches: Table | None
    """Matched pairs of the astrometric fit; ``src_id`` joins to ``psf_stars.id``. None without a reference."""

    photometry_matches: Table | None
    """Matched calibrators; ``src_id`` joins to ``stars.id``, ``src_psf_id`` to ``psf_stars.id`` and to ``src_id`` of
    the astrometric matches. None without a reference."""

    applied_photo_calib: PhotoCalib | None
    """What the pixels were multiplied with. None without a reference."""

    aperture_radius: float
    """The calibration aperture [pixel]."""

    summary: Mapping[str, float]
    """Summary statistics, made before the pixels became nJy."""

    gates: tuple[Gate, ...]
    """How good each step was."""

    funnels: tuple[Funnel, ...]
    """What each selection left."""


class CalibrateImageConfig(PipelineTaskConfig):
    """Settings of `CalibrateImageTask`."""

    snap_combine: Subtask[SnapCombineTask] = subtask(SumSnapsTask)
    """Makes one exposure of two snaps."""

    ids: Subtask[SourceIdTask] = subtask(PackedSourceIdTask)
    """Numbers the sources of each catalogue."""

    background: Subtask[BackgroundTask] = subtask(MeshBackgroundTask)
    """Sky before and after each detection."""

    streaks: Subtask[StreakTask] | None = subtask(StreakTask)
    """Marks the trails of satellites: what is measured on them carries a flag and calibrates nothing; empty to leave
    that out."""

    seeing: Subtask[SeeingTask] = subtask(StarSeeingTask)
    """First guess of the PSF."""

    cosmic_rays: Subtask[CosmicRayTask] | None = subtask(MorphologyCosmicRayTask)
    """Cosmic-ray repair; empty to skip it."""

    psf_passes: Literal[1, 2] = 1
    """How often stars are found to model the PSF: once with the measured seeing, which gives the same model in less
    time, or again with a Gaussian as wide as the first model, for when the seeing cannot be measured well."""

    psf_detection: Subtask[DetectTask] = subtask(MatchedFilterDetectTask, threshold=10.0)
    """Finds the stars for PSF and astrometry."""

    scale_variance: Subtask[ScaleVarianceTask] | None = subtask(ScaleVarianceTask)
    """Brings the variance to the noise of the sky between these stars, where it is wrong; empty to trust it."""

    psf_measurement: Subtask[MeasureTask] = subtask(PluginMeasureTask, plugins=PSF_PLUGINS)
    """Measures the stars for PSF and astrometry."""

    psf: Subtask[PsfTask] = subtask(PixelPsfTask)
    """Selects stars and models the point-spread function."""

    aperture_correction: Subtask[ApertureCorrectionTask] = subtask(StarApertureCorrectionTask)
    """From each flux to the total flux of a star."""

    astrometry: Subtask[AstrometryTask] = subtask(PatternAstrometryTask)
    """Fits the WCS to the reference catalogue."""

    star_background: Subtask[StarBackgroundTask] | None = None
    """Measures the sky from the start between stars with wide borders, in place of `background` after their detection;
    empty to go on from the sky that is subtracted already."""

    star_detection: Subtask[DetectTask] = subtask(MatchedFilterDetectTask, threshold=5.0, include_multiplier=2.0)
    """Finds the stars of the catalogue."""

    sky_sources: Subtask[SkySourcesTask] | None = subtask(SkySourcesTask)
    """Adds empty positions, whose fluxes tell what is left of the sky; empty for none."""

    hidden_stars: Subtask[HiddenStarsTask] | None = subtask(HiddenStarsTask)
    """Finds stars in the light of others, in crowded fields; empty to leave that out."""

    deblend: Subtask[DeblendTask] | None = subtask(SymmetricDeblendTask)
    """Takes blends apart; empty to leave out the pixels of neighbours instead."""

    star_measurement: Subtask[MeasureTask] = subtask(PluginMeasureTask, plugins=STAR_PLUGINS)
    """Measures the stars of the catalogue."""

    star_selection: Subtask[StarSelectTask] | None = subtask(ScienceStarSelectTask, min_snr=10.0)
    """Chooses the stars that are calibrated and kept; empty to keep every source."""

    photometry: Subtask[PhotoCalTask] | None = subtask(ZeroPointPhotoCalTask)
    """Fits the zero point to the reference catalogue; empty to stay in counts, as where all its stars are saturated."""

    summarize: Subtask[SummarizeTask] = subtask(ExposureSummaryTask)
    """Condenses the exposure into numbers."""

    aperture_fwhm: PositiveFloat = 2.0
    """Radius of the calibration aperture in units of the full width at half maximum of the PSF."""

    match_radius: PositiveFloat = 3.0
    """How far a star may be from its entry among the PSF stars [pixel]; at least the sigma of the PSF."""

    warn_matched_fraction: float = Field(default=0.5, ge=0.0, le=1.0)
    """Fewer of the stars that made the PSF among the stars of the catalogue than this are a warning."""

    optional_outputs: tuple[OptionalOutput, ...] = ("psf_stars", "astrometry_matches", "photometry_matches")
    """What is made besides exposure, stars, background and calibration. Footprints and mask cost as much memory as the
    image."""
