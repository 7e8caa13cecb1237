"""What a task records about its runs: times, memory, counts."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from firstlight.errors import Fact


@dataclass
class Stopwatch:
    """Wall-clock and CPU time since it was made, or between start and stop once stopped."""

    _wall: float = field(default_factory=time.perf_counter)
    _cpu: float = field(default_factory=time.process_time)

    @property
    def wall_s(self) -> float:
        """Wall-clock time since the start [s]."""
        return time.perf_counter() - self._wall

    @property
    def cpu_s(self) -> float:
        """CPU time of this process, all threads, since the start [s]."""
        return time.process_time() - self._cpu


@dataclass(frozen=True)
class PassRecord:
    """One pass of a pipeline task that was run."""

    name: str
    status: str
    wall_s: float
    cpu_s: float


@dataclass
class TaskMetadata:
    """What one task did since the outermost ``run`` began."""

    runs: int = 0
    """How often ``run`` was called."""

    wall_s: float = 0.0
    """Wall-clock time in ``run``, subtasks included [s]."""

    cpu_s: float = 0.0
    """CPU time in ``run``, subtasks included [s]."""

    peak_memory_bytes: int = 0
    """Largest resident size of the process seen at the end of a ``run`` [byte]."""

    counts: dict[str, int] = field(default_factory=dict)
    """What the task counted, by name."""

    facts: dict[str, Fact] = field(default_factory=dict)
    """Other plain values the task noted, by name; the last value stands."""

    passes: list[PassRecord] = field(default_factory=list)
    """The passes run, in order."""

    def count(self, name: str, number: int = 1) -> None:
        """Add ``number`` to the count called ``name``."""
        self.counts[name] = self.counts.get(name, 0) + int(number)

    def note(self, name: str, value: Fact) -> None:
        """Keep ``value`` under ``name``, in place of an earlier one; a scalar of an array library becomes plain."""
        item = getattr(value, "item", None)
        self.facts[name] = item() if callable(item) else value

    @contextmanager
    def timed_run(self) -> Iterator[None]:
        """Add the time spent in the block to the totals, also when it raises."""
        watch = Stopwatch()
        try:
            yield
        finally:
            self.runs += 1
            self.wall_s += watch.wall_s
            self.cpu_s += watch.cpu_s
            self.peak_memory_bytes = max(self.peak_memory_bytes, peak_memory_bytes())

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return asdict(self)


def peak_memory_bytes() -> int:
    """Return the largest resident size this process has had [byte]."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
