"""What became of a run: counts, failures grouped by their reason, gates, times."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from firstlight.errors import RepoError
from firstlight.execution.report_exposures import ExposureLine, exposure_lines, ranges_of
from firstlight.execution.run import runs_of
from firstlight.execution.run_folder import RunFolder
from firstlight.repo.repo import Repo
from firstlight.repo.rows import QuantumRow

SLOWEST = 5
EXAMPLES = 3
GIVEN_AGAIN = frozenset({"-c", "-C", "-i", "--input", "--instrument"})
"""Options of the command of a run that the command for one piece of its work repeats."""

FAILURES = frozenset({"partial", "failed", "error", "timeout", "memory", "lost"})


@dataclass(frozen=True)
class FailureGroup:
    """Failures of one label for one reason."""

    label: str
    status: str
    error: str
    """Class of the error."""

    message: str
    """What the first of them said."""

    number: int
    data_ids: tuple[str, ...]
    """Some of the pieces of work."""

    command: str
    """What runs the first of them again, in a debugger's reach."""


@dataclass(frozen=True)
class GateCount:
    """How often a gate was in each state."""

    label: str
    name: str
    ok: int
    warn: int
    fail: int
    worst: str
    """The worst measurement, with its limit."""


@dataclass(frozen=True)
class Slow:
    """A piece of work that took long."""

    label: str
    data_id: str
    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Report:
    """What became of the work of an output collection, each piece in its newest state."""

    output: str
    runs: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    """Label -> status -> pieces of work."""

    failures: tuple[FailureGroup, ...]
    gates: tuple[GateCount, ...]
    """Those that are not in order somewhere."""

    slowest: tuple[Slow, ...]
    exposures: tuple[ExposureLine, ...] = ()
    """What each calibrated image is like."""

    totals: Mapping[str, float] = field(default_factory=dict)
    """``wall_s``, ``cpu_s``, ``peak_memory_bytes``."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def make_report(repo: Repo, output: str) -> Report:
    """Return what became of the work of an output collection.

    Raises
    ------
    RepoError
        If there is no such output.
    """
    runs = runs_of(repo, output)
    if not runs:
        repo.resolve([output])
        raise RepoError(f"{output}: is no output of 'firstlight run'; it has no runs.")
    newest: dict[tuple[str, str], QuantumRow] = {}
    for run in runs:
        for row in repo.quanta(run):
            newest.setdefault((row.label, row.data_key), row)
    rows = list(newest.values())
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        counts.setdefault(row.label, Counter())[row.status] += 1
    return Report(
        output=output,
        runs=runs,
        counts={label: dict(several) for label, several in counts.items()},
        failures=tuple(_failures(rows, repo, output)),
        gates=tuple(_gates(rows)),
        slowest=tuple(_slowest(rows)),
        exposures=tuple(exposure_lines(rows)),
        totals=_totals(rows),
    )


def text_of(report: Report) -> str:
    """Return the report as text for a terminal."""
    lines = [f"{report.output}: {len(report.runs)} run{'s' if len(report.runs) > 1 else ''}", ""]
    for label, counts in report.counts.items():
        lines.append(f"{label}: " + ", ".join(f"{number} {status}" for status, number in sorted(counts.items())))
    for group in report.failures:
        lines += [
            "",
            f"{group.number} x {group.label} {group.status}: {group.error}: {group.message}",
            f"    {'; '.join(group.data_ids)}{' ...' if group.number > len(group.data_ids) else ''}",
            f"    {group.command}",
        ]
    if report.gates:
        lines += ["", "gates not in order:"]
        lines += [
            f"  {g.label} {g.name}: {g.warn} warn, {g.fail} fail, {g.ok} ok; worst {g.worst}" for g in report.gates
        ]
    if report.exposures:
        lines += ["", f"{len(report.exposures)} calibrated images:"]
        lines += [f"  {line}" for line in ranges_of(report.exposures)]
    if report.slowest:
        lines += ["", "slowest:"]
        lines += [f"  {one.label} ({one.data_id}): {one.wall_s:.1f} s, CPU {one.cpu_s:.1f} s" for one in report.slowest]
    totals = report.totals
    lines += [
        "",
        f"in all {totals['wall_s']:.1f} s of work, {totals['cpu_s']:.1f} CPU s, peak "
        f"{totals['peak_memory_bytes'] / 1e6:.0f} MB",
    ]
    return "\n".join(lines)


def _failures(rows: Iterable[QuantumRow], repo: Repo, output: str) -> list[FailureGroup]:
    groups: dict[tuple[str, str, str, str], list[QuantumRow]] = {}
    for row in rows:
        if row.status in FAILURES:
            error = row.record.get("error", {})
            kind = re.sub(r"[-+]?\d[\d.e+-]*", "#", str(error.get("message", "")))
            groups.setdefault((row.label, row.status, str(error.get("class", "")), kind), []).append(row)
    return [
        FailureGroup(
            label=label,
            status=status,
            error=error,
            message=str(members[0].record["error"]["message"]),
            number=len(members),
            data_ids=tuple(_said(each) for each in members[:EXAMPLES]),
            command=_rerun(members[0], repo, output),
        )
        for (label, status, error, _), members in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]


def _rerun(row: QuantumRow, repo: Repo, output: str) -> str:
    """Return the command that runs one piece of work again, into an output of its own; for a bug with a debugger."""
    names = ("visit", "exposure", "detector", "tract", "patch")
    data_id = row.record.get("data_id", {})
    where = " and ".join(f"{name}={data_id[name]}" for name in names if name in data_id)
    about = RunFolder(repo.root, runs_of(repo, output)[0]).about()
    pipeline = about.get("pipeline") or "PIPELINE"
    given = "".join(f" {each}" for each in _given_again(str(about.get("command", ""))))
    debugger = " --pdb" if row.status == "error" else ""
    return (
        f'firstlight run -b {repo.root} -p {shlex.quote(str(pipeline))} -o {output}-debug{given} -d "{where}"{debugger}'
    )


def _given_again(command: str) -> Iterator[str]:
    """Yield the options of a command that say what is made, and from what, quoted for the shell."""
    words = shlex.split(command)
    for option, value in pairwise([*words, ""]):
        if option in GIVEN_AGAIN and value:
            yield f"{option} {shlex.quote(value)}"
        elif option.partition("=")[0] in GIVEN_AGAIN and "=" in option:
            yield shlex.quote(option)


def _gates(rows: Iterable[QuantumRow]) -> list[GateCount]:
    seen: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        for gate in row.record.get("gates", ()):
            seen.setdefault((row.label, gate["name"]), []).append(gate)
    found = []
    for (label, name), gates in seen.items():
        states = Counter(gate["status"] for gate in gates)
        if states["warn"] or states["fail"]:
            found.append(GateCount(label, name, states["ok"], states["warn"], states["fail"], _worst(gates)))
    return found


def _worst(gates: Sequence[Mapping[str, Any]]) -> str:
    sign = -1 if gates[0]["sense"] == "max" else 1
    worst = min(gates, key=lambda gate: (gate["value"] is not None, sign * (gate["value"] or 0.0)))
    value = "not a number" if worst["value"] is None else f"{worst['value']:.4g}"
    limits = [f"{name} {worst[name]:.4g}" for name in ("warn", "fail") if worst[name] is not None]
    return " ".join([value, *([worst["unit"]] if worst["unit"] else [])]) + (
        f" ({', '.join(limits)})" if limits else ""
    )


def _slowest(rows: Iterable[QuantumRow]) -> list[Slow]:
    timed = [
        Slow(row.label, _said(row), float(row.record["wall_s"]), float(row.record["cpu_s"]))
        for row in rows
        if "wall_s" in row.record
    ]
    return sorted(timed, key=lambda one: -one.wall_s)[:SLOWEST]


def _totals(rows: Sequence[QuantumRow]) -> dict[str, float]:
    peaks = (row.record.get("metadata", {}).get("peak_memory_bytes", 0) for row in rows)
    return {
        "wall_s": sum(float(row.record.get("wall_s", 0.0)) for row in rows),
        "cpu_s": sum(float(row.record.get("cpu_s", 0.0)) for row in rows),
        "peak_memory_bytes": float(max(peaks, default=0)),
    }


def _said(row: QuantumRow) -> str:
    """Return the data id of a piece of work as text, without what follows from the rest."""
    return row.data_key.replace(",", " ")
