"""A template of the images of a survey, where a field has none of its own yet."""

from __future__ import annotations

from dataclasses import replace

from astropy.table import Table
from pydantic import Field, PositiveInt

from firstlight.errors import InputError, NoWorkFound
from firstlight.framework import Handle, Lookup, Prerequisite, Subtask, subtask
from firstlight.images.exposure import Exposure
from firstlight.images.instrument import Instrument
from firstlight.images.instrument_config import InstrumentConfig
from firstlight.images.pixel_grid import PixelGrid
from firstlight.refcats import ReferenceCatalog
from firstlight.refcats.cutouts import SURVEY, fetch_cutout
from firstlight.refcats.surveys import AUTO, survey_bands
from firstlight.tasks.calibrate_image import CalibrateImageTask
from firstlight.tasks.template import N_INPUTS, TemplateConfig, TemplateResult, TemplateTask


class SurveyTemplateConfig(TemplateConfig):
    """Settings of `SurveyTemplateTask`."""

    survey: str = AUTO
    """``auto`` for the first that has the sky, a survey, one of its bands (``SDSS/r``), or the id of a HiPS."""

    min_coverage: float = Field(default=0.5, gt=0.0, le=1.0)
    """Share of the cutout that must have values."""

    timeout: PositiveInt = 120
    """Longest wait for an answer [s]."""

    calibrate: Subtask[CalibrateImageTask] = subtask(CalibrateImageTask)
    """Sky, PSF and zero point of the cutout."""


class SurveyTemplateTask(TemplateTask[SurveyTemplateConfig]):
    """A cutout of a survey, calibrated like any image; its own exposures only say which sky and band are wanted.

    The unit of flux of a cutout is not known: without a reference catalogue the template stays in counts. Its noise is
    measured on the sky; that of neighbouring pixels is correlated, and stars have no photon noise of their own.
    """

    prerequisites = {
        **TemplateTask.prerequisites,
        "astrometry_refcat": Prerequisite("astrometry_refcat", ReferenceCatalog, lookup=Lookup.REGION, minimum=0),
        "photometry_refcat": Prerequisite("photometry_refcat", ReferenceCatalog, lookup=Lookup.REGION, minimum=0),
    }

    def __init__(self, config: SurveyTemplateConfig | None = None) -> None:
        super().__init__(config)
        self.calibrate = self.config.calibrate.make()

    def run(
        self,
        exposures: tuple[Handle[Exposure], ...],
        grid: PixelGrid | None = None,
        astrometry_refcat: ReferenceCatalog | None = None,
        photometry_refcat: ReferenceCatalog | None = None,
    ) -> TemplateResult:
        """Make a template of the images of a survey.

        Parameters
        ----------
        exposures
            The first tells the band, and where no grid is given the sky.
        grid
            The sky that the template covers.
        astrometry_refcat, photometry_refcat
            Reference catalogues.

        Raises
        ------
        NoWorkFound
            If no exposure was given.
        InputError
            If the sky is not known, or no survey that can be asked has it in the band.
        PartialResult
            If the cutout cannot be calibrated.
        """
        if not exposures:
            raise NoWorkFound("No exposure was given to find a template for.")
        first = exposures[0].get()
        if grid is None and first.wcs is None:
            raise InputError("The exposure has no WCS, so that no survey can be asked for its sky.")
        grid = PixelGrid.of(first) if grid is None else grid
        choices = survey_bands(self.config.survey, band=first.observation.band, dec=grid.sky_circle()[1])
        cutout = fetch_cutout(grid, choices, min_coverage=self.config.min_coverage, timeout=self.config.timeout)
        calibrated = self.calibrate.run(
            Instrument(InstrumentConfig(name="survey")).to_exposure(cutout),
            astrometry_refcat=astrometry_refcat,
            photometry_refcat=photometry_refcat,
        )
        exposure = calibrated.exposure
        template = exposure.replace(
            observation=replace(exposure.observation, observation_type="template"),
            header={**exposure.header, N_INPUTS: 1},
        )
        label = str(cutout.header[SURVEY])
        self.log.info("template", survey=label, unit=template.unit)
        return TemplateResult(
            template=template,
            inputs=Table({"label": [label], "used": [True], "reason": [""]}),
            gates=calibrated.gates,
            funnels=calibrated.funnels,
        )
