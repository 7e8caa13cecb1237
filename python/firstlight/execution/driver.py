"""The driver of a run: gives work to an executor, writes records into the repository, tries again, stops in time."""

from __future__ import annotations

import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from firstlight.execution.executor import Executor
from firstlight.execution.plan import Plan
from firstlight.execution.schedule import Schedule
from firstlight.execution.work import TRANSIENT, Batch, Limits, Quantum, Record

SAVE_EVERY_S = 0.5
"""Longest time for which finished work is not in the database [s]; its files and records are there already."""

BATCH_S = 0.5
"""Time that a batch should take [s]."""

LARGEST_BATCH = 100
BAD = frozenset({"partial", "failed", "error", "timeout", "memory", "lost"})


@dataclass(frozen=True)
class DriverOptions:
    """How a run is driven.

    Parameters
    ----------
    jobs
        Pieces of work at a time.
    retries
        How often work is tried again whose worker died or had to be stopped.
    timeout_s : [s]
        Wall-clock limit of one piece of work; None for none.
    memory_bytes : [byte]
        Limit of the resident size of a worker, doubled with each new try; None for none.
    fail_fast
        Whether the first failure ends the run.
    readers
        Storage -> ``module:function`` for what only higher floors can read.
    stop
        Once it returns true, only exposures that are begun are finished; None for never. So that few are, a batch is a
        single piece of work then: one process takes an exposure through all its steps before the next.
    """

    jobs: int = 1
    retries: int = 2
    timeout_s: float | None = None
    memory_bytes: int | None = None
    fail_fast: bool = False
    readers: Mapping[str, str] = field(default_factory=dict)
    stop: Callable[[], bool] | None = None


class Driver:
    """Takes a schedule through an executor.

    Parameters
    ----------
    plan, schedule
    executor
        Entered by the caller.
    options
    save
        Writes records into the repository.
    tell
        Called with each record once, for progress.
    """

    def __init__(
        self,
        plan: Plan,
        schedule: Schedule,
        executor: Executor,
        options: DriverOptions,
        *,
        save: Callable[[list[Record]], None],
        tell: Callable[[Record], None],
    ) -> None:
        self._plan = plan
        self._schedule = schedule
        self._executor = executor
        self._options = options
        self._save = save
        self._tell = tell
        self._arrived: queue.SimpleQueue[Record | Future[list[Record]]] = queue.SimpleQueue()
        self._unsaved: list[Record] = []
        self._saved_at = time.monotonic()
        self._running: dict[tuple[str, str], int] = {}
        self._in_flight = 0
        self._tries: Counter[int] = Counter()
        self._alone: deque[int] = deque()
        self._seconds: dict[str, tuple[int, float]] = {}
        self._stopping = False
        self.counts: Counter[str] = Counter()
        """Status -> number of pieces of work that ended in this run."""

    def drive(self) -> None:
        """Do all work that can be done; on an interruption, save what is finished.

        Raises
        ------
        Exception
            If an executor breaks.
        """
        try:
            self._note_blocked()
            self._submit()
            while self._in_flight:
                self._take_one()
                self._note_blocked()
                self._submit()
        finally:
            self._drain()
            self._flush()

    def _take_one(self) -> None:
        try:
            arrived = self._arrived.get(timeout=SAVE_EVERY_S)
        except queue.Empty:
            arrived = None
        if isinstance(arrived, Future):
            self._in_flight -= 1
            arrived.result()
        elif arrived is not None:
            self._ended(arrived)
        if len(self._unsaved) >= LARGEST_BATCH or time.monotonic() - self._saved_at > SAVE_EVERY_S:
            self._flush()

    def _ended(self, record: Record) -> None:
        number = self._running.pop((record["label"], record["data_key"]))
        self._learn(record)
        if record["status"] in TRANSIENT and self._tries[number] < self._options.retries and not self._stopping:
            self._tries[number] += 1
            self._alone.append(number)
            return
        self._schedule.end(number, record)
        self._keep(record)

    def _keep(self, record: Record) -> None:
        self.counts[record["status"]] += 1
        if record["status"] in BAD and self._options.fail_fast:
            self._stopping = True
        self._unsaved.append(record)
        self._tell(record)

    def _note_blocked(self) -> None:
        while self._schedule.blocked:
            self._keep(self._schedule.blocked.popleft())

    def _learn(self, record: Record) -> None:
        number, seconds = self._seconds.get(record["label"], (0, 0.0))
        self._seconds[record["label"]] = (number + 1, seconds + record.get("wall_s", 0.0))

    def _submit(self) -> None:
        """Keep every worker busy, and one batch more for each in the queue; later steps come first."""
        if self._stopping:
            return
        jobs = self._options.jobs
        room = (2 * jobs if jobs > 1 else 1) - self._in_flight
        while room > 0 and self._alone:
            number = self._alone.popleft()
            self._send(self._plan.quanta[number].step, self._schedule.again(number), tries=self._tries[number])
            room -= 1
        if self._options.stop is not None and self._options.stop():
            self._schedule.keep_begun()
        for step in reversed(range(len(self._plan.steps))):
            while room > 0 and self._schedule.ready[step]:
                self._send(step, self._schedule.take(step, self._batch_size(step)))
                room -= 1

    def _batch_size(self, step: int) -> int:
        """Return how many pieces of work fill a batch, as far as it is known how long they take."""
        number, seconds = self._seconds.get(self._plan.steps[step].label, (0, 0.0))
        if number < 3 or self._options.stop is not None:
            return 1
        share = max(1, len(self._schedule.ready[step]) // (2 * self._options.jobs))
        return max(1, min(LARGEST_BATCH, share, int(BATCH_S / max(seconds / number, 1e-6))))

    def _send(self, step: int, quanta: list[Quantum], *, tries: int = 0) -> None:
        planned = self._plan.steps[step]
        batch: Batch = {
            "label": planned.label,
            "task": planned.task,
            "config": planned.config,
            "several": [argument.name for argument in planned.arguments if argument.multiple],
            "deferred": [argument.name for argument in planned.arguments if argument.deferred],
            "readers": dict(self._options.readers),
            "resources": {"cores": 1, "memory_bytes": self._limits(tries)["memory_bytes"]},
            "limits": self._limits(tries),
            "quanta": quanta,
        }
        self._running |= {(planned.label, each["data_key"]): each["index"] for each in quanta}
        self._in_flight += 1
        self._executor.submit(batch, self._arrived.put).add_done_callback(self._arrived.put)

    def _limits(self, tries: int) -> Limits:
        memory = self._options.memory_bytes
        return {
            "timeout_s": self._options.timeout_s,
            "memory_bytes": None if memory is None else memory * 2**tries,
        }

    def _drain(self) -> None:
        """Take note of what is finished, after an interruption too."""
        while not self._arrived.empty():
            arrived = self._arrived.get()
            if not isinstance(arrived, Future) and (arrived["label"], arrived["data_key"]) in self._running:
                self._running.pop((arrived["label"], arrived["data_key"]))
                self._unsaved.append(arrived)

    def _flush(self) -> None:
        # Saving may be interrupted, and must not be done twice then; what is lost here is taken over from its files.
        records, self._unsaved = self._unsaved, []
        if records:
            self._save(records)
        self._saved_at = time.monotonic()
