"""Make a template: the sky as it was, to be subtracted from what it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from astropy.table import Table
from typing_extensions import TypeVar

from firstlight.framework import (
    DataId,
    Funnel,
    Gate,
    Handle,
    Input,
    Lookup,
    Output,
    PipelineTask,
    PipelineTaskConfig,
    Prerequisite,
    Struct,
)
from firstlight.images.exposure import Exposure
from firstlight.images.pixel_grid import PixelGrid

N_INPUTS = "NINPUT"
"""Card with the number of exposures that a template is made of."""

FIRST_DATE, LAST_DATE = "MJD-BEG", "MJD-END"
"""Cards with the dates of the first and the last of them [day, MJD TAI]: what the template can tell about the sky."""


@dataclass(frozen=True)
class TemplateResult(Struct):
    """What a `TemplateTask` returns."""

    template: Exposure
    """With PSF, WCS, mask and variance; its header lists what it is made of."""

    inputs: Table
    """One row for each exposure that was given: what it is like, its weight, and why it was left out."""

    gates: tuple[Gate, ...]
    """How good the template is."""

    funnels: tuple[Funnel, ...]
    """What each selection left."""


class TemplateConfig(PipelineTaskConfig):
    """What every template can be told."""


TemplateConfigT = TypeVar("TemplateConfigT", bound=TemplateConfig, covariant=True, default=TemplateConfig)


class TemplateTask(PipelineTask[TemplateConfigT], ABC):
    """Interface: anything that makes a template of a field from exposures of it."""

    dimensions = ("skymap", "tract", "band")
    inputs = {
        "exposures": Input(
            "preliminary_visit_image", Exposure, ("instrument", "visit", "detector"), multiple=True, deferred=True
        )
    }
    prerequisites = {
        "grid": Prerequisite("tract_grid", PixelGrid, ("skymap", "tract"), minimum=0, lookup=Lookup.DATA_ID)
    }
    outputs = {"template": Output("template", Exposure), "inputs": Output("template_inputs", Table)}

    @abstractmethod
    def run(self, exposures: tuple[Handle[Exposure], ...], grid: PixelGrid | None = None) -> TemplateResult:
        """Make a template.

        Parameters
        ----------
        exposures
            Without sky, with PSFs; read one at a time.
        grid
            Pixels of the template; those of the best exposure when left out.

        Raises
        ------
        NoWorkFound
            If no exposure was given, or none overlaps the grid.
        TemplateError
            If too few of them can be used.
        InputError
            If they are of different bands.
        """

    def run_on(self, exposures: Sequence[Exposure], grid: PixelGrid | None = None) -> TemplateResult:
        """Make a template of exposures in memory; see `run`."""
        return self.run(tuple(_in_memory(each, number) for number, each in enumerate(exposures)), grid)


def _in_memory(exposure: Exposure, number: int) -> Handle[Exposure]:
    return Handle("exposure", DataId(exposure=number), lambda: exposure)
