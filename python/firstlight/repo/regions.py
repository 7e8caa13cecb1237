"""Where detectors of visits lie on the sky: circles, found through the HEALPix cells that they touch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from astropy.coordinates import angular_separation

from firstlight.errors import RepoError
from firstlight.images.sky_cells import cells_of_circle
from firstlight.repo.records import VisitRecord, visits
from firstlight.repo.schema import region, region_bucket, visit

if TYPE_CHECKING:
    from firstlight.repo.repo import Repo

NSIDE = 64
"""Cells along the side of a HEALPix base tile: a cell is 55' wide."""

_AT_ONCE = 1000
"""Cells asked for in one statement."""

SummaryValue = int | float | str | bool | None


@dataclass(frozen=True)
class Region:
    """A circle on the sky that holds one detector of a visit.

    Parameters
    ----------
    instrument, visit, detector
    ra, dec, radius : [deg]
    solved
        Whether it comes from an astrometric solution, not from the header.
    summary
        Numbers about the calibrated image.
    """

    instrument: str
    visit: int
    detector: int
    ra: float
    dec: float
    radius: float
    solved: bool = False
    summary: Mapping[str, SummaryValue] | None = None


def buckets_of(*, ra: float, dec: float, radius: float) -> list[int]:
    """Return the HEALPix cells (nested) that a circle [deg] touches; one or two more do no harm."""
    if not (math.isfinite(ra) and abs(dec) <= 90 and radius >= 0):
        raise ValueError(f"ra={ra}, dec={dec}, radius={radius} is no circle on the sky.")
    return [int(cell) for cell in cells_of_circle(ra=ra, dec=dec, radius=radius, nside=NSIDE)]


def solve_region(
    repo: Repo,
    instrument: str,
    visit: int,
    detector: int,
    *,
    ra: float,
    dec: float,
    radius: float,
    summary: Mapping[str, SummaryValue] | None = None,
) -> None:
    """Put the region of an astrometric solution in the place of that of the header.

    Parameters
    ----------
    repo
    instrument, visit, detector
    ra, dec, radius : [deg]
    summary
        Numbers about the calibrated image; one that is not finite is kept as null.

    Raises
    ------
    RepoError
        If there is no such visit.
    """
    solved = Region(instrument, visit, detector, ra, dec, radius, solved=True, summary=summary)
    with repo.database.write() as connection:
        set_regions(connection, [solved])


def set_regions(connection: sa.Connection, regions: Sequence[Region]) -> None:
    """Write regions in the place of those that are there.

    Raises
    ------
    RepoError
        If there is no such visit.
    """
    if not regions:
        return
    _require_visits(connection, regions)
    keys = [{"a": each.instrument, "b": each.visit, "c": each.detector} for each in regions]
    for table in (region_bucket, region):
        old = table.c.instrument == sa.bindparam("a"), table.c.visit == sa.bindparam("b")
        connection.execute(sa.delete(table).where(*old, table.c.detector == sa.bindparam("c")), keys)
    connection.execute(sa.insert(region), [_row(each) for each in regions])
    buckets = [
        {"bucket": bucket, "instrument": each.instrument, "visit": each.visit, "detector": each.detector}
        for each in regions
        for bucket in buckets_of(ra=each.ra, dec=each.dec, radius=each.radius)
    ]
    connection.execute(sa.insert(region_bucket), buckets)


def add_regions(connection: sa.Connection, regions: Sequence[Region]) -> None:
    """Write the regions of those detectors of visits that have none."""
    there: set[tuple[str, int, int]] = set()
    key = sa.select(region.c.instrument, region.c.visit, region.c.detector)
    for instrument in sorted({each.instrument for each in regions}):
        numbers = sorted({each.visit for each in regions if each.instrument == instrument})
        for start in range(0, len(numbers), _AT_ONCE):
            part = region.c.visit.in_(numbers[start : start + _AT_ONCE])
            there |= {
                (row[0], row[1], row[2])
                for row in connection.execute(key.where(region.c.instrument == instrument, part))
            }
    new = {(each.instrument, each.visit, each.detector): each for each in reversed(regions)}
    set_regions(connection, [each for name, each in sorted(new.items()) if name not in there])


