"""Objects that go into another repository are there as they were, or are refused with a reason."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from astropy.table import Table

from firstlight.cli.main import run
from firstlight.errors import RepoError
from firstlight.execution.association import add_visit
from firstlight.images.catalog import read_catalog, write_catalog
from firstlight.repo.light_curves import save_forced_fluxes
from firstlight.repo.object_transfer import TABLES, export_objects, import_objects
from firstlight.repo.objects import VisitKey, detections_of_visit, select_rows
from firstlight.repo.repo import Repo
from firstlight.tasks.associate import AssociateConfig, AssociateTask

ARCSEC = 1 / 3600


@pytest.fixture
def new_sqlite(tmp_path):
    numbers, made = itertools.count(), []

    def make() -> Repo:
        made.append(Repo.create(tmp_path / f"sqlite_{next(numbers)}"))
        return made[-1]

    yield make
    for repo in made:
        repo.close()


def visits(numbers, *, seed=0):
    """Visits to six stars, one of them a body of the solar system; the last one is fainter than the template."""
    found = []
    for number in numbers:
        rng = np.random.default_rng((seed, number))
        east, north = 4.0 * np.arange(6) + rng.normal(0, 0.1, (2, 6))
        flux = np.array([900.0, 800, 700, 600, 500, -400]) + rng.normal(0, 20, 6)
        table = Table({"id": np.arange(6) + 1, "ra": (359.999 + east * ARCSEC) % 360, "dec": north * ARCSEC})
        table["ra_err"] = table["dec_err"] = 0.1 * ARCSEC
        table["flux"], table["flux_err"], table["snr"] = flux, 20.0, flux / 20
        table["score"] = np.where(np.arange(6) == 3, np.nan, 0.9)
        found.append((VisitKey(60000.0 + number, "camera", number, number % 2), table))
    return found


def add(repo, images, *, forced=(), task=None):
    body = Table({"name": ["Ceres"], "ra": [(359.999 + 4 * ARCSEC) % 360], "dec": [4 * ARCSEC]})
    for key, table in images:
        add_visit(repo, task or AssociateTask(), table, key=key, band="r" if key.visit % 2 else None, solar_system=body)
        if key.visit in forced:
            with repo.database.read() as connection:
                ids = np.unique(np.asarray(detections_of_visit(connection, key)["object_id"]))[1:]
            flux = np.where(ids % 2, 5.0, np.nan)
            save_forced_fluxes(repo, key, band="r", object_ids=ids, flux=flux, flux_err=np.ones(len(ids)))
    return repo


def state(repo):
    with repo.database.read() as connection:
        found = {name: select_rows(connection, table) for name, table in TABLES.items()}
    return {name: sorted(str(tuple(row)) for row in rows) for name, rows in found.items()}


def test_nothing_is_lost_and_what_comes_later_finds_the_same_objects(new_repo, tmp_path):
    first = add(new_repo(), visits([0, 1, 3, 4]), forced=range(5))
    other = new_repo()
    counts = export_objects(first, tmp_path / "to_go")

    assert import_objects(other, tmp_path / "to_go") == counts
    assert state(other) == state(first)
    assert (counts.objects, counts.detections, counts.images, counts.forced_fluxes) == (5, 24, 4, 20)
    export_objects(other, tmp_path / "again")
    for path in (tmp_path / "to_go").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    later = visits([2, 5])
    assert state(add(other, later)) == state(add(first, later))


def test_what_is_there_stays_and_more_images_make_of_it_what_they_would_have_made(new_sqlite, tmp_path):
    older = add(new_sqlite(), visits(range(3)), forced=[0, 1])
    newer = add(new_sqlite(), visits(range(5)), forced=[1, 4])
    for repo, name in ((older, "older"), (newer, "newer")):
        export_objects(repo, tmp_path / name)
    whole = state(add(new_sqlite(), visits(range(5)), forced=[0, 1, 4]))

    import_objects(older, tmp_path / "newer")
    import_objects(newer, tmp_path / "older")

    assert state(older) == state(newer) == whole
    import_objects(older, tmp_path / "newer")
    assert state(older) == whole


def test_fluxes_belong_to_the_objects_whose_numbers_earlier_images_changed(new_sqlite, tmp_path):
    fewer = add(new_sqlite(), visits([2, 3]), forced=[2, 3])
    more = add(new_sqlite(), visits(range(4)), forced=[1])
    for repo, name in ((fewer, "fewer"), (more, "more")):
        export_objects(repo, tmp_path / name)

    import_objects(fewer, tmp_path / "more")
    import_objects(more, tmp_path / "fewer")

    assert state(fewer) == state(more)
    with more.database.read() as connection:
        objects, fluxes = (select_rows(connection, TABLES[name]) for name in ("objects", "forced_fluxes"))
    assert sorted(zip(fluxes["visit"], fluxes["object_id"], strict=True)) == sorted(
        itertools.product((1, 2, 3), objects["id"])
    )
    assert export_objects(fewer, tmp_path / "again") == import_objects(new_sqlite(), tmp_path / "again")


@pytest.mark.parametrize(
    ("images", "radius", "words"),
    [
        (
            visits([0, 7]),
            2.5,
            "has camera visit 7 detector 1, which .* lacks, and lacks its camera visit 1 detector 1; bring",
        ),
        (visits([0, 1], seed=1), 2.5, "has other detections of camera visit 0 detector 0 than"),
        (visits([0, 1]), 1.5, "were found with other settings of association"),
    ],
)
def test_what_contradicts_the_repository_is_refused_and_changes_nothing(new_sqlite, tmp_path, images, radius, words):
    export_objects(add(new_sqlite(), visits(range(3)), forced=[0]), tmp_path / "to_go")
    other = add(new_sqlite(), images, forced=[0], task=AssociateTask(AssociateConfig(radius=radius)))
    before = state(other)

    with pytest.raises(RepoError, match=words) as caught:
        import_objects(other, tmp_path / "to_go")

    assert "\n" not in str(caught.value)
    assert state(other) == before


def changed(path, change):
    rows = read_catalog(path)
    meta = rows.meta
    rows = change(rows)
    rows.meta = meta
    write_catalog(rows, path)


def of_nothing(fluxes):
    fluxes["object_id"] = fluxes["object_id"] + 1
    return fluxes


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "images.parquet").unlink(), "is no export of objects"),
        (lambda folder: (folder / "objects.parquet").write_bytes(b"PAR1 and no more"), "is no export of objects"),
        (lambda folder: changed(folder / "detections.parquet", lambda rows: rows[:-1]), "are not of one export"),
        (
            lambda folder: changed(folder / "objects.parquet", lambda rows: rows["id", "ra", "dec"]),
            "objects.parquet has no column 'ra_err'",
        ),
        (
            lambda folder: changed(folder / "objects.parquet", lambda rows: rows[[0, 0, 1, 2, 3]]),
            "name objects or images that they do not have",
        ),
        (
            lambda folder: changed(folder / "forced_fluxes.parquet", of_nothing),
            "name objects or images that they do not have",
        ),
        (
            lambda folder: changed(folder / "forced_fluxes.parquet", lambda rows: rows[[0, *range(len(rows) - 1)]]),
            "two of one number",
        ),
    ],
)
def test_a_damaged_export_is_one_line_and_changes_nothing(new_sqlite, tmp_path, damage, words):
    export_objects(add(new_sqlite(), visits(range(2)), forced=[0]), tmp_path / "to_go")
    other = new_sqlite()
    import_objects(other, tmp_path / "to_go")
    before, fresh = state(other), new_sqlite()
    damage(tmp_path / "to_go")

    for repo in (other, fresh) if "number" not in words else (fresh,):
        with pytest.raises(RepoError, match=words) as caught:
            import_objects(repo, tmp_path / "to_go")
        assert "\n" not in str(caught.value)
    assert state(other) == before


def test_the_commands_say_how_much_there_is(new_sqlite, tmp_path, capsys):
    add(new_sqlite(), visits(range(2)), forced=[0])
    new_sqlite()
    root, other, folder = (str(tmp_path / name) for name in ("sqlite_0", "sqlite_1", "to_go"))

    assert run(["objects", "export", folder, "-b", other]) == 2
    assert "has no objects yet" in capsys.readouterr().err
    assert run(["objects", "export", folder, "-b", root]) == 0
    assert run(["objects", "import", folder, "-b", other]) == 0
    counts = "5 objects, 12 detections of 2 images and 5 fluxes at known places"
    assert capsys.readouterr().out == f"{counts} exported to {folder}\n{other} has {counts} now\n"
    assert run(["objects", "export", folder, "-b", root]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
