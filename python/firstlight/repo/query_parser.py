"""Conditions on what a repository holds, as a tree: a small language that can only compare.

::

    condition  = any of  a or b,  a and b,  not a,  (a),  a comparison
    comparison = field (= == != < <= > >=) value,  value (= ...) field,  field [not] like 'M%',
                 field [not] in (value, value, 1..5)
    value      = numbers, 'texts', "texts", true, false, null

A field is a dimension (``visit``, ``band``), a column of the object itself (``exposure_time``) or one of another object
(``exposure.exposure_time``, ``dataset.size``). Words of the language may be in capitals; ``like`` does not tell
capitals from small letters, and in its pattern % stands for any text and _ for one letter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from firstlight.errors import RepoError
from firstlight.framework.words import Words

LONGEST = 10_000
"""Characters in the text of a condition."""

DEEPEST = 40
"""Parentheses and negations inside one another."""

MOST_COMPARISONS = 200
"""Comparisons and ranges in one condition."""

LARGEST = 2**63
"""Whole numbers are smaller than this on either side of zero."""

Sign = Literal["=", "<", "<=", ">", ">=", "like"]
Plain = int | float | str | bool | None
"""What a field can be compared with."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>(?:\d+(?:\.(?!\.)\d*)?|\.\d+)(?:[eE][-+]?\d+)?)
    |(?P<text>'[^'\\]*'|"[^"\\]*")
    |(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
    |(?P<sign>\.\.|==|!=|<=|>=|[-<>=(),]))""",
    re.VERBOSE | re.ASCII,
)
_WORDS = {"true": True, "false": False, "null": None, "none": None}
_KEYWORDS = ("and", "or", "not", "in", "like")
_SIGNS: dict[str, Sign] = {"=": "=", "==": "=", "!=": "=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_MIRRORED: dict[str, str] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
T = TypeVar("T")


@dataclass(frozen=True)
class Comparison:
    """A field beside one value; a field without a value is equal to null and to nothing else."""

    field: str
    sign: Sign
    value: Plain


@dataclass(frozen=True)
class Among:
    """A field that has one of several values, or lies in a range, both ends included."""

    field: str
    values: tuple[Plain, ...]
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Not:
    """What holds exactly where its term does not."""

    term: Condition


@dataclass(frozen=True)
class Group:
    """Terms of which all, or at least one, must hold."""

    word: Literal["and", "or"]
    terms: tuple[Condition, ...]


Condition = Comparison | Among | Not | Group


def parse(text: str) -> Condition:
    """Return the tree of a condition.

    Raises
    ------
    RepoError
        If the text is not a condition, or longer, deeper or of more parts than a person writes.
    """
    return _Parser(text).parsed()


def fields_of(condition: Condition) -> Iterator[str]:
    """Return the fields that a condition looks at, in their order."""
    match condition:
        case Comparison(field=field) | Among(field=field):
            yield field
        case Not(term=term):
            yield from fields_of(term)
        case Group(terms=terms):
            for term in terms:
                yield from fields_of(term)


def mistake(text: str, words: str) -> RepoError:
    """Return the error that tells what is wrong with a condition."""
    shown = text if len(text) <= 120 else f"{text[:117]}..."
    return RepoError(f"condition {shown!r}: {words}{'' if words.endswith('?') else '.'}")


class _Parser:
    """Recursive descent over the words of one condition."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._require_plain()
        self._words = Words(text, _TOKEN, self._error, deepest=DEEPEST, any_case=True)
        self._comparisons = 0

    def parsed(self) -> Condition:
        condition = self._or()
        self._words.require_end()
        return condition

    def _require_plain(self) -> None:
        if len(self._text) > LONGEST:
            raise self._error(f"it is longer than {LONGEST} characters")
        if not re.sub(r"[\n\t]", " ", self._text).isprintable():
            raise self._error("it has a character that cannot be printed")

    def _next(self) -> tuple[str, str]:
        if self._words.at_end:
            raise self._error("it ends too early" if len(self._words) else "it is empty")
        return self._words.next()

    def _error(self, words: str) -> RepoError:
        return mistake(self._text, words)

    def _or(self) -> Condition:
        return self._terms("or", self._and)

    def _and(self) -> Condition:
        return self._terms("and", self._not)

    def _terms(self, word: Literal["and", "or"], parse_term: Callable[[], Condition]) -> Condition:
        terms = [parse_term()]
        while self._words.takes(word):
            terms.append(parse_term())
        return Group(word, tuple(terms)) if len(terms) > 1 else terms[0]

    def _not(self) -> Condition:
        if self._words.takes("not"):
            return Not(self._words.deeper(self._not))
        if self._words.takes("("):
            condition = self._words.deeper(self._or)
            self._words.require(")")
            return condition
        return self._comparison()

    def _comparison(self) -> Condition:
        self._count()
        kind, word = self._next()
        if kind == "name" and word.lower() not in (*_WORDS, *_KEYWORDS):
            return self._about(word)
        value = self._value_of(kind, word)
        sign = self._words.takes(*_SIGNS)
        kind, field = self._next() if sign else ("", "")
        if kind != "name" or field.lower() in (*_WORDS, *_KEYWORDS):
            raise self._error(f"{word} is not compared with a field")
        return self._compared(field, _MIRRORED.get(sign, sign), value)

    def _about(self, field: str) -> Condition:
        negated = bool(self._words.takes("not"))
        if self._words.takes("in"):
            among = self._words.deeper(lambda: self._among(field))
            return Not(among) if negated else among
        if self._words.takes("like"):
            kind, word = self._next()
            if kind != "text":
                raise self._error(f"{word!r} stands after 'like' where a text in quotes was expected")
            like = Comparison(field, "like", word[1:-1])
            return Not(like) if negated else like
        if negated:
            raise self._error(f"'not' after {field!r} belongs to 'in' or 'like'")
        sign = self._words.takes(*_SIGNS)
        if not sign:
            raise self._error(f"{field!r} is not compared with anything")
        return self._compared(field, sign, self._value_of(*self._next()))

    def _compared(self, field: str, sign: str, value: Plain) -> Condition:
        if value is None and _SIGNS[sign] != "=":
            raise self._error(f"null can only be compared by = and !=, not by {sign}")
        comparison = Comparison(field, _SIGNS[sign], value)
        return Not(comparison) if sign == "!=" else comparison

    def _among(self, field: str) -> Among:
        self._words.require("(")
        values: list[Plain] = []
        ranges: list[tuple[int, int]] = []
        while True:
            value = self._value_of(*self._next())
            if value is None:
                raise self._error(f"null is in a list; write 'or {field} = null'")
            if self._words.takes(".."):
                ranges.append(self._range(value, self._value_of(*self._next())))
            else:
                values.append(value)
            if not self._words.takes(","):
                break
        self._words.require(")")
        return Among(field, tuple(values), tuple(ranges))

    def _range(self, first: Plain, last: Plain) -> tuple[int, int]:
        self._count()
        if type(first) is not int or type(last) is not int:
            raise self._error(f"a range goes from one whole number to another, not from {first!r} to {last!r}")
        return first, last

    def _count(self) -> None:
        self._comparisons += 1
        if self._comparisons > MOST_COMPARISONS:
            raise self._error(f"it has more than {MOST_COMPARISONS} comparisons and ranges")

    def _value_of(self, kind: str, word: str) -> Plain:
        if kind == "sign" and word == "-":
            kind, digits = self._next()
            if kind != "number":
                raise self._error(f"'-' stands before {digits!r}, which is no number")
            return self._number(f"-{digits}")
        if kind == "number":
            return self._number(word)
        if kind == "text":
            return word[1:-1]
        if kind == "name" and word.lower() in _WORDS:
            return _WORDS[word.lower()]
        quotes = f"; texts stand in quotes: '{word}'" if kind == "name" and word.lower() not in _KEYWORDS else ""
        raise self._error(f"{word!r} stands where a value was expected{quotes}")

    def _number(self, word: str) -> int | float:
        number = int(word) if word.lstrip("-").isdigit() else float(word)
        if not -LARGEST <= number < LARGEST if isinstance(number, int) else not math.isfinite(number):
            raise self._error(f"the number {word[:30]} is too large")
        return number
