"""Reading YAML so that every value keeps the line it stands on, and a key given twice is an error.

Scalars follow YAML 1.2: ``1e-3`` is a number, ``12:30:00`` and ``no`` are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from firstlight.errors import ConfigError

_Parser = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Parser):  # type: ignore[misc,valid-type]  # the parser in C is there where libyaml is
    """PyYAML's safe loader with the plain scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ("~", "n", "N", "")),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", tuple("tTfF")),
    ("int", r"^(?:[-+]?[0-9]+|0x[0-9a-fA-F]+)$", tuple("-+0123456789")),
    ("float", r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)$", tuple("-+.0123456789")),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", tuple("-+.")),
    ("merge", r"^(?:<<)$", tuple("<")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


MOST_VALUES = 100_000
"""Values in one YAML text, those of aliases counted wherever they stand."""


@dataclass(frozen=True)
class Leaf:
    """A value in a YAML text that is not a mapping with entries, and where it stands."""

    path: tuple[str, ...]
    value: object
    line: int


@dataclass(frozen=True)
class Located:
    """A value in a YAML text, and where it stands; so are all values inside it."""

    value: object
    """A scalar, a list of `Located`, or a dict from name to `Located`."""

    line: int

    def plain(self) -> object:
        """Return the value without lines."""
        if isinstance(self.value, dict):
            return {name: item.plain() for name, item in self.value.items()}
        return [item.plain() for item in self.value] if isinstance(self.value, list) else self.value


def read_located(text: str, *, source: str) -> dict[str, Located]:
    """Return the mapping in ``text``, each value with its line.

    Raises
    ------
    ConfigError
        If the text is not YAML, not a mapping, or gives a key twice.
    """
    loader = _Loader(text)
    try:
        node = _finite(loader.get_single_node(), source)
        if node is None or (isinstance(node, yaml.ScalarNode) and node.value == ""):
            return {}
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{source}:{node.start_mark.line + 1}: a mapping was expected.")
        return {key: _located(loader, value, line, source) for key, line, value in _entries(loader, node, source)}
    except yaml.YAMLError as error:
        raise ConfigError(_where(error, source)) from error
    finally:
        loader.dispose()


def read_leaves(text: str, *, source: str) -> list[list[Leaf]]:
    """Return the leaves of every YAML document in ``text``, in their order.

    A dot in a key separates names, as in ``psf.order: 3``.

    Parameters
    ----------
    text
        YAML; each document is a mapping.
    source
        What to call the text in errors: the path of the file.

    Raises
    ------
    ConfigError
        If the text is not YAML, not a mapping, or gives a key twice.
    """
    loader = _Loader(text)
    try:
        documents = []
        while loader.check_node():
            documents.append(_document(loader, _finite(loader.get_node(), source), source))
    except yaml.YAMLError as error:
        raise ConfigError(_where(error, source)) from error
    finally:
        loader.dispose()
    return documents


def read_value(text: str) -> object:
    """Return the one YAML value in ``text``.

    Raises
    ------
    ConfigError
        If the text is not YAML, or gives a key twice.
    """
    loader = _Loader(text)
    try:
        node = _finite(loader.get_single_node(), "")
        return None if node is None else _plain(loader, node, "")
    except yaml.YAMLError as error:
        raise ConfigError(_where(error, "").lstrip(":")) from error
    finally:
        loader.dispose()


def _finite(node: yaml.Node | None, source: str) -> yaml.Node | None:
    """Return ``node``, once it is known that its aliases (``*name``) do not make it endless."""
    waiting: list[yaml.Node] = [] if node is None else [node]
    left = MOST_VALUES
    while waiting:
        each = waiting.pop()
        left -= 1
        if left < 0:
            where = f"{source}:{each.start_mark.line + 1}"
            raise ConfigError(f"{where}: aliases make more than {MOST_VALUES} values of it.".lstrip(":"))
        if isinstance(each, yaml.SequenceNode):
            waiting += each.value
        elif isinstance(each, yaml.MappingNode):
            waiting += [part for pair in each.value for part in pair]
    return node


def _document(loader: yaml.SafeLoader, node: yaml.Node | None, source: str) -> list[Leaf]:
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value == ""):
        return []
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{source}:{node.start_mark.line + 1}: a mapping of settings was expected.")
    leaves: dict[tuple[str, ...], Leaf] = {}
    for leaf in _leaves(loader, node, (), source):
        if leaf.path in leaves:
            raise ConfigError(_twice(".".join(leaf.path), leaves[leaf.path].line, leaf.line, source))
        leaves[leaf.path] = leaf
    return list(leaves.values())


def _leaves(loader: yaml.SafeLoader, node: yaml.MappingNode, path: tuple[str, ...], source: str) -> Iterator[Leaf]:
    for key, line, value in _entries(loader, node, source):
        below = (*path, *key.split("."))
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _leaves(loader, value, below, source)
        else:
            yield Leaf(below, _plain(loader, value, source), line)


def _entries(loader: yaml.SafeLoader, node: yaml.MappingNode, source: str) -> Iterator[tuple[str, int, yaml.Node]]:
    lines: dict[str, int] = {}
    for key_node, value in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag.endswith(":merge"):
            raise ConfigError(f"{source}:{line}: a key is plain text; merge keys are not supported.")
        key = key_node.value
        if key in lines:
            raise ConfigError(_twice(key, lines[key], line, source))
        lines[key] = line
        yield key, line, value


def _located(loader: yaml.SafeLoader, node: yaml.Node, line: int, source: str) -> Located:
    if isinstance(node, yaml.MappingNode):
        entries = _entries(loader, node, source)
        return Located({key: _located(loader, value, below, source) for key, below, value in entries}, line)
    if isinstance(node, yaml.SequenceNode):
        return Located([_located(loader, item, item.start_mark.line + 1, source) for item in node.value], line)
    return Located(loader.construct_object(node), line)


def _plain(loader: yaml.SafeLoader, node: yaml.Node, source: str) -> object:
    if isinstance(node, yaml.MappingNode):
        return {key: _plain(loader, value, source) for key, _, value in _entries(loader, node, source)}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, item, source) for item in node.value]
    return loader.construct_object(node)


def _twice(key: str, first: int, second: int, source: str) -> str:
    return f"{source}:{second}: {key!r} is given twice; first on line {first}."


def _where(error: yaml.YAMLError, source: str) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = " ".join(str(getattr(error, "problem", None) or error).split())
    return f"{source}:{mark.line + 1}: {problem}." if mark is not None else f"{source}: {problem}."
