"""A template of the images of a survey, where a field has none of its own yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from astropy.table import Table
from pydantic import Field, PositiveInt

from firstlight.errors import Fact, InputError, NoWorkFound
from firstlight.framework import Gate, Handle, Lookup, Pass, Prerequisite, Subtask, subtask
from firstlight.images.exposure import Exposure
from firstlight.images.fits import RawImage
from firstlight.images.instrument import Instrument
from firstlight.images.instrument_config import InstrumentConfig
from firstlight.images.pixel_grid import PixelGrid
from firstlight.refcats import ReferenceCatalog
from firstlight.refcats.cutouts import SURVEY, fetch_cutout
from firstlight.refcats.surveys import AUTO, SurveyBand, require_own_band, survey_bands
from firstlight.tasks.calibrate_image import CalibrateImageTask
from firstlight.tasks.calibrate_image_contract import CalibrateImageResult
from firstlight.tasks.template import N_INPUTS, TemplateConfig, TemplateResult, TemplateTask


class SurveyTemplateConfig(TemplateConfig):
    """Settings of `SurveyTemplateTask`."""

    survey: str = AUTO
    """``auto`` for the first that has the sky, a survey, one of its bands (``SDSS/r``), or the id of a HiPS.

    One band for images in others is refused where the survey has theirs too; else `template_other_band` warns.
    """

    min_coverage: float = Field(default=0.5, gt=0.0, le=1.0)
    """Share of the cutout that must have values."""

    timeout: PositiveInt = 120
    """Longest wait for an answer [s]."""

    calibrate: Subtask[CalibrateImageTask] = subtask(CalibrateImageTask)
    """Sky, PSF and zero point of the cutout."""


@dataclass
class SurveyTemplateState:
    """What the passes of `SurveyTemplateTask` work on."""

    grid: PixelGrid
    choices: tuple[SurveyBand, ...]
    astrometry_refcat: ReferenceCatalog | None
    photometry_refcat: ReferenceCatalog | None
    cutout: RawImage | None = None
    made: CalibrateImageResult | None = None

    def products(self) -> Mapping[str, object]:
        """Return nothing: a template that is not calibrated is none."""
        return {}


class SurveyTemplateTask(TemplateTask[SurveyTemplateConfig]):
    """A cutout of a survey, calibrated like any image; exposures of the field only say which sky and band are wanted.

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

    def passes(self) -> Sequence[Pass[SurveyTemplateState]]:
        """List the passes in the order in which they run."""
        return Pass("cutout", self._cutout), Pass("calibrate", self._calibrate, inside=self.calibrate)

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
            If the sky is not known, no survey that can be asked has it in the band, or another band is asked for of
            one that has this.
        PartialResult
            If the cutout cannot be calibrated.
        """
        if not exposures:
            raise NoWorkFound("No exposure was given to find a template for.")
        first = exposures[0].get()
        if grid is None and first.wcs is None:
            raise InputError("The exposure has no WCS, so that no survey can be asked for its sky.")
        grid = PixelGrid.of(first) if grid is None else grid
        band = first.observation.band
        choices = survey_bands(self.config.survey, band=band, dec=grid.sky_circle()[1])
        require_own_band(choices, band=band)
        state = SurveyTemplateState(grid, choices, astrometry_refcat, photometry_refcat)
        self.run_passes(state)
        if state.cutout is None or state.made is None:
            raise AssertionError("The passes leave a cutout and what was made of it, or raise.")
        exposure, label = state.made.exposure, str(state.cutout.header[SURVEY])
        template = exposure.replace(
            observation=replace(exposure.observation, observation_type="template"),
            header={**exposure.header, N_INPUTS: 1},
        )
        self.log.info("template", survey=label, unit=template.unit)
        return TemplateResult(
            template=template,
            inputs=Table({"label": [label], "used": [True], "reason": [""]}),
            gates=(_other_band(choices, band), *state.made.gates),
            funnels=state.made.funnels,
        )

    def _cutout(self, state: SurveyTemplateState) -> Mapping[str, Fact]:
        state.cutout = fetch_cutout(
            state.grid, state.choices, min_coverage=self.config.min_coverage, timeout=self.config.timeout
        )
        return {"survey": str(state.cutout.header[SURVEY])}

    def _calibrate(self, state: SurveyTemplateState) -> None:
        if state.cutout is None:
            raise AssertionError("The pass 'cutout' leaves a cutout or raises.")
        state.made = self.calibrate.run(
            Instrument(InstrumentConfig(name="survey")).to_exposure(state.cutout),
            astrometry_refcat=state.astrometry_refcat,
            photometry_refcat=state.photometry_refcat,
        )


def _other_band(choices: Sequence[SurveyBand], band: str | None) -> Gate:
    """Return the gate that warns where a template is not known to be in the band of its images."""
    return Gate("template_other_band", float(not all(each.is_of(band) for each in choices)), warn=0.0)
