"""Conditions of `firstlight.repo.query_parser` as SQL, with every value a bound parameter.

``not a`` selects exactly what ``a`` does not: a field without a value is equal to null only, and neither above nor
below anything. A field of another object (``exposure.airmass`` for a dataset of a visit) meets a condition where that
of any such object does.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    String,
    Table,
    and_,
    exists,
    false,
    literal,
    not_,
    or_,
    true,
)
from sqlalchemy.sql.expression import FromClause
from sqlalchemy.types import TypeEngine

from firstlight.framework import did_you_mean
from firstlight.framework.dimensions import DIMENSIONS
from firstlight.repo import schema
from firstlight.repo.query_parser import (
    Among,
    Comparison,
    Condition,
    Group,
    Not,
    Plain,
    Sign,
    fields_of,
    mistake,
    parse,
)

Subject = Literal["dataset", "exposure", "visit"]
"""What a condition is about."""

Test = Callable[[ColumnElement[Any]], ColumnElement[bool]]
TABLES: Mapping[Subject, Table] = {"dataset": schema.dataset, "exposure": schema.exposure, "visit": schema.visit}
DATASET_COLUMNS = ("size", "partial", "producer")
MEASURED = ("n_detectors", "seeing", "zero_point", "depth")
"""What only calibrated images tell (`firstlight.repo.summaries`), so that no condition can ask for it."""
KINDS: Mapping[type, str] = {int: "a number", float: "a number", str: "text", bool: "true or false"}
_SQL_TYPES: Mapping[type, TypeEngine[Any]] = {int: BigInteger(), float: Float(53), str: String(), bool: Boolean()}
_TESTS: Mapping[Sign, Callable[[Any, Any], ColumnElement[bool]]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "like": lambda column, pattern: column.ilike(pattern),
}


class Way(NamedTuple):
    """How to come from the subject to a column: directly, or through rows of other tables that ``links`` tie to it."""

    column: ColumnElement[Any]
    links: tuple[ColumnElement[bool], ...] = ()
    outer: FromClause | None = None

    def holds(self, test: Test) -> ColumnElement[bool]:
        """Return where the test holds for a value."""
        if self.outer is None:
            return test(self.column)
        return exists().where(*self.links, test(self.column)).correlate(self.outer)

    def fails(self, test: Test) -> ColumnElement[bool]:
        """Return where it does not, for want of a value too."""
        if self.outer is None:
            return or_(not_(test(self.column)), self.column.is_(None))
        return not_(self.holds(test))


@dataclass(frozen=True)
class Field:
    """A name that a condition can use: what it holds, and the ways that lead there."""

    kind: type
    ways: tuple[Way, ...]

    def where(self, test: Test, *, negated: bool) -> ColumnElement[bool]:
        """Return where any way leads to a value that passes the test; or where none does."""
        if negated:
            return and_(true(), *(way.fails(test) for way in self.ways))
        return or_(false(), *(way.holds(test) for way in self.ways))


def where_clause(
    text: str, *, subject: Subject = "dataset", dimensions: Collection[str] | None = None
) -> ColumnElement[bool]:
    """Return a condition as an SQL expression over the table of its subject.

    Parameters
    ----------
    text
        ``visit in (1..5) and band = 'r' and exposure.exposure_time > 30``.
    subject
        Table of `firstlight.repo.schema` that is selected from.
    dimensions
        Those of the datasets, where they are known: the database answers faster.

    Raises
    ------
    RepoError
        If the text is not a condition, names what is not there, or compares what cannot be compared.
    """
    condition = parse(text)
    try:
        fields = {name: _field(name, subject, dimensions) for name in fields_of(condition)}
        return _clause(condition, fields, negated=False)
    except _MismatchError as error:
        raise mistake(text, str(error)) from None


def fields_in(text: str) -> frozenset[str]:
    """Return the names that a condition looks at.

    Raises
    ------
    RepoError
        If the text is not a condition.
    """
    return frozenset(fields_of(parse(text)))


class _MismatchError(Exception):
    """A name or a value that does not fit; becomes a `RepoError` that shows the text."""


def _clause(condition: Condition, fields: Mapping[str, Field], *, negated: bool) -> ColumnElement[bool]:
    match condition:
        case Not(term=term):
            return _clause(term, fields, negated=not negated)
        case Group(word=word, terms=terms):
            clauses = [_clause(term, fields, negated=negated) for term in terms]
            return and_(*clauses) if (word == "and") is not negated else or_(*clauses)
        case Comparison(field=name, value=None):
            return fields[name].where(lambda column: column.is_not(None), negated=not negated)
        case Comparison(field=name, sign=sign, value=value):
            return fields[name].where(_comparing(name, fields[name].kind, sign, value), negated=negated)
        case Among(field=name, values=values, ranges=ranges):
            return fields[name].where(_being_among(name, fields[name].kind, values, ranges), negated=negated)


def _comparing(name: str, kind: type, sign: Sign, value: Plain) -> Test:
    if sign != "=" and kind is bool:
        raise _MismatchError(f"{name!r} is true or false and can only be compared by = and !=")
    if sign == "like" and kind is not str:
        raise _MismatchError(f"{name!r} is {KINDS[kind]}; 'like' is for texts")
    bound = _bound(name, kind, value)
    return lambda column: _TESTS[sign](column, bound)


def _being_among(name: str, kind: type, values: tuple[Plain, ...], ranges: tuple[tuple[int, int], ...]) -> Test:
    single = [_bound(name, kind, value) for value in values]
    limits = [(_bound(name, kind, first), _bound(name, kind, last)) for first, last in ranges]

    def test(column: ColumnElement[Any]) -> ColumnElement[bool]:
        ways = [and_(column >= first, column <= last) for first, last in limits]
        return or_(*([column.in_(single)] if single else []), *ways)

    return test


def _bound(name: str, kind: type, value: Plain) -> ColumnElement[Any]:
    """Return a value as a parameter of its own type, so that no database rounds it to that of the column."""
    numbers = (int, float)
    if type(value) is not kind and not (kind in numbers and type(value) in numbers):
        quotes = f"; write it in quotes: '{value}'" if kind is str and type(value) in numbers else ""
        raise _MismatchError(f"{name!r} is {KINDS[kind]}, and {value!r} is {KINDS[type(value)]}{quotes}")
    return literal(value, _SQL_TYPES[type(value)])


def _field(name: str, subject: Subject, dimensions: Collection[str] | None) -> Field:
    fields = known_fields(subject, dimensions)
    if name not in fields:
        if name.rpartition(".")[2] in MEASURED:
            raise _MismatchError(
                f"conditions cannot ask for {name!r}, which is measured on calibrated images; "
                f"'firstlight query visits' shows it, and 'visit in (...)' chooses by number"
            )
        general = ", ".join(field for field in fields if field in DIMENSIONS)
        hint = did_you_mean(name, fields) or f"; there are {general} and the columns of exposure and visit"
        raise _MismatchError(f"{subject}s have no {name!r}{hint}")
    return fields[name]()


def known_fields(subject: Subject, dimensions: Collection[str] | None = None) -> dict[str, Callable[[], Field]]:
    """Return every name that a condition can use, and what makes its field.

    Parameters
    ----------
    subject
        What the condition is about.
    dimensions
        Those of the datasets; None where datasets of any type are meant.
    """
    own = TABLES[subject]
    others = [table for table in (schema.exposure, schema.visit) if table is not own]
    fields: dict[str, Callable[[], Field]] = {name: partial(_own, own.c[name]) for name in DIMENSIONS if name in own.c}
    fields |= {table.name: partial(_other, own, table, table.name, dimensions) for table in others}
    columns = DATASET_COLUMNS if subject == "dataset" else [column.name for column in own.c]
    fields |= {f"{own.name}.{name}": partial(_own, own.c[name]) for name in columns}
    for table in others:
        fields |= {
            f"{table.name}.{column.name}": partial(_other, own, table, column.name, dimensions) for column in table.c
        }
    for name in [*fields]:
        fields.setdefault(name.rpartition(".")[2], fields[name])
    return fields


def _own(column: Column[Any]) -> Field:
    return Field(column.type.python_type, (Way(column),))


def _other(own: Table, table: Table, name: str, dimensions: Collection[str] | None) -> Field:
    """Return how the rows of ``own`` lead to a column of the exposures, or of the visits, that they belong to."""
    ways: list[Way] = []
    links: tuple[ColumnElement[bool], ...]
    direct = own is schema.dataset and (dimensions is None or table.name in dimensions)
    if direct and name == table.name:
        ways.append(Way(own.c[name]))
    elif direct:
        there = table.alias()
        links = (there.c.instrument == own.c.instrument, there.c[table.name] == own.c[table.name])
        ways.append(Way(there.c[name], links, own))
    key = "visit" if table is schema.exposure else "exposure"
    if own is not schema.dataset or dimensions is None or (not direct and key in dimensions):
        pairs = schema.visit_exposure.alias()
        links = (pairs.c.instrument == own.c.instrument, pairs.c[key] == own.c[key])
        if name in pairs.c:
            ways.append(Way(pairs.c[name], links, own))
        else:
            there = table.alias()
            links += (there.c.instrument == pairs.c.instrument, there.c[table.name] == pairs.c[table.name])
            ways.append(Way(there.c[name], links, own))
    return Field(table.c[name].type.python_type, tuple(ways))
