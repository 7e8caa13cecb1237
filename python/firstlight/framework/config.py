"""`Config`: typed, frozen settings that know where each of their values came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError
from pydantic_core import PydanticUndefined, to_jsonable_python

from firstlight.errors import ConfigError
from firstlight.framework.annotations import refuse_unfit
from firstlight.framework.lookup import name_of
from firstlight.framework.mappings import ReadOnlyMapping, frozen
from firstlight.framework.mistakes import explained
from firstlight.framework.renamed import deprecation_of, former_names, removed_fields
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


@dataclass
class Draft:
    """Context of a validation that is only to find out what the fields of a config would be."""

    fields: Mapping[str, object] = field(default_factory=dict)


class Config(BaseModel):
    """Settings of a task.

    Fields are declared as annotated attributes, each with a docstring that gives the unit, and with bounds in the type.
    A sequence is a tuple; a mapping is read-only. A config cannot be changed once it is built.

    A default may be computed from the fields above it: ``Field(default_factory=lambda data: 2 * data["radius"])``.
    A renamed field says so by `FormerName`, one on its way out by ``Field(deprecated="use x instead")``.

    Raises
    ------
    ConfigError
        If a value does not fit; one line for each mistake.
    TypeError
        When a subclass declares a field called ``task``, a list, a dict or a set, a mapping that may hold None or
        whose keys are neither text nor numbers, or configs to choose from without a discriminator.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    removed_fields: ClassVar[Mapping[str, str]] = {}
    """Name -> what to do instead, for fields that the class had once."""

    _changes: Mapping[str, tuple[Change, ...]] | None = PrivateAttr(default=None)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError("\n".join(explained(error, type(self)))) from error

    # Lets pydantic build a nested config without this method, so that its mistakes keep their path.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # pydantic marks its own in the same way

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse fields that could be changed, or whose settings could not be told apart."""
        super().__pydantic_init_subclass__(**kwargs)
        for name, info in cls.model_fields.items():
            refuse_unfit(cls, name, info)
        former_names(cls)
        removed_fields(cls)

    def model_post_init(self, context: Any, /) -> None:
        """Make every mapping read-only."""
        fields = self.__dict__
        for name, value in fields.items():
            if type(value) in (dict, tuple):
                fields[name] = frozen(value)
        if isinstance(context, Draft):
            context.fields = fields

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
        found = history_at(self, parts)
        if found is None:
            raise ConfigError(f"{path}: no such setting in {type(self).__name__}.")
        return [change._replace(value=frozen(plain_value(change.value))) for part in found for change in part]

    def changes(self) -> Mapping[str, tuple[Change, ...]]:
        """Return the history of this config's own fields, without their defaults; slots keep their own below."""
        if self._changes is not None:
            return self._changes
        return {name: (Change(plain_value(self.__dict__[name]), "Python"),) for name in self.model_fields_set}

    def with_changes(self, changes: Mapping[str, tuple[Change, ...]], *, given: set[str] | None = None) -> Config:
        """Set the history of a config that was just built, and which fields were ``given``, and return it."""
        self._changes = changes
        if given is not None:
            object.__setattr__(self, "__pydantic_fields_set__", given)
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
        return f"{text}---\n# where each value came from\n{plain_yaml(plain_value(log))}"


def split_path(path: str) -> tuple[str, ...]:
    """Return the names in ``label:slot.field`` or ``slot.field``."""
    return tuple(path.replace(":", ".", 1).split("."))


def default_of(config_class: type[Config], name: str, beside: Mapping[str, object] | None = None) -> object:
    """Return the default of field ``name``, or `PydanticUndefined` if it has none.

    Parameters
    ----------
    config_class
        The class that declares the field.
    name
        The field.
    beside
        Settings of the other fields, from which a computed default follows; their own defaults when left out.
    """
    info = config_class.model_fields[name]
    if not info.default_factory_takes_validated_data:
        return frozen(info.get_default(call_default_factory=True))
    draft = Draft()
    given = {key: value for key, value in (beside or {}).items() if key != name}
    # A draft that does not fit stays empty; its mistakes are told where the config itself is built.
    with suppress(ValidationError, ConfigError):
        config_class.model_validate(given, context=draft)
    return draft.fields.get(name, PydanticUndefined)


def default_beside(config: Config, name: str) -> object:
    """Return the default of field ``name``, a computed one as it follows from the other fields of ``config``."""
    computed = type(config).model_fields[name].default_factory_takes_validated_data
    return default_of(type(config), name, config.__dict__ if computed else None)


