"""Saving a config with its history, and loading it again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from firstlight.errors import ConfigError
from firstlight.framework.build import build_config
from firstlight.framework.config import Change, Config, Slot
from firstlight.framework.mappings import ReadOnlyMapping, frozen
from firstlight.framework.overrides import Layer, Setting, read_text
from firstlight.framework.yaml_lines import Leaf, read_leaves

ConfigT = TypeVar("ConfigT", bound=Config)
History = dict[str, tuple[Change, ...]]


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
    documents = read_leaves(read_text(Path(path)), source=str(path))
    leaves = documents[0] if documents else []
    layer = Layer(tuple(Setting(leaf.path, frozen(leaf.value), f"{path}:{leaf.line}") for leaf in leaves))
    config = build_config(config_class, [layer], labelled=False)
    if len(documents) > 1:
        _restore(config, _read_history(documents[1], source=str(path)))
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
    """Give every config in the tree the part of ``history`` that is about its own fields."""
    own: History = {}
    below: dict[int, tuple[Config, dict[tuple[str, ...], tuple[Change, ...]]]] = {
        id(inner): (inner, {}) for inner in _inner_configs(config)
    }
    for path, changes in history.items():
        inner, rest = _owner(config, path)
        if inner is None:
            own[".".join(path)] = changes
        else:
            below[id(inner)][1][rest] = changes
    config.with_changes(own)
    for inner, part in below.values():
        _restore(inner, part)


def _inner_configs(config: Config) -> list[Config]:
    values = [getattr(config, name) for name in type(config).model_fields]
    values += [item for value in values if isinstance(value, ReadOnlyMapping) for item in value.values()]
    return [inner for value in values if (inner := _config_in(value)) is not None]


def _config_in(value: object) -> Config | None:
    if isinstance(value, Slot):
        return value.config
    return value if isinstance(value, Config) else None


def _owner(config: Config, path: tuple[str, ...]) -> tuple[Config | None, tuple[str, ...]]:
    """Return the inner config to whose fields ``path`` leads, and the path below it; None if it is ``config``'s own."""
    value, rest = getattr(config, path[0], None) if path[0] in type(config).model_fields else None, path[1:]
    if isinstance(value, ReadOnlyMapping) and rest:
        value, rest = value.get(rest[0]), rest[1:]
    inner = _config_in(value)
    if inner is None or not rest or rest[0] not in type(inner).model_fields:
        return None, ()
    return inner, rest
