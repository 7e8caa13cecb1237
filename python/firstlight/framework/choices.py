"""How the settings of a choice are put together: one of several configs that a field tells apart."""

from __future__ import annotations

from collections.abc import Sequence

from firstlight.framework.config import Change, Config
from firstlight.framework.field_shapes import FieldShape
from firstlight.framework.items import Item, Path
from firstlight.framework.mistakes import not_among
from firstlight.framework.overrides import is_empty_mapping
from firstlight.framework.slots import Told, fits


class ChoiceState(Told):
    """A choice to which layers are applied one after the other."""

    def __init__(self, at: Path, shape: FieldShape, current: object) -> None:
        super().__init__(at)
        self._shape = shape
        self._key = (shape.discriminator,)
        self._default = self.base = current if isinstance(current, Config) else None
        self.cls: type[Config] | None = None if self.base is None else type(self.base)
        self.live: list[Item] = []

    def apply(self, items: Sequence[Item]) -> None:
        """Apply the settings of one layer; within it the class is chosen before its settings are looked at."""
        whole = [index for index, item in enumerate(items) if not item.path and not is_empty_mapping(item.value)]
        if whole:
            self._replace(items[whole[-1]])
        rest = [item for item in items[whole[-1] + 1 if whole else 0 :] if item.path]
        for item in rest:
            if item.path == self._key:
                self._choose(item)
        for item in rest:
            if item.path != self._key:
                self._set(item)

    def _replace(self, item: Item) -> None:
        self.record(self.at, Change(item.value, item.origin))
        for earlier in self.live:
            self.drop(earlier, f"dropped: {self.at[-1]} was replaced by {item.origin}")
        self.live, self.base, self.cls = [], None, None
        if item.value is not None or not self._shape.optional:
            words = f"takes one mapping such as {{{self._key[0]}: ..., field: value}}; got {item.value!r}"
            self.problems.append((self.at, words, item.origin))

    def _choose(self, item: Item) -> None:
        new = next((cls for tag, cls in self._shape.choices.items() if tag == item.value), None)
        if new is None:
            words = not_among(item.value, list(self._shape.choices))
            self.problems.append(((*self.at, *self._key), words, item.origin))
            return
        old, self.cls = self.cls, new
        if old is not None and old is not new:
            why = f"dropped: {self.at[-1]} was changed from {old.__name__} to {new.__name__} by {item.origin}"
            kept = []
            for earlier in self.live:
                if earlier.path != self._key and fits(old, self.base, new, earlier.path, self.live):
                    kept.append(earlier)
                else:
                    self.drop(earlier, why)
            self.live, self.base = kept, self._default if type(self._default) is new else None
        self.live.append(item)

    def _set(self, item: Item) -> None:
        if self.cls is not None:
            self.live.append(item)
        elif not self.problems:
            tags = " or ".join(map(repr, self._shape.choices))
            words = f"set {self._key[0]!r} to {tags} first"
            self.problems.append(((*self.at, *item.path), words, item.origin))