def find_regions(
    repo: Repo, *, ra: float, dec: float, radius: float = 0.0, instrument: str | None = None
) -> list[Region]:
    """Return the regions that a circle touches, in the order of instrument, visit and detector.

    Parameters
    ----------
    repo
    ra, dec, radius : [deg]
    instrument
        Only of this one.
    """
    cells = buckets_of(ra=ra, dec=dec, radius=radius)
    keys = [region.c.instrument, region.c.visit, region.c.detector]
    query = (
        sa.select(region).distinct().join(region_bucket, sa.and_(*(region_bucket.c[key.name] == key for key in keys)))
    )
    if instrument is not None:
        query = query.where(region.c.instrument == instrument)
    found: dict[tuple[str, int, int], Region] = {}
    with repo.database.read() as connection:
        for start in range(0, len(cells), _AT_ONCE):
            part = query.where(region_bucket.c.bucket.in_(cells[start : start + _AT_ONCE]))
            for row in connection.execute(part):
                found[row[0], row[1], row[2]] = _region(row)
    return [each for _, each in sorted(found.items()) if _separation(each, ra, dec) <= each.radius + radius]


def all_regions(repo: Repo, visit_numbers: Iterable[int] | None = None) -> list[Region]:
    """Return where every detector of every visit lies, in the order of instrument, visit and detector.

    Parameters
    ----------
    repo
    visit_numbers
        Only those of visits with these numbers, of any instrument.
    """
    query = sa.select(region).order_by(region.c.instrument, region.c.visit, region.c.detector)
    with repo.database.read() as connection:
        if visit_numbers is None:
            return [_region(row) for row in connection.execute(query)]
        wanted = sorted(set(visit_numbers))
        several = [wanted[start : start + _AT_ONCE] for start in range(0, len(wanted), _AT_ONCE)]
        rows = [row for some in several for row in connection.execute(query.where(region.c.visit.in_(some)))]
    return sorted((_region(row) for row in rows), key=lambda each: (each.instrument, each.visit, each.detector))


def visits_at(repo: Repo, *, ra: float, dec: float, radius: float = 0.0, where: str = "") -> list[VisitRecord]:
    """Return the visits whose images may show a place on the sky.

    Parameters
    ----------
    repo
    ra, dec, radius : [deg]
    where
        Condition that they must meet too.

    Raises
    ------
    RepoError
        If the condition is none, or names what is not there.
    """
    near = {(each.instrument, each.visit) for each in find_regions(repo, ra=ra, dec=dec, radius=radius)}
    return [each for each in visits(repo, where) if (each.instrument, each.visit) in near]


def _separation(one: Region, ra: float, dec: float) -> float:
    return math.degrees(angular_separation(*(math.radians(angle) for angle in (one.ra, one.dec, ra, dec))))


def _require_visits(connection: sa.Connection, regions: Sequence[Region]) -> None:
    wanted = {(each.instrument, each.visit) for each in regions}
    for instrument in sorted({each.instrument for each in regions}):
        numbers = sorted(number for name, number in wanted if name == instrument)
        for start in range(0, len(numbers), _AT_ONCE):
            part = numbers[start : start + _AT_ONCE]
            query = sa.select(visit.c.visit).where(visit.c.instrument == instrument, visit.c.visit.in_(part))
            if missing := set(part) - set(connection.scalars(query)):
                raise RepoError(f"There is no visit {min(missing)} of {instrument}; ingest its images first.")


def _row(one: Region) -> dict[str, SummaryValue]:
    summary = None
    if one.summary is not None:
        plain = {name: None if _is_unknown(value) else value for name, value in one.summary.items()}
        summary = json.dumps(plain, allow_nan=False)
    return {
        "instrument": one.instrument,
        "visit": one.visit,
        "detector": one.detector,
        "ra": one.ra % 360.0,
        "dec": one.dec,
        "radius": one.radius,
        "solved": one.solved,
        "summary": summary,
    }


def _is_unknown(value: SummaryValue) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _region(row: sa.Row[Any]) -> Region:
    values = dict(row._mapping)
    summary = values.pop("summary")
    return Region(**values, summary=None if summary is None else json.loads(str(summary)))
