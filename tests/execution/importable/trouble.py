"""Pipeline tasks that sleep, take memory, die or raise, as their settings say; workers import them by name."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from firstlight.errors import AlgorithmError
from firstlight.framework import Input, Output, PipelineTask, PipelineTaskConfig, Struct

PLACE = ("instrument", "visit", "detector")


@dataclass(frozen=True)
class TroubleResult(Struct):
    """What `TroubleTask.run` returns."""

    corrected: float


class TroubleConfig(PipelineTaskConfig):
    """Settings of `TroubleTask`."""

    kind: Literal["none", "sleep", "kill", "exit", "memory", "raise", "algorithm", "memory_error"] = "none"
    """What happens to the numbers of visit 1."""

    count: str = ""
    """File to which each try adds a letter."""

    once: bool = False
    """Whether only the first try is in trouble."""

    megabytes: int = 0
    """How much memory is taken."""


class TroubleTask(PipelineTask[TroubleConfig]):
    """Copies a number; those between 10 and 20 are in trouble."""

    dimensions = PLACE
    inputs = {"raw": Input("raw_number", float)}
    outputs = {"corrected": Output("corrected_number", float)}

    def run(self, raw: float) -> TroubleResult:
        """Return ``raw``."""
        if 10 <= raw < 11:
            self._trouble()
        return TroubleResult(corrected=raw)

    def _trouble(self) -> None:
        path = Path(self.config.count)
        with path.open("a") as file:
            file.write("x")
        if self.config.once and len(path.read_text()) > 1:
            return
        match self.config.kind:
            case "sleep":
                time.sleep(60)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(3)
            case "memory":
                held = bytearray(self.config.megabytes * 1_000_000)
                held[::4096] = b"x" * len(held[::4096])
                time.sleep(1.5)
            case "raise":
                raise ValueError("a bug")
            case "algorithm":
                raise AlgorithmError("Too few; got 1.", number=1, of=_StrangeNumber(2))
            case "memory_error":
                raise MemoryError


class _StrangeNumber:
    """A number as other libraries have it: no int, and one with ``item``."""

    size = 1

    def __init__(self, value: int) -> None:
        self._value = value

    def item(self) -> int:
        return self._value


class BrokenTask(TroubleTask):
    """Cannot be made in a worker."""

    def __init__(self, config: TroubleConfig | None = None) -> None:
        if multiprocessing.parent_process() is not None:
            raise ValueError("this task cannot be made")
        super().__init__(config)


class HangingTask(TroubleTask):
    """Is never made in a worker."""

    def __init__(self, config: TroubleConfig | None = None) -> None:
        if multiprocessing.parent_process() is not None:
            time.sleep(600)
        super().__init__(config)
