"""Parameters of a pipeline: values that are given once and stand in several settings as ``parameters.name``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from firstlight.framework.lookup import did_you_mean
from firstlight.framework.mappings import ReadOnlyMapping
from firstlight.framework.overrides import Layer, Setting

PARAMETERS = "parameters"
"""The name under which ``-c parameters:name=value`` sets a parameter; no label can have it."""

_REFERENCE = re.compile(r"parameters\.(\w+)")


def with_parameters(
    layers: Sequence[Layer], parameters: Mapping[str, Setting], problems: list[str]
) -> tuple[Layer, ...]:
    """Return ``layers`` with the value of each parameter in place of its name.

    A setting that names a parameter that is not there is told among ``problems`` and left out.
    """
    for name, setting in parameters.items():
        problems += [
            f"parameters:{name}: a parameter is a plain value; got 'parameters.{other}' (from {setting.origin})"
            for other in _named(setting.value)
        ]
    return tuple(
        Layer(tuple(filled for s in layer.settings if (filled := _filled(s, parameters, problems)) is not None))
        for layer in layers
    )


def _filled(setting: Setting, parameters: Mapping[str, Setting], problems: list[str]) -> Setting | None:
    names = list(dict.fromkeys(_named(setting.value)))
    label, *below = setting.path
    missing = [name for name in names if name not in parameters]
    for name in missing:
        hint = did_you_mean(name, parameters) or f"; there are {', '.join(parameters) or 'none'}"
        problems.append(f"{label}:{'.'.join(below)}: no parameter {name!r}{hint} (from {setting.origin})")
    if missing:
        return None
    if not names:
        return setting
    origin = f"{setting.origin} with {', '.join(parameters[name].origin for name in names)}"
    return Setting(setting.path, _with_values(setting.value, parameters), origin)


def _named(value: object) -> Iterator[str]:
    """Yield the name of every parameter in ``value``."""
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple):
        for item in value:
            yield from _named(item)
    elif isinstance(value, str) and (named := _REFERENCE.fullmatch(value)):
        yield named[1]


def _with_values(value: object, parameters: Mapping[str, Setting]) -> object:
    if isinstance(value, Mapping):
        return ReadOnlyMapping({key: _with_values(item, parameters) for key, item in value.items()})
    if isinstance(value, tuple):
        return tuple(_with_values(item, parameters) for item in value)
    named = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return value if named is None else parameters[named[1]].value
