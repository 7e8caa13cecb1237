"""Objects depend on what was seen, on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import sqlalchemy as sa
from astropy.table import Table

from firstlight.errors import RepoError
from firstlight.execution.association import add_visit
from firstlight.repo.light_curves import light_curves, save_forced_fluxes
from firstlight.repo.object_schema import detection, forced_flux, sky_object
from firstlight.repo.objects import NSIDE, VisitKey, buckets, cell_ranges, cells_touched, select_rows
from firstlight.repo.repo import Repo
from firstlight.tasks.associate import AssociateConfig, AssociateTask

ARCSEC = 1 / 3600
POLE = 89.9995


@pytest.fixture
def new_sqlite(tmp_path):
    numbers, made = itertools.count(), []

    def make() -> Repo:
        made.append(Repo.create(tmp_path / f"repo_{next(numbers)}"))
        return made[-1]

    yield make
    for repo in made:
        repo.close()


def season(*, n_stars, n_visits, dec0, seed, step=1.3, sigma=0.12):
    """Visits to stars so near to each other, and so badly measured, that their order would matter to a naive rule."""
    rng = np.random.default_rng(seed)
    east, north = step * (np.arange(n_stars) % 5), step * (np.arange(n_stars) // 5)
    visits = []
    for number in range(n_visits):
        seen = np.flatnonzero(rng.random(n_stars) < 0.7)
        dec = dec0 + (north[seen] + rng.normal(0, sigma, len(seen))) * ARCSEC
        ra = (east[seen] + rng.normal(0, sigma, len(seen))) * ARCSEC / np.cos(np.radians(dec))
        error = np.full(len(seen), sigma * ARCSEC)
        table = Table(
            {"id": rng.permutation(len(seen)) + 1, "ra": ra % 360, "dec": dec, "ra_err": error, "dec_err": error}
        )
        visits.append((VisitKey(60000.0 + number // 2, "camera", number, number % 2), table))
    return visits


def state(repo):
    with repo.database.read() as connection:
        objects = select_rows(connection, sky_object)
        seen = select_rows(connection, detection)
    objects.sort("id")
    seen.sort("id")
    return objects, seen


def add(repo, visits, task=None):
    return [add_visit(repo, task or AssociateTask(), table, key=key) for key, table in visits]


def require_same(first, second):
    for one, other in zip(first, second, strict=True):
        assert one.colnames == other.colnames
        for name in one.colnames:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_the_order_of_arrival_changes_nothing(new_repo):
    visits = season(n_stars=25, n_visits=10, dec0=80.0, seed=1)
    in_order = new_repo()
    add(in_order, visits)
    expected = state(in_order)
    order = np.random.default_rng(0).permutation(len(visits))

    mixed = new_repo()
    outcomes = add(mixed, [visits[row] for row in order])

    require_same(state(mixed), expected)
    assert sum(outcome.n_sorted_anew for outcome in outcomes) > 0
    assert len(expected[0]) < len(expected[1])


@pytest.mark.parametrize("dec0", [-30.0, POLE])
@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_crowded_images_gives_the_same_objects(new_sqlite, dec0, seed):
    visits = season(n_stars=15, n_visits=6, dec0=dec0, seed=seed, step=0.7, sigma=0.3)
    in_order, mixed = new_sqlite(), new_sqlite()
    add(in_order, visits)

    add(mixed, [visits[row] for row in np.random.default_rng(seed).permutation(len(visits))])

    require_same(state(mixed), state(in_order))


def test_an_image_that_comes_twice_changes_nothing(new_repo):
    visits, repo = season(n_stars=12, n_visits=4, dec0=0.0, seed=2), new_repo()
    add(repo, visits)
    before = state(repo)

    again = add(repo, visits)

    assert not any(outcome.changed for outcome in again)
    require_same(state(repo), before)


def test_an_image_that_comes_again_with_other_detections_replaces_them(new_sqlite):
    visits = season(n_stars=12, n_visits=6, dec0=-60.0, seed=3)
    key, table = visits[2]
    reprocessed = (key, table[1:])
    fresh, repo = new_sqlite(), new_sqlite()
    add(fresh, [*visits[:2], reprocessed, *visits[3:]])
    add(repo, visits)

    outcome = add(repo, [reprocessed])[0]

    assert outcome.changed
    require_same(state(repo), state(fresh))


def stars(number, order, *, dec=()):
    """An image of four stars, 10" apart, under numbers in some order."""
    dec = np.asarray(dec or order) * 10.0 * ARCSEC
    return VisitKey(60000.0 + number, "camera", number, 0), Table(
        {"id": np.arange(len(dec)) + 1, "ra": np.full(len(dec), 10.0), "dec": dec}
    )


