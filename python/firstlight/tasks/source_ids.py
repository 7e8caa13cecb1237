"""Number the sources of catalogues so that no two sources of an instrument share a number in catalogues of one kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt
from typing_extensions import TypeVar

from firstlight.errors import ConfigError
from firstlight.framework import Config, Struct, Task
from firstlight.images.exposure import Exposure

ID_BITS = 63
"""Bits of a positive 64-bit integer."""


@dataclass(frozen=True)
class SourceIdsResult(Struct):
    """What a `SourceIdTask` returns."""

    ids: NDArray[np.int64]
    """(n_sources,) Positive, ascending; 0 is never given and stands for no source."""


SourceIdConfigT = TypeVar("SourceIdConfigT", bound=Config, covariant=True, default=Config)


class SourceIdTask(Task[SourceIdConfigT], ABC):
    """Interface: anything that numbers the sources of one catalogue of an exposure."""

    @abstractmethod
    def run(self, exposure: Exposure, *, n_sources: int) -> SourceIdsResult:
        """Return the numbers of ``n_sources`` sources; the same exposure and count give the same numbers.

        Each catalogue is counted from the start, so sources of two catalogues may share a number.

        Raises
        ------
        ConfigError
            If the exposure, its detector or the sources are too many for the numbers.
        """


class PackedSourceIdConfig(Config):
    """Settings of `PackedSourceIdTask`: how the 63 bits of a number are shared; the exposure gets what is left."""

    release: NonNegativeInt = 0
    """Number of this processing of the data; below `n_releases`."""

    n_releases: PositiveInt = 1
    """How many releases must be told apart."""

    n_detectors: PositiveInt = 256
    """How many detectors must be told apart; their numbers count from 0."""

    max_sources: PositiveInt = 2**22 - 1
    """How many sources one catalogue may have."""


@dataclass(frozen=True)
class SourceIdParts:
    """What a number made by `PackedSourceIdTask` consists of."""

    release: int
    exposure: int
    detector: int
    counter: int
    """Position in the catalogue, from 1."""


class PackedSourceIdTask(SourceIdTask[PackedSourceIdConfig]):
    """Release, exposure and detector in the high bits, a counter in the low ones (compare LSST `IdGenerator`).

    The exposure is that of the visit: of two snaps the first.
    """

    def run(self, exposure: Exposure, *, n_sources: int) -> SourceIdsResult:
        """Return the numbers of ``n_sources`` sources."""
        counter_bits, packed = self._counter_bits, self._packed(exposure)
        if n_sources > self.config.max_sources:
            raise ConfigError(
                f"The catalogue has {n_sources} sources and source numbers are made for {self.config.max_sources}; "
                "raise 'max_sources'."
            )
        return SourceIdsResult(ids=(packed << counter_bits) + np.arange(1, n_sources + 1, dtype=np.int64))

    def unpack(self, source_id: int) -> SourceIdParts:
        """Return what a number consists of."""
        rest, counter = divmod(source_id, 1 << self._counter_bits)
        rest, detector = divmod(rest, 1 << _bits(self.config.n_detectors))
        release, exposure = divmod(rest, 1 << self._exposure_bits)
        return SourceIdParts(release=release, exposure=exposure, detector=detector, counter=counter)

    @property
    def _counter_bits(self) -> int:
        return _bits(self.config.max_sources + 1)

    @property
    def _exposure_bits(self) -> int:
        return ID_BITS - self._counter_bits - _bits(self.config.n_detectors) - _bits(self.config.n_releases)

    def _packed(self, exposure: Exposure) -> int:
        config, room = self.config, self._exposure_bits
        number, detector = exposure.observation.exposure_id, exposure.detector.id
        if config.release >= config.n_releases:
            raise ConfigError(f"Release {config.release} is not below 'n_releases', which is {config.n_releases}.")
        if not 0 <= detector < config.n_detectors:
            raise ConfigError(
                f"Detector {detector} is not among the {config.n_detectors} that source numbers are made for; "
                "raise 'n_detectors'."
            )
        if room < 1 or not 0 <= number < 1 << room:
            raise ConfigError(
                f"Exposure {number} needs {number.bit_length()} bits of a source number and has {max(room, 0)}; "
                "lower 'max_sources', 'n_detectors' or 'n_releases'."
            )
        return (((config.release << room) + number) << _bits(config.n_detectors)) + detector


def _bits(count: int) -> int:
    """Return the bits that tell ``count`` things apart, numbered from 0."""
    return (count - 1).bit_length()
