"""How the settings of one slot are put together: emptied, filled again, given another class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from firstlight.errors import ConfigError
from firstlight.framework.config import Change, Config, default_of
from firstlight.framework.items import Item, Path
from firstlight.framework.lookup import find_class, name_of
from firstlight.framework.mistakes import no_such_field
from firstlight.framework.overrides import is_empty_mapping
from firstlight.framework.renamed import former_names
from firstlight.framework.subtask import Subtask, require_family
from firstlight.framework.task import Task


@dataclass
class Told:
    """What putting settings together found out on its way: changes, dropped settings and mistakes."""

    at: Path
    """Where the settings belong."""

    changes: dict[Path, list[Change]] = field(default_factory=dict, init=False)
    """Full path -> what happened there, or to settings that no longer count."""

    dropped: list[tuple[Change, Path]] = field(default_factory=list, init=False)
    problems: list[tuple[Path, str, str]] = field(default_factory=list, init=False)
    """Full path, words and origin of each mistake."""

    def drop(self, item: Item, why: str) -> None:
        """Record that ``item`` no longer counts."""
        change, path = Change(item.value, item.origin, why), (*self.at, *item.path)
        self.record(path, change)
        self.dropped.append((change, path))

    def record(self, path: Path, change: Change) -> None:
        """Record a change at ``path``."""
        self.changes.setdefault(path, []).append(change)


@dataclass
class SlotState(Told):
    """A slot to which layers are applied one after the other."""

    default: Subtask[Any] | None
    family: type[Task[Any]]
    live: list[Item] = field(default_factory=list)
    """Settings that count so far, their paths relative to the slot."""

    task: type[Task[Any]] | None = field(init=False)
    base: Config | None = field(init=False)
    """Settings that belong to the class; None for its own defaults."""

    emptied_by: str = ""

    def __post_init__(self) -> None:
        self.task = self.default.task if self.default is not None else None
        self.base = self.default.config if self.default is not None else None

    def apply(self, items: Sequence[Item]) -> None:
        """Apply the settings of one layer; within it the class is chosen before its settings are looked at."""
        emptied = max((index for index, item in enumerate(items) if not item.path and item.value is None), default=-1)
        if emptied >= 0:
            self.live += items[:emptied]
            self._empty(items[emptied].origin)
        rest = items[emptied + 1 :]
        for item in rest:
            if item.path == ("task",):
                self._retarget(item)
        for item in rest:
            if item.path != ("task",):
                self._set(item)

    def _empty(self, origin: str) -> None:
        self.record(self.at, Change(None, origin))
        for item in self.live:
            if item.path and item.path != ("task",):
                self.drop(item, f"dropped: {self.at[-1]} was emptied by {origin}")
        self.live, self.task, self.base, self.emptied_by = [], None, None, origin

    def _retarget(self, item: Item) -> None:
        try:
            new = self._named(item.value)
        except ConfigError as error:
            self.problems.append(((*self.at, "task"), str(error), item.origin))
            return
        self.record(self.at, Change(as_text(item.value), item.origin))
        old, self.task = self.task, new
        if old is None or old is new:
            return
        why = f"dropped: {self.at[-1]} was retargeted from {old.__name__} to {new.__name__} by {item.origin}"
        kept: list[Item] = []
        for earlier in self.live:
            if fits(old.config_class, self.base, new.config_class, earlier.path, self.live):
                kept.append(earlier)
            elif not _has(old.config_class, earlier.path[0]):
                words = no_such_field(earlier.path[0], old.config_class)
                self.problems.append(((*self.at, *earlier.path), words, earlier.origin))
            else:
                self.drop(earlier, why)
        belongs = self.default is not None and new is self.default.task
        self.live, self.base = kept, self.default.config if belongs and self.default is not None else None

    def _named(self, value: object) -> type[Task[Any]]:
        if not isinstance(value, str | type):
            raise ConfigError(f"a task is named by a text; got {value!r}")
        # The class that the slot has by default is known, also where it belongs to no installed package.
        if self.default is not None and value == name_of(self.default.task):
            return self.default.task
        task = find_class(value) if isinstance(value, str) else value
        require_family(task, self.family)
        return task

    def _set(self, item: Item) -> None:
        if not item.path:
            if not is_empty_mapping(item.value):
                words = f"a slot takes one mapping such as {{task: Name, field: value}}; got {item.value!r}"
                self.problems.append((self.at, words, item.origin))
        elif self.task is not None:
            self.live.append(item)
        elif not self.problems:
            since = f"since {self.emptied_by}" if self.emptied_by else "by default"
            words = f"the slot {self.at[-1]!r} is empty {since}; name a task to fill it"
            self.problems.append(((*self.at, *item.path), words, item.origin))


def as_text(value: object) -> str:
    """Return a task name as text, also where the class itself was given."""
    return (
        name_of(value)
        if isinstance(value, type) and issubclass(value, Task)
        else getattr(value, "__name__", str(value))
    )


def _has(config_class: type[Config], name: str) -> bool:
    return name in config_class.model_fields or name in former_names(config_class)


def fits(old: type[Config], base: Config | None, new: type[Config], path: Path, live: Iterable[Item]) -> bool:
    """Return whether a setting for ``old`` still means the same for ``new``.

    Its field must be declared by a Config class that both inherit; below an inner slot, the same must hold for the
    configs of the tasks that the slot has in both, unless a setting names its task.
    """
    former = former_names(old).get(path[0])
    name = path[0] if former is None else former.field
    shared = (each for each in old.__mro__ if issubclass(each, Config) and issubclass(new, each))
    if not any(name in each.model_fields for each in shared):
        return False
    if len(path) == 1 or any(item.path == (name, "task") for item in live):
        return True
    before = vars(base)[name] if base is not None else default_of(old, name)
    after = default_of(new, name)
    if not isinstance(before, Subtask):
        return True
    if not isinstance(after, Subtask):
        return False
    same = before.task is after.task
    return same or fits(before.task.config_class, before.config, after.task.config_class, path[1:], ())
