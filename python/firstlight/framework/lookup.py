"""Finding a task class by its name, through the entry points of installed packages.

A short name (``PixelPsfTask``) is looked up in the entry-point group ``firstlight.tasks``; ``package.module:Class``
names a class of an installed package directly. Modules are imported only when one of their tasks is asked for.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from firstlight.errors import ConfigError

GROUP = "firstlight.tasks"
"""Entry-point group in which packages name their tasks."""


def find_class(name: str) -> type:
    """Return the class called ``name``, imported if need be.

    Parameters
    ----------
    name
        A short name from the entry points, or ``package.module:Class``.

    Raises
    ------
    ConfigError
        If there is no such name, two packages claim it, or it cannot be imported from an installed package.
    """
    if ":" in name:
        return _load(name)
    offers = known_tasks().get(name, ())
    if not offers:
        hint = did_you_mean(name, known_tasks()) or "; outside the list of tasks, write package.module:Class"
        raise ConfigError(f"no task is named {name!r}{hint}")
    if len(offers) > 1:
        listed = " and ".join(
            f"{_package(offer)} ({offer.value})" for offer in sorted(offers, key=lambda offer: offer.value)
        )
        raise ConfigError(f"two tasks are named {name!r}: {listed}; write the one you mean as package.module:Class")
    return _load(offers[0].value)


def name_of(cls: type) -> str:
    """Return the name under which `find_class` finds ``cls``: the short one where that is unambiguous."""
    path = f"{cls.__module__}:{cls.__qualname__}"
    offers = known_tasks().get(cls.__name__, ())
    return cls.__name__ if [offer.value for offer in offers] == [path] else path


@cache
def known_tasks() -> Mapping[str, tuple[EntryPoint, ...]]:
    """Return every short name and the entry points that claim it; more than one is a clash.

    The scan happens once; ``known_tasks.cache_clear()`` forgets it.
    """
    found: dict[str, dict[str, EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, {}).setdefault(entry.value, entry)
    return {name: tuple(by_value.values()) for name, by_value in sorted(found.items())}


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the choice nearest to ``word``, or an empty string if none is near."""
    by_lower_case = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(word.lower(), by_lower_case, n=1, cutoff=0.6)
    return f"; did you mean {by_lower_case[near[0]]!r}?" if near else ""


def _package(offer: EntryPoint) -> str:
    return offer.dist.name if offer.dist is not None else "an unnamed package"


def _load(path: str) -> type:
    module_name, _, class_name = path.partition(":")
    _require_installed(module_name, path)
    try:
        found: object = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a package of somebody else's may break in any way
        raise ConfigError(f"{path!r} cannot be imported: {_told(error)}") from error
    for part in class_name.split("."):
        owner, found = found, getattr(found, part, None)
        if found is None:
            raise ConfigError(f"module {module_name!r} has no class {class_name!r}{did_you_mean(part, vars(owner))}")
    if not isinstance(found, type):
        raise ConfigError(f"{path!r} is not a class but a {type(found).__name__}")
    return found


def _told(error: BaseException) -> str:
    """Return the first line of what an error says, with its kind where that tells more than the text."""
    said = (str(error).strip().splitlines() or [""])[0]
    return said if isinstance(error, ImportError) and said else f"{type(error).__name__}: {said}".removesuffix(": ")


def _require_installed(module_name: str, path: str) -> None:
    """Refuse what is not there, and what would be imported from the working directory."""
    top = module_name.partition(".")[0]
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise ConfigError(f"{path!r} is not of the form package.module:Class")
    spec = importlib.util.find_spec(top) if top not in ("", "__main__") else None
    if spec is None:
        raise ConfigError(f"{path!r}: no package {top!r} is installed")
    places = [Path(place).parent for place in spec.submodule_search_locations or ()]
    places = places or ([Path(spec.origin).parent] if spec.has_location and spec.origin else [])
    working = Path.cwd()
    if any(place.resolve() == working for place in places) and str(working) not in _installed_places():
        raise ConfigError(f"{path!r}: {top!r} is only in the working directory; install the package first")


def _installed_places() -> set[str]:
    """Return the import folders that are there for other reasons than being the working directory."""
    return {place for place in sys.path[1:] if place}
