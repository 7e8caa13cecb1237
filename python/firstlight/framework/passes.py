"""`PipelineTask`: a task whose work is an ordered list of named passes over one state.

Each pass is timed, named in the metadata and announced to observers. When a pass fails on its data, or the work is to
stop after it, what the passes before it made is handed out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, ParamSpec, Protocol, TypeVar

import typing_extensions

from firstlight.errors import AlgorithmError, ConfigError, Fact, FirstlightError, PartialResult
from firstlight.framework.config import Config
from firstlight.framework.connection_check import check_connections
from firstlight.framework.connections import Input, Output, Prerequisite
from firstlight.framework.datasets import DatasetRef, Resources
from firstlight.framework.dimensions import DataId
from firstlight.framework.lookup import did_you_mean
from firstlight.framework.metadata import PassRecord, Stopwatch
from firstlight.framework.task import Task

P = ParamSpec("P")
ConfigT = typing_extensions.TypeVar("ConfigT", bound=Config, covariant=True, default=Config)
StateT = TypeVar("StateT", bound="PassState", contravariant=True)


class PassState(Protocol):
    """What the passes work on: it knows which products are true so far."""

    def products(self) -> Mapping[str, object]:
        """Return connection name -> product, for every product that is true now."""


@dataclass(frozen=True)
class Pass(Generic[StateT]):
    """One named step of a pipeline task."""

    name: str
    """Name in metadata, progress and errors, and for stopping after it."""

    step: Callable[[StateT], Mapping[str, Fact] | None]
    """Method that works on the state; it may return facts for the progress line."""

    inside: PipelineTask[Any] | None = None
    """The pipeline task that this pass runs, whose own passes can then be named."""


@dataclass(frozen=True)
class PassEvent:
    """A pass that started, ended or failed, as observers see it."""

    task: str
    """Path of the task that lists the pass."""

    path: str
    """Dotted name of the pass below the outermost task (``calibrate.astrometry``)."""

    name: str
    index: int
    """Position in the task's list, from 1."""

    total: int
    """Number of passes in the task's list."""

    status: Literal["started", "done", "failed"]
    nested: bool
    """Whether the pass consists of passes of another task."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    facts: Mapping[str, Fact] = field(default_factory=dict)
    """What the pass returned, or the facts of the error that ended it."""


@dataclass(frozen=True)
class Stopped:
    """What was made when the work was stopped after a pass."""

    step: str
    """Dotted name of the last pass that was run."""

    products: Mapping[str, object]
    """Connection name -> product."""

    status: Literal["stopped"] = "stopped"


class PipelineTask(Task[ConfigT]):
    """A task that can stand in a pipeline, and whose work can be divided into passes.

    It declares what it reads and writes (`firstlight.framework.connections`); a task that does not can be run, but not
    be named in a pipeline. With passes, ``run`` makes a state, takes it through them, and returns a complete result.

    ::

        class CalibrateTask(PipelineTask[CalibrateConfig]):
            def passes(self) -> Sequence[Pass[CalibrateState]]:
                return (Pass("repair", self._repair), Pass("astrometry", self._fit_astrometry))

            def run(self, exposure: Exposure) -> CalibrateResult:
                state = CalibrateState(exposure)
                self.run_passes(state)
                return state.result()

    Raises
    ------
    TypeError
        When a class is made whose connections do not fit its ``run``.
    """

    dimensions: ClassVar[tuple[str, ...]] = ()
    """What tells one piece of the task's work from another."""

    inputs: ClassVar[Mapping[str, Input]] = {}
    """Parameter of ``run`` -> what other tasks may have made."""

    prerequisites: ClassVar[Mapping[str, Prerequisite]] = {}
    """Parameter of ``run`` -> what is there before any task runs."""

    outputs: ClassVar[Mapping[str, Output]] = {}
    """Field of the result -> what the task makes."""

    resources: Resources = Resources()
    """What the task may use; whoever runs it says so before ``run``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_connections(cls)

    def adjust_quantum(
        self, data_id: DataId, inputs: Mapping[str, tuple[DatasetRef, ...]]
    ) -> Mapping[str, tuple[DatasetRef, ...]]:
        """Return the datasets that one piece of work shall have; called when work is planned, before anything is read.

        A task overrides it to leave datasets out, to put them in order, or to refuse.

        Parameters
        ----------
        data_id
            The piece of work.
        inputs
            Parameter of ``run`` -> datasets found, in the order of their data ids. What is returned has the same
            parameters.

        Raises
        ------
        NoWorkFound
            If these inputs are no work for the task.
        """
        return inputs

    def passes(self) -> Sequence[Pass[Any]]:
        """List the passes in the order in which they run; each takes the state."""
        return ()

    def pass_names(self) -> tuple[str, ...]:
        """Return the dotted names of all passes in the order in which they end, those of inner tasks included."""
        names: list[str] = []
        for step in self.passes():
            if step.inside is not None:
                names += [f"{step.name}.{inner}" for inner in step.inside.pass_names()]
            names.append(step.name)
        return tuple(names)

    def find_pass(self, name: str) -> str:
        """Return the dotted name of the pass called ``name``; the last part of it is enough where it is unique.

        Raises
        ------
        ConfigError
            If there is no such pass, or more than one.
        """
        names = self.pass_names()
        if name in names:
            return name
        found = [full for full in names if full.endswith(f".{name}")]
        if len(found) > 1:
            raise ConfigError(f"{name!r} is the name of several passes: {', '.join(found)}.")
        if not found:
            hint = did_you_mean(name, [*names, *(full.rpartition(".")[2] for full in names)])
            raise ConfigError(
                f"no pass is named {name!r}{hint}; {type(self).__name__} has {', '.join(names) or 'none'}."
            )
        return found[0]

    def run_passes(self, state: PassState) -> None:
        """Take ``state`` through every pass.

        Raises
        ------
        PartialResult
            From the outermost pipeline task, when a pass raised an `AlgorithmError`.
        AlgorithmError
            From a pipeline task that runs inside another one.
        """
        journey = _journey.get()
        if journey is not None:
            self._run_each(state, journey)
            return
        journey = _Journey(stop_after=self.find_pass(wanted) if (wanted := _stop_after.get()) else None)
        token = _journey.set(journey)
        try:
            self._run_each(state, journey)
        except AlgorithmError as error:
            raise PartialResult(journey.interrupted_at, error, journey.products) from error
        finally:
            _journey.reset(token)

    def _run_each(self, state: PassState, journey: _Journey) -> None:
        steps = self.passes()
        for index, step in enumerate(steps, start=1):
            path = ".".join((*journey.inside, step.name))
            event = _Announcer(self.path, path, step.name, index, len(steps), nested=step.inside is not None)
            journey.inside.append(step.name)
            try:
                self._run_one(step, state, event)
                if path == journey.stop_after:
                    raise _StopHereError
            except (AlgorithmError, _StopHereError) as reason:
                journey.interrupt(reason, at=path, products=state.products())
                raise
            finally:
                journey.inside.pop()

    def _run_one(self, step: Pass[Any], state: PassState, event: _Announcer) -> None:
        event.announce("started")
        watch = Stopwatch()
        status: Literal["done", "failed"] = "failed"
        facts: Mapping[str, Fact] = {}
        try:
            facts = step.step(state) or {}
            status = "done"
        except AlgorithmError as error:
            facts = error.facts
            raise
        except _StopHereError:
            status = "done"
            raise
        finally:
            wall_s, cpu_s = watch.wall_s, watch.cpu_s
            self.metadata.passes.append(PassRecord(step.name, status, wall_s, cpu_s))
            event.announce(status, wall_s=wall_s, cpu_s=cpu_s, facts=facts)


def run_until(stop_after: str, run: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> Stopped:
    """Call ``run`` of a pipeline task and stop after a pass.

    Parameters
    ----------
    stop_after
        Name of the pass, one of the task or of a task inside it (`PipelineTask.find_pass`).
    run
        The method ``run`` of the task.
    *args, **kwargs
        Its arguments.

    Raises
    ------
    ConfigError
        If there is no such pass; raised before any pass is run.
    PartialResult
        If a pass fails before that.
    """
    token = _stop_after.set(stop_after)
    try:
        run(*args, **kwargs)
    except _StopHereError as stop:
        return Stopped(stop.step, stop.products)
    finally:
        _stop_after.reset(token)
    raise RuntimeError(f"{run!r} ended without the pass {stop_after!r}; it does not call run_passes.")


@contextmanager
def observe_passes(callback: Callable[[PassEvent], None]) -> Iterator[None]:
    """Call ``callback`` for every pass that starts, ends or fails inside the block."""
    token = _observers.set((*_observers.get(), callback))
    try:
        yield
    finally:
        _observers.reset(token)


class _StopHereError(FirstlightError):
    """Ends the work after the pass that was asked for; never leaves `run_until`."""

    step: str = ""
    products: Mapping[str, object] = {}


@dataclass
class _Journey:
    """One call of the outermost `PipelineTask.run_passes`."""

    stop_after: str | None
    inside: list[str] = field(default_factory=list)
    interrupted_by: Exception | None = None
    interrupted_at: str = ""
    products: dict[str, object] = field(default_factory=dict)

    def interrupt(self, reason: Exception, *, at: str, products: Mapping[str, object]) -> None:
        """Add what is true at ``at``; inner tasks come first, and their products are the newer ones."""
        if reason is not self.interrupted_by:
            self.interrupted_by, self.interrupted_at, self.products = reason, at, {}
        self.products = {**products, **self.products}
        if isinstance(reason, _StopHereError):
            reason.step, reason.products = self.interrupted_at, self.products


@dataclass(frozen=True)
class _Announcer:
    task: str
    path: str
    name: str
    index: int
    total: int
    nested: bool

    def announce(
        self,
        status: Literal["started", "done", "failed"],
        *,
        wall_s: float = 0.0,
        cpu_s: float = 0.0,
        facts: Mapping[str, Fact] | None = None,
    ) -> None:
        for callback in _observers.get():
            callback(PassEvent(**vars(self), status=status, wall_s=wall_s, cpu_s=cpu_s, facts=dict(facts or {})))


_journey: ContextVar[_Journey | None] = ContextVar("firstlight_journey", default=None)
_stop_after: ContextVar[str | None] = ContextVar("firstlight_stop_after", default=None)
_observers: ContextVar[tuple[Callable[[PassEvent], None], ...]] = ContextVar("firstlight_observers", default=())
