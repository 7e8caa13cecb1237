"""`Plan`: every piece of work of a run, what each reads and makes, and why everything else was left out.

A plan holds plain values: it is saved, loaded and printed without importing any task.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from firstlight.errors import ConfigError, RepoError
from firstlight.framework.dimensions import DataId, Value
from firstlight.images.atomic import write_atomically

FORMAT = 3
OUTPUTS = 64
"""Most outputs of a task; the place of a planned output is one number made of its quantum and its position."""


class PlannedConnection(NamedTuple):
    """One argument or output of a task."""

    name: str
    """Parameter of ``run``, or field of the result."""

    type: str
    """Dataset type."""

    storage: str
    """How the objects are stored."""

    multiple: bool = False
    deferred: bool = False
    minimum: int = 0


@dataclass(frozen=True)
class PlannedStep:
    """One label of the pipeline, with everything that a worker needs to make its task."""

    label: str
    task: str
    """``package.module:Class``."""

    config: str
    """The settings as YAML, with their history."""

    config_key: str
    """Changes when the class, a setting or the version of its package changes."""

    dimensions: tuple[str, ...]
    arguments: tuple[PlannedConnection, ...]
    outputs: tuple[PlannedConnection, ...]


class PlannedInput(NamedTuple):
    """A dataset that is there before the run."""

    type: str
    data_id: DataId
    path: str
    key: str
    """Changes when the content changes."""

    storage: str


class PlannedQuantum(NamedTuple):
    """One piece of work.

    Inputs are numbers: of a `PlannedInput` of the plan, or, negative, of an output of an earlier quantum.
    """

    step: int
    data_id: DataId
    inputs: tuple[tuple[int, ...], ...]
    """For each argument of the step."""

    key: str
    """Changes when settings, version or any input changes, however far back."""


@dataclass(frozen=True)
class Dropped:
    """Work that was left out, and why."""

    label: str
    reason: str
    number: int
    example: str = ""

    def __str__(self) -> str:
        example = f" (such as {self.example})" if self.example else ""
        return f"{self.number} dropped: {self.reason}{example}"


@dataclass
class Plan:
    """Work to do, in an order in which each piece finds its inputs made."""

    steps: tuple[PlannedStep, ...]
    pipeline: str = ""
    """Where the pipeline was read from, as the user named it."""

    collections: tuple[str, ...] = ()
    """Where inputs were looked for."""

    where: str = ""
    """Condition that they met."""

    versions: dict[str, str] = field(default_factory=dict)
    """Version of each package that a task comes from."""

    inputs: list[PlannedInput] = field(default_factory=list)
    quanta: list[PlannedQuantum] = field(default_factory=list)
    found: dict[str, int] = field(default_factory=dict)
    """Label -> pieces of work that the inputs would make, before anything was left out."""

    dropped: list[Dropped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a user should know about inputs that are optional and not there."""

    afterwards: str = ""
    """Settings of what follows the tasks, as YAML with their history; empty where nothing does."""

    def __len__(self) -> int:
        return len(self.quanta)

    def label(self, quantum: PlannedQuantum) -> str:
        """Return the label of a piece of work."""
        return self.steps[quantum.step].label

    def counts(self) -> Mapping[str, int]:
        """Return label -> number of pieces of work."""
        found = Counter(quantum.step for quantum in self.quanta)
        return {step.label: found.get(index, 0) for index, step in enumerate(self.steps)}

    def after(self, label: str) -> tuple[str, ...]:
        """Return a label and those whose work needs what it makes, however many steps later."""
        changed: set[str] = set()
        for step in self.steps:
            if step.label == label or any(argument.type in changed for argument in step.arguments):
                changed |= {output.type for output in step.outputs}
        return tuple(
            step.label
            for step in self.steps
            if step.label == label or any(argument.type in changed for argument in step.arguments)
        )

    def made_by(self, source: int) -> tuple[int, int]:
        """Return quantum and position of the output that a negative input stands for."""
        return divmod(~source, OUTPUTS)

    def ledger(self) -> Iterator[str]:
        """Yield what was planned and what was left out, label by label."""
        counts = self.counts()
        for step in self.steps:
            yield f"{step.label}: {self.found.get(step.label, 0)} found -> {counts[step.label]} quanta"
            yield from (f"  {line}" for line in self.dropped if line.label == step.label)
        yield from self.notes

    def save(self, path: str | Path) -> None:
        """Write the plan as one compact file.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        lines = [json.dumps(line, separators=(",", ":")) for line in self._lines()]
        data = gzip.compress("\n".join(lines).encode(), compresslevel=3, mtime=0)
        write_atomically(Path(path), lambda file: file.write(data))

    def _lines(self) -> Iterator[Any]:
        yield {
            "format": FORMAT,
            "steps": [asdict(step) for step in self.steps],
            "pipeline": self.pipeline,
            "collections": self.collections,
            "where": self.where,
            "versions": self.versions,
            "found": self.found,
            "dropped": [asdict(line) for line in self.dropped],
            "notes": self.notes,
            "afterwards": self.afterwards,
            "inputs": len(self.inputs),
            "quanta": len(self.quanta),
        }
        for one in self.inputs:
            yield [one.type, dict(one.data_id), one.path, one.key, one.storage]
        for quantum in self.quanta:
            yield [quantum.step, dict(quantum.data_id), quantum.inputs, quantum.key]

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan that `save` wrote.

        Raises
        ------
        RepoError
            If the file is not a plan of this version.
        """
        try:
            with gzip.open(path, "rt", encoding="utf-8") as file:
                head = json.loads(next(file))
                if head.get("format") != FORMAT:
                    raise RepoError(f"{path}: is a plan of another version; make it again.")
                plan = cls(
                    steps=tuple(_step(values) for values in head["steps"]),
                    pipeline=str(head["pipeline"]),
                    collections=tuple(map(str, head["collections"])),
                    where=str(head["where"]),
                    versions={str(name): str(number) for name, number in head["versions"].items()},
                    found=head["found"],
                    dropped=[Dropped(**values) for values in head["dropped"]],
                    notes=head["notes"],
                    afterwards=str(head["afterwards"]),
                )
                for _ in range(head["inputs"]):
                    kind, data_id, place, key, storage = json.loads(next(file))
                    plan.inputs.append(PlannedInput(kind, DataId(data_id), place, key, storage))
                for line in file:
                    step, data_id, inputs, key = json.loads(line)
                    plan.quanta.append(PlannedQuantum(step, DataId(data_id), tuple(map(tuple, inputs)), key))
                plan._require_whole(head["quanta"])
        except (OSError, EOFError, StopIteration, zlib.error) as error:
            raise RepoError(f"{path}: cannot be read to its end ({str(error) or 'it is cut off'}).") from error
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, ConfigError) as error:
            raise RepoError(f"{path}: is not a saved plan ({' '.join(str(error).split())}).") from error
        return plan

    def _require_whole(self, quanta: int) -> None:
        """Make sure that each number stands for something that is there, and was made before.

        Raises
        ------
        ValueError
            If one does not.
        """
        if len(self.quanta) != quanta:
            raise ValueError(f"{quanta} quanta are announced, {len(self.quanta)} are there")
        for number, quantum in enumerate(self.quanta):
            step = self.steps[quantum.step]
            whole = quantum.step >= 0 and len(quantum.inputs) == len(step.arguments) and isinstance(quantum.key, str)
            for source in (source for several in quantum.inputs for source in several):
                maker, position = self.made_by(source) if source < 0 else (0, 0)
                if source >= 0:
                    whole = whole and source < len(self.inputs)
                else:
                    whole = whole and maker < number and position < len(self.steps[self.quanta[maker].step].outputs)
            if not whole:
                raise ValueError(f"quantum {number} names what is not there")


def output_place(quantum: int, position: int) -> int:
    """Return the number that stands for an output of a planned quantum."""
    return ~(quantum * OUTPUTS + position)


def _step(values: dict[str, Any]) -> PlannedStep:
    return PlannedStep(
        label=values["label"],
        task=values["task"],
        config=values["config"],
        config_key=values["config_key"],
        dimensions=tuple(values["dimensions"]),
        arguments=_connections(values["arguments"]),
        outputs=_connections(values["outputs"]),
    )


def _connections(listed: Iterable[Sequence[Any]]) -> tuple[PlannedConnection, ...]:
    return tuple(PlannedConnection(*values) for values in listed)


def key_values(data_id: DataId, names: Sequence[str]) -> tuple[Value | None, ...]:
    """Return the values of ``names``, None where there is none."""
    return tuple(data_id.get(name) for name in names)
