"""Layers of settings: values from a file, the command line or a program, each with its origin."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from firstlight.errors import ConfigError
from firstlight.framework.config import Config, Slot, split_path
from firstlight.framework.mappings import ReadOnlyMapping, frozen
from firstlight.framework.yaml_lines import read_leaves, read_value

_LABELLED_FILE = re.compile(r"(?P<label>[A-Za-z_]\w*):(?P<path>.+)", re.DOTALL)


@dataclass(frozen=True)
class Setting:
    """One value for one setting."""

    path: tuple[str, ...]
    """Names down to the setting; the first may be a label."""

    value: object
    """The value; None empties what the path names. Never a mapping with entries."""

    origin: str
    """``file:line``, the text on the command line, or what a program calls it."""


@dataclass(frozen=True)
class Layer:
    """Settings from one place, in their order.

    Layers are put on each other by `build_config`: what comes later wins.
    """

    settings: tuple[Setting, ...] = ()

    @classmethod
    def from_file(cls, source: str | Path) -> Layer:
        """Read a layer from a YAML file.

        Parameters
        ----------
        source
            Path of a file that maps labels to their settings; or the text ``label:path`` for a file with the settings
            of one label. A second YAML document, the history in a saved config, is not read.

        Raises
        ------
        ConfigError
            If the file cannot be read, is not YAML, or gives a key twice.
        """
        label, path = _labelled_file(source)
        documents = read_leaves(read_text(path), source=str(path))
        leaves = documents[0] if documents else []
        return cls(tuple(Setting((*label, *leaf.path), frozen(leaf.value), f"{path}:{leaf.line}") for leaf in leaves))

    @classmethod
    def from_assignment(cls, text: str) -> Layer:
        """Read a layer from ``label:path=value``, the value in YAML.

        Raises
        ------
        ConfigError
            If there is no ``=``, no value, or the value is not YAML.
        """
        path, equals, value = text.partition("=")
        if not (equals and value.strip()):
            missing = "no value; write null to empty a slot" if equals else "expected label:path=value"
            raise ConfigError(f"{text}: {missing}. (from -c)")
        names = split_path(path.strip())
        if not all(names):
            raise ConfigError(f"{text}: {path.strip()!r} is not of the form label:path. (from -c)")
        try:
            parsed = read_value(value.strip())
        except ConfigError as error:
            raise ConfigError(f"{text}: the value is not YAML: {error} (from -c)") from error
        return cls(tuple(flattened(names, parsed, f"-c {text}")))

    @classmethod
    def from_assignments(cls, texts: Iterable[str]) -> Layer:
        """Read one layer from several texts ``label:path=value``; within a path the last one counts."""
        return cls(tuple(setting for text in texts for setting in cls.from_assignment(text).settings))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object], *, origin: str) -> Layer:
        """Make a layer of nested mappings; configs and slots may stand among the values, task classes under ``task``.

        Parameters
        ----------
        mapping
            Settings by name; a dot in a name separates names, as in ``{"psf.order": 3}``.
        origin
            What to call the place where they come from.
        """
        return cls(tuple(flattened((), mapping, origin)))

    def __add__(self, other: Layer) -> Layer:
        """Return one layer with these settings and then those of ``other``."""
        return Layer((*self.settings, *other.settings))

    def below(self, label: str) -> Layer:
        """Return the settings of ``label``, their paths relative to it."""
        return Layer(tuple(Setting(s.path[1:], s.value, s.origin) for s in self.settings if s.path[0] == label))

    @property
    def values(self) -> dict[str, object]:
        """The settings as nested mappings."""
        tree: dict[str, object] = {}
        for setting in self.settings:
            put(tree, setting.path, setting.value)
        return tree

    @property
    def origins(self) -> dict[str, str]:
        """Dotted path -> origin, for every value."""
        return {".".join(setting.path): setting.origin for setting in self.settings}


def put(tree: dict[str, object], path: tuple[str, ...], value: object) -> None:
    """Set ``value`` at ``path`` in nested dicts, in place; an empty mapping changes no mapping that is there."""
    for name in path[:-1]:
        below = tree.get(name)
        if not isinstance(below, dict):
            below = tree[name] = {}
        tree = below
    if is_empty_mapping(value) and isinstance(tree.get(path[-1]), dict):
        return
    tree[path[-1]] = {} if is_empty_mapping(value) else value


def is_empty_mapping(value: object) -> bool:
    """Return whether ``value`` is a mapping without entries."""
    return isinstance(value, Mapping) and not value


def read_text(path: Path) -> str:
    """Return the text of a file of settings.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text.") from error


def _labelled_file(source: str | Path) -> tuple[tuple[str, ...], Path]:
    labelled = _LABELLED_FILE.fullmatch(source) if isinstance(source, str) else None
    if labelled is None or Path(source).exists():
        return (), Path(source)
    return (labelled["label"],), Path(labelled["path"])


def flattened(path: tuple[str, ...], value: object, origin: str) -> Iterator[Setting]:
    """Yield the settings in ``value``: nested mappings, configs and slots, or one value at ``path``."""
    if isinstance(value, Slot):
        value = {"task": value.task, **_given(value.config)}
    elif isinstance(value, Config):
        value = _given(value)
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from flattened((*path, *str(key).split(".")), item, origin)
    elif path:
        yield Setting(path, ReadOnlyMapping() if is_empty_mapping(value) else frozen(value), origin)


def _given(config: Config) -> dict[str, object]:
    """Return the settings of ``config`` that were set, not those left at their defaults."""
    return {name: vars(config)[name] for name in type(config).model_fields if name in config.model_fields_set}
