"""Saving a config with its history, and loading it again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from firstlight.errors import ConfigError
from firstlight.framework.build import build_config
from firstlight.framework.config import Change, Config, Slot, changes_below, default_beside
from firstlight.framework.mappings import ReadOnlyMapping, frozen
from firstlight.framework.overrides import Layer, Setting, read_text
from firstlight.framework.renamed import former_names
from firstlight.framework.yaml_lines import Leaf, read_leaves

ConfigT = TypeVar("ConfigT", bound=Config)
History = dict[str, tuple[Change, ...]]
_NOTHING = object()


def save_config(config: Config, path: str | Path) -> None:
    """Write ``config`` as YAML, with the documentation of every field and the history of every value.

    The file appears whole or not at all.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(config.to_yaml(history=True))
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(target)


def load_config(config_class: type[ConfigT], path: str | Path) -> ConfigT:
    """Read a config that `save_config` wrote; it equals the one saved, and tells the same origins.

    Raises
    ------
    ConfigError
        If the file cannot be read or does not fit ``config_class``.
    """
    return config_from_yaml(config_class, read_text(Path(path)), source=str(path))


def config_from_yaml(config_class: type[ConfigT], text: str, *, source: str) -> ConfigT:
    """Make a config from what `Config.to_yaml` returned, with its history where that is in the text.

    Parameters
    ----------
    config_class
    text
    source
        What to call the text in errors and origins.

    Raises
    ------
    ConfigError
        If the text does not fit ``config_class``.
    """
    documents = read_leaves(text, source=source)
    leaves = documents[0] if documents else []
    layer = Layer(tuple(Setting(leaf.path, frozen(leaf.value), f"{source}:{leaf.line}") for leaf in leaves))
    config = build_config(config_class, [layer], labelled=False)
    if len(documents) > 1:
        _restore(config, _read_history(documents[1], source=source))
    return config


def _read_history(leaves: list[Leaf], *, source: str) -> Mapping[tuple[str, ...], tuple[Change, ...]]:
    history = {}
    for leaf in leaves:
        try:
            entries = [Change(frozen(value), str(origin), str(note)) for value, origin, note in leaf.value]  # type: ignore[attr-defined]  # anything else is the error below
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{source}:{leaf.line}: a history is a list of [value, origin, note].") from error
        history[leaf.path] = tuple(entries)
    return history


def _restore(config: Config, history: Mapping[tuple[str, ...], tuple[Change, ...]]) -> None:
    """Give every config in the tree the part of ``history`` that is about its own fields.

    What is not in it was a default, and is one again; a value that differs from today's default keeps its line.
    """
    cls, former = type(config), former_names(type(config))
    own: History = {}
    below: dict[int, tuple[Config, dict[tuple[str, ...], tuple[Change, ...]]]] = {
        id(inner): (inner, {}) for inner in _inner_configs(config)
    }
    for path, changes in history.items():
        present = (former[path[0]].field, *path[1:]) if path[0] in former else path
        inner, rest = _owner(config, present)
        if inner is None:
            own[".".join(present)] = changes
        else:
            below[id(inner)][1][rest] = changes
    for inner, part in below.values():
        _restore(inner, part)
    given = {key.partition(".")[0] for key in own} & cls.model_fields.keys()
    defaults = {name: default_beside(config, name) for name in cls.model_fields}
    read = {
        key: notes
        for key, notes in config.changes().items()
        if not _told(own, key) and not _same(_at(config, key), _at(defaults, key))
    }
    own |= read
    touched = {name for name, default in defaults.items() if not _untouched(vars(config)[name], default)}
    config.with_changes(own, given=given | touched)


def _untouched(value: object, default: object) -> bool:
    """Return whether ``value`` is the default, and no setting below it was given."""
    return value == default and dict(changes_below(value, "")) == dict(changes_below(default, ""))


def _told(history: History, key: str) -> bool:
    """Return whether ``history`` has ``key``, or what it is part of."""
    return key in history or any(key.startswith(f"{each}.") for each in history)


def _at(values: object, key: str) -> object:
    """Return what ``key`` leads to below the fields of a config; `_NOTHING` if nothing is there."""
    found: object = vars(values) if isinstance(values, Config) else values
    rest = key
    while rest:
        inner = _config_in(found)
        found = vars(inner) if inner is not None else found
        if not isinstance(found, Mapping):
            return _NOTHING
        if rest in found:
            return found[rest]
        name, _, rest = rest.partition(".")
        found = found.get(name, _NOTHING)
    return found


def _same(one: object, other: object) -> bool:
    """Return whether two values are the same as far as their own field tells: slots by their task."""
    if isinstance(one, Slot) and isinstance(other, Slot):
        return one.task is other.task
    return one == other


def _inner_configs(config: Config) -> list[Config]:
    return [inner for name in type(config).model_fields for inner in _configs_in(vars(config)[name])]


def _configs_in(value: object) -> list[Config]:
    values = value.values() if isinstance(value, ReadOnlyMapping) else (value,)
    return [inner for each in values if (inner := _config_in(each)) is not None]


def _config_in(value: object) -> Config | None:
    if isinstance(value, Slot):
        return value.config
    return value if isinstance(value, Config) else None


def _owner(config: Config, path: tuple[str, ...]) -> tuple[Config | None, tuple[str, ...]]:
    """Return the inner config to whose fields ``path`` leads, and the path below it; None if it is ``config``'s own."""
    value, rest = vars(config).get(path[0]), path[1:]
    if isinstance(value, ReadOnlyMapping) and rest:
        value, rest = value.get(rest[0]), rest[1:]
    inner = _config_in(value)
    if inner is None or not rest or not (rest[0] in vars(inner) or rest[0] in former_names(type(inner))):
        return None, ()
    return inner, rest