def measure(repo, visit):
    """Keep a flux for each object, that tells which star it is."""
    objects = state(repo)[0]
    flux = np.asarray(objects["dec"]) / (10.0 * ARCSEC) + 100.0
    key = VisitKey(60000.0 + visit, "camera", visit, 0)
    save_forced_fluxes(repo, key, band="r", object_ids=np.asarray(objects["id"]), flux=flux, flux_err=flux)


def fluxes(repo):
    """Return the star of each object -> visit and star of each flux that belongs to it."""
    objects = state(repo)[0]
    curves = light_curves(repo, objects["id"])
    found = {}
    for number, dec in objects["id", "dec"]:
        mine = curves[(curves["object_id"] == number) & (curves["kind"] == "forced")]
        found[round(float(dec) / (10.0 * ARCSEC))] = [(int(a), round(float(b)) - 100) for a, b in mine["visit", "flux"]]
    return found


def n_fluxes(repo):
    with repo.database.read() as connection:
        return len(select_rows(connection, forced_flux))


def test_fluxes_stay_with_their_star_when_an_earlier_image_comes(new_sqlite):
    repo = new_sqlite()
    add(repo, [stars(3, [0, 1, 2, 3])])
    measure(repo, 3)

    add(repo, [stars(1, [3, 2, 1])])

    assert fluxes(repo) == {star: [(3, star)] for star in range(4)}


def test_fluxes_stay_with_their_star_when_its_image_comes_again_with_other_numbers(new_sqlite):
    repo = new_sqlite()
    add(repo, [stars(1, [0, 1, 2, 3]), stars(2, [0, 1, 2])])
    measure(repo, 2)

    add(repo, [stars(1, [2, 0, 1, 5])])

    # The star that no image shows any more has no flux, and so has one that was not known when it was measured.
    assert fluxes(repo) == {0: [(2, 0)], 1: [(2, 1)], 2: [(2, 2)], 5: []}
    assert n_fluxes(repo) == 3
    add(repo, [stars(1, [2, 0, 1, 5], dec=[2.0001, 0, 1, 5])])
    measure(repo, 3)
    add(repo, [stars(1, [2, 0, 1, 5])])
    assert fluxes(repo)[5] == [(3, 5)]


def test_of_objects_that_become_one_an_image_keeps_a_single_flux(new_sqlite):
    repo = new_sqlite()
    add(repo, [stars(2, [0]), stars(3, [0.16])])
    measure(repo, 4)
    assert n_fluxes(repo) == len(state(repo)[0]) == 2

    add(repo, [stars(1, [0.1])])

    assert n_fluxes(repo) == len(state(repo)[0]) == 1


def test_only_what_a_late_image_can_touch_is_sorted_anew(new_sqlite):
    near, far = season(n_stars=3, n_visits=3, dec0=10.0, seed=4), season(n_stars=9, n_visits=3, dec0=20.0, seed=5)
    moved = [(key._replace(visit=100 + key.visit), table) for key, table in far]
    repo = new_sqlite()
    add(repo, [*near[1:], *moved])

    outcome = add(repo, near[:1])[0]

    assert 0 < outcome.n_sorted_anew <= sum(len(table) for _, table in near[1:])


def test_bodies_of_the_solar_system_are_kept_without_objects(new_sqlite):
    repo = new_sqlite()
    key, table = VisitKey(60000.0, "camera", 1, 0), Table({"id": [1, 2], "ra": [10.0, 20.0], "dec": [0.0, 0.0]})
    bodies = Table({"name": ["Ceres"], "ra": [10.0], "dec": [0.2 * ARCSEC]})

    outcome = add_visit(repo, AssociateTask(), table, key=key, band="r", solar_system=bodies)

    objects, seen = state(repo)
    assert (outcome.n_bodies, outcome.n_new, len(objects)) == (1, 1, 1)
    assert sorted(zip(seen["solar_system"], seen["object_id"] > 0, strict=True)) == [("", True), ("Ceres", False)]


def test_the_probability_of_being_real_is_kept(new_sqlite):
    repo, key = new_sqlite(), VisitKey(60000.0, "camera", 1, 0)
    table = Table({"id": [1, 2], "ra": [10.0, 20.0], "dec": [0.0, 0.0], "real_score": [0.25, np.nan]})

    add_visit(repo, AssociateTask(), table, key=key, band="r")

    scores = dict(zip(state(repo)[1]["source_id"], state(repo)[1]["score"], strict=True))
    assert scores[1] == 0.25
    assert np.isnan(scores[2])


def test_other_settings_are_refused_in_one_line(new_sqlite):
    visits, repo = season(n_stars=3, n_visits=2, dec0=0.0, seed=6), new_sqlite()
    add(repo, visits[:1])

    with pytest.raises(RepoError, match="found with other settings"):
        add(repo, visits[1:], AssociateTask(AssociateConfig(radius=2.0)))
    assert add(repo, visits[1:], AssociateTask(AssociateConfig(warn_new=5)))[0].changed


