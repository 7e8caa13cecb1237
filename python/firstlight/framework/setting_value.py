"""Finding the value at a path below settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from firstlight.errors import ConfigError
from firstlight.framework.config import Config, Slot
from firstlight.framework.lookup import did_you_mean, name_of


def value_at(settings: object, names: Sequence[str], *, path: str) -> object:
    """Return what stands at ``names`` below a config, a slot or a mapping; ``task`` is the name of a slot's class.

    Parameters
    ----------
    settings
        Where to begin.
    names
        Names down to the value.
    path
        What to call the whole path in the error.

    Raises
    ------
    ConfigError
        If there is no such setting.
    """
    found = settings
    for name in names:
        if isinstance(found, Slot) and name == "task":
            found = name_of(found.task)
            continue
        known = _entries(found.config if isinstance(found, Slot) else found)
        if known is None:
            where = "is empty" if found is None else f"is one value, {found!r}"
            raise ConfigError(f"{path}: no such setting; what {name!r} should stand in {where}")
        if name not in known:
            raise ConfigError(f"{path}: no such setting{did_you_mean(name, known) or _there_are(known)}")
        found = known[name]
    return found


def _entries(found: object) -> Mapping[str, object] | None:
    if isinstance(found, Config):
        return {name: vars(found)[name] for name in type(found).model_fields}
    return found if isinstance(found, Mapping) else None


def _there_are(known: Mapping[str, object]) -> str:
    return f"; there are {', '.join(known) or 'none'}"
