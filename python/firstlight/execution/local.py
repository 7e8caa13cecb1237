"""`LocalExecutor`: persistent worker processes on this machine, each watched by one thread of the driver."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from firstlight.execution.executor import Announce
from firstlight.execution.work import Batch, Limits, Quantum, Record, RecordStatus, batch_of, lost_record
from firstlight.execution.worker import prepare_batch, run_batch

ONE_THREAD = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA", "VECLIB")
"""Libraries that would otherwise compute with a thread on each core."""

PR_SET_PDEATHSIG = 1
"""Linux: the signal that a process gets when the thread that started it ends."""

START_S = 300.0
"""Longest time for starting a process and making its task [s]; one that hangs is stopped."""

LOOK_EVERY_S = 0.25
"""How often the memory and the age of running work are looked at [s]."""


@dataclass
class _Job:
    batch: Batch
    announce: Announce
    future: Future[list[Record]]


class LocalExecutor:
    """Runs batches in processes that are started once, and again where one dies or has to be stopped.

    Parameters
    ----------
    jobs
        Number of processes.
    start_s : [s]
        Longest time for starting one and making its task.
    """

    def __init__(self, jobs: int, *, start_s: float = START_S) -> None:
        self.jobs = jobs
        self._start_s = start_s
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(jobs)]

    def submit(self, batch: Batch, announce: Announce) -> Future[list[Record]]:
        """Run ``batch`` as soon as a process is free."""
        future: Future[list[Record]] = Future()
        self._waiting.put(_Job(batch, announce, future))
        return future

    def __enter__(self) -> Self:
        for name in ONE_THREAD:
            os.environ.setdefault(f"{name}_NUM_THREADS", "1")
        os.environ.setdefault("VECLIB_MAXIMUM_THREADS", "1")
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._stopping.set()
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        """Give one process work until there is no more."""
        worker = _Worker()
        try:
            while (job := self._waiting.get()) is not None and not self._stopping.is_set():
                try:
                    records = self._run(worker, job)
                except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the job
                    job.future.set_exception(error)
                else:
                    job.future.set_result(records)
        finally:
            worker.stop(kill=self._stopping.is_set())

    def _run(self, worker: _Worker, job: _Job) -> list[Record]:
        """Run a batch; a piece of work at which the process ends is recorded, and the rest goes on in a new one."""
        rest: Sequence[Quantum] = job.batch["quanta"]
        records: list[Record] = []
        while rest and not self._stopping.is_set():
            done, end = self._collected(worker, job, rest)
            records += done
            rest = rest[len(done) :]
            if end is not None:
                status, words = end
                worker.stop(kill=True)
                record = lost_record(job.batch, rest[0], status, words)
                job.announce(record)
                records.append(record)
                rest = rest[1:]
        return records

    def _collected(
        self, worker: _Worker, job: _Job, expected: Sequence[Quantum]
    ) -> tuple[list[Record], tuple[RecordStatus, str] | None]:
        """Return the records that a process sends, and how it ended where it did not send all."""
        records: list[Record] = []
        try:
            worker.begin(batch_of(job.batch, expected))
        except (EOFError, OSError):
            return records, ("lost", f"the worker process ended ({worker.how_it_ended()}).")
        since, has_begun = time.monotonic(), False
        while len(records) < len(expected):
            try:
                if worker.pipe.poll(LOOK_EVERY_S):
                    said = worker.pipe.recv()
                    since = time.monotonic()
                    if not has_begun:
                        has_begun = True
                        continue
                    records.append(said)
                    job.announce(said)
                    continue
            except (EOFError, OSError):
                return records, ("lost", f"the worker process ended ({worker.how_it_ended()}).")
            if self._stopping.is_set():
                return records, ("lost", "the run was interrupted.")
            age_s = time.monotonic() - since
            if not has_begun and age_s > self._start_s:
                return records, ("timeout", f"its task was not made within {self._start_s:g} s.")
            if end := _beyond(job.batch["limits"], worker, age_s if has_begun else 0.0):
                return records, end
        return records, None


def _beyond(limits: Limits, worker: _Worker, age_s: float) -> tuple[RecordStatus, str] | None:
    """Return how running work has to be ended; None while it is within its limits."""
    timeout_s, memory_bytes = limits["timeout_s"], limits["memory_bytes"]
    if timeout_s is not None and age_s > timeout_s:
        return "timeout", f"stopped after {age_s:.0f} s; the limit is {timeout_s:g} s (--timeout)."
    if memory_bytes is not None and (used := worker.resident_bytes()) > memory_bytes:
        return "memory", f"stopped at {used / 1e6:.0f} MB; the limit is {memory_bytes / 1e6:.0f} MB (--memory)."
    return None


def _context() -> Any:
    """Return how processes are started.

    On Linux they are copies of one that has loaded what every worker needs and does nothing else, which saves each of
    them the time and shares the memory; elsewhere each starts anew.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["firstlight.execution.worker"])
    return context


class _Worker:
    """One process, started when it is first needed."""

    def __init__(self) -> None:
        self._process: Any = None
        self.pipe: Connection

    def begin(self, batch: Batch) -> None:
        """Give the process a batch, on which it sends None when its task is made, and then each record.

        One that has ended is started anew.

        Raises
        ------
        EOFError, OSError
            If the process ends meanwhile.
        """
        if self._process is None or not self._process.is_alive():
            self.stop(kill=True)
            self._start()
        self.pipe.send(batch)

    def _start(self) -> None:
        context = _context()
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def stop(self, *, kill: bool) -> None:
        """End the process: at once, or after what it does now."""
        if self._process is None:
            return
        if kill:
            self._process.kill()
        else:
            with suppress(OSError):
                self.pipe.send(None)
        self._process.join()
        self.pipe.close()
        self._process = None

    def how_it_ended(self) -> str:
        """Return the exit code or the signal in words."""
        self._process.join(timeout=5)
        code = self._process.exitcode
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"

    def resident_bytes(self) -> int:
        """Return the memory that the process holds now [byte]; 0 where the system does not say."""
        try:
            pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")


def _work(pipe: Connection) -> None:
    """Run what comes through ``pipe``; ends with the process that started this one, and so with the driver."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    starter = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_end_with, args=(starter,), daemon=True).start()
    with suppress(EOFError, OSError):
        while (batch := pipe.recv()) is not None:
            prepare_batch(batch)
            pipe.send(None)
            run_batch(batch, announce=pipe.send)


def _end_with(starter: int) -> None:
    """End this process when the one that started it is gone."""
    while os.getppid() == starter:
        time.sleep(0.5)
    os._exit(1)
