"""Running one piece of work of a pipeline task, as a pipeline would."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from firstlight.framework import (
    DataId,
    Handle,
    Layer,
    PipelineTask,
    QuantumOutcome,
    Resources,
    Task,
    build_config,
    did_you_mean,
    run_quantum,
)
from firstlight.framework.connections import Connections

TaskT = TypeVar("TaskT", bound=Task[Any])


def make_task(task: type[TaskT], settings: Mapping[str, object] | Iterable[str] = (), /) -> TaskT:
    """Make a task of any family from settings as a user gives them: nested mappings, or texts such as ``clip=3``.

    Raises
    ------
    ConfigError
        If a setting does not fit.
    """
    layers = (
        [Layer.from_mapping(settings, origin="test")]
        if isinstance(settings, Mapping)
        else [Layer.from_assignment(text) for text in settings]
    )
    return task(build_config(task.config_class, layers, labelled=False))


def run_task(
    task: type[PipelineTask[Any]],
    settings: Mapping[str, object] | Iterable[str] = (),
    /,
    *,
    resources: Resources | None = None,
    **arguments: object,
) -> QuantumOutcome:
    """Build a task from settings as a user gives them, and run one piece of its work.

    What a pipeline does around ``run`` is done here too: arguments that come deferred are handed over as handles, those
    that come as several as a tuple, and only what the connections promise is returned.

    ::

        outcome = run_task(CalibrateImageTask, ["psf.order=1"], post_isr=exposure)
        assert outcome.status == "done"
        stars = outcome.products["stars"]

    Parameters
    ----------
    task
        The class.
    settings
        Nested mappings, or texts such as ``psf.order=1``.
    resources
        What the task may use.
    **arguments
        Parameter of ``run`` -> object; a list for a connection that takes several.

    Raises
    ------
    ConfigError
        If a setting does not fit.
    TypeError
        If an argument is no connection of the task or one is missing, or the result lacks what they promise.
    """
    made = make_task(task, settings)
    wanted = Connections.of(task, made.config).arguments
    for name in arguments:
        if name not in wanted:
            raise TypeError(f"{task.__name__} has no input {name!r}{did_you_mean(name, wanted)}.")
    if missing := [name for name, each in wanted.items() if each.minimum and name not in arguments]:
        raise TypeError(f"{task.__name__} needs {', '.join(map(repr, missing))}.")
    given = {}
    for name, value in arguments.items():
        values = tuple(value) if wanted[name].multiple and isinstance(value, Iterable) else (value,)
        if wanted[name].deferred:
            values = tuple(_handle(wanted[name].name, each) for each in values)
        given[name] = values if wanted[name].multiple else values[0]
    return run_quantum(made, given, resources=resources)


def _handle(name: str, value: object) -> Handle[object]:
    return value if isinstance(value, Handle) else Handle(name, DataId(), lambda: value)
