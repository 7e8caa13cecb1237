"""Combine the two snaps of a visit into one exposure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from pydantic import PositiveFloat
from typing_extensions import TypeVar

from firstlight.algorithms.snap_outliers import find_snap_outliers
from firstlight.errors import InputError
from firstlight.framework import Config, Struct, Task
from firstlight.images.exposure import Exposure
from firstlight.kernels.arrays import BoolArray


@dataclass(frozen=True)
class SnapCombineResult(Struct):
    """What a `SnapCombineTask` returns."""

    exposure: Exposure
    """One exposure with the exposure time of both."""


class SnapCombineConfig(Config):
    """What every snap combination can be told."""

    bad_planes: tuple[str, ...] = ("BAD", "SAT", "CR", "NO_DATA")
    """Mask planes whose pixels are replaced by those of the other snap."""


SnapCombineConfigT = TypeVar("SnapCombineConfigT", bound=SnapCombineConfig, covariant=True, default=SnapCombineConfig)


class SnapCombineTask(Task[SnapCombineConfigT], ABC):
    """Interface: anything that makes one exposure of two snaps."""

    @abstractmethod
    def run(self, first: Exposure, second: Exposure) -> SnapCombineResult:
        """Combine two snaps of the same pointing.

        Raises
        ------
        InputError
            If the snaps differ in shape or filter.
        """


class SumSnapsConfig(SnapCombineConfig):
    """Settings of `SumSnapsTask`."""

    outlier_sigma: PositiveFloat | None = 6.0
    """A pixel that exceeds the same pixel of the other snap by this is a cosmic ray or a trail; empty to sum them
    [standard deviation]."""

    outlier_growth_sigma: PositiveFloat = 3.0
    """So is one that touches it and exceeds the other by this [standard deviation]."""


class SumSnapsTask(SnapCombineTask[SumSnapsConfig]):
    """Sum the snaps; where one is bad or hit, twice the other stands in (LSST `SnapCombineTask`).

    Such pixels are marked INTRP: they are no sum of what was read out.
    """

    def run(self, first: Exposure, second: Exposure) -> SnapCombineResult:
        """Combine two snaps of the same pointing."""
        _check_pair(first, second)
        bad_first = first.mask.any_of(*self.config.bad_planes)
        bad_second = second.mask.any_of(*self.config.bad_planes)
        hit_first, hit_second = self._outliers(first, second, bad_first | bad_second)
        only_first, only_second = ~bad_first & (bad_second | hit_second), (bad_first | hit_first) & ~bad_second
        image = first.image + second.image
        variance = first.variance + second.variance
        for only, snap in ((only_first, first), (only_second, second)):
            image[only] = 2 * snap.image[only]
            variance[only] = 4 * snap.variance[only]
        mask = first.mask.merged(second.mask)
        for only, snap in ((only_first, first), (only_second, second)):
            mask = mask.copied_where(only, snap.mask)
        hits = int(np.count_nonzero(hit_first | hit_second))
        self.metadata.count("snap_outliers", hits)
        self.log.info("snaps combined", replaced=int(np.sum(only_first | only_second)), cosmic_rays=hits)
        return SnapCombineResult(
            exposure=first.replace(
                image=image,
                variance=variance,
                mask=mask.with_plane("INTRP", only_first | only_second),
                observation=first.observation.combined(second.observation),
            )
        )

    def _outliers(self, first: Exposure, second: Exposure, bad: BoolArray) -> tuple[BoolArray, BoolArray]:
        """Return where each snap holds what the other does not."""
        if self.config.outlier_sigma is None:
            return np.zeros(bad.shape, dtype=bool), np.zeros(bad.shape, dtype=bool)
        return find_snap_outliers(
            first.image,
            second.image,
            first_variance=first.variance,
            second_variance=second.variance,
            bad=bad,
            n_sigma=self.config.outlier_sigma,
            growth_sigma=self.config.outlier_growth_sigma,
        )


def _check_pair(first: Exposure, second: Exposure) -> None:
    if first.image.shape != second.image.shape:
        raise InputError(
            f"The snaps differ in shape: {first.image.shape} and {second.image.shape}; give a matching pair."
        )
    if first.observation.physical_filter != second.observation.physical_filter:
        raise InputError(
            f"The snaps differ in filter: {first.observation.physical_filter!r} and "
            f"{second.observation.physical_filter!r}; give a matching pair."
        )
