"""Conditions select what a person would select by hand, and nothing they say can do anything else."""

from __future__ import annotations

import dataclasses
import operator
import re
from contextlib import suppress
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, make_url, select, text
from sqlalchemy.dialects import postgresql, sqlite

from firstlight.errors import RepoError
from firstlight.repo import schema
from firstlight.repo.query import MEASURED, fields_in, known_fields, where_clause
from firstlight.repo.query_parser import DEEPEST, LONGEST, MOST_COMPARISONS
from firstlight.repo.summaries import VisitSummary

BANDS = ["r", "g", None]
NAMES = ["M 31", "m33", "NGC_1", "50%", None]
EXPOSURES = [
    {
        "instrument": "cam",
        "exposure": number,
        "day_obs": 20260101 + number % 3,
        "band": band,
        "exposure_time": time,
        "object_name": NAMES[number % len(NAMES)],
    }
    for number, (band, time) in enumerate(product(BANDS, [15.0, 30.0, 60.5, None]))
]
VISITS = [
    {name: value for name, value in exposure.items() if name != "exposure"} | {"visit": exposure["exposure"]}
    for exposure in EXPOSURES[:-3]
]
PAIRS = [(visit["visit"], visit["visit"]) for visit in VISITS] + [(0, 10)]
"""Visit, exposure: one each; the first visit has two, and the last exposures have none."""

DATASETS = [
    {
        "id": 1 + 2 * number + (kind == "visit"),
        "type": 1,
        "run": 1,
        "data_key": f"{kind}={number}",
        "instrument": "cam",
        kind: number,
        "detector": number % 4,
        "band": exposure["band"],
        "path": "p",
        "size": 100 * number,
        "checksum": "",
        "partial": number % 5 == 0,
        "producer": "calibrate" if number % 2 else None,
    }
    for number, exposure in enumerate(EXPOSURES)
    for kind in ("exposure", "visit")
    if kind == "exposure" or number < len(VISITS)
]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def connection(request):
    postgresql = request.param == "postgresql"
    address = (
        make_url(request.getfixturevalue("server")).set(drivername="postgresql+psycopg") if postgresql else "sqlite://"
    )
    engine = create_engine(address)
    with engine.connect() as connection:
        if postgresql:
            connection.execute(text("CREATE SCHEMA conditions"))
            connection.execute(text("SET search_path TO conditions"))
            connection.execute(text("SET jit TO off"))
        schema.METADATA.create_all(connection)
        connection.execute(schema.exposure.insert(), EXPOSURES)
        connection.execute(schema.visit.insert(), VISITS)
        pairs = [{"instrument": "cam", "visit": visit, "exposure": exposure} for visit, exposure in PAIRS]
        connection.execute(schema.visit_exposure.insert(), pairs)
        connection.execute(schema.dataset_type.insert(), {"id": 1, "name": "t", "dimensions": "", "storage": "json"})
        run = {"id": 1, "name": "run", "kind": "RUN", "created": ""}
        connection.execute(schema.collection.insert(), run)
        for row in DATASETS:
            connection.execute(schema.dataset.insert(), row)
        yield connection
        connection.rollback()
    engine.dispose()


def selected(connection, text, subject="exposure", **options):
    table = getattr(schema, subject)
    key = table.c["id" if subject == "dataset" else subject]
    clause = where_clause(text, subject=subject, **options)
    return sorted(connection.scalars(select(key).where(clause)))


def values(subject, row, field):
    """Every value that a field of a row has: its own, or those of the objects that it belongs to."""
    table, _, name = field.rpartition(".")
    if table in ("", subject) and name in row:
        return [row[name]]
    if subject == "dataset" and not table and name in schema.dataset.c and name not in ("visit", "exposure"):
        return [None]
    table = table or (name if name in ("visit", "exposure") else "exposure")
    return [each[name] for each in belonging(subject, row, table)]


def belonging(subject, row, table):
    if subject == "dataset":
        numbers = {row[table]} if table in row else set()
        via = "visit" if table == "exposure" else "exposure"
        place = 1 if table == "exposure" else 0
        numbers |= {pair[place] for pair in PAIRS if via in row and pair[1 - place] == row[via]}
    else:
        place = 1 if table == "exposure" else 0
        numbers = {pair[place] for pair in PAIRS if pair[1 - place] == row[subject]}
    rows = EXPOSURES if table == "exposure" else VISITS
    return [each for each in rows if each[table] in numbers]


