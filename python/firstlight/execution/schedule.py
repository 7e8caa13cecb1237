"""Which work can start, and what its inputs and outputs are, as other work ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from firstlight.execution.plan import Plan, PlannedQuantum
from firstlight.execution.work import Dataset, Quantum, Record, RecordStatus, head_of
from firstlight.framework import DataId
from firstlight.repo.dataset_types import data_key

PathOf = Callable[[str, DataId], str]
"""Dataset type, data id -> path of a file to be written."""

Place = tuple[str, int]
"""Instrument and number of an exposure; a visit of one exposure has the same number."""


@dataclass(frozen=True)
class Made:
    """How a piece of work ended, and what it left, by dataset type."""

    status: RecordStatus
    outputs: Mapping[str, Dataset] = field(default_factory=dict)


class Schedule:
    """The work of a plan that is still to be done.

    Parameters
    ----------
    plan
    ended
        Number of a quantum -> how it ended, for the work that need not be done again.
    path_of
        Where outputs go.
    record_path_of
        Label, key of the data id -> where the record goes.
    """

    def __init__(
        self, plan: Plan, *, ended: Mapping[int, Made], path_of: PathOf, record_path_of: Callable[[str, str], str]
    ) -> None:
        self._plan = plan
        self._ended: dict[int, Made] = dict(ended)
        self._path_of = path_of
        self._record_path_of = record_path_of
        self._waiting: dict[int, int] = {}
        self._after: dict[int, list[int]] = {}
        self._begun: set[Place] = set()
        self.ready: dict[int, deque[int]] = {number: deque() for number in range(len(plan.steps))}
        """Number of a step -> quanta that can start."""

        self.blocked: deque[Record] = deque()
        """Records of work that cannot be done because of other work."""

        for number, quantum in enumerate(plan.quanta):
            if number in self._ended:
                continue
            needed = {
                maker
                for several in quantum.inputs
                for source in several
                if source < 0 and (maker := plan.made_by(source)[0]) not in self._ended
            }
            self._waiting[number] = len(needed)
            for maker in needed:
                self._after.setdefault(maker, []).append(number)
        for number, count in list(self._waiting.items()):
            if count == 0:
                self._release(number)

    @property
    def left(self) -> int:
        """Number of quanta that have not ended."""
        return len(self._waiting)

    def take(self, step: int, most: int) -> list[Quantum]:
        """Return up to ``most`` quanta of a step that can start; they are not offered again."""
        taken: list[Quantum] = []
        while self.ready[step] and len(taken) < most:
            number = self.ready[step].popleft()
            if (place := place_of(self._plan.quanta[number].data_id)) is not None:
                self._begun.add(place)
            taken.append(self._described(number))
        return taken

    def keep_begun(self) -> None:
        """Offer only what belongs to an exposure of which something was taken, now and later; nothing of none."""
        for step, numbers in self.ready.items():
            kept = (number for number in numbers if place_of(self._plan.quanta[number].data_id) in self._begun)
            self.ready[step] = deque(kept)

    def again(self, number: int) -> list[Quantum]:
        """Return one quantum that was taken before, to be tried again."""
        return [self._described(number)]

    def end(self, number: int, record: Record) -> None:
        """Take note of how a quantum ended; what waited for it can start, or is blocked."""
        outputs: dict[str, Dataset] = {each["type"]: each for each in record["outputs"]}
        self._note(number, Made(record["status"], outputs))

    def _note(self, number: int, made: Made) -> None:
        self._ended[number] = made
        self._waiting.pop(number, None)
        for other in self._after.pop(number, ()):
            self._waiting[other] -= 1
            if self._waiting[other] == 0:
                self._release(other)

    def _release(self, number: int) -> None:
        """Offer a quantum whose inputs are settled, or block it if too few were made."""
        quantum = self._plan.quanta[number]
        step = self._plan.steps[quantum.step]
        for argument, several in zip(step.arguments, quantum.inputs, strict=True):
            there = [source for source in several if source >= 0 or self._made(source) is not None]
            if len(there) < argument.minimum:
                culprits = [self._plan.made_by(source)[0] for source in several if source not in there]
                self._block(number, quantum, culprits)
                return
        self.ready[quantum.step].append(number)

    def _block(self, number: int, quantum: PlannedQuantum, culprits: list[int]) -> None:
        names = [f"{self._plan.label(self._plan.quanta[each])} {self._ended[each].status}" for each in culprits]
        only_no_work = all(self._ended[each].status in ("no_work", "done") for each in culprits)
        described = self._described(number)
        status: RecordStatus = "no_work" if only_no_work else "blocked"
        message = f"what it needs was not made ({', '.join(dict.fromkeys(names))})."
        record = {**head_of(self._plan.label(quantum), described), "status": status, "outputs": []}
        record["error"] = {"class": status, "message": message, "facts": {}}
        self.blocked.append(record)
        self._note(number, Made(status))

    def _made(self, source: int) -> Dataset | None:
        """Return the dataset that a planned output became; None if it was not made, or only in part."""
        number, position = self._plan.made_by(source)
        made = self._ended[number]
        if made.status != "done":
            return None
        return made.outputs.get(self._plan.steps[self._plan.quanta[number].step].outputs[position].type)

    def _described(self, number: int) -> Quantum:
        quantum = self._plan.quanta[number]
        step = self._plan.steps[quantum.step]
        key = data_key(quantum.data_id, step.dimensions)
        data_id: dict[str, Any] = dict(quantum.data_id)
        return {
            "index": number,
            "data_id": data_id,
            "data_key": key,
            "key": quantum.key,
            "inputs": {
                argument.name: list(self._inputs(several))
                for argument, several in zip(step.arguments, quantum.inputs, strict=True)
            },
            "outputs": {
                output.name: {
                    "type": output.type,
                    "storage": output.storage,
                    "path": self._path_of(output.type, quantum.data_id),
                    "data_id": data_id,
                }
                for output in step.outputs
            },
            "record_path": self._record_path_of(step.label, key),
        }

    def _inputs(self, several: tuple[int, ...]) -> Iterator[Dataset]:
        for source in several:
            if source >= 0:
                there = self._plan.inputs[source]
                yield {
                    "type": there.type,
                    "storage": there.storage,
                    "path": there.path,
                    "data_id": dict(there.data_id),
                }
            elif self._plan.made_by(source)[0] in self._ended and (made := self._made(source)) is not None:
                yield {
                    "type": made["type"],
                    "storage": made["storage"],
                    "path": made["path"],
                    "data_id": made["data_id"],
                }


def place_of(data_id: Mapping[str, Any]) -> Place | None:
    """Return which exposure a piece of work belongs to; None for one of no exposure."""
    number = data_id.get("exposure", data_id.get("visit"))
    return None if number is None else (str(data_id["instrument"]), int(number))
