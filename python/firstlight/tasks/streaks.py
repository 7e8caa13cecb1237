"""Find the trails of satellites and mark their pixels."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from firstlight.algorithms.streaks import Streak, find_streaks, mark_streaks
from firstlight.framework import Config, Struct, Task
from firstlight.images.exposure import Exposure


@dataclass(frozen=True)
class StreakResult(Struct):
    """What `StreakTask.run` returns."""

    exposure: Exposure
    """The exposure with its STREAK plane set anew."""

    streaks: tuple[Streak, ...]
    """The trails, the most conspicuous first."""


class StreakConfig(Config):
    """Settings of `StreakTask`."""

    min_significance: PositiveFloat = 7.0
    """Least excess of bright cells along a line, in units of their scatter."""

    min_coverage: float = Field(default=0.6, gt=0.0, le=1.0)
    """Share of the line at which a trail must stand out; spikes and rows of stars do not."""

    min_evenness: float = Field(default=0.3, ge=0.0, le=1.0)
    """Median over greatest brightness along the line; the spike of a star is brightest at the star."""

    min_axis_angle: float = Field(default=0.3, ge=0.0, le=45.0)
    """Lines nearer to rows or columns are traces of the read-out [degree]."""

    max_width: PositiveInt = 100
    """Widest trail that is marked [pixel]."""

    faintest: PositiveFloat = 0.1
    """A trail is marked out to where its profile falls below this [standard deviation of a pixel]."""

    max_streaks: NonNegativeInt = 10
    """At most so many are marked."""

    bad_planes: tuple[str, ...] = ("BAD", "SAT", "NO_DATA", "CR")
    """Mask planes whose pixels do not count."""


class StreakTask(Task[StreakConfig]):
    """Straight lines of light across a background-subtracted exposure (after LSST `MaskStreaksTask`)."""

    def run(self, exposure: Exposure) -> StreakResult:
        """Find trails and mark them."""
        streaks = find_streaks(
            exposure.image,
            variance=exposure.variance,
            bad=exposure.mask.any_of(*self.config.bad_planes),
            min_significance=self.config.min_significance,
            min_coverage=self.config.min_coverage,
            min_evenness=self.config.min_evenness,
            min_axis_angle=self.config.min_axis_angle,
            max_width=self.config.max_width,
            faintest=self.config.faintest,
            max_streaks=self.config.max_streaks,
        )
        mask = exposure.mask.replaced("STREAK", mark_streaks(streaks, exposure.shape))
        self.metadata.count("streaks", len(streaks))
        self.log.info("streaks", found=len(streaks), marked=round(mask.fraction("STREAK"), 5))
        return StreakResult(exposure=exposure.replace(mask=mask), streaks=tuple(streaks))
