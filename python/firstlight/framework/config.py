"""`Config`: typed, frozen settings that know where each of their values came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined, to_jsonable_python

from firstlight.errors import ConfigError
from firstlight.framework.lookup import did_you_mean, name_of
from firstlight.framework.mappings import ReadOnlyMapping, frozen, thawed
from firstlight.framework.yaml_text import Documented, documented_yaml, plain_yaml


class Change(NamedTuple):
    """One value that a setting had, and where it came from."""

    value: object
    """The value as it was given."""

    origin: str
    """``file:line``, the text on the command line, or the class whose default it is."""

    note: str = ""
    """Why the value does not count, if it does not: dropped when a slot was retargeted or emptied."""


class Slot:
    """What `Config` needs to know of a `Subtask`: a task class and its settings."""

    __slots__ = ("config", "task")

    task: type
    config: Config


class Config(BaseModel):
    """Settings of a task.

    Fields are declared as annotated attributes, each with a docstring that gives the unit, and with bounds in the type.
    A sequence is a tuple; a mapping is read-only. A config cannot be changed once it is built.

    Raises
    ------
    ConfigError
        If a value does not fit; one line for each mistake.
    TypeError
        When a subclass declares a field called ``task``, a list, a dict or a set, or a mapping that may hold None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    _changes: Mapping[str, tuple[Change, ...]] | None = PrivateAttr(default=None)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            lines = [f"{type(self).__name__}.{line}" for line in explained(error, type(self))]
            raise ConfigError("\n".join(lines)) from error

    # Lets pydantic build a nested config without this method, so that its mistakes keep their path.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # pydantic marks its own in the same way

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse fields that could be changed, or that are spelt like a slot's task."""
        super().__pydantic_init_subclass__(**kwargs)
        for name, field in cls.model_fields.items():
            if name == "task":
                raise TypeError(f"{cls.__name__}.task: a slot names its class by 'task'; choose another field name.")
            if changeable := next(_changeable_types(field.annotation), None):
                instead = "Mapping" if changeable is dict else "tuple"
                raise TypeError(f"{cls.__name__}.{name} is a {changeable.__name__}; declare a {instead} instead.")
            if _may_hold_none(field.annotation):
                raise TypeError(f"{cls.__name__}.{name}: None removes a value of a mapping, so it cannot be one.")

    def model_post_init(self, context: Any, /) -> None:
        """Make every mapping read-only."""
        for name, value in self.__dict__.items():
            if isinstance(value, dict | tuple):
                self.__dict__[name] = frozen(value)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))

    def origin(self, path: str) -> str:
        """Return where the value at ``path`` (``psf.order``) came from.

        Raises
        ------
        ConfigError
            If there is no such setting.
        """
        counted = [change for change in self.history(path) if not change.note]
        if counted:
            return counted[-1].origin
        return self.origin(".".join(split_path(path)[:-1]))

    def history(self, path: str) -> list[Change]:
        """Return every value the setting at ``path`` was given, first the default, last the one that counts.

        Values that were dropped are listed too, with a note that says why.

        Parameters
        ----------
        path
            Names joined by dots; a label may be followed by a colon (``calibrate:psf.order``).

        Raises
        ------
        ConfigError
            If there is no such setting.
        """
        parts = split_path(path)
        found = _history(self, parts)
        if found is None:
            raise ConfigError(f"{path}: no such setting in {type(self).__name__}.")
        default, later = found
        return default + later

    def changes(self) -> Mapping[str, tuple[Change, ...]]:
        """Return the history of this config's own fields, without their defaults; slots keep their own below."""
        if self._changes is not None:
            return self._changes
        return {name: (Change(_plain(getattr(self, name)), "Python"),) for name in self.model_fields_set}

    def with_changes(self, changes: Mapping[str, tuple[Change, ...]]) -> Config:
        """Set the history of a config that was just built, and return it."""
        self._changes = dict(changes)
        return self

    def to_dict(self) -> dict[str, object]:
        """Return plain values for YAML or JSON; a slot becomes ``{"task": name, field: value, ...}``.

        What a default mapping has and this one has not is None: a layer of these values builds the same config.
        """
        return {entry.key: _undocumented(entry.value) for entry in _settings(self)}

    def to_yaml(self, *, history: bool = False) -> str:
        """Return the settings as YAML, each field below its documentation.

        Parameters
        ----------
        history
            Append a second YAML document with the history of every value that is not a default.
        """
        text = documented_yaml(_settings(self))
        if not history:
            return text
        log: dict[str, list[object]] = {}
        for path, changes in _all_changes(self, ""):
            log.setdefault(path, []).extend(list(change) for change in changes)
        return f"{text}---\n# where each value came from\n{plain_yaml(_plain(log))}"


