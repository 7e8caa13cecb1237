"""Building a config from layers: merge, validate once, and tell every mistake at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeVar

import structlog
from pydantic import ValidationError

from firstlight.errors import ConfigError
from firstlight.framework.config import Change, Config, default_of, mistakes, no_such_field
from firstlight.framework.field_shapes import FieldShape, Kind, field_shapes
from firstlight.framework.lookup import did_you_mean
from firstlight.framework.mappings import ReadOnlyMapping, thawed
from firstlight.framework.overrides import Layer, is_empty_mapping, put
from firstlight.framework.slots import Item, SlotState
from firstlight.framework.subtask import Subtask

ConfigT = TypeVar("ConfigT", bound=Config)
Path = tuple[str, ...]
Changes = dict[str, list[Change]]


class _Failed:
    """Stands for a value that could not be made; the reason is among the problems."""


_FAILED = _Failed()


def build_config(config_class: type[ConfigT], layers: Sequence[Layer], *, labelled: bool = True) -> ConfigT:
    """Return a config with the settings of all ``layers``, later ones above earlier ones.

    Mappings merge, sequences replace, None empties a slot and everything earlier below it.

    Parameters
    ----------
    config_class
        The class to build.
    layers
        Lowest first, above the defaults of the class.
    labelled
        Whether the slots of ``config_class`` are labels, written with a colon (``calibrate:psf.order``).

    Raises
    ------
    ConfigError
        If anything does not fit: one line for each mistake, with its origin.
    """
    builder = _Builder(config_class, labelled=labelled)
    items = [Item(s.path, s.value, s.origin, rank) for rank, layer in enumerate(layers) for s in layer.settings]
    built = builder.config(config_class, None, items, ())
    if not isinstance(built, config_class):
        raise ConfigError("\n".join(builder.problems))
    return built


class _Builder:
    """One call of `build_config`: collects problems while it goes down the tree of settings."""

    def __init__(self, root: type[Config], *, labelled: bool) -> None:
        self.problems: list[str] = []
        self._labels = [name for name, shape in field_shapes(root).items() if labelled and shape.kind is Kind.SLOT]

    def config(self, cls: type[Config], base: Config | None, items: Sequence[Item], at: Path) -> Config | _Failed:
        """Return a config of ``cls`` with ``items`` above the settings of ``base``."""
        shapes = field_shapes(cls)
        values = {name: getattr(base, name) for name in base.model_fields_set} if base is not None else {}
        changes: Changes = {key: list(old) for key, old in base.changes().items()} if base is not None else {}
        failed: set[str] = set()
        for name, group in _by_name(items).items():
            if name not in shapes:
                self._unknown(cls, name, group, at)
                failed.add("")
                continue
            if shapes[name].kind is Kind.PLAIN:
                value = self._plain(group, (*at, name), changes)
            else:
                current = values[name] if name in values else default_of(cls, name)
                value = self._field(shapes[name], current, group, (*at, name), changes)
            if value is _FAILED:
                failed.add(name)
            else:
                values[name] = value
        return self._validated(cls, values, changes, failed, at)

    def _field(
        self, shape: FieldShape, current: object, items: Sequence[Item], at: Path, changes: Changes
    ) -> object | _Failed:
        below = [item.shortened() for item in items]
        if shape.kind is Kind.SLOT:
            default = current if isinstance(current, Subtask) else None
            return self._slot(shape, default, below, at, changes)
        if shape.kind is Kind.PLUGINS:
            return self._plugins(shape, current, below, at, changes)
        if shape.kind is Kind.CONFIG:
            return self._nested(shape, current, below, at, changes)
        for item in items:
            changes.setdefault(".".join((at[-1], *item.path[1:])), []).append(Change(item.value, item.origin))
        return (
            _merged_mapping(shape, current, below)
            if shape.kind is Kind.MAPPING
            else _merged_choice(shape, current, below)
        )

    def _plain(self, items: Sequence[Item], at: Path, changes: Changes) -> object | _Failed:
        """Return the last value of a field that nothing stands below."""
        deeper = [item for item in items if len(item.path) > 1]
        for item in deeper:
            self._problem((*at, *item.path[1:]), f"{at[-1]!r} is one value and has no settings below it", item.origin)
        changes.setdefault(at[-1], []).extend([Change(item.value, item.origin) for item in items])
        return _FAILED if deeper else thawed(items[-1].value)

    def _nested(
        self, shape: FieldShape, current: object, items: Sequence[Item], at: Path, changes: Changes
    ) -> object | _Failed:
        """Return a nested config; a value in its place starts anew, and None empties it."""
        replaced = max(
            (i for i, item in enumerate(items) if not item.path and not is_empty_mapping(item.value)), default=-1
        )
        if replaced >= 0:
            current = items[replaced].value
            changes.setdefault(at[-1], []).append(Change(current, items[replaced].origin))
        rest = items[replaced + 1 :]
        if rest or isinstance(current, Config):
            return self.config(shape.config_class, current if isinstance(current, Config) else None, rest, at)
        return thawed(current)

    def _slot(
        self, shape: FieldShape, default: Subtask[Any] | None, items: Sequence[Item], at: Path, changes: Changes
    ) -> Subtask[Any] | _Failed | None:
        """Return the subtask that ``items`` make of ``default``; None for an empty slot."""
        state = SlotState(at, default, shape.family)
        for _, layer in groupby(items, key=lambda item: item.rank):
            state.apply(list(layer))
        for path, notes in state.changes.items():
            changes.setdefault(".".join(path[len(at) - 1 :]), []).extend(notes)
        for change, path in state.dropped:
            structlog.get_logger().info(
                "setting dropped", setting=self._name(path), value=change.value, why=change.note
            )
        for path, message, origin in state.problems:
            self._problem(path, message, origin)
        if state.problems:
            return _FAILED
        if state.task is None:
            if not shape.optional:
                self._problem(at, "this slot cannot be empty", state.emptied_by)
                return _FAILED
            return None
        if default is not None and state.task is default.task and state.base is default.config and not state.live:
            return default
        config = self.config(state.task.config_class, state.base, state.live, at)
        return config if isinstance(config, _Failed) else Subtask(state.task, config)

    def _plugins(
        self, shape: FieldShape, current: object, items: Sequence[Item], at: Path, changes: Changes
    ) -> ReadOnlyMapping[Subtask[Any]] | _Failed:
        """Return the plug-ins that ``items`` make of the ``current`` ones."""
        plugins: dict[str, Subtask[Any] | None] = dict(current) if isinstance(current, Mapping) else {}
        emptied = max((index for index, item in enumerate(items) if not item.path and item.value is None), default=-1)
        if emptied >= 0:
            plugins = {}
            changes.setdefault(at[-1], []).append(Change(None, items[emptied].origin))
        failed = False
        named = [item for item in items[emptied + 1 :] if item.path or not is_empty_mapping(item.value)]
        for name, group in _by_name(named).items():
            below = [item.shortened() for item in group]
            if not name or (name not in plugins and not any(item.path == ("task",) for item in below)):
                hint = did_you_mean(name, plugins) or "; name a task to add one"
                words = f"no such plug-in{hint}" if name else "plug-ins are a mapping from name to slot"
                self._problem((*at, name) if name else at, words, group[0].origin)
                failed = True
                continue
            one = FieldShape(Kind.SLOT, optional=True, family=shape.family)
            inner: Changes = {}
            made = self._slot(one, plugins.get(name), below, (*at, name), inner)
            for key, notes in inner.items():
                changes.setdefault(f"{at[-1]}.{key}", []).extend(notes)
            failed = failed or isinstance(made, _Failed)
            plugins[name] = None if isinstance(made, _Failed) else made
        return (
            _FAILED if failed else ReadOnlyMapping({name: slot for name, slot in plugins.items() if slot is not None})
        )

    def _validated(
        self, cls: type[Config], values: dict[str, object], changes: Changes, failed: set[str], at: Path
    ) -> Config | _Failed:
        origins = {key: change.origin for key, notes in changes.items() for change in notes if not change.note}
        try:
            config = cls(**values)
        except ConfigError as error:
            found = (
                mistakes(error.__cause__, cls) if isinstance(error.__cause__, ValidationError) else [((), str(error))]
            )
            for path, words in found:
                if not (failed and path[:1] in {(), *((name,) for name in failed)}):
                    self._problem((*at, *path), words, _nearest(origins, path))
            return _FAILED
        for name in values:
            if name in origins and (expected := _misread(values[name], getattr(config, name))):
                self._problem((*at, name), f"should be of type {expected}; got {values[name]!r}", origins[name])
                failed.add(name)
        return _FAILED if failed else config.with_changes({key: tuple(notes) for key, notes in changes.items()})

    def _unknown(self, cls: type[Config], name: str, items: Sequence[Item], at: Path) -> None:
        """Tell that there is no field ``name``, once for each layer that names it."""
        for _, layer in groupby(items, key=lambda item: item.rank):
            item = next(layer)
            words = no_such_field(name, cls)
            if self._labels and not at and len(item.path) > 1:
                words = f"no such label{did_you_mean(name, self._labels) or '; there are ' + ', '.join(self._labels)}"
            self._problem((*at, name), words, item.origin)

    def _problem(self, path: Path, message: str, origin: str) -> None:
        where = f" (from {origin})" if origin else ""
        self.problems.append(f"{self._name(path)}: {message}{where}" if path else f"{message}{where}")

    def _name(self, path: Path) -> str:
        """Return the flat path as a user writes it: the colon follows the label."""
        if len(path) > 1 and path[0] in self._labels:
            return f"{path[0]}:{'.'.join(path[1:])}"
        return ".".join(path)


def _by_name(items: Iterable[Item]) -> dict[str, list[Item]]:
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.path[0] if item.path else "", []).append(item)
    return groups


def _merged_mapping(shape: FieldShape, current: object, items: Sequence[Item]) -> object:
    """Merge values by name; None removes one, or all."""
    merged = thawed(current) if isinstance(current, Mapping) else {}
    for item in items:
        if not item.path:
            if item.value is None:
                merged = {}
            elif not is_empty_mapping(item.value):
                return thawed(item.value)
        elif isinstance(merged, dict):
            _put_value(shape, merged, item)
    return merged


def _put_value(shape: FieldShape, merged: dict[str, object], item: Item) -> None:
    path = item.path if shape.nested_values else (".".join(item.path),)
    if item.value is not None:
        put(merged, path, thawed(item.value))
        return
    for name in path[:-1]:
        below = merged.get(name)
        merged = below if isinstance(below, dict) else {}
    merged.pop(path[-1], None)


def _merged_choice(shape: FieldShape, current: object, items: Sequence[Item]) -> object:
    """Merge settings of one of several configs; naming another one starts anew."""
    merged: dict[str, object] = {}
    if isinstance(current, Config):
        merged = {name: getattr(current, name) for name in current.model_fields_set | {shape.discriminator}}
    for item in sorted(items, key=lambda item: (item.rank, item.path != (shape.discriminator,))):
        if not item.path:
            return thawed(item.value)
        if item.path == (shape.discriminator,) and merged.get(shape.discriminator) != item.value:
            merged = {}
        put(merged, item.path, thawed(item.value))
    return merged


def _nearest(origins: Mapping[str, str], path: Path) -> str:
    """Return the origin of the setting at ``path`` or around it."""
    for length in range(len(path), 0, -1):
        if origin := origins.get(".".join(path[:length])):
            return origin
    return ""


def _misread(given: object, built: object) -> str:
    """Return the type expected where pydantic made a number of a text or of a truth value; empty if it did not."""
    if isinstance(given, str | bool):
        return type(built).__name__ if type(built) in (int, float, bool) and type(given) is not type(built) else ""
    if isinstance(given, list) and isinstance(built, tuple) and len(given) == len(built):
        return next((found for pair in zip(given, built, strict=True) if (found := _misread(*pair))), "")
    if isinstance(given, dict) and isinstance(built, Mapping):
        return next((found for key in given if key in built and (found := _misread(given[key], built[key]))), "")
    return ""
