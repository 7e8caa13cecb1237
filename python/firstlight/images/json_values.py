"""Plain values as JSON text that comes back exactly, also where a number is not finite."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

NUMBER_KEY = "float"
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def to_json(value: object) -> str:
    """Return numbers, text, booleans, None, and lists and mappings of these as one line of standard JSON.

    Numbers of numpy become plain ones; a float that is not finite becomes ``{"float": "nan"}``.

    Raises
    ------
    TypeError
        If something else is among them.
    """
    return json.dumps(_plain(value), allow_nan=False, ensure_ascii=True, separators=(",", ":"))


def from_json(text: str) -> Any:
    """Return the value that `to_json` wrote."""
    return json.loads(text, object_hook=_restored)


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {NUMBER_KEY: repr(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"{type(value).__name__} {value!r} cannot be stored; only numbers, text, lists and mappings can.")


def _restored(mapping: dict[str, Any]) -> Any:
    if set(mapping) == {NUMBER_KEY} and mapping[NUMBER_KEY] in NOT_FINITE:
        return NOT_FINITE[mapping[NUMBER_KEY]]
    return mapping