def split_path(path: str) -> tuple[str, ...]:
    """Return the names in ``label:slot.field`` or ``slot.field``."""
    return tuple(path.replace(":", ".", 1).split("."))


def default_of(config_class: type[Config], name: str) -> object:
    """Return the default of field ``name``, or `PydanticUndefined` if it has none."""
    field = config_class.model_fields[name]
    return frozen(field.get_default(call_default_factory=True, validated_data={}))


def explained(error: ValidationError, config_class: type[Config]) -> list[str]:
    """Return one line, ``path: what is wrong``, for each mistake that pydantic found."""
    return [f"{'.'.join(path)}: {words}" if path else words for path, words in mistakes(error, config_class)]


def mistakes(error: ValidationError, config_class: type[Config]) -> list[tuple[tuple[str, ...], str]]:
    """Return path and words for each mistake that pydantic found; a choice of types counts as one."""
    found: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        path = tuple(map(str, details["loc"]))
        field = config_class.model_fields.get(path[0]) if path else None
        found.setdefault(path[:1] if field is not None and _is_choice(field.annotation) else path, []).append(details)
    return [(path, _in_words(each, config_class)) for path, each in found.items()]


def _is_choice(annotation: object) -> bool:
    members = [member for member in get_args(annotation) if member is not NoneType]
    return get_origin(annotation) in (Union, UnionType) and len(members) > 1


def _in_words(found: list[ErrorDetails], config_class: type[Config]) -> str:
    *others, last = (explained_once(details, config_class) for details in found)
    return " or ".join([*(words.partition("; got")[0] for words in others), last])


def explained_once(details: ErrorDetails, config_class: type[Config]) -> str:
    """Return what is wrong in one mistake that pydantic found, in a few words."""
    kind, message = details["type"], details["msg"]
    if kind == "extra_forbidden":
        return no_such_field(str(details["loc"][-1]), config_class)
    if kind == "missing":
        return "is required"
    if kind in ("value_error", "assertion_error"):
        return message.partition(", ")[2] or message
    if kind.endswith(("_parsing", "_from_float")):
        message = message.partition(",")[0]
    message = message.replace("Input should be", "should be")
    return f"{message[0].lower()}{message[1:]}; got {_brief(details['input'])}"


def no_such_field(name: str, config_class: type[Config]) -> str:
    """Return the words for a field that ``config_class`` does not have."""
    known = list(config_class.model_fields)
    hint = did_you_mean(name, known)
    if not hint:
        hint = f"; {config_class.__name__} has {', '.join(known)}" if known else f"; {config_class.__name__} has none"
    return f"no such field{hint}"


