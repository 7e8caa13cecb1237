"""`Executor`: whatever runs batches of work; and the simplest one, which runs them in the process of the driver."""

from __future__ import annotations

import pdb
import sys
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Protocol, Self

from firstlight.execution.work import Batch, Record
from firstlight.execution.worker import run_batch

Announce = Callable[[Record], None]


class Executor(Protocol):
    """Runs batches of work, in whatever place and order."""

    @property
    def jobs(self) -> int:
        """Pieces of work at a time."""

    def submit(self, batch: Batch, announce: Announce) -> Future[list[Record]]:
        """Run ``batch`` some time; ``announce`` is called with every record, from any thread."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop whatever still runs."""


class InProcessExecutor:
    """Runs each batch at once, in this process.

    Parameters
    ----------
    debug
        Open the debugger where a bug is raised.
    """

    jobs = 1

    def __init__(self, *, debug: bool = False) -> None:
        self._debug = debug

    def submit(self, batch: Batch, announce: Announce) -> Future[list[Record]]:
        """Run ``batch`` now."""
        future: Future[list[Record]] = Future()
        try:
            future.set_result(run_batch(batch, announce=announce, catch=not self._debug))
        except Exception:
            if self._debug:
                pdb.post_mortem(sys.exc_info()[2])
            raise
        return future

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
