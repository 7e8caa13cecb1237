"""A check: a measured value, its uncertainty and its target; and tables of many."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["pass", "open", "FAIL", "info"]

DOUBT = 2.0
"""A value beyond its target fails when the excess is more than this many standard errors."""


@dataclass(frozen=True)
class Check:
    """One number against its target.

    Parameters
    ----------
    section
        Where the target comes from, such as "D.4".
    name
        What was measured, with its unit.
    value
    low, high
        Limits; None: there is none.
    error
        Standard error of the value.
    n
        How many stars, pixels or cells it comes from.
    note
        What helps to understand a failure.
    scene, seed
        Filled in by `labelled`.
    """

    section: str
    name: str
    value: float
    low: float | None = None
    high: float | None = None
    error: float = 0.0
    n: int = 1
    note: str = ""
    scene: str = ""
    seeds: tuple[int, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Return whether the target is met; "open" when the noise does not decide."""
        if self.low is None and self.high is None:
            return "info"
        if not math.isfinite(self.value):
            return "FAIL"
        below = -math.inf if self.low is None else self.low - self.value
        above = -math.inf if self.high is None else self.value - self.high
        excess = max(below, above)
        if excess <= 0:
            return "pass"
        return "open" if excess <= DOUBT * self.error else "FAIL"

    @property
    def target(self) -> str:
        """Return the limits in words."""
        if self.low is None:
            return "" if self.high is None else f"<= {self.high:g}"
        if self.high is None:
            return f">= {self.low:g}"
        if self.low == -self.high:
            return f"+-{self.high:g}"
        return f"{self.low:g}..{self.high:g}"

    def as_row(self) -> dict[str, object]:
        """Return plain values for JSON; a number that is not finite is None."""
        row = {**asdict(self), "n": int(self.n), "verdict": self.verdict}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }


def robust_mean(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the median and its standard error.

    The robust deviation of n values scatters by 1.16 / sqrt(n) of itself and is too small by 0.8 / n, so that one over
    its square is too large by 4.0 / n + 1.6 / n in the mean; with that, 5 % of medians of 10 to 100 normal deviates are
    beyond two errors.
    """
    n = len(values)
    if n < 2:
        return math.nan, math.nan
    return float(np.median(values)), 1.253 * robust_std(values)[0] * math.sqrt((1 + 5.6 / n) / n)


def robust_std(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return 1.4826 times the median absolute deviation and its standard error."""
    if len(values) < 3:
        return math.nan, math.nan
    std = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    return std, 1.16 * std / math.sqrt(len(values))


def share(hits: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the share of True and its standard error (Agresti and Coull 1998, with 2 added to either side)."""
    n = len(hits)
    if n == 0:
        return math.nan, math.nan
    p = (np.count_nonzero(hits) + 2) / (n + 4)
    return float(np.mean(hits)), float(math.sqrt(p * (1 - p) / (n + 4)))


def median_check(
    section: str, name: str, values: NDArray[np.float64], *, low: float | None, high: float | None
) -> Check:
    """Return a check of a median."""
    value, error = robust_mean(values)
    return Check(section, name, value, low, high, error, len(values))


def spread_check(
    section: str, name: str, values: NDArray[np.float64], *, low: float | None, high: float | None
) -> Check:
    """Return a check of a standard deviation."""
    value, error = robust_std(values)
    return Check(section, name, value, low, high, error, len(values))


def over_seeds(checks: Iterable[Check]) -> list[Check]:
    """Average the checks of the same scene over seeds, weighted by their numbers."""
    groups: dict[tuple[str, str, str], list[Check]] = defaultdict(list)
    for check in checks:
        groups[check.section, check.name, check.scene].append(check)
    return [_averaged(group) for group in groups.values()]


def _averaged(group: Sequence[Check]) -> Check:
    finite = [check for check in group if math.isfinite(check.value)]
    first = max(group, key=lambda check: (check.verdict == "FAIL", bool(check.note)))
    seeds = tuple(seed for check in group for seed in check.seeds)
    if not finite:
        return replace(first, seeds=seeds)
    weights = np.array([max(check.n, 1) for check in finite], dtype=float)
    weights /= weights.sum()
    errors = np.nan_to_num([check.error for check in finite], nan=0.0)
    return replace(
        first,
        value=float(weights @ np.array([check.value for check in finite])),
        error=float(np.sqrt((weights**2 * errors**2).sum())),
        n=sum(check.n for check in finite),
        seeds=seeds,
    )


def print_summary(checks: Sequence[Check]) -> None:
    """Print a line per check: how many scenes pass, and the worst of them."""
    print(f"{'check':<52} {'target':>14} {'pass':>5} {'open':>5} {'FAIL':>5}   worst")
    groups: dict[tuple[str, str], list[Check]] = defaultdict(list)
    for check in checks:
        groups[check.section, check.name].append(check)
    for (section, name), group in sorted(groups.items(), key=lambda item: _order(item[0][0])):
        count = {verdict: sum(check.verdict == verdict for check in group) for verdict in ("pass", "open", "FAIL")}
        worst = max(group, key=_distance)
        line = f"{section + ' ' + name:<52} {worst.target:>14} "
        line += " ".join(f"{count[verdict]:>5}" for verdict in ("pass", "open", "FAIL"))
        print(f"{line}   {worst.value:.4g} +- {worst.error:.2g} (n {worst.n}) {worst.scene}")


def print_failures(checks: Sequence[Check]) -> None:
    """Print a line per failure."""
    for check in sorted((c for c in checks if c.verdict == "FAIL"), key=lambda c: _order(c.section)):
        print(
            f"FAIL {check.section:<5} {check.name:<44} {check.scene:<28} {check.value:.4g} +- {check.error:.2g}"
            f"  target {check.target}  n {check.n}  {check.note}",
            flush=True,
        )


def _order(section: str) -> tuple[int, ...]:
    return tuple(int(part) for part in section.removeprefix("D.").split("."))


def _distance(check: Check) -> float:
    """Return how far a value is beyond its target, in widths of the target."""
    if not math.isfinite(check.value):
        return math.inf
    low, high = check.low, check.high
    scale = max(abs(high or 0.0), abs(low or 0.0)) or 1.0
    return max(
        -math.inf if high is None else (check.value - high) / scale,
        -math.inf if low is None else (low - check.value) / scale,
        -1e9 if high is None and low is None else -math.inf,
    )