def _brief(value: object) -> str:
    text = repr(thawed(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _changeable_types(annotation: object) -> Iterator[type]:
    for part in (annotation, get_origin(annotation)):
        if isinstance(part, type) and issubclass(part, list | dict | set):
            yield part
    for argument in get_args(annotation):
        yield from _changeable_types(argument)


def _may_hold_none(annotation: object) -> bool:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(origin, type) and issubclass(origin, Mapping) and NoneType in get_args(arguments[1]):
        return True
    return any(_may_hold_none(argument) for argument in arguments)


def _plain(value: object) -> object:
    """Return ``value`` as YAML and JSON can hold it; a slot is told by the name of its task."""
    if isinstance(value, Slot | type):
        return name_of(value.task if isinstance(value, Slot) else value)
    if isinstance(value, Config):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return to_jsonable_python(value, inf_nan_mode="constants")


def _settings(config: Config, base: Config | None = None) -> tuple[Documented, ...]:
    """Return every setting of ``config`` so that, above the settings of ``base``, they make ``config`` again."""
    cls = type(config)
    return tuple(
        Documented(
            name,
            field.description or "",
            _setting(getattr(config, name), getattr(base, name) if base is not None else default_of(cls, name)),
        )
        for name, field in cls.model_fields.items()
    )


def _setting(value: object, default: object) -> object:
    if isinstance(value, Slot):
        base = default.config if isinstance(default, Slot) and default.task is value.task else None
        return (Documented("task", "", name_of(value.task)), *_settings(value.config, base))
    if isinstance(value, Config):
        return _settings(value, default if isinstance(default, Config) and type(default) is type(value) else None)
    if isinstance(value, Mapping):
        known = default if isinstance(default, Mapping) else {}
        kept = [Documented(key, "", _setting(item, known.get(key))) for key, item in value.items()]
        return (*kept, *(Documented(key, "", None) for key in known if key not in value))
    return _plain(value)


def _undocumented(value: object) -> object:
    return {entry.key: _undocumented(entry.value) for entry in value} if isinstance(value, tuple) else value


def _history(config: Config, parts: tuple[str, ...]) -> tuple[list[Change], list[Change]] | None:
    """Return the default and the later values at ``parts`` below ``config``; None if nothing is or was there."""
    key = ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "task" else parts)
    own = list(config.changes().get(key, ()))
    below = _declared(config, parts)
    if below is None:
        return ([], own) if own else None
    return below[0], own + below[1]


def _declared(config: Config, parts: tuple[str, ...]) -> tuple[list[Change], list[Change]] | None:
    if parts[0] not in type(config).model_fields:
        return None
    if len(parts) == 1 or parts[1:] == ("task",):
        return _default_change(config, parts[0]), []
    return _below(getattr(config, parts[0]), parts[1:])


def _default_change(config: Config, name: str) -> list[Change]:
    default = default_of(type(config), name)
    if default is PydanticUndefined:
        return []
    return [Change(_plain(default), f"default of {type(config).__name__}")]


def _below(value: object, parts: tuple[str, ...]) -> tuple[list[Change], list[Change]] | None:
    if isinstance(value, Slot):
        return _history(value.config, parts)
    if isinstance(value, Config):
        return _history(value, parts)
    if isinstance(value, ReadOnlyMapping) and parts[0] in value:
        whole = len(parts) == 1 or parts[1:] == ("task",)
        return ([], []) if whole else _below(value[parts[0]], parts[1:])
    return None


def _all_changes(config: Config, prefix: str) -> Iterator[tuple[str, tuple[Change, ...]]]:
    """Yield the history of every setting at or below ``config``; the owner of a slot comes before the slot."""
    for path, changes in config.changes().items():
        yield f"{prefix}{path}", changes
    for name in type(config).model_fields:
        yield from _changes_below(getattr(config, name), f"{prefix}{name}.")


def _changes_below(value: object, prefix: str) -> Iterator[tuple[str, tuple[Change, ...]]]:
    if isinstance(value, Slot):
        yield from _all_changes(value.config, prefix)
    elif isinstance(value, Config):
        yield from _all_changes(value, prefix)
    elif isinstance(value, ReadOnlyMapping):
        for key, item in value.items():
            yield from _changes_below(item, f"{prefix}{key}.")
