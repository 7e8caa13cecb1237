"""Visits: what is processed as one, made of one exposure or of snaps that a rule puts together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from firstlight.images.observation import ObservationInfo
from firstlight.repo.schema import exposure, visit, visit_exposure

VisitRule = Callable[[ObservationInfo], int | None]
"""Returns the number of the visit that an exposure belongs to; None if it belongs to none."""

_AT_ONCE = 1000
"""Visits asked for in one statement."""


def one_visit_each(observation: ObservationInfo) -> int | None:
    """Return the exposure's own number for a science exposure, and None for calibrations."""
    return observation.exposure_id if observation.is_science else None


def add_visits(connection: sa.Connection, members: Mapping[tuple[str, int], int]) -> None:
    """Put exposures into visits, and make these visits anew from all exposures that they have.

    Parameters
    ----------
    connection
    members
        Instrument and exposure, which must be there -> visit.
    """
    wanted: dict[str, set[int]] = {}
    for (instrument, _), number in members.items():
        wanted.setdefault(instrument, set()).add(number)
    for instrument, numbers in wanted.items():
        there = {(row.exposure, row.visit) for row in _pairs(connection, instrument, numbers)}
        pairs = [
            {"instrument": instrument, "visit": number, "exposure": one}
            for (name, one), number in members.items()
            if name == instrument and (one, number) not in there
        ]
        if not pairs:
            continue
        connection.execute(sa.insert(visit_exposure), pairs)
        _make_anew(connection, instrument, numbers)


def _make_anew(connection: sa.Connection, instrument: str, numbers: set[int]) -> None:
    exposures: dict[int, list[sa.RowMapping]] = {}
    for row in _pairs(connection, instrument, numbers):
        exposures.setdefault(row.visit, []).append(row._mapping)
    old = sa.delete(visit).where(visit.c.instrument == instrument, visit.c.visit == sa.bindparam("number"))
    connection.execute(old, [{"number": number} for number in exposures])
    connection.execute(sa.insert(visit), [_visit(number, rows) for number, rows in exposures.items()])


def _pairs(connection: sa.Connection, instrument: str, numbers: Iterable[int]) -> list[sa.Row[Any]]:
    """Return the exposures of visits, in their order, each with the number of its visit."""
    query = (
        sa.select(visit_exposure.c.visit, exposure)
        .join(
            exposure,
            sa.and_(
                exposure.c.instrument == visit_exposure.c.instrument, exposure.c.exposure == visit_exposure.c.exposure
            ),
        )
        .where(visit_exposure.c.instrument == instrument)
        .order_by(visit_exposure.c.visit, visit_exposure.c.exposure)
    )
    ordered = sorted(numbers)
    found: list[sa.Row[Any]] = []
    for start in range(0, len(ordered), _AT_ONCE):
        found += connection.execute(query.where(visit_exposure.c.visit.in_(ordered[start : start + _AT_ONCE]))).all()
    return found


def _visit(number: int, exposures: list[sa.RowMapping]) -> dict[str, Any]:
    """Return a visit: mean date and airmass, summed time, the rest of its first exposure."""
    values = {column.name: exposures[0].get(column.name) for column in visit.c}
    times = [each["exposure_time"] for each in exposures]
    return {
        **values,
        "visit": number,
        "mjd_tai": _mean([each["mjd_tai"] for each in exposures]),
        "airmass": _mean([each["airmass"] for each in exposures]),
        "exposure_time": None if None in times else sum(times),
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
