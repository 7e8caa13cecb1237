"""Remove the signature of the detector: the interface that an instrument's own task implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from typing_extensions import TypeVar

from firstlight.framework import Config, Struct, Task
from firstlight.images.exposure import Exposure


@dataclass(frozen=True)
class IsrResult(Struct):
    """What an `IsrTask` returns."""

    exposure: Exposure
    """Post-ISR exposure in counts."""


IsrConfigT = TypeVar("IsrConfigT", bound=Config, covariant=True, default=Config)


class IsrTask(Task[IsrConfigT], ABC):
    """Interface: anything that turns a raw exposure into a post-ISR exposure."""

    @abstractmethod
    def run(self, exposure: Exposure) -> IsrResult:
        """Remove the signature of the detector from ``exposure``."""