SIGNS = {"=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def truth(tree, subject, row):
    match tree:
        case ("not", term):
            return not truth(term, subject, row)
        case ("and", terms):
            return all(truth(term, subject, row) for term in terms)
        case ("or", terms):
            return any(truth(term, subject, row) for term in terms)
        case ("null", field):
            return all(value is None for value in values(subject, row, field))
        case ("like", field, pattern):
            form = re.escape(pattern).replace("%", ".*").replace("_", ".")
            return any(v is not None and re.fullmatch(form, v, re.I) for v in values(subject, row, field))
        case ("in", field, items):
            among = {x for item in items for x in (range(item[0], item[1] + 1) if isinstance(item, tuple) else [item])}
            return any(v in among for v in values(subject, row, field) if v is not None)
        case (sign, field, value):
            return any(SIGNS[sign](v, value) for v in values(subject, row, field) if v is not None)


def written(tree) -> str:
    match tree:
        case ("not", ("null", field)):
            return f"{field} != null"
        case ("not", ("like", field, pattern)):
            return f"{field} NOT like {quoted(pattern)}"
        case ("not", ("=", field, value)):
            return f"{field}!={quoted(value)}"
        case ("not", term):
            return f"not ({written(term)})"
        case ("and" | "or" as word, terms):
            return f" {word} ".join(f"({written(term)})" for term in terms)
        case ("null", field):
            return f"{field} = NULL"
        case ("in", field, items):
            listed = ", ".join(f"{i[0]}..{i[1]}" if isinstance(i, tuple) else quoted(i) for i in items)
            return f"{field} in ({listed})"
        case (sign, field, value):
            return f"{field} {sign} {quoted(value)}"


def quoted(value) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


def trees(subject):
    whole = ["exposure", "visit", "day_obs", "exposure.day_obs", "visit.day_obs"]
    decimal = ["exposure.exposure_time", "visit.exposure_time"]
    words = ["band", "object_name", "exposure.object_name", "visit.band"]
    if subject == "dataset":
        whole = [*whole, "detector", "dataset.size"]
    small, large = st.integers(-2, 14), st.sampled_from([20260101, 20260102, 100, 500])
    number = st.one_of(small, large, st.sampled_from([30.0, 60.5, 1e3, -0.5]))
    text = st.sampled_from(["r", "g", "M 31", "m33", "x"])
    pattern = st.sampled_from(["M%", "%3%", "_", "ngc__", "50%", ""])
    pairs = st.tuples(small, small)
    signs = st.sampled_from([*SIGNS])
    leaf = st.one_of(
        st.tuples(signs, st.sampled_from([*whole, *decimal]), number),
        st.tuples(st.sampled_from(["=", "<", ">="]), st.sampled_from(words), text),
        st.tuples(st.just("like"), st.sampled_from(words), pattern),
        st.tuples(st.just("null"), st.sampled_from([*whole, *decimal, *words])),
        st.tuples(st.just("in"), st.sampled_from(whole), st.lists(small | large | pairs, min_size=1, max_size=4)),
        st.tuples(st.just("in"), st.sampled_from(words), st.lists(text, min_size=1, max_size=3)),
    )
    return st.recursive(
        leaf,
        lambda inner: (
            st.tuples(st.just("not"), inner)
            | st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3))
        ),
        max_leaves=6,
    )


@pytest.mark.parametrize(("subject", "rows"), [("exposure", EXPOSURES), ("visit", VISITS), ("dataset", DATASETS)])
@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_a_condition_selects_what_a_look_at_every_row_would(connection, subject, rows, data):
    tree = data.draw(trees(subject))
    key = "id" if subject == "dataset" else subject

    assert selected(connection, written(tree), subject) == [row[key] for row in rows if truth(tree, subject, row)]


@pytest.mark.parametrize("kind", ["exposure", "visit"])
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_knowing_the_dimensions_changes_no_answer(connection, kind, data):
    text = written(data.draw(trees("dataset")))
    ids = {row["id"] for row in DATASETS if kind in row}
    known = selected(connection, text, "dataset", dimensions=("instrument", kind, "detector"))

    assert [each for each in known if each in ids] == [
        each for each in selected(connection, text, "dataset") if each in ids
    ]


def test_the_condition_of_the_manual_selects(connection):
    text = (
        "visit in (1..5) and band = 'r' and exposure.exposure_time > 15 "
        "and not (day_obs = 20260102 or object_name like 'M%')"
    )

    assert selected(connection, text, "exposure") == [2]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("30 < exposure_time", "exposure_time > 30"),
        ("60.5 >= exposure.exposure_time", "exposure_time <= 60.5"),
        ("'r' = band", 'band == "r"'),
        ("not band = 'r' and exposure > 1", "(not band = 'r') and (exposure > 1)"),
        ("exposure=1 or exposure=2 and band='g'", "exposure = 1 or (exposure = 2 and band = 'g')"),
        ("NOT exposure IN (0..3)", "exposure not in (0,1,2,3)"),
        ("exposure\n  > 3\tand band = 'g'", "exposure > 3 and band = 'g'"),
        ("exposure > -1 and exposure < 4", "exposure in (-1..3)"),
        ("exposure in (1..3, 7)", "exposure in (1, 2, 3, 7)"),
    ],
)
def test_two_ways_to_write_it_select_the_same(connection, text, same):
    answer = selected(connection, text)

    assert answer == selected(connection, same)
    assert 0 < len(answer) < len(EXPOSURES)