def plain_value(value: object) -> object:
    """Return ``value`` as YAML and JSON can hold it; a slot is told by the name of its task."""
    if isinstance(value, Slot | type):
        return name_of(value.task if isinstance(value, Slot) else value)
    if isinstance(value, Config):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain_value(item) for item in value]
    if isinstance(value, frozenset):
        return sorted((plain_value(item) for item in value), key=lambda item: (str(type(item)), item))
    return to_jsonable_python(value, inf_nan_mode="constants")


def _settings(config: Config, base: Config | None = None) -> tuple[Documented, ...]:
    """Return every setting of ``config`` so that, above the settings of ``base``, they make ``config`` again."""
    entries = []
    for name, info in type(config).model_fields.items():
        value, given = config.__dict__[name], name in config.model_fields_set
        under = default_beside(config, name) if base is None else base.__dict__[name]
        if not given and value == under and deprecation_of(info) is not None:
            continue
        words = info.description or ""
        if not given and info.default_factory_takes_validated_data:
            words += "\n(computed from other settings; take this line out to have it computed again)"
        entries.append(Documented(name, words, _setting(value, under)))
    return tuple(entries)


def _setting(value: object, default: object) -> object:
    if isinstance(value, Slot):
        base = default.config if isinstance(default, Slot) and default.task is value.task else None
        return (Documented("task", "", name_of(value.task)), *_settings(value.config, base))
    if isinstance(value, Config):
        return _settings(value, default if isinstance(default, Config) and type(default) is type(value) else None)
    if isinstance(value, Mapping):
        known = default if isinstance(default, Mapping) else {}
        kept = [Documented(str(key), "", _setting(item, known.get(key))) for key, item in value.items()]
        return (*kept, *(Documented(str(key), "", None) for key in known if key not in value))
    if isinstance(value, tuple):
        return [_undocumented(_setting(item, None)) for item in value]
    return plain_value(value)


def _undocumented(value: object) -> object:
    return {entry.key: _undocumented(entry.value) for entry in value} if isinstance(value, tuple) else value


def history_at(config: Config, parts: tuple[str, ...]) -> tuple[list[Change], list[Change]] | None:
    """Return the default and the later values at ``parts`` below ``config``; None if nothing is or was there."""
    key = ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "task" else parts)
    own = list(config.changes().get(key, ()))
    below = _declared(config, parts)
    if below is None and not own and isinstance(config.__dict__.get(parts[0]), ReadOnlyMapping):
        own = [change for change in config.changes().get(parts[0], ()) if change.value is None]
    if below is None:
        return ([], own) if own else None
    return below[0], own + below[1]


def _declared(config: Config, parts: tuple[str, ...]) -> tuple[list[Change], list[Change]] | None:
    if parts[0] not in type(config).model_fields:
        return None
    if len(parts) == 1 or parts[1:] == ("task",):
        return _default_change(config, parts[0]), []
    return _below(config.__dict__[parts[0]], parts[1:])


def _default_change(config: Config, name: str) -> list[Change]:
    default, cls = default_beside(config, name), type(config)
    if default is PydanticUndefined:
        return []
    computed = cls.model_fields[name].default_factory_takes_validated_data
    return [Change(default, f"computed by {cls.__name__}" if computed else f"default of {cls.__name__}")]


def _below(value: object, parts: tuple[str, ...]) -> tuple[list[Change], list[Change]] | None:
    if isinstance(value, Slot):
        return history_at(value.config, parts)
    if isinstance(value, Config):
        return history_at(value, parts)
    if isinstance(value, ReadOnlyMapping) and parts[0] in value:
        whole = len(parts) == 1 or parts[1:] == ("task",)
        return ([], []) if whole else _below(value[parts[0]], parts[1:])
    return None


def _all_changes(config: Config, prefix: str) -> Iterator[tuple[str, tuple[Change, ...]]]:
    """Yield the history of every setting at or below ``config``; the owner of a slot comes before the slot."""
    for path, changes in config.changes().items():
        yield f"{prefix}{path}", changes
    for name in type(config).model_fields:
        yield from changes_below(config.__dict__[name], f"{prefix}{name}.")


def changes_below(value: object, prefix: str) -> Iterator[tuple[str, tuple[Change, ...]]]:
    """Yield path, below ``prefix``, and history of every setting in ``value``: a slot, a config, or several by name."""
    if isinstance(value, Slot):
        yield from _all_changes(value.config, prefix)
    elif isinstance(value, Config):
        yield from _all_changes(value, prefix)
    elif isinstance(value, ReadOnlyMapping):
        for key, item in value.items():
            yield from changes_below(item, f"{prefix}{key}.")
