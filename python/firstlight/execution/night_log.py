"""What became of each file of a night, kept beside its results while it goes on."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from firstlight.execution.entries_file import read_entries, write_entries

NAME = "night.json"

WAITING, DONE, FAILED, SET_ASIDE = "waiting", "done", "failed", "set aside"


@dataclass
class NightEntry:
    """One file.

    Parameters
    ----------
    file
        Its name.
    arrived, ended : [s]
        Time since the epoch.
    status
        ``waiting``, ``done``, ``failed`` or ``set aside``.
    reason
        Why it failed or was set aside.
    instrument, exposure
        What its header says.
    seeing : [arcsec]
    zero_point, depth : [mag]
        From its calibration.
    alerts
        How many were written; None where none are.
    seconds
        Step -> how long it took, over all detectors [s].
    """

    file: str
    arrived: float
    ended: float | None = None
    status: str = WAITING
    reason: str = ""
    instrument: str = ""
    exposure: int | None = None
    seeing: float | None = None
    zero_point: float | None = None
    depth: float | None = None
    alerts: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def latency(self) -> float | None:
        """Seconds from its arrival to its results."""
        return None if self.ended is None else self.ended - self.arrived


@dataclass
class NightLog:
    """The files of a night, in a JSON file that is always whole."""

    path: Path
    entries: dict[str, NightEntry] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> NightLog:
        """Read the log where there is one; a damaged one is begun anew."""
        return cls(path, {each.file: each for each in read_entries(path, "files", NightEntry)})

    def entry(self, file: str, *, arrived: float) -> NightEntry:
        """Return the entry of a file, a new one where it has none."""
        return self.entries.setdefault(file, NightEntry(file=file, arrived=arrived))

    def save(self) -> None:
        """Write the log."""
        write_entries(self.path, "files", self.entries.values())

    def counts(self) -> Counter[str]:
        """Return how many files have each status."""
        return Counter(each.status for each in self.entries.values())

    def latencies(self) -> tuple[float, float] | None:
        """Return the median and the largest latency [s]; None if no file has ended."""
        known = [each.latency for each in self.entries.values() if each.latency is not None and each.status == DONE]
        return (statistics.median(known), max(known)) if known else None
