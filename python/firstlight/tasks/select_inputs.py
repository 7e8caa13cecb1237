"""Choose the exposures that make a template."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt
from typing_extensions import TypeVar

from firstlight.framework import Config, Funnel, Struct, Task
from firstlight.tasks.input_facts import InputFacts


@dataclass(frozen=True)
class SelectInputsResult(Struct):
    """What an `InputSelectTask` returns."""

    chosen: tuple[InputFacts, ...]
    """The best first."""

    refused: Mapping[int, str]
    """Number of each of the others -> why."""

    funnel: Funnel
    """How many each criterion left."""


class InputSelectConfig(Config):
    """What every selection can be told."""

    max_inputs: PositiveInt = 20
    """So many at most at any place of the template."""


InputSelectConfigT = TypeVar("InputSelectConfigT", bound=InputSelectConfig, covariant=True, default=InputSelectConfig)


class InputSelectTask(Task[InputSelectConfigT], ABC):
    """Interface: anything that chooses the exposures of a template."""

    @abstractmethod
    def run(self, facts: Sequence[InputFacts]) -> SelectInputsResult:
        """Choose among exposures; that none is left is no error."""


class BestInputSelectConfig(InputSelectConfig):
    """Settings of `BestInputSelectTask`."""

    begin: float | None = None
    """Earliest date of an input [day, MJD TAI]; null for no limit."""

    end: float | None = None
    """Latest date of an input [day, MJD TAI]; null for no limit."""

    min_coverage: float = Field(default=0.05, ge=0.0, le=1.0)
    """Smallest fraction of the template that an input covers."""

    max_sky_level: PositiveFloat = 2.0
    """An input whose median sky is further from zero still has its sky [standard deviation]."""

    max_variance_ratio: PositiveFloat = 10.0
    """Largest factor between the true and the stated variance of the sky."""

    max_depth_loss: PositiveFloat = 1.0
    """How much shallower than the median an input may be [mag]."""

    max_fwhm_ratio: PositiveFloat = 1.25
    """Largest seeing in units of the median."""

    order: Literal["seeing", "depth"] = "seeing"
    """Which come first: the sharpest, or the deepest for point sources."""


class BestInputSelectTask(InputSelectTask[BestInputSelectConfig]):
    """The sharpest (or deepest) among those that are neither shallow nor blurred (as LSST's best-seeing selection)."""

    def run(self, facts: Sequence[InputFacts]) -> SelectInputsResult:
        """Choose among exposures."""
        config = self.config
        funnel, refused, left = Funnel("template_inputs").then("given", len(facts)), dict[int, str](), list(facts)

        def keep(step: str, good: Callable[[InputFacts], bool], why: Callable[[InputFacts], str]) -> None:
            nonlocal funnel, left
            refused.update({each.number: why(each) for each in left if not good(each)})
            left = [each for each in left if good(each)]
            funnel = funnel.then(step, len(left))

        keep("usable", lambda each: not each.lacking, lambda each: each.lacking)
        begin, end = config.begin or -math.inf, config.end or math.inf
        dated = config.begin is not None or config.end is not None
        keep("in_time", lambda each: not dated or begin <= each.mjd <= end, lambda each: f"MJD {each.mjd:.4f}")
        keep(
            "covering",
            lambda each: not each.coverage < config.min_coverage,
            lambda each: f"covers {each.coverage:.1%}",
        )
        keep(
            "flat",
            lambda each: abs(each.sky_level) <= config.max_sky_level,
            lambda each: f"sky {each.sky_level:+.1f} sigma",
        )
        keep(
            "noise_known",
            lambda each: 1 / config.max_variance_ratio <= each.variance_ratio <= config.max_variance_ratio,
            lambda each: f"variance off by {each.variance_ratio:.3g}",
        )
        depth = _median([each.depth for each in left])
        keep(
            "deep",
            lambda each: not each.depth < depth - config.max_depth_loss,
            lambda each: f"{depth - each.depth:.2f} mag shallower",
        )
        fwhm = _median([each.fwhm for each in left])
        keep(
            "sharp",
            lambda each: each.fwhm <= config.max_fwhm_ratio * fwhm,
            lambda each: f"seeing {each.fwhm / fwhm:.2f}",
        )
        best = _best(sorted(left, key=self._rank), config.max_inputs)
        keep("best", lambda each: each.number in best, lambda _: f"{config.max_inputs} are better")
        left.sort(key=self._rank)
        return SelectInputsResult(chosen=tuple(left), refused=refused, funnel=funnel)

    def _rank(self, facts: InputFacts) -> tuple[float, int]:
        return (facts.fwhm if self.config.order == "seeing" else -facts.depth, facts.number)


def _best(ranked: Sequence[InputFacts], most: int) -> set[int]:
    """Take each in turn that covers a place where fewer than ``most`` were taken."""
    shapes = {each.cells.shape for each in ranked if each.cells is not None}
    depth = np.zeros(shapes.pop() if shapes else (1, 1), np.int64)
    taken = set()
    for each in ranked:
        cells = np.ones(depth.shape, bool) if each.cells is None else each.cells
        if np.any(cells & (depth < most)):
            depth += cells
            taken.add(each.number)
    return taken


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else math.nan
