"""Building a config from layers: merge, validate once, and tell every mistake at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import structlog
from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from firstlight.errors import ConfigError
from firstlight.framework.choices import ChoiceState
from firstlight.framework.config import Change, Config, default_of
from firstlight.framework.field_shapes import FieldShape, Kind, field_shapes
from firstlight.framework.former_settings import renamed, under_former_names
from firstlight.framework.items import Item, Path, by_layer, by_name
from firstlight.framework.lookup import did_you_mean
from firstlight.framework.mappings import ReadOnlyMapping, thawed
from firstlight.framework.mistakes import misread, mistakes, no_such_field, origin_of
from firstlight.framework.overrides import Layer, Setting, flattened, is_empty_mapping
from firstlight.framework.slots import SlotState, Told
from firstlight.framework.subtask import Subtask
from firstlight.framework.task import Task

ConfigT = TypeVar("ConfigT", bound=Config)
V = TypeVar("V")
SettingsOfClass = Callable[[type[Task[Any]]], Iterable[Setting]]
"""Task class -> settings, relative to the task, that every label of the class starts with."""

Changes = dict[str, list[Change]]


class _Failed:
    """Stands for a value that could not be made; the reason is among the problems."""


_FAILED = _Failed()


def build_config(
    config_class: type[ConfigT],
    layers: Sequence[Layer],
    *,
    labelled: bool = True,
    labels_in: str = "",
    settings_of_class: SettingsOfClass | None = None,
) -> ConfigT:
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
    labels_in
        Name of the field whose plug-ins are the labels instead; the paths that a user sees begin below it.
    settings_of_class
        Settings of every label above the defaults of its class and below all ``layers``: those of an instrument.

    Raises
    ------
    ConfigError
        If anything does not fit: one line for each mistake, with its origin.
    """
    builder = _Builder(config_class, labelled=labelled, labels_in=labels_in, settings_of_class=settings_of_class)
    items = [Item(s.path, s.value, s.origin, rank) for rank, layer in enumerate(layers) for s in layer.settings]
    built = builder.config(config_class, None, items, ())
    if not isinstance(built, config_class):
        raise ConfigError("\n".join(builder.problems))
    return built


