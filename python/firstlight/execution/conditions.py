"""Conditions on the data of a run: each input has to meet what it can meet, and somebody has to meet each part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from firstlight.errors import RepoError
from firstlight.framework import DIMENSIONS
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.query import DATASET_COLUMNS, where_clause
from firstlight.repo.query_parser import Among, Comparison, Condition, Group, Not, Plain, fields_of, parse

OPENINGS = frozenset({"exposure", "visit"})
"""Dimensions that lead to what is known about exposures and visits, from either to the other."""


class Conditions:
    """The parts of a condition that ``and`` joins, for inputs of several kinds.

    A part is asked of every dataset type that has all that it is about: ``visit = 3 and tract = 5`` chooses visits and
    tracts, each among its own.

    Parameters
    ----------
    text
        As in `firstlight.repo.query`; empty for no condition.

    Raises
    ------
    RepoError
        If the text is not a condition, or names what is not there.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts: tuple[Condition, ...] = ()
        if text.strip():
            where_clause(text)
            self._parts = tuple(_parts(parse(text)))
        self._asked: set[int] = set()

    def of(self, kind: DatasetType) -> str:
        """Return what the datasets of a type have to meet; empty if that is nothing."""
        own = [number for number, part in enumerate(self._parts) if _is_about(part, kind)]
        self._asked |= set(own)
        if len(own) == len(self._parts):
            return self.text
        return _joined([self._parts[number] for number in own])

    def require_all_asked(self, kinds: list[str]) -> None:
        """Refuse a part that no input could be asked.

        Parameters
        ----------
        kinds
            The dataset types that were asked.

        Raises
        ------
        RepoError
            With the first such part.
        """
        for number, part in enumerate(self._parts):
            if number not in self._asked:
                fields = ", ".join(repr(name) for name in dict.fromkeys(fields_of(part)))
                raise RepoError(
                    f"condition {text_of(part)!r}: no input ({', '.join(kinds)}) has {fields}; leave it out."
                )


def text_of(condition: Condition) -> str:
    """Return a condition as text that `firstlight.repo.query_parser.parse` reads as the same."""
    match condition:
        case Not(term=term):
            return _denied(term)
        case Group(word=word, terms=terms):
            texts = [f"({text_of(term)})" if isinstance(term, Group) else text_of(term) for term in terms]
            return f" {word} ".join(texts)
        case Comparison(field=field, sign=sign, value=value):
            return f"{field} {sign} {_value(value)}"
        case Among(field=field):
            return f"{field} in {_listed(condition)}"


def _denied(term: Condition) -> str:
    match term:
        case Comparison(field=field, sign="=", value=value):
            return f"{field} != {_value(value)}"
        case Comparison(field=field, sign="like", value=value):
            return f"{field} not like {_value(value)}"
        case Among(field=field):
            return f"{field} not in {_listed(term)}"
        case _:
            return f"not ({text_of(term)})"


def _parts(condition: Condition) -> Iterator[Condition]:
    if isinstance(condition, Group) and condition.word == "and":
        for term in condition.terms:
            yield from _parts(term)
    else:
        yield condition


def _joined(parts: Sequence[Condition]) -> str:
    if not parts:
        return ""
    return text_of(Group("and", tuple(parts)) if len(parts) > 1 else parts[0])


def _is_about(part: Condition, kind: DatasetType) -> bool:
    return all(_has(kind, name) for name in fields_of(part))


def _has(kind: DatasetType, field: str) -> bool:
    """Return whether datasets of a type have a value of a field, or belong to what has one."""
    table, _, column = field.rpartition(".")
    if table == "dataset":
        return column in DATASET_COLUMNS or column in kind.known_dimensions
    if not table and column in DATASET_COLUMNS:
        return True
    if not table and column in DIMENSIONS and column not in OPENINGS:
        return column in kind.known_dimensions
    return not OPENINGS.isdisjoint(kind.dimensions)


def _listed(among: Among) -> str:
    ranges = [f"{first}..{last}" for first, last in among.ranges]
    return f"({', '.join([*map(_value, among.values), *ranges])})"


def _value(value: Plain) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f'"{value}"' if "'" in value else f"'{value}'"
    return repr(value)
