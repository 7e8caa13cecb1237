"""What became of each file of a night, kept beside its results while it goes on."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from firstlight.images.atomic import write_text_atomically

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
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))["files"]
            entries = {row["file"]: NightEntry(**row) for row in rows}
        except (OSError, ValueError, KeyError, TypeError):
            entries = {}
        return cls(path, entries)

    def entry(self, file: str, *, arrived: float) -> NightEntry:
        """Return the entry of a file, a new one where it has none."""
        return self.entries.setdefault(file, NightEntry(file=file, arrived=arrived))

    def save(self) -> None:
        """Write the log."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows: list[dict[str, Any]] = [asdict(each) for each in self.entries.values()]
        write_text_atomically(self.path, json.dumps({"files": rows}, indent=1) + "\n")

    def counts(self) -> Counter[str]:
        """Return how many files have each status."""
        return Counter(each.status for each in self.entries.values())

    def latencies(self) -> tuple[float, float] | None:
        """Return the median and the largest latency [s]; None if no file has ended."""
        known = [each.latency for each in self.entries.values() if each.latency is not None and each.status == DONE]
        return (statistics.median(known), max(known)) if known else None
