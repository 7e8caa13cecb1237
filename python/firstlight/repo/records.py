"""Exposures and visits that a repository knows, chosen by a condition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from firstlight.repo.query import Subject, where_clause
from firstlight.repo.schema import exposure, visit

if TYPE_CHECKING:
    from firstlight.repo.repo import Repo


@dataclass(frozen=True, slots=True)
class ExposureRecord:
    """One opening of the shutter; None stands for what its header did not tell.

    Units are those of `firstlight.images.observation.ObservationInfo`.
    """

    instrument: str
    exposure: int
    day_obs: int | None
    physical_filter: str | None
    band: str | None
    mjd_tai: float | None
    exposure_time: float | None
    airmass: float | None
    ra: float | None
    dec: float | None
    pointing_error: float | None
    object_name: str | None
    observation_type: str | None
    reference_column: str | None


@dataclass(frozen=True, slots=True)
class VisitRecord:
    """What is processed as one: mean date, summed time, the rest from its first exposure."""

    instrument: str
    visit: int
    day_obs: int | None
    physical_filter: str | None
    band: str | None
    mjd_tai: float | None
    exposure_time: float | None
    airmass: float | None
    ra: float | None
    dec: float | None
    object_name: str | None


RecordT = TypeVar("RecordT", ExposureRecord, VisitRecord)


def exposures(repo: Repo, where: str = "") -> list[ExposureRecord]:
    """Return the exposures that meet a condition, in the order of instrument and number.

    Raises
    ------
    RepoError
        If the condition is none, or names what is not there.
    """
    return list(_records(repo, ExposureRecord, exposure, "exposure", where))


def visits(repo: Repo, where: str = "") -> list[VisitRecord]:
    """Return the visits that meet a condition, in the order of instrument and number.

    Raises
    ------
    RepoError
        If the condition is none, or names what is not there.
    """
    return list(_records(repo, VisitRecord, visit, "visit", where))


def _records(repo: Repo, cls: type[RecordT], table: sa.Table, subject: Subject, where: str) -> Iterator[RecordT]:
    columns: list[sa.Column[Any]] = [table.c[field.name] for field in fields(cls)]
    query = sa.select(*columns).order_by(table.c.instrument, table.c[subject])
    if where.strip():
        query = query.where(where_clause(where, subject=subject))
    with repo.database.read() as connection:
        rows = connection.execute(query).all()
    return (cls(*row) for row in rows)
