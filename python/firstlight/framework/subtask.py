"""`Subtask`: a slot of a config that holds a task class and its settings, and can be given another class."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Generic, Literal, NoReturn, get_args, get_origin

import typing_extensions
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from firstlight.errors import ConfigError
from firstlight.framework.config import Change, Config, Slot
from firstlight.framework.lookup import name_of
from firstlight.framework.mappings import ReadOnlyMapping
from firstlight.framework.task import Task

TaskT = typing_extensions.TypeVar("TaskT", bound=Task[Any], covariant=True)


class Subtask(Slot, Generic[TaskT]):
    """A task class and its settings, as a value of a config.

    Declared as ``psf: Subtask[PsfTask] = subtask(PixelPsfTask, order=2)``: any subclass of ``PsfTask`` fits.

    Parameters
    ----------
    task
        The task class.
    config
        Its settings; the defaults of its config class when left out.

    Raises
    ------
    ConfigError
        If ``task`` is not a class that can be made, or ``config`` belongs to another one.
    """

    __slots__ = ()

    task: type[TaskT]
    config: Config

    def __init__(self, task: type[TaskT], config: Config | None = None) -> None:
        require_family(task, Task)
        config = task.config_class() if config is None else config
        if not isinstance(config, task.config_class):
            raise ConfigError(f"{task.__name__} takes a {task.config_class.__name__}; got a {type(config).__name__}")
        object.__setattr__(self, "task", task)
        object.__setattr__(self, "config", config)

    def make(self) -> TaskT:
        """Return a new task of this class with these settings."""
        return self.task(self.config)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"A Subtask cannot be changed; got {name}={value!r}.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"A Subtask cannot be changed; got 'del {name}'.")

    def __bool__(self) -> Literal[True]:
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subtask) and self.task is other.task and self.config == other.config

    def __hash__(self) -> int:
        return hash((self.task, self.config))

    def __repr__(self) -> str:
        return f"Subtask({self.task.__name__}, {self.config!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.task, self.config)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Accept a Subtask whose class belongs to the annotated family."""
        family = family_of(source)

        def fits(value: object) -> Subtask[Any]:
            if not isinstance(value, Subtask):
                got = value if isinstance(value, str) else type(value).__name__
                raise ValueError(f"a slot takes subtask({family.__name__}, ...); got {got!r}")
            try:
                require_family(value.task, family)
            except ConfigError as error:
                raise ValueError(str(error)) from error
            return value

        return core_schema.no_info_plain_validator_function(
            fits,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda slot: {"task": name_of(slot.task), **slot.config.to_dict()}
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe a slot as a mapping that names its task."""
        return {"type": "object", "properties": {"task": {"type": "string"}}, "required": ["task"]}


TaskClassT = typing_extensions.TypeVar("TaskClassT", bound=Task[Any])


def subtask(task: type[TaskClassT], **defaults: object) -> Subtask[TaskClassT]:
    """Return a slot with ``task`` and its settings, as the default of a config field.

    Parameters
    ----------
    task
        The task class.
    **defaults
        Settings that differ from the class's own; they belong to this class, not to one the slot is given later.

    Raises
    ------
    ConfigError
        If a setting does not fit the class.
    """
    require_family(task, Task)
    config = task.config_class(**defaults)
    origin = f"subtask({task.__name__})"
    changes = {name: (Change(value.value, origin),) for name, (value, *_) in config.changes().items()}
    return Subtask(task, config.with_changes(changes))


def plugins_of(**plugins: Subtask[TaskClassT]) -> Mapping[str, Subtask[TaskClassT]]:
    """Return a read-only mapping of plug-ins, as the default of a ``Mapping[str, Subtask[Plugin]]`` field."""
    return ReadOnlyMapping(plugins)


def family_of(annotation: object) -> type[Task[Any]]:
    """Return the class that ``annotation``, ``Subtask[Family]``, names."""
    arguments = get_args(annotation)
    argument = (get_origin(arguments[0]) or arguments[0]) if arguments else Task
    if not (isinstance(argument, type) and issubclass(argument, Task)):
        raise TypeError(f"Subtask[...] names a Task class; got {argument!r}.")
    return argument


def require_family(task: object, family: type[Task[Any]]) -> None:
    """Raise `ConfigError` unless ``task`` is a class of ``family`` that can be made."""
    if not isinstance(task, type):
        raise ConfigError(f"{task!r} is not a task class")
    if not issubclass(task, family):
        kind = "a Task" if family is Task else f"a {family.__name__}"
        raise ConfigError(f"{task.__name__} is not {kind}")
    if inspect.isabstract(task):
        raise ConfigError(f"{task.__name__} is only an interface; name a class that implements it")
