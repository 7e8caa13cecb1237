"""Gates and funnels: how good a result is, and what each selection cut on the way to it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]
"""``ok``: within the limits. ``warn``: usable, look at it. ``fail``: not to be used."""

_SEVERITY: dict[Status, int] = {"ok": 0, "warn": 1, "fail": 2}


@dataclass(frozen=True)
class Gate:
    """A measured quality with its limits.

    A value on the limit is still within it; a value that is not finite fails.

    Raises
    ------
    ValueError
        If ``sense`` is unknown or the limit to fail is stricter than the limit to warn.
    """

    name: str
    """What is measured, in snake_case."""

    value: float
    """The measured value [unit]."""

    unit: str = ""
    """Unit of the value and of both limits; empty for a pure number."""

    _: KW_ONLY

    sense: Literal["max", "min"] = "max"
    """``max``: the limits are the largest values allowed. ``min``: the smallest."""

    warn: float | None = None
    """Beyond this the status is ``warn`` [unit]; None for no such limit."""

    fail: float | None = None
    """Beyond this the status is ``fail`` [unit]; None for no such limit."""

    n: int | None = None
    """Number of things the value was measured from; None where that has no meaning."""

    def __post_init__(self) -> None:
        if self.sense not in ("max", "min"):
            raise ValueError(f"The sense of gate {self.name!r} is 'max' or 'min'; got {self.sense!r}.")
        if self.warn is not None and self.fail is not None and self._beyond(self.warn, self.fail):
            raise ValueError(f"Gate {self.name!r} fails at {self.fail} before it warns at {self.warn}.")

    @property
    def status(self) -> Status:
        """Whether the value is within its limits."""
        if not math.isfinite(self.value) or self._beyond(self.value, self.fail):
            return "fail"
        return "warn" if self._beyond(self.value, self.warn) else "ok"

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON; a value that is not finite becomes None."""
        return {
            "name": self.name,
            "value": float(self.value) if math.isfinite(self.value) else None,
            "unit": self.unit,
            "sense": self.sense,
            "warn": None if self.warn is None else float(self.warn),
            "fail": None if self.fail is None else float(self.fail),
            "n": None if self.n is None else int(self.n),
            "status": self.status,
        }

    def __str__(self) -> str:
        measured = " ".join(part for part in (self.name, f"{self.value:.4g}", self.unit) if part)
        number = "" if self.n is None else f" (n={self.n})"
        return f"{measured}{self._comparison()}{number}: {self.status}"

    def _comparison(self) -> str:
        limit = self.fail if self.status == "fail" and self.fail is not None else self.warn
        limit = self.fail if limit is None else limit
        if limit is None or not math.isfinite(self.value):
            return ""
        within = not self._beyond(self.value, limit)
        sign = {("max", True): "<=", ("max", False): ">", ("min", True): ">=", ("min", False): "<"}[self.sense, within]
        return f" {sign} {limit:.4g}"

    def _beyond(self, value: float, limit: float | None) -> bool:
        if limit is None:
            return False
        return value > limit if self.sense == "max" else value < limit


@dataclass(frozen=True)
class Funnel:
    """How many things were left after each step of a selection, in order."""

    name: str
    """What was selected, in snake_case."""

    steps: tuple[tuple[str, int], ...] = ()
    """Name of each step and the number left after it; the first is what came in."""

    def then(self, step: str, left: int) -> Funnel:
        """Return a funnel with one more step."""
        return Funnel(self.name, (*self.steps, (step, int(left))))

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {"name": self.name, "steps": [[step, int(left)] for step, left in self.steps]}

    def __str__(self) -> str:
        return f"{self.name}: " + " -> ".join(f"{step} {left}" for step, left in self.steps)


def worst(gates: Iterable[Gate]) -> Status:
    """Return the worst status among ``gates``; ``ok`` when there are none."""
    return max((gate.status for gate in gates), key=_SEVERITY.__getitem__, default="ok")
