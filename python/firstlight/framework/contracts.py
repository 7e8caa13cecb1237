"""Contracts: conditions over the settings of a pipeline, in a small language that can only compare and calculate.

::

    condition  = any of  a or b,  a and b,  not a,  a comparison
    comparison = value (== != < <= > >=) value ...,  value [not] in value
    value      = numbers, 'texts', true, false, null, [lists], paths, + - * / //, %, parentheses

A path is that of a setting, as on the command line: ``calibrate:psf.order``; a slot is the name of its task, and null
when it is empty. Texts are never given to Python to run.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from firstlight.errors import ConfigError, PipelineError
from firstlight.framework.config import Config, plain_value
from firstlight.framework.lookup import did_you_mean
from firstlight.framework.setting_value import value_at
from firstlight.framework.words import Words

LONGEST = 1000
"""Characters in the text of a contract."""

DEEPEST = 40
"""Parentheses, lists and signs inside one another."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)
    |(?P<text>'[^'\\]*'|"[^"\\]*")
    |(?P<name>[A-Za-z_]\w*(?:[.:][A-Za-z_]\w*)*)
    |(?P<sign>==|!=|<=|>=|//|[-<>+*/%()\[\],]))""",
    re.VERBOSE,
)
_WORDS: Mapping[str, object] = {
    "true": True,
    "false": False,
    "null": None,
    "True": True,
    "False": False,
    "None": None,
}
_COMPARISONS: Mapping[str, Callable[[Any, Any], object]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SUMS: Mapping[str, Callable[[Any, Any], object]] = {"+": operator.add, "-": operator.sub}
_PRODUCTS: Mapping[str, Callable[[Any, Any], object]] = {
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}
T = TypeVar("T")
Term = Callable[[Mapping[str, Config]], Any]
"""A part of a condition, ready to be evaluated on label -> settings."""


@dataclass(frozen=True)
class Contract:
    """A condition that the settings of a pipeline must meet.

    Raises
    ------
    PipelineError
        If the text is not a condition.
    """

    text: str
    message: str = ""
    """What to tell a user whose settings break it."""

    origin: str = ""
    """``file:line``."""

    _term: Term = field(init=False, repr=False, compare=False)
    paths: tuple[str, ...] = field(init=False, compare=False)
    """The settings it looks at, as they are written."""

    def __post_init__(self) -> None:
        parser = _Parser(self.text)
        object.__setattr__(self, "_term", parser.parsed())
        object.__setattr__(self, "paths", tuple(parser.paths))

    @property
    def words(self) -> str:
        """The condition on one line."""
        return " ".join(self.text.split())

    @property
    def labels(self) -> frozenset[str]:
        """Labels whose settings it looks at."""
        return frozenset(_names(path)[0] for path in self.paths)

    def problem(self, settings: Mapping[str, Config]) -> str:
        """Return why ``settings``, label -> config, break the contract; empty if they do not.

        Raises
        ------
        PipelineError
            If it names a setting that is not there, or compares what cannot be compared.
        """
        try:
            met = self._term(settings)
        except (TypeError, ArithmeticError, ConfigError) as error:
            raise PipelineError(f"contract {self.words!r} cannot be evaluated: {error}") from error
        if met:
            return ""
        told = ["contract broken", self.words, *([" ".join(self.message.split())] if self.message else ())]
        return "; ".join([": ".join(told), *self._values(settings)])

    def _values(self, settings: Mapping[str, Config]) -> Iterator[str]:
        """Yield what the settings are and where they come from, for all that are there."""
        for path in self.paths:
            label, *names = _names(path)
            with suppress(ConfigError):
                yield f"{path} is {_setting(settings, path)!r} ({settings[label].origin('.'.join(names))})"


class _Parser:
    """Recursive descent over the words of one contract."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.paths: dict[str, None] = {}
        if len(text) > LONGEST:
            raise PipelineError(f"contract {' '.join(text[:40].split())!r}... is longer than {LONGEST} characters")
        self._words = Words(text, _TOKEN, self._error, deepest=DEEPEST)

    def parsed(self) -> Term:
        term = self._or()
        self._words.require_end()
        return term

    def _error(self, words: str) -> PipelineError:
        return PipelineError(f"contract {' '.join(self._text.split())!r}: {words}")

    def _or(self) -> Term:
        term = self._and()
        while self._words.takes("or"):
            term = _either(term, self._and())
        return term

    def _and(self) -> Term:
        term = self._not()
        while self._words.takes("and"):
            term = _both(term, self._not())
        return term

    def _not(self) -> Term:
        if self._words.takes("not"):
            inner = self._words.deeper(self._not)
            return lambda settings: not inner(settings)
        return self._comparison()

    def _comparison(self) -> Term:
        terms, signs = [self._sum()], []
        while sign := self._sign():
            signs.append(sign)
            terms.append(self._sum())
        return _chain(terms, signs) if signs else terms[0]

    def _sign(self) -> str:
        if sign := self._words.takes(*_COMPARISONS, "in"):
            return sign
        if self._words.takes("not"):
            if not self._words.takes("in"):
                raise self._error("'not' between two values belongs to 'in'")
            return "not in"
        return ""

    def _sum(self) -> Term:
        term = self._product()
        while sign := self._words.takes(*_SUMS):
            term = _applied(_SUMS[sign], term, self._product())
        return term

    def _product(self) -> Term:
        term = self._value()
        while sign := self._words.takes(*_PRODUCTS):
            term = _applied(_PRODUCTS[sign], term, self._value())
        return term

    def _value(self) -> Term:
        if self._words.takes("-"):
            inner = self._words.deeper(self._value)
            return lambda settings: -_number(inner(settings))
        if self._words.takes("("):
            term = self._words.deeper(self._or)
            self._words.require(")")
            return term
        if self._words.takes("["):
            items = self._words.deeper(self._items)
            return lambda settings: [item(settings) for item in items]
        if self._words.at_end:
            raise self._error("it ends where a value was expected")
        kind, word = self._words.next()
        return self._single(kind, word)

    def _items(self) -> list[Term]:
        items: list[Term] = []
        while not self._words.takes("]"):
            items.append(self._sum())
            if not self._words.takes(","):
                self._words.require("]")
                break
        return items

    def _single(self, kind: str, word: str) -> Term:
        if kind == "number":
            number = int(word) if word.isdigit() else float(word)
            return lambda settings: number
        if kind == "text":
            return lambda settings: word[1:-1]
        if kind == "name" and word in _WORDS:
            return lambda settings: _WORDS[word]
        if kind == "name" and word not in ("and", "or", "not", "in"):
            return self._path(word)
        raise self._error(f"{word!r} stands where a value was expected")

    def _path(self, word: str) -> Term:
        _, *names = _names(word)
        if not names or ":" in ".".join(names):
            raise self._error(f"{word!r} is no setting; write label:setting")
        self.paths[word] = None
        return lambda settings: _setting(settings, word)


def _either(left: Term, right: Term) -> Term:
    return lambda settings: left(settings) or right(settings)


def _both(left: Term, right: Term) -> Term:
    return lambda settings: left(settings) and right(settings)


def _applied(operation: Callable[[Any, Any], object], left: Term, right: Term) -> Term:
    return lambda settings: operation(_number(left(settings)), _number(right(settings)))


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return value


def _chain(terms: list[Term], signs: list[str]) -> Term:
    def compare(settings: Mapping[str, Config]) -> bool:
        left = terms[0](settings)
        for sign, term in zip(signs, terms[1:], strict=True):
            right = term(settings)
            if not _compared(sign, left, right):
                return False
            left = right
        return True

    return compare


def _compared(sign: str, left: Any, right: Any) -> bool:
    if sign in ("in", "not in"):
        return (left in right) is (sign == "in")
    return bool(_COMPARISONS[sign](left, right))


def _names(path: str) -> list[str]:
    """Return label and names of a path."""
    return path.replace(":", ".", 1).split(".")


def _setting(settings: Mapping[str, Config], path: str) -> object:
    """Return the value at a path as YAML would hold it; a slot stands for the name of its task."""
    label, *names = _names(path)
    if label not in settings:
        raise ConfigError(f"{path}: no such label{did_you_mean(label, settings)}")
    return plain_value(value_at(settings[label], names, path=path))
