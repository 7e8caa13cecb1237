"""Writing YAML by hand: settings below their documentation, numbers that read back exactly."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

WIDTH = 100
"""Columns to which documentation is wrapped."""


@dataclass(frozen=True)
class Documented:
    """A key with its documentation, and a plain value or a tuple of `Documented`."""

    key: str
    documentation: str
    value: object


def documented_yaml(entries: Iterable[Documented], *, indent: str = "") -> str:
    """Return YAML text for ``entries``, each key below its documentation as comments."""
    lines: list[str] = []
    for entry in entries:
        for paragraph in entry.documentation.splitlines():
            lines += textwrap.wrap(paragraph, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        key = f"{indent}{plain_key(entry.key)}:"
        if isinstance(entry.value, tuple) and _has_documentation(entry.value):
            lines += [key, documented_yaml(entry.value, indent=f"{indent}  ").removesuffix("\n")]
        else:
            lines.append(f"{key} {flow(entry.value)}")
    return "\n".join(lines) + "\n" if lines else "{}\n"


def _has_documentation(entries: tuple[Documented, ...]) -> bool:
    return any(entry.documentation or entry.key == "task" or isinstance(entry.value, tuple) for entry in entries)


def plain_yaml(values: object) -> str:
    """Return YAML text for a mapping of plain values, one key a line."""
    if not isinstance(values, Mapping) or not values:
        return f"{flow(values)}\n"
    return "".join(f"{plain_key(str(key))}: {flow(value)}\n" for key, value in values.items())


def plain_key(key: str) -> str:
    """Return ``key`` as a YAML key, quoted where a parser would not read it as the same text."""
    reserved = key.lower() in {"null", "true", "false", "yes", "no", "on", "off", "y", "n", ""}
    safe = key.replace(".", "").replace("-", "").isidentifier() and key.isascii() and not reserved and key[0].isalpha()
    return key if safe else _quoted(key)


def flow(value: object) -> str:
    """Return a plain value on one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{plain_key(str(key))}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple):
        return flow({entry.key: entry.value for entry in value})
    if isinstance(value, list):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, float):
        return _float(value)
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    """Return ``text`` in double quotes, with everything escaped that a YAML reader would refuse or fold."""
    escapes = {'"': r"\"", "\\": r"\\", "\n": r"\n", "\t": r"\t"}
    return '"' + "".join(escapes.get(sign) or (sign if sign.isprintable() else _escaped(sign)) for sign in text) + '"'


def _escaped(sign: str) -> str:
    return f"\\u{ord(sign):04x}" if ord(sign) < 0x10000 else f"\\U{ord(sign):08x}"


def _float(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    text = repr(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text
