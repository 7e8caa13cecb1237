"""`Task`: a config, a ``run``, a log and a record of what was done."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar, cast, get_args, get_origin

import structlog
import typing_extensions
from structlog.typing import FilteringBoundLogger

from firstlight.framework.config import Config
from firstlight.framework.metadata import TaskMetadata

P = ParamSpec("P")
R = TypeVar("R")
ConfigT = typing_extensions.TypeVar("ConfigT", bound=Config, covariant=True, default=Config)

_running: ContextVar[Task | None] = ContextVar("firstlight_running_task", default=None)


class Task(Generic[ConfigT]):
    """Something with settings that does one thing when it is run.

    A subclass names its config class as the generic argument and defines ``run``. Subtasks are made in ``__init__``
    (``self.psf = self.config.psf.make()``); the name of the attribute is the subtask's name in logs and metadata.

    A subclass of a finished task that has more settings says so in its body, for the program and for type checkers::

        class TheirPsfTask(PixelPsfTask):
            config_class = TheirPsfConfig  # inherits PixelPsfConfig
            config: TheirPsfConfig

    Parameters
    ----------
    config
        Settings; the defaults of the config class when left out.

    Raises
    ------
    TypeError
        If ``config`` belongs to another task.
    """

    config_class: ClassVar[type[Config]] = Config
    """The class of `config`, taken from the generic argument unless the class names another one."""

    _config_argument: ClassVar[object] = None

    def __init__(self, config: ConfigT | None = None) -> None:
        if config is not None and not isinstance(config, self.config_class):
            raise TypeError(
                f"{type(self).__name__} takes a {self.config_class.__name__}; got a {type(config).__name__}."
            )
        self.config: ConfigT = config if config is not None else cast("ConfigT", self.config_class())
        self.metadata = TaskMetadata()
        self._path = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        inherited = _config_argument(cls)
        cls._config_argument = vars(cls).get("config_class", inherited)
        cls.config_class = _config_class(cls._config_argument)
        if not issubclass(cls.config_class, _config_class(inherited)):
            raise TypeError(f"{cls.__name__}.config_class: {cls.config_class.__name__} does not inherit {inherited!r}.")
        if "run" in vars(cls):
            cls.run = _recorded(vars(cls)["run"])  # type: ignore[attr-defined]  # each family has its own signature

    @property
    def path(self) -> str:
        """Dotted name below the outermost task (``calibrate.psf``); the name of the class for the outermost."""
        return self._path or type(self).__name__

    @property
    def log(self) -> FilteringBoundLogger:
        """Logger bound to `path`; state facts with numbers."""
        return cast("FilteringBoundLogger", structlog.get_logger().bind(task=self.path))

    def subtasks(self) -> Iterator[tuple[str, Task]]:
        """Yield name and task for each attribute that is a task, also inside mappings and tuples."""
        for name, value in vars(self).items():
            yield from _tasks_in(name, value)

    def collect_metadata(self) -> dict[str, object]:
        """Return the metadata of this task and, under ``subtasks``, of all below it, as plain values."""
        below = {name: task.collect_metadata() for name, task in self.subtasks()}
        return {"task": type(self).__name__, **self.metadata.to_dict(), "subtasks": below}

    def _begin(self, path: str) -> None:
        """Name the task tree and forget what an earlier run recorded."""
        self._path = path
        self.metadata = TaskMetadata()
        for name, task in self.subtasks():
            task._begin(f"{path}.{name}" if path else name)


def _tasks_in(name: str, value: object) -> Iterator[tuple[str, Task]]:
    if isinstance(value, Task):
        yield name, value
    elif isinstance(value, Mapping):
        yield from ((f"{name}.{key}", item) for key, item in value.items() if isinstance(item, Task))
    elif isinstance(value, tuple | list):
        yield from ((f"{name}.{index}", item) for index, item in enumerate(value) if isinstance(item, Task))


def _recorded(run: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """Wrap ``run`` so that its time is kept; the outermost run starts a fresh record for the whole tree."""

    @functools.wraps(run)
    def recorded(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        outer = _running.get()
        if outer is self:
            return run(self, *args, **kwargs)
        if outer is None:
            self._begin("")
        token = _running.set(self)
        try:
            with self.metadata.timed_run():
                return run(self, *args, **kwargs)
        finally:
            _running.reset(token)

    return recorded


def _config_argument(cls: type[Task]) -> object:
    """Return what stands for the config in ``cls``: a Config class, or the TypeVar of a family."""
    for base in vars(cls).get("__orig_bases__", ()):
        origin = get_origin(base)
        if isinstance(origin, type) and issubclass(origin, Task):
            parameters: tuple[object, ...] = getattr(origin, "__parameters__", ())
            inherited = parameters[0] if origin is Task else origin._config_argument
            return get_args(base)[parameters.index(inherited)] if inherited in parameters else inherited
    inherited_from = next(base for base in cls.__mro__[1:] if issubclass(base, Task))
    return Config if inherited_from is Task else inherited_from._config_argument


def _config_class(argument: object) -> type[Config]:
    """Return the Config class for a generic argument; for a TypeVar its default, or else its bound."""
    if isinstance(argument, TypeVar):
        default = getattr(argument, "__default__", typing_extensions.NoDefault)
        argument = argument.__bound__ if default is typing_extensions.NoDefault else default
    if not (isinstance(argument, type) and issubclass(argument, Config)):
        raise TypeError(f"The generic argument of a Task is its Config class; got {argument!r}.")
    return argument
