"""Find the defects of a detector on its dark and its flats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import Table
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from firstlight.algorithms.defects import find_hot_pixels, find_odd_pixels
from firstlight.algorithms.isr import boxes_of_pixels
from firstlight.errors import InputError
from firstlight.framework import Funnel, Gate, Input, Output, PipelineTask, PipelineTaskConfig, Struct
from firstlight.images.exposure import Exposure
from firstlight.kernels.arrays import BoolArray
from firstlight.kernels.matched_filter import grow_mask
from firstlight.tasks.isr_steps import DEFECT_COLUMNS

BAYER_KEYWORD = "BAYERPAT"
BAYER_PERIOD = 2


@dataclass(frozen=True)
class BuildDefectsResult(Struct):
    """What `BuildDefectsTask.run` returns."""

    defects: Table
    """Boxes with x0, y0, width and height [pixel], zero-based."""

    gates: tuple[Gate, ...]
    funnels: tuple[Funnel, ...]


class BuildDefectsConfig(PipelineTaskConfig):
    """Settings of `BuildDefectsTask`."""

    hot_sigma: PositiveFloat = 8.0
    """A hot pixel exceeds its surroundings on the dark by this, in units of noise and usual scatter together."""

    hot_rate: NonNegativeFloat = 0.0
    """What a hot pixel gives at least above its surroundings [count/s]."""

    min_response: PositiveFloat = 0.8
    """A pixel of a flat below this part of its surroundings is a defect."""

    max_response: PositiveFloat = 1.2
    """A pixel of a flat above this multiple of its surroundings is a defect."""

    surroundings_size: PositiveInt = 15
    """Side of the square that is the surroundings of a pixel [pixel]."""

    mosaic_period: PositiveInt | None = None
    """Distance of pixels of one colour on a colour detector [pixel]. None: 2 where the header names a Bayer mosaic, or
    else 1."""

    grow: NonNegativeInt = 0
    """Neighbours within this radius of a defect become defects too [pixel]."""

    warn_fraction: PositiveFloat = 0.02
    """Fraction of defective pixels from which the gate warns."""

    max_fraction: PositiveFloat = 0.2
    """Fraction of defective pixels from which the table is not to be used."""


class BuildDefectsTask(PipelineTask[BuildDefectsConfig]):
    """Pixels that are hot on the dark, or too dim or too bright on a flat, or in which either has no value."""

    dimensions = ("instrument", "detector")
    inputs = {
        "dark": Input("dark", Exposure),
        "flats": Input("flat", Exposure, ("instrument", "detector", "physical_filter"), multiple=True, minimum=0),
    }
    outputs = {"defects": Output("defects", Table)}

    def run(self, dark: Exposure, flats: tuple[Exposure, ...] = ()) -> BuildDefectsResult:
        """Find defects on a dark and on any number of flats.

        Raises
        ------
        InputError
            If a flat differs in shape from the dark.
        """
        config = self.config
        no_data = dark.mask.any_of("NO_DATA")
        hot = find_hot_pixels(
            dark.image,
            variance=dark.variance,
            bad=no_data,
            n_sigma=config.hot_sigma,
            min_rate=config.hot_rate * (dark.observation.exposure_time or 1.0),
            size=config.surroundings_size,
        )
        odd = np.zeros(dark.shape, dtype=bool)
        for flat in flats:
            odd |= self._odd(flat, dark)
        bad = grow_mask(hot | odd | no_data, config.grow)
        table = defect_table(bad)
        counts = {"hot_pixels": hot, "odd_pixels": odd, "no_data_pixels": no_data, "defect_pixels": bad}
        for name, where in counts.items():
            self.metadata.count(name, int(where.sum()))
        self.log.info("defects", boxes=len(table), **{name: int(where.sum()) for name, where in counts.items()})
        gate = defect_gate(bad, warn=config.warn_fraction, fail=config.max_fraction)
        funnel = Funnel("good_pixels").then("all", bad.size).then("not_hot", int((~hot).sum()))
        funnel = funnel.then("not_odd", int((~(hot | odd)).sum())).then("left", int((~bad).sum()))
        return BuildDefectsResult(defects=table, gates=(gate,), funnels=(funnel,))

    def _odd(self, flat: Exposure, dark: Exposure) -> BoolArray:
        if flat.shape != dark.shape:
            raise InputError(f"The flat has shape {flat.shape} and the dark {dark.shape}; both must be trimmed alike.")
        no_data = flat.mask.any_of("NO_DATA")
        period = self.config.mosaic_period
        if period is None:
            period = BAYER_PERIOD if BAYER_KEYWORD in flat.header else 1
        odd = find_odd_pixels(
            flat.image,
            bad=no_data,
            min_response=self.config.min_response,
            max_response=self.config.max_response,
            size=self.config.surroundings_size,
            period=period,
        )
        return odd | no_data


def defect_table(bad: BoolArray) -> Table:
    """Return boxes with x0, y0, width and height [pixel] that hold the bad pixels (ny, nx) and no others."""
    boxes = boxes_of_pixels(bad)
    table = Table({name: boxes[:, column] for column, name in enumerate(DEFECT_COLUMNS)})
    for name in DEFECT_COLUMNS:
        table[name].unit = u.pix
    return table


def defect_gate(bad: BoolArray, *, warn: float, fail: float) -> Gate:
    """Return the gate on the fraction of bad pixels (ny, nx)."""
    return Gate("defect_fraction", float(bad.mean()), warn=warn, fail=fail, n=bad.size)