def test_nothing_of_an_image_is_kept_if_a_part_fails(new_sqlite, monkeypatch):
    repo = new_sqlite()
    monkeypatch.setattr("firstlight.repo.objects.save_objects", lambda *_: (_ for _ in ()).throw(KeyError("broken")))
    key, table = season(n_stars=3, n_visits=1, dec0=0.0, seed=7)[0]

    with pytest.raises(KeyError):
        add_visit(repo, AssociateTask(), table, key=key)
    monkeypatch.undo()
    assert add_visit(repo, AssociateTask(), table, key=key).changed
    assert len(state(repo)[1]) == len(table)


def test_an_image_without_detections_is_kept_too(new_sqlite):
    repo, key = new_sqlite(), VisitKey(60000.0, "camera", 1, 0)
    empty = Table({"id": np.empty(0, int), "ra": np.empty(0), "dec": np.empty(0)})

    outcomes = add(repo, [(key, empty), (key, empty)])

    assert [outcome.changed for outcome in outcomes] == [True, False]


def test_columns_that_are_not_known_stay_unknown_and_units_are_kept(new_sqlite):
    repo, key = new_sqlite(), VisitKey(60000.0, "camera", 1, 0)
    table = Table({"id": [1], "ra": [10.0], "dec": [0.0], "psf_flux": [-3.0]}, units={"psf_flux": "uJy"})

    add(repo, [(key, table)])

    seen = state(repo)[1][0]
    assert (seen["flux"], seen["is_negative"]) == (pytest.approx(-3000.0), True)
    assert np.isnan(seen["ra_err"])
    assert np.isnan(seen["score"])


@pytest.mark.parametrize("dec0", [0.0, 41.8, -80.0, 89.999, -90.0])
@pytest.mark.parametrize("radius", [1.0, 2.4, 30.0])
def test_the_cells_of_a_circle_hold_all_its_points(dec0, radius):
    rng = np.random.default_rng(8)
    ra = rng.uniform(0, 360, 30)
    angle, size = rng.uniform(0, 2 * np.pi, (400, 30)), np.radians(radius * ARCSEC) * rng.random((400, 30)) ** 0.5
    d = np.radians(dec0)
    dec = np.arctan2(
        np.sin(d) * np.cos(size) + np.cos(d) * np.sin(size) * np.cos(angle),
        np.hypot(np.cos(d) * np.cos(size) - np.sin(d) * np.sin(size) * np.cos(angle), np.sin(size) * np.sin(angle)),
    )
    turn = np.arctan2(np.sin(size) * np.sin(angle), np.cos(d) * np.cos(size) - np.sin(d) * np.sin(size) * np.cos(angle))

    inside = np.unique(buckets(((ra + np.degrees(turn)) % 360).ravel(), np.degrees(dec).ravel()))

    assert np.isin(inside, cells_touched(ra, np.full(30, dec0), radius=radius)).all()


@pytest.mark.parametrize("dec0", [0.0, 41.8, -80.0, 89.999, -90.0])
@pytest.mark.parametrize("radius", [301.0, 2500.0, 4e4])
def test_ranges_of_cells_hold_all_points_of_an_image_and_little_else(dec0, radius):
    rng = np.random.default_rng(9)
    vectors = rng.normal(size=(20_000, 3))
    centre = np.array(
        [np.cos(np.radians(dec0)) * np.cos(0.1), np.cos(np.radians(dec0)) * np.sin(0.1), np.sin(np.radians(dec0))]
    )
    vectors = centre + 1.5 * np.radians(radius * ARCSEC) * vectors / np.linalg.norm(vectors, axis=1)[:, None]
    vectors /= np.linalg.norm(vectors, axis=1)[:, None]
    inside = 2 * np.arcsin(np.linalg.norm(vectors - centre, axis=1) / 2) <= np.radians(radius * ARCSEC)
    cells = buckets(np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360, np.degrees(np.arcsin(vectors[:, 2])))

    ranges = cell_ranges(np.degrees(0.1), dec0, radius=radius)

    held = np.any([(cells >= begin) & (cells < end) for begin, end in ranges], axis=0)
    assert inside.any()
    assert held[inside].all()
    area = sum(end - begin for begin, end in ranges) * 4 * np.pi / (12 * NSIDE**2)
    assert area < 4 * np.pi * np.radians(radius * ARCSEC) ** 2


def test_the_store_makes_no_tables_until_it_is_used(new_sqlite):
    repo = new_sqlite()

    with repo.database.read() as connection:
        assert not sa.inspect(connection).has_table("sky_object")
