"""From a calibrated science exposure and a template to what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table
from pydantic import PositiveFloat, PositiveInt

from firstlight.errors import Fact
from firstlight.framework import (
    Funnel,
    Gate,
    Handle,
    Input,
    Lookup,
    Output,
    Pass,
    PipelineTask,
    PipelineTaskConfig,
    Prerequisite,
    Struct,
    Subtask,
    loaded,
    subtask,
)
from firstlight.images.exposure import Exposure
from firstlight.images.sampled_psf import quick_psf
from firstlight.images.spatial_kernel import MatchingKernel
from firstlight.tasks.align import AlignTask, LanczosAlignTask
from firstlight.tasks.align_pattern import PatternAlignTask
from firstlight.tasks.check_registration import CheckRegistrationTask
from firstlight.tasks.detect_difference import DetectDifferenceResult, DetectDifferenceTask
from firstlight.tasks.subtract import SubtractResult, SubtractTask
from firstlight.tasks.subtract_alard_lupton import AlardLuptonSubtractTask
from firstlight.tasks.vet import VetTask
from firstlight.tasks.vet_features import FeatureVetTask


@dataclass(frozen=True)
class DifferenceImageResult(Struct):
    """What `DifferenceImageTask.run` returns."""

    difference: Exposure
    """Science minus template, with what was found marked in its mask."""

    matched_template: Exposure
    """The template as it was subtracted."""

    kernel: MatchingKernel
    """What one image was convolved with."""

    candidates: Table
    """What changed, one row each."""

    kernel_sources: Table
    """The stars by which the images were matched."""

    template_aligned: Exposure
    """The template on the pixels of the science exposure, before it was matched."""

    gates: tuple[Gate, ...]
    """How good each step was."""

    funnels: tuple[Funnel, ...]
    """What each selection left."""


class DifferenceImageConfig(PipelineTaskConfig):
    """Settings of `DifferenceImageTask`."""

    align: Subtask[AlignTask] = subtask(LanczosAlignTask)
    """Brings the template onto the pixels of the science exposure, which is never resampled; skipped where both have
    the same pixels, unless it goes by the stars."""

    registration: Subtask[CheckRegistrationTask] | None = subtask(CheckRegistrationTask)
    """Refuses pairs that do not show the same stars at the same places; empty to leave that to the kernel."""

    subtract: Subtask[SubtractTask] = subtask(AlardLuptonSubtractTask)
    """Subtracts the template."""

    detect: Subtask[DetectDifferenceTask] = subtask(DetectDifferenceTask)
    """Finds and measures what changed."""

    vet: Subtask[VetTask] | None = subtask(FeatureVetTask)
    """Gives each candidate the probability that it is a real change; empty to give none."""

    same_pixels: PositiveFloat = 0.01
    """Exposures whose WCS differ by less than this everywhere have the same pixels [pixel]."""

    psf_cells: PositiveInt = 8
    """The PSF of a template that is the mean of many images is drawn once in each of so many cells along a side."""


@dataclass
class DifferenceImageState:
    """What the passes of `DifferenceImageTask` work on."""

    science: Exposure
    template: Exposure
    sources: Table | None
    gates: tuple[Gate, ...] = ()
    aligned: bool = False
    subtracted: SubtractResult | None = None
    detected: DetectDifferenceResult | None = None

    def products(self) -> Mapping[str, object]:
        """Return connection name -> product, for every product that is true now."""
        made: dict[str, object] = {"gates": self.gates}
        if self.aligned:
            made["template_aligned"] = self.template
        if self.subtracted:
            made |= {
                "difference": self.subtracted.difference,
                "matched_template": self.subtracted.matched_template,
                "kernel": self.subtracted.kernel,
                "kernel_sources": self.subtracted.kernel_sources,
                "funnels": (self.subtracted.funnel,),
            }
        if self.detected:
            made |= {"difference": self.detected.difference, "candidates": self.detected.sources}
        return made


class DifferenceImageTask(PipelineTask[DifferenceImageConfig]):
    """Aligns, subtracts, and finds what changed (LSST ``AlardLuptonSubtractTask`` and ``DetectAndMeasureTask``)."""

    dimensions = ("instrument", "visit", "detector")
    inputs = {
        "science": Input("visit_image", Exposure),
        "sources": Input("single_visit_star_unstandardized", Table, minimum=0),
    }
    prerequisites = {
        "template": Prerequisite(
            "template", Exposure, dimensions=("skymap", "tract", "band"), lookup=Lookup.REGION, deferred=True
        )
    }
    outputs = {
        "difference": Output("difference_image", Exposure),
        "matched_template": Output("template_matched", Exposure),
        "kernel": Output("difference_kernel", MatchingKernel),
        "kernel_sources": Output("difference_kernel_sources", Table),
        "candidates": Output("dia_source", Table),
    }

    def __init__(self, config: DifferenceImageConfig | None = None) -> None:
        super().__init__(config)
        self.align = self.config.align.make()
        self.registration = self.config.registration and self.config.registration.make()
        self.subtract = self.config.subtract.make()
        self.detect = self.config.detect.make()
        self.vet = self.config.vet and self.config.vet.make()

    def passes(self) -> Sequence[Pass[DifferenceImageState]]:
        """List the passes in the order in which they run."""
        check = (Pass("registration", self._check),) if self.registration else ()
        vet = (Pass("vet", self._vet),) if self.vet else ()
        return (
            Pass("align", self._align),
            *check,
            Pass("subtract", self._subtract),
            Pass("detect", self._detect),
            *vet,
        )

    def run(
        self, science: Exposure, template: Exposure | Handle[Exposure], sources: Table | None = None
    ) -> DifferenceImageResult:
        """Subtract a template from a science exposure and find what changed.

        Parameters
        ----------
        science
            Without its sky, with a PSF.
        template
            Of the same field on any pixels, without its sky, with a PSF; by a handle, its planes are freed once it is
            aligned.
        sources
            Stars of the science exposure; found when left out.

        Raises
        ------
        NoWorkFound
            If the two do not overlap.
        InputError
            If the template has to be aligned and a WCS is missing.
        PartialResult
            If a pass fails on these data; it carries the products made before.
        """
        state = DifferenceImageState(science, loaded(template), sources)
        self.run_passes(state)
        if state.subtracted is None or state.detected is None:
            raise AssertionError("The passes leave results or raise.")
        return DifferenceImageResult(
            difference=state.detected.difference,
            matched_template=state.subtracted.matched_template,
            kernel=state.subtracted.kernel,
            candidates=state.detected.sources,
            kernel_sources=state.subtracted.kernel_sources,
            template_aligned=state.template,
            gates=state.gates,
            funnels=(state.subtracted.funnel, state.detected.funnel),
        )

    def _align(self, state: DifferenceImageState) -> Mapping[str, Fact]:
        if state.template.unit != state.science.unit:
            # The kernel finds the flux scale, so the unit of the template is only a name.
            self.log.info("other unit", science=state.science.unit, template=state.template.unit)
            state.template = replace(state.template, unit=state.science.unit, photo_calib=state.science.photo_calib)
        facts: dict[str, Fact] = {"resampled": not self._has_same_pixels(state.science, state.template)}
        if facts["resampled"]:
            aligned = self.align.run(state.template, onto=state.science)
            state.template, state.gates = aligned.exposure, (*state.gates, *aligned.gates)
            facts["coverage"] = aligned.coverage
        quick = quick_psf(state.template.psf, state.science.shape, cells=self.config.psf_cells)
        if quick is not state.template.psf:
            state.template = state.template.replace(psf=quick)
        state.aligned = True
        return facts

    def _has_same_pixels(self, science: Exposure, template: Exposure) -> bool:
        if science.shape != template.shape or isinstance(self.align, PatternAlignTask):
            return False
        if science.wcs is None or template.wcs is None:
            return science.wcs is template.wcs
        ny, nx = science.shape
        x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(0, nx - 1, 5), np.linspace(0, ny - 1, 5)))
        ra, dec = science.wcs.pixel_to_sky(x=x, y=y)
        there_x, there_y = template.wcs.sky_to_pixel(ra=ra, dec=dec)
        return bool(np.max(np.hypot(there_x - x, there_y - y)) < self.config.same_pixels)

    def _check(self, state: DifferenceImageState) -> Mapping[str, Fact]:
        if self.registration is None:
            return {}
        checked = self.registration.run(state.science, state.template)
        state.gates = (*state.gates, *checked.gates)
        found = checked.registration
        return {"matched": found.n_matched, "tried": found.n_tried, "dx": found.x, "dy": found.y}

    def _subtract(self, state: DifferenceImageState) -> Mapping[str, Fact]:
        state.subtracted = self.subtract.run(state.science, state.template, state.sources)
        state.gates = (*state.gates, *state.subtracted.gates)
        kernel = state.subtracted.kernel
        return {
            "stars": int(np.sum(state.subtracted.kernel_sources["used"])),
            "convolved": kernel.convolved,
            "flux_scale": kernel.flux_scale,
        }

    def _detect(self, state: DifferenceImageState) -> Mapping[str, Fact]:
        if state.subtracted is None:
            raise AssertionError("The pass 'subtract' runs before this one.")
        made = state.subtracted
        state.detected = self.detect.run(
            made.difference,
            science=state.science,
            template=state.template,
            kernel=made.kernel,
            score=made.score,
            kernel_sources=made.kernel_sources,
        )
        state.gates = (*state.gates, *state.detected.gates)
        # Nobody asks for the score and for the difference without detections any more; their planes are freed.
        state.subtracted = replace(made, difference=state.detected.difference, score=None)
        found = state.detected.sources
        return {"candidates": len(found), "negative": int(np.sum(found["is_negative"]))}

    def _vet(self, state: DifferenceImageState) -> Mapping[str, Fact]:
        if self.vet is None or state.detected is None:
            raise AssertionError("The pass 'detect' runs before this one.")
        judged = self.vet.run(state.science, state.template, state.detected.difference, state.detected.sources)
        state.detected = replace(state.detected, sources=judged.candidates)
        state.gates = (*state.gates, *judged.gates)
        return {"real": int(judged.real.sum()), "undefined": int(judged.undefined.sum())}
