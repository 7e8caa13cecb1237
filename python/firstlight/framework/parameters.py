"""Parameters of a pipeline: values that are given once and stand in several settings as ``parameters.name``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from firstlight.errors import PipelineError
from firstlight.framework.lookup import did_you_mean
from firstlight.framework.overrides import Layer, Setting

_REFERENCE = re.compile(r"parameters\.(\w+)")


def with_parameters(layers: Sequence[Layer], parameters: Mapping[str, Setting]) -> tuple[Layer, ...]:
    """Return ``layers`` with the value of each parameter in place of its name.

    Raises
    ------
    PipelineError
        If a setting names a parameter that is not there; every such place is told.
    """
    problems: list[str] = []
    filled = tuple(Layer(tuple(_filled(s, parameters, problems) for s in layer.settings)) for layer in layers)
    if problems:
        raise PipelineError("\n".join(problems))
    return filled


def _filled(setting: Setting, parameters: Mapping[str, Setting], problems: list[str]) -> Setting:
    used: list[Setting] = []

    def fill(value: object) -> object:
        if isinstance(value, tuple):
            return tuple(fill(item) for item in value)
        named = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if named is None:
            return value
        if named[1] not in parameters:
            hint = did_you_mean(named[1], parameters) or f"; there are {', '.join(parameters) or 'none'}"
            label, *names = setting.path
            problems.append(f"{label}:{'.'.join(names)}: no parameter {named[1]!r}{hint} (from {setting.origin})")
            return value
        used.append(parameters[named[1]])
        return parameters[named[1]].value

    value = fill(setting.value)
    if not used:
        return setting
    return Setting(setting.path, value, f"{setting.origin} with {', '.join(each.origin for each in used)}")
