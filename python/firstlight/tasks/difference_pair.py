"""A pair of images from their files' pixels to what changed: calibrated first where they are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from astropy.table import Table

from firstlight.framework import (
    Gate,
    Handle,
    Input,
    Output,
    Pass,
    PipelineTask,
    PipelineTaskConfig,
    Subtask,
    loaded,
    subtask,
)
from firstlight.images.exposure import Exposure
from firstlight.images.spatial_kernel import MatchingKernel
from firstlight.tasks.calibrate_image import CalibrateImageTask
from firstlight.tasks.difference_image import DifferenceImageResult, DifferenceImageTask


@dataclass(frozen=True)
class DifferencePairResult(DifferenceImageResult):
    """What `DifferencePairTask.run` returns; its gates are those of the calibration too, which say of which image."""

    science: Exposure
    """The science exposure as it was subtracted from."""


class DifferencePairConfig(PipelineTaskConfig):
    """Settings of `DifferencePairTask`; the names of the slots are the labels of overrides."""

    calibrate: Subtask[CalibrateImageTask] = subtask(CalibrateImageTask)
    """Sky, cosmic rays and PSF of an image that has no PSF yet."""

    difference: Subtask[DifferenceImageTask] = subtask(DifferenceImageTask)
    """Aligns, subtracts, and finds what changed."""


@dataclass
class DifferencePairState:
    """What the passes of `DifferencePairTask` work on."""

    science: Exposure
    template: Exposure | None
    """None once it was handed to a task, which frees its planes."""

    sources: Table | None = None
    gates: list[Gate] = field(default_factory=list)
    made: DifferenceImageResult | None = None

    def products(self) -> Mapping[str, object]:
        """Return connection name -> product, for every product that is true now."""
        return {"science": self.science, "gates": tuple(self.gates)}

    def give_template(self) -> Handle[Exposure]:
        """Hand over the template, and keep it no more."""
        if self.template is None:
            raise AssertionError("The template was handed over already.")
        handle, self.template = Handle.giving(self.template), None
        return handle


class DifferencePairTask(PipelineTask[DifferencePairConfig]):
    """Two images, calibrated or not, in one piece of work; without reference catalogues."""

    dimensions = ("instrument", "visit", "detector")
    inputs = {
        "science": Input("visit_image", Exposure),
        "template": Input("template_image", Exposure, deferred=True),
    }
    outputs = {
        "difference": Output("difference_image", Exposure),
        "matched_template": Output("template_matched", Exposure),
        "kernel": Output("difference_kernel", MatchingKernel),
        "kernel_sources": Output("difference_kernel_sources", Table),
        "candidates": Output("dia_source", Table),
    }

    def __init__(self, config: DifferencePairConfig | None = None) -> None:
        super().__init__(config)
        self.calibrate = self.config.calibrate.make()
        self.difference = self.config.difference.make()

    def passes(self) -> Sequence[Pass[DifferencePairState]]:
        """List the passes in the order in which they run."""
        return (
            Pass("science", self._science, inside=self.calibrate),
            Pass("template", self._template, inside=self.calibrate),
            Pass("difference", self._difference, inside=self.difference),
        )

    def run(self, science: Exposure, template: Exposure | Handle[Exposure]) -> DifferencePairResult:
        """Subtract a template from a science image and find what changed.

        Parameters
        ----------
        science, template
            Of the same field on any pixels. Those with a PSF are taken as calibrated, without sky; the others are in
            counts with their sky.

        Raises
        ------
        NoWorkFound
            If the two do not overlap.
        InputError
            If a WCS is missing that is needed.
        PartialResult
            If a pass fails on these data; it carries the products made before.
        """
        state = DifferencePairState(science, loaded(template))
        self.run_passes(state)
        if state.made is None:
            raise AssertionError("The pass 'difference' leaves a result or raises.")
        made: Mapping[str, Any] = state.made.to_mapping()
        return DifferencePairResult(**{**made, "gates": (*state.gates, *state.made.gates), "science": state.science})

    def _science(self, state: DifferencePairState) -> None:
        if state.science.psf is None:
            done = self.calibrate.run(state.science)
            state.science, state.sources = done.exposure, done.stars
            state.gates += _named(done.gates, "science")

    def _template(self, state: DifferencePairState) -> None:
        if state.template is not None and state.template.psf is None:
            done = self.calibrate.run(state.give_template())
            state.template = done.exposure
            state.gates += _named(done.gates, "template")

    def _difference(self, state: DifferencePairState) -> None:
        state.made = self.difference.run(state.science, state.give_template(), state.sources)


def _named(gates: tuple[Gate, ...], which: str) -> list[Gate]:
    """Return gates under the name of the image that they are about, without that of the catalogue that is not used."""
    return [
        Gate(f"{which}_{gate.name}", gate.value, gate.unit, sense=gate.sense, warn=gate.warn, fail=gate.fail, n=gate.n)
        for gate in gates
        if gate.name != "reference_catalog"
    ]
