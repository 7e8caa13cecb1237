"""Bring the variance to the noise that the empty sky shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from firstlight.algorithms.variance_scale import VarianceScale, measure_variance_scale
from firstlight.framework import Config, Gate, Struct, Task
from firstlight.images.exposure import Exposure

KEYWORD = "FLVARFAC"
"""Header keyword: what the variance was multiplied with."""


@dataclass(frozen=True)
class ScaleVarianceResult(Struct):
    """What `ScaleVarianceTask.run` returns."""

    exposure: Exposure
    """The exposure, its variance multiplied with `factor`."""

    factor: float
    """What the variance was multiplied with; 1 where it was left as it is."""

    measured: VarianceScale
    """What the sky shows."""

    gates: tuple[Gate, ...]
    """How far the stated variance was from the noise."""


class ScaleVarianceConfig(Config):
    """Settings of `ScaleVarianceTask`."""

    ignored: tuple[str, ...] = (
        *("BAD", "SAT", "CR", "NO_DATA", "EDGE", "INTRP", "SUSPECT", "VIGNETTED"),
        *("DETECTED", "DETECTED_NEGATIVE", "STREAK"),
    )
    """Mask planes that are not empty sky; those that the exposure does not have are passed over."""

    bin_size: PositiveInt = 32
    """Side of the bins whose means take away what is left of the sky [pixel]."""

    tolerance: NonNegativeFloat = 0.05
    """A variance that is right to this fraction is left as it is."""

    max_correlation: float = Field(default=0.05, ge=0.0, le=1.0)
    """A variance that is too large is left as it is where neighbouring pixels are correlated by more than this: such
    pixels scatter less than sums of them do."""

    warn_factor: PositiveFloat = Field(default=1.5, ge=1.0)
    """A noise that is larger or smaller than stated by more than this factor in variance is a warning."""

    fail_factor: PositiveFloat = Field(default=10.0, ge=1.0)
    """A noise that is larger or smaller than stated by more than this factor in variance is a failure."""


class ScaleVarianceTask(Task[ScaleVarianceConfig]):
    """Multiplies the variance with one factor, so that empty pixels scatter as it says (LSST `ScaleVarianceTask`).

    The factor is that of all noise, of the sky and of the stars, as if the gain were not what the header says. The
    factors of former calls are in the header with this one: the card is their product.
    """

    def run(self, exposure: Exposure, *, fwhm: float | None = None) -> ScaleVarianceResult:
        """Measure the noise and correct the variance if it is wrong by more than the tolerance.

        Parameters
        ----------
        exposure
        fwhm : [pixel]
            Of the stars, to tell the light of those too faint to be detected from noise.
        """
        planes = [plane for plane in self.config.ignored if plane in exposure.mask.planes]
        measured = measure_variance_scale(
            exposure.image,
            variance=exposure.variance,
            bad=exposure.mask.any_of(*planes),
            bin_size=self.config.bin_size,
            fwhm=fwhm,
        )
        factor = self._factor(measured)
        self.log.info(
            "variance",
            factor=factor,
            measured=measured.factor,
            error=measured.error,
            correlation=measured.correlation,
            light=measured.light,
        )
        if factor != 1.0:
            before = float(exposure.header.get(KEYWORD, 1.0))
            exposure = exposure.replace(
                variance=np.multiply(exposure.variance, np.float32(factor)),
                header={**exposure.header, KEYWORD: round(before * factor, 6)},
            )
        return ScaleVarianceResult(exposure=exposure, factor=factor, measured=measured, gates=self._gates(measured))

    def _factor(self, measured: VarianceScale) -> float:
        """Return what the variance is to be multiplied with."""
        if not np.isfinite(measured.factor) or measured.factor <= 0:
            return 1.0
        if measured.factor < 1.0 and measured.correlation > self.config.max_correlation:
            return 1.0
        return 1.0 if abs(measured.noise - 1.0) <= self.config.tolerance else measured.noise

    def _gates(self, measured: VarianceScale) -> tuple[Gate, ...]:
        if not np.isfinite(measured.factor):
            return ()
        off = max(measured.factor, 1.0 / max(measured.factor, 1e-30))
        fail = max(self.config.fail_factor, self.config.warn_factor)
        return (Gate("variance_factor", off, warn=self.config.warn_factor, fail=fail, n=measured.n_pixels),)
