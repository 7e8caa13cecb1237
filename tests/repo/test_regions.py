"""Whatever touches a region is found through its cells, and a solved region takes the place of that of the header."""

from __future__ import annotations

import math

import pytest
import sqlalchemy as sa
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy_healpix.core import lonlat_to_healpix
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.errors import RepoError
from firstlight.repo import regions as regions_module
from firstlight.repo.regions import (
    NSIDE,
    Region,
    add_regions,
    all_regions,
    buckets_of,
    find_regions,
    solve_region,
    visits_at,
)
from firstlight.repo.repo import Repo
from firstlight.repo.schema import region_bucket, visit

POSITIONS = [(ra, dec) for dec in (-90, -60.2, 0, 0.3, 45, 89.7) for ra in (0, 0.4, 120, 359.8)]
circles = {"ra": st.floats(0, 360), "dec": st.floats(-90, 90), "radius": st.floats(0, 3) | st.floats(0, 40)}


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    with Repo.create(tmp_path_factory.mktemp("repo") / "R") as repo:
        with repo.database.write() as connection:
            rows = [{"instrument": "cam", "visit": number, "band": "r"} for number in range(len(POSITIONS))]
            connection.execute(sa.insert(visit), rows)
            regions = [
                Region("cam", number, detector, ra, dec, 0.3 + number % 3)
                for number, (ra, dec) in enumerate(POSITIONS)
                for detector in (0, 1)
            ]
            add_regions(connection, regions)
        yield repo


@given(**circles, angle=st.floats(0, 360), share=st.floats(0, 1))
@settings(deadline=None, max_examples=200)
def test_every_point_of_a_circle_lies_in_one_of_its_cells(ra, dec, radius, angle, share):
    point = SkyCoord(ra, dec, unit="deg").directional_offset_by(angle * u.deg, radius * share * u.deg)
    cell = lonlat_to_healpix(point.ra, point.dec, NSIDE, order="nested")

    assert int(cell) in buckets_of(ra=ra, dec=dec, radius=radius + 1e-9)


@given(**circles)
@settings(deadline=None, max_examples=100)
def test_what_overlaps_a_circle_is_found_and_nothing_else(repo, ra, dec, radius):
    here = SkyCoord(ra, dec, unit="deg")
    apart = [float(here.separation(SkyCoord(*position, unit="deg")).deg) for position in POSITIONS]
    expected = {number for number, angle in enumerate(apart) if angle <= 0.3 + number % 3 + radius}
    close = {n for n, angle in enumerate(apart) if math.isclose(angle, 0.3 + n % 3 + radius, abs_tol=1e-6)}

    found = find_regions(repo, ra=ra, dec=dec, radius=radius)

    assert {each.visit for each in found} ^ expected <= close
    assert [(each.visit, each.detector) for each in found] == sorted({(e.visit, d) for e in found for d in (0, 1)})


def test_visits_are_found_by_place_and_condition(repo):
    assert [each.visit for each in visits_at(repo, ra=120.0, dec=45.1)] == [18]
    assert visits_at(repo, ra=120.0, dec=45.1, where="band = 'g'") == []
    assert find_regions(repo, ra=120.0, dec=45.1, instrument="other") == []


def test_regions_of_some_visits_are_those_among_all(repo, monkeypatch):
    monkeypatch.setattr(regions_module, "_AT_ONCE", 2)
    wanted = [7, 1, 7, 5, 3, 999]

    found = all_regions(repo, wanted)

    assert found == [each for each in all_regions(repo) if each.visit in wanted]
    assert len(found) == 8
    assert all_regions(repo, []) == []


def test_a_solved_region_takes_the_place_of_the_one_before(tmp_path):
    with Repo.create(tmp_path / "R") as repo:
        with repo.database.write() as connection:
            connection.execute(sa.insert(visit), {"instrument": "cam", "visit": 1})
            add_regions(connection, [Region("cam", 1, 0, 10.0, 20.0, 5.0)])
        solve_region(repo, "cam", 1, 0, ra=370.5, dec=20.2, radius=0.1, summary={"fwhm": 2.5, "rms": math.nan})
        with repo.database.write() as connection:
            add_regions(connection, [Region("cam", 1, 0, 10.0, 20.0, 5.0)])
        with repo.database.read() as connection:
            cells = set(connection.scalars(sa.select(region_bucket.c.bucket)))

        [found] = find_regions(repo, ra=10.5, dec=20.2)
        assert (found.ra, found.radius, found.solved) == (10.5, 0.1, True)
        assert found.summary == {"fwhm": 2.5, "rms": None}
        assert cells == set(buckets_of(ra=10.5, dec=20.2, radius=0.1))
        assert find_regions(repo, ra=10.0, dec=22.0) == []


def test_a_region_of_a_visit_that_is_not_there_is_refused(repo):
    with pytest.raises(RepoError, match="There is no visit 999 of cam"):
        solve_region(repo, "cam", 999, 0, ra=1.0, dec=2.0, radius=0.1)


@pytest.mark.parametrize("circle", [(math.nan, 0.0, 1.0), (0.0, 91.0, 1.0), (0.0, 0.0, math.nan), (0.0, 0.0, -1.0)])
def test_what_is_no_circle_is_a_bug(circle):
    ra, dec, radius = circle

    with pytest.raises(ValueError, match="is no circle on the sky"):
        buckets_of(ra=ra, dec=dec, radius=radius)