MISTAKES = {
    "": "it is empty",
    "visit in (1..5": "')' is missing at the end",
    "visti = 3": "did you mean 'visit'?",
    "seeing < 2": "'seeing', which is measured on calibrated images; 'firstlight query visits' shows it",
    "visit.zero_point > 25": "'visit in (...)' chooses by number",
    "exposure.exposure_tim > 3": "did you mean 'exposure.exposure_time'?",
    "zzzzz = 3": "there are instrument, day_obs",
    "band = r": "texts stand in quotes: 'r'",
    "band = 5": "write it in quotes: '5'",
    "visit = 'five'": "'visit' is a number, and 'five' is text",
    "visit": "'visit' is not compared with anything",
    "visit = ": "it ends too early",
    "visit = 1 band = 'r'": "'band' was not expected",
    "visit like '1%'": "'like' is for texts",
    "dataset.partial > true": "can only be compared by = and !=",
    "dataset.partial = 1": "'dataset.partial' is true or false, and 1 is a number",
    "band < null": "null can only be compared by = and !=",
    "band in ('r', null)": "or band = null",
    "band in ()": "')' stands where a value was expected",
    "visit in (1.5..3)": "a range goes from one whole number to another",
    "visit in ('a'..'b')": "a range goes from one whole number to another",
    "visit not 3": "'not' after 'visit' belongs to 'in' or 'like'",
    "3 = 4": "not compared with a field",
    "3": "not compared with a field",
    "visit = -band": "which is no number",
    "visit = 9223372036854775808": "is too large",
    "visit = 1e999": "is too large",
    "object_name = 'it\\'s'": "was not understood",
    "object_name like band": "where a text in quotes was expected",
}


def test_what_is_measured_of_visits_is_no_field_of_conditions():
    assert set(MEASURED) == {field.name for field in dataclasses.fields(VisitSummary)}
    for subject in ("dataset", "exposure", "visit"):
        assert not set(MEASURED) & {name.rpartition(".")[2] for name in known_fields(subject)}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_line_that_shows_the_condition(text):
    with pytest.raises(RepoError) as caught:
        where_clause(text)

    assert MISTAKES[text] in str(caught.value)
    assert str(caught.value).startswith(f"condition {text!r}: ")
    assert "\n" not in str(caught.value)


HOSTILE = [
    "visit = 1; drop table dataset",
    "visit = 1 -- comment",
    "band = '' or 1=1 --",
    "band = 'r' union select * from about",
    "(select value from about) = 'x'",
    "visit = pg_sleep(10)",
    "band = 'r' /* x */",
    "band = 'r\x00'",
    "band = '\ud800'",
    "band\u00a0= 'r'",
    "visit = \u0663",
    "__class__ = 'x'",
    "dataset.checksum = 'x'",
    "dataset.c.path = 'x'",
    "visit = 1" + " or visit = 1" * MOST_COMPARISONS,
    "visit in (" + "1..2, " * MOST_COMPARISONS + "3)",
    "(" * (DEEPEST + 1) + "visit = 1" + ")" * (DEEPEST + 1),
    "not " * (DEEPEST + 1) + "visit = 1",
    "visit = 1" + " " * LONGEST,
    "(" * LONGEST,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("subject", ["dataset", "exposure", "visit"])
def test_a_hostile_text_is_refused(text, subject):
    with pytest.raises(RepoError) as caught:
        where_clause(text, subject=subject)

    assert len(str(caught.value)) < 500


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_any_text_is_a_condition_or_a_mistake(text):
    with suppress(RepoError):
        where_clause(text)


@given(st.text(st.characters(exclude_characters="'\\", codec="utf-8", exclude_categories=["C", "Z"]), max_size=40))
@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()], ids=["sqlite", "postgresql"])
def test_what_a_user_writes_in_quotes_never_becomes_sql(dialect, text):
    compiled = where_clause(f"object_name = 'mark{text}' and visit in (7654321)").compile(dialect=dialect)

    assert "mark" not in str(compiled)
    assert "7654321" not in str(compiled)
    assert f"mark{text}" in compiled.params.values()


def test_the_largest_condition_that_is_allowed_can_be_asked(connection):
    text = " or ".join([f"not visit.object_name = '{number}'" for number in range(MOST_COMPARISONS)])
    listed = "exposure in (" + ",".join(str(number) for number in range(2000)) + ")"

    assert len(selected(connection, text)) == len(EXPOSURES)
    assert len(selected(connection, listed)) == len(EXPOSURES)
    assert selected(connection, "not " * DEEPEST + "exposure = 1") == [1]


def test_the_fields_of_a_condition_are_told():
    text = "visit in (1..5) and not (band = 'r' or 3 < exposure.airmass)"

    assert fields_in(text) == {"visit", "band", "exposure.airmass"}