class _Builder:
    """One call of `build_config`: collects problems while it goes down the tree of settings."""

    def __init__(
        self, root: type[Config], *, labelled: bool, labels_in: str, settings_of_class: SettingsOfClass | None
    ) -> None:
        self.problems: list[str] = []
        self._labels_in = labels_in
        self._settings_of_class = settings_of_class
        self._labels = [name for name, shape in field_shapes(root).items() if labelled and shape.kind is Kind.SLOT]

    def config(self, cls: type[Config], base: Config | None, items: Sequence[Item], at: Path) -> Config | _Failed:
        """Return a config of ``cls`` with ``items`` above the settings of ``base``."""
        shapes = field_shapes(cls)
        values = {name: vars(base)[name] for name in base.model_fields_set} if base is not None else {}
        changes: Changes = {key: list(old) for key, old in base.changes().items()} if base is not None else {}
        failed: set[str] = set()
        groups = by_name(items)
        if not groups.keys() <= shapes.keys():
            groups = self._known(cls, groups, failed, at)
        for name in _in_order(shapes, groups):
            shape, group = shapes[name], groups[name]
            if shape.deprecated is not None:
                self._deprecated(shape.deprecated, (*at, name), group)
            if shape.kind is Kind.PLAIN and shape.value is None:
                value = self._plain(group, (*at, name), changes)
            else:
                current = values[name] if name in values else default_of(cls, name, values)
                value = self._field(shape, current, group, (*at, name), changes)
            if value is _FAILED:
                failed.add(name)
            else:
                values[name] = value
        return self._validated(cls, values, changes, failed, at)

    def _known(
        self, cls: type[Config], groups: dict[str, list[Item]], failed: set[str], at: Path
    ) -> dict[str, list[Item]]:
        """Return the settings of fields that exist; those under a former name are taken, unknown ones are told."""
        shapes = field_shapes(cls)
        known = {name: group for name, group in groups.items() if name in shapes}
        former = set()
        for taken in under_former_names(cls, groups):
            path, now, origin = (*at, taken.name), taken.former.field, taken.items[0].origin
            former.add(taken.name)
            if taken.also is not None:
                self._problem(path, f"is the former name of {now!r}, which {taken.also.origin} gives too", origin)
                failed.add(now)
                continue
            setting, name = self._name(path), self._name((*at, now))
            structlog.get_logger().warning(
                "setting renamed", setting=setting, now=name, since=taken.former.since, origin=origin
            )
            known[now] = sorted([*known.get(now, ()), *renamed(taken)], key=lambda item: item.rank)
        for name, group in groups.items():
            if name not in shapes and name not in former:
                self._unknown(cls, name, group, at)
                failed.add("")
        return known

    def _deprecated(self, advice: str, at: Path, items: Sequence[Item]) -> None:
        for layer in by_layer(items):
            structlog.get_logger().warning(
                "setting deprecated", setting=self._name(at), advice=advice, origin=layer[0].origin
            )

    def _field(
        self, shape: FieldShape, current: object, items: Sequence[Item], at: Path, changes: Changes
    ) -> object | _Failed:
        """Return the value of a field that has names below it."""
        if shape.computed and current is PydanticUndefined:
            words = "its default cannot be computed from the other settings"
            self._problem((*at, *items[0].path[1:]), words, items[0].origin)
            return _FAILED
        if shape.kind is Kind.PLAIN:
            return self._sequence(shape, items, at, changes)
        make = {
            Kind.SLOT: self._slot,
            Kind.PLUGINS: self._plugins,
            Kind.CONFIG: self._nested,
            Kind.CHOICE: self._choice,
            Kind.MAPPING: self._mapping,
        }[shape.kind]
        return make(shape, current, [item.shortened() for item in items], at, changes)

    def _plain(self, items: Sequence[Item], at: Path, changes: Changes) -> object | _Failed:
        """Return the last value of a field that nothing stands below."""
        failed = False
        notes = changes.setdefault(at[-1], [])
        for path, value, origin, _ in items:
            notes.append(Change(value, origin))
            if len(path) > 1:
                self._problem((*at, *path[1:]), f"{at[-1]!r} is one value and has no settings below it", origin)
                failed = True
        return _FAILED if failed else thawed(items[-1].value)

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
        rest = [item for item in items[replaced + 1 :] if item.path]
        if len(items) > replaced + 1 or isinstance(current, Config):
            return self.config(shape.config_class, current if isinstance(current, Config) else None, rest, at)
        return thawed(current)

    def _choice(
        self, shape: FieldShape, current: object, items: Sequence[Item], at: Path, changes: Changes
    ) -> object | _Failed:
        """Return one of several configs; what an earlier one was told is kept where both share the field."""
        state = ChoiceState(at, shape, current)
        for layer in by_layer(items):
            state.apply(layer)
        if not self._told(state, changes):
            return _FAILED
        return None if state.cls is None else self.config(state.cls, state.base, state.live, at)

    def _sequence(self, shape: FieldShape, items: Sequence[Item], at: Path, changes: Changes) -> object | _Failed:
        """Return the items of a tuple; each is built on its own where it is a config or a slot."""
        value, (*_, last) = self._plain(items, at, changes), items
        if shape.value is None or not isinstance(last.value, tuple) or isinstance(value, _Failed):
            return value
        made = []
        for index, each in enumerate(last.value):
            name = str(index)
            settings = [Item((name, *s.path), s.value, s.origin, 0) for s in flattened((), each, last.origin)]
            whole = settings or [Item((name,), each, last.origin, 0)]
            made.append(self._field(shape.value, None, whole, (*at, name), {}))
        return _FAILED if _FAILED in made else tuple(made)

    def _mapping(
        self, shape: FieldShape, current: object, items: Sequence[Item], at: Path, changes: Changes
    ) -> object | _Failed:
        """Merge values by name; None removes one, or all."""
        # Names in a file are text; what takes numbers reads them as such.
        merged = {str(name): value for name, value in current.items()} if isinstance(current, Mapping) else {}
        inner: Changes = {}
        for item in items:
            if not (item.path and shape.nested_values):
                inner.setdefault(".".join(item.path), []).append(Change(item.value, item.origin))
        emptied = max((index for index, item in enumerate(items) if not item.path and item.value is None), default=-1)
        if emptied >= 0:
            merged = {}
        rest = items[emptied + 1 :]
        odd = next((item for item in rest if not item.path and not is_empty_mapping(item.value)), None)
        named = [item for item in rest if item.path] if odd is None else []
        if shape.nested_values and shape.value is not None:
            self._values(shape.value, merged, named, at, inner)
        else:
            merged |= {".".join(item.path): thawed(item.value) for item in named}
        for key, notes in inner.items():
            changes.setdefault(f"{at[-1]}.{key}" if key else at[-1], []).extend(notes)
        if odd is not None:
            return thawed(odd.value)
        return _FAILED if _FAILED in merged.values() else _kept(merged, current)

    def _values(
        self, shape: FieldShape, merged: dict[str, object], items: Sequence[Item], at: Path, changes: Changes
    ) -> None:
        """Put ``items`` into values that have names below them; None removes one."""
        for name, group in by_name(items).items():
            removed = max((i for i, item in enumerate(group) if len(item.path) == 1 and item.value is None), default=-1)
            if removed >= 0:
                merged[name] = None
                changes.setdefault(name, []).append(Change(None, group[removed].origin))
            if later := group[removed + 1 :]:
                merged[name] = self._field(shape, merged.get(name), later, (*at, name), changes)

    def _slot(
        self, shape: FieldShape, current: object, items: Sequence[Item], at: Path, changes: Changes
    ) -> Subtask[Any] | _Failed | None:
        """Return the subtask that ``items`` make of the ``current`` one; None for an empty slot."""
        default = current if isinstance(current, Subtask) else None
        state = SlotState(at, default, shape.family)
        for layer in by_layer(items):
            state.apply(layer)
        if not self._told(state, changes):
            return _FAILED
        if state.task is None:
            if not shape.optional:
                self._problem(at, "this slot cannot be empty", state.emptied_by)
                return _FAILED
            return None
        live = [*self._class_items(state.task, at), *state.live]
        if default is not None and state.task is default.task and state.base is default.config and not live:
            return default
        config = self.config(state.task.config_class, state.base, live, at)
        return config if isinstance(config, _Failed) else Subtask(state.task, config)

    def _class_items(self, task: type[Task[Any]], at: Path) -> list[Item]:
        """Return what every label of the class of ``task`` starts with; nothing for what is no label."""
        if self._settings_of_class is None or not self._is_label(at):
            return []
        return [Item(s.path, s.value, s.origin, -1) for s in self._settings_of_class(task)]

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
        for name, group in by_name(named).items():
            below = [item.shortened() for item in group]
            if not name or (name not in plugins and not any(item.path == ("task",) for item in below)):
                hint = did_you_mean(name, plugins) or "; name a task to add one"
                kind = "label" if at == (self._labels_in,) else "plug-in"
                words = f"no such {kind}{hint}" if name else "plug-ins are a mapping from name to slot"
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
        return _FAILED if failed else ReadOnlyMapping(_kept(plugins, current))

    def _told(self, state: Told, changes: Changes) -> bool:
        """Take over what putting settings together found out; return whether there was no mistake."""
        for path, notes in state.changes.items():
            changes.setdefault(".".join(path[len(state.at) - 1 :]), []).extend(notes)
        for change, path in state.dropped:
            structlog.get_logger().info(
                "setting dropped", setting=self._name(path), value=change.value, why=change.note
            )
        for path, message, origin in state.problems:
            self._problem(path, message, origin)
        return not state.problems

    def _validated(
        self, cls: type[Config], values: dict[str, object], changes: Changes, failed: set[str], at: Path
    ) -> Config | _Failed:
        try:
            config = cls(**values)
        except ConfigError as error:
            found = (
                mistakes(error.__cause__, cls) if isinstance(error.__cause__, ValidationError) else [((), str(error))]
            )
            origins = _origins(changes)
            for path, words in found:
                if not (failed and path[:1] in {(), *((name,) for name in failed)}):
                    self._problem((*at, *path), words, origin_of(origins, path, words))
            return _FAILED
        fields = vars(config)
        for name, value in values.items():
            if value is not fields[name] and (wrong := misread(value, fields[name])):
                path, expected, given = wrong
                words = f"should be of type {expected}; got {given!r}"
                self._problem((*at, name, *path), words, origin_of(_origins(changes), (name, *path), words))
                failed.add(name)
        return _FAILED if failed else config.with_changes({key: tuple(notes) for key, notes in changes.items()})

    def _unknown(self, cls: type[Config], name: str, items: Sequence[Item], at: Path) -> None:
        """Tell that there is no field ``name``, once for each layer that names it."""
        for item, *_ in by_layer(items):
            words = no_such_field(name, cls)
            if self._labels and not at and len(item.path) > 1:
                words = f"no such label{did_you_mean(name, self._labels) or '; there are ' + ', '.join(self._labels)}"
            self._problem((*at, name), words, item.origin)

    def _problem(self, path: Path, message: str, origin: str) -> None:
        where = f" (from {origin})" if origin else ""
        self.problems.append(f"{self._name(path)}: {message}{where}" if path else f"{message}{where}")

    def _name(self, path: Path) -> str:
        """Return the flat path as a user writes it: the colon follows the label."""
        labelled = path[0] in self._labels
        if self._labels_in and path[0] == self._labels_in:
            path, labelled = path[1:], True
        if len(path) > 1 and labelled:
            return f"{path[0]}:{'.'.join(path[1:])}"
        return ".".join(path)

    def _is_label(self, at: Path) -> bool:
        if self._labels_in:
            return len(at) == 2 and at[0] == self._labels_in
        return len(at) == 1 and at[0] in self._labels


def _kept(values: Mapping[str, V | None], default: object) -> dict[str, V]:
    """Return the values that were not removed, those that the default has too in its order, then the others."""
    known = (str(name) for name in default) if isinstance(default, Mapping) else ()
    return {name: value for name in dict.fromkeys((*known, *values)) if (value := values.get(name)) is not None}


def _origins(changes: Changes) -> dict[str, str]:
    """Return dotted path -> origin, for every setting that counts."""
    return {key: change.origin for key, notes in changes.items() for change in notes if not change.note}


def _in_order(shapes: Mapping[str, FieldShape], groups: Mapping[str, object]) -> Iterable[str]:
    """Return the names of ``groups``; fields that are computed from others come last, in the order of the class."""
    computed = [name for name, shape in shapes.items() if shape.computed and name in groups]
    return [*(name for name in groups if name not in computed), *computed] if computed else groups
