"""What is exported and imported is the same repository, or the same part of it."""

from __future__ import annotations

import json
import math

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from firstlight.errors import RepoError
from firstlight.framework.dimensions import DataId
from firstlight.repo.repo import Repo
from firstlight.repo.rows import NewDataset, QuantumRow
from firstlight.repo.schema import exposure, refcat, region, region_bucket, visit, visit_exposure
from firstlight.repo.transfer import MANIFEST, RECORDS

from .test_repo import ONE, data_ids, law, plain

VISIT = {"instrument": "cam", "day_obs": 20260101, "physical_filter": "R2", "band": "r", "mjd_tai": 61041.5}


def contents(repo: Repo) -> dict[str, object]:
    """All that a repository holds, without numbers that the database gives and without its place."""
    runs = [info.name for info in repo.collections() if info.kind == "RUN"]
    everything = [info.name for info in repo.collections()]
    found: dict[str, object] = {
        "types": [repo.dataset_type(name) for name in repo.type_names()],
        "collections": repo.collections(),
        "quanta": {run: repo.quanta(run) for run in runs},
    }
    for name in repo.type_names():
        rows = [row for run in runs for row in repo.datasets(name, collections=run, find_first=False)]
        found[name] = [(row[1:4], row[5:], row.path.relative_to(repo.root), row.path.read_bytes()) for row in rows]
        certified = repo.certified(name, collections=everything) if everything else []
        found[f"certified {name}"] = [(each.row[1:4], each.begin_mjd, each.end_mjd) for each in certified]
    with repo.database.read() as connection:
        for kind, table in [*RECORDS.items(), ("refcat", refcat)]:
            found[kind] = sorted(map(repr, connection.execute(sa.select(table)).mappings().all()))
    return found


def full(repo: Repo, entries=()) -> Repo:
    """Put something of every kind into a repository."""
    for name in ("raw/all", "night/1", "night/2", "bias/1", "bias/2", "empty"):
        repo.make_run(name)
    with repo.database.write() as connection:
        for number in (1, 2):
            connection.execute(sa.insert(visit), VISIT | {"visit": number, "airmass": math.nan if number == 2 else 1.1})
            connection.execute(sa.insert(exposure), VISIT | {"exposure": number, "object_name": "M 31 'ж'"})
            connection.execute(sa.insert(visit_exposure), {"instrument": "cam", "visit": number, "exposure": number})
            place = {"instrument": "cam", "visit": number, "detector": 2}
            sky = {"ra": 10.0, "dec": -1.0 / 3, "radius": 0.5, "solved": number == 1, "summary": '{"a":1}'}
            connection.execute(sa.insert(region), place | sky)
            connection.execute(sa.insert(region_bucket), [place | {"bucket": bucket} for bucket in (5, 6)])
        connection.execute(sa.insert(refcat), {"name": "gaia", "path": "/data/gaia", "checksum": "x"})
    repo.put(1, "number", run="night/1", producer="isr (visit=1)", **ONE)
    repo.put(2, "number", run="night/2", partial=True, **ONE)
    repo.put((2, "x"), "number", run="night/2", **ONE | {"visit": 2})
    for data_id, value in entries:
        repo.put(value, "number", run="raw/all", **data_id)
    repo.make_calibration("calib")
    for number, (begin, end) in enumerate([(-math.inf, 60000.0), (60000.0, math.inf)], 1):
        repo.put(number, "bias", run=f"bias/{number}", instrument="cam", detector=2)
        repo.certify("bias", run=f"bias/{number}", collection="calib", begin=begin, end=end)
    repo.chain("night", ["night/2", "night/1"])
    repo.chain("all", ["night", "calib", "empty"])
    repo.save_quanta("night/1", [QuantumRow("isr", "visit=1", "done", "k", {"gates": [1.5]})])
    return repo


@law
@given(entries=st.lists(st.tuples(data_ids, plain), max_size=3, unique_by=lambda entry: tuple(entry[0].values())))
def test_a_repository_that_was_exported_and_imported_is_the_same(new_repo, tmp_path_factory, entries):
    repo, other = full(new_repo(), entries), new_repo()
    folder = tmp_path_factory.mktemp("export")
    exported = repo.export(folder)

    assert exported == 5 + len(entries)
    assert other.import_(folder) == exported
    assert contents(other) == contents(repo)
    assert not other.check()
    assert other.import_(folder) == 0
    assert contents(other) == contents(repo)


def test_a_part_is_exported_with_all_that_it_needs(new_repo, tmp_path):
    repo, other = full(new_repo()), new_repo()
    repo.export(tmp_path / "part", collections="all", types=["number"], where="visit = 2")
    assert other.import_(tmp_path / "part") == 1

    [row] = other.datasets("number", collections="all")
    assert row.data_id == ONE | {"visit": 2, "day_obs": 20260101, "physical_filter": "R2", "band": "r"}
    assert [each.name for each in other.collections()] == ["all", "calib", "empty", "night", "night/1", "night/2"]
    with other.database.read() as connection:
        assert connection.execute(sa.select(visit.c.visit)).scalars().all() == [2]
        assert connection.execute(sa.select(exposure.c.exposure)).scalars().all() == [2]
        assert connection.execute(sa.select(sa.func.count()).select_from(region_bucket)).scalar() == 2
        assert connection.execute(sa.select(refcat)).all() == []
    assert other.quanta("night/1") == []
    repo.export(tmp_path / "night", collections="night/1")
    assert other.import_(tmp_path / "night") == 1
    assert len(other.quanta("night/1")) == 1


def test_certifications_come_with_their_datasets(new_repo, tmp_path):
    repo, other = full(new_repo()), new_repo()
    repo.export(tmp_path / "calib", collections=["calib"])
    other.import_(tmp_path / "calib")

    assert other.get("bias", collections="calib", date=59999.0, instrument="cam", detector=2) == 1
    assert other.get("bias", collections="calib", date=1e9, instrument="cam", detector=2) == 2


def test_a_file_that_lay_outside_comes_along_once(new_repo, tmp_path):
    repo, other = new_repo(), new_repo()
    repo.make_run("run")
    row = repo.put(1, "number", run="run", **ONE)
    outside = tmp_path / "telescope.json"
    outside.write_bytes(row.path.read_bytes())
    repo.insert("run", [NewDataset("number", DataId(ONE | {"detector": n}), outside, 2, row.checksum) for n in (3, 4)])
    repo.export(tmp_path / "export")
    other.import_(tmp_path / "export")

    rows = other.datasets("number", collections="run")
    assert [other.read(row) for row in rows] == [1, 1, 1]
    assert all(row.path.is_relative_to(other.root) for row in rows)
    assert rows[1].path == rows[2].path
    assert not other.check()


def test_nothing_is_imported_that_contradicts_what_is_there(new_repo, tmp_path):
    repo, other = full(new_repo()), new_repo()
    repo.export(tmp_path / "export")
    other.make_run("night/1")
    other.put(9, "number", run="night/1", **ONE)
    before = contents(other)

    with pytest.raises(RepoError, match=r"night/1 has another number \(instrument=cam .* visit=1 detector=2"):
        other.import_(tmp_path / "export")
    assert contents(other) == before
    other.remove_run("night/1")
    with other.database.write() as connection:
        connection.execute(sa.insert(visit), VISIT | {"visit": 1, "airmass": 1.5})
    with pytest.raises(RepoError, match="visit 1 of cam is there with another airmass"):
        other.import_(tmp_path / "export")
    assert other.collections() == []
    assert not list(other.root.rglob("*.json"))


def test_an_export_that_was_changed_is_not_imported(new_repo, tmp_path):
    repo, other = full(new_repo()), new_repo()
    repo.export(tmp_path / "export")
    [changed] = (tmp_path / "export" / "night/1").rglob("*.json")
    changed.write_text("9\n")

    with pytest.raises(RepoError, match="is not what it was when it was made known"):
        other.import_(tmp_path / "export")
    assert other.collections() == []
    assert not list(other.root.rglob("*.json"))


def change(folder, kind, values):
    """Change the first row of a kind in a manifest."""
    lines = [json.loads(line) for line in (folder / MANIFEST).read_text().splitlines()]
    row = next(line for line in lines if line.get("kind") == kind)
    row.update(values)
    (folder / MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("dataset", {"path": "../outside"}, "should be below"),
        ("dataset", {"path": "/etc/passwd"}, "should be below"),
        ("dataset", {"path": "repo.yaml"}, "should be below"),
        ("dataset", {"path": "night/1/../../x"}, "should be below"),
        ("dataset", {"run": "../x"}, "cannot name a collection"),
        ("dataset", {"data_id": {"instrument": "a\nb", "visit": 1, "detector": 1}}, "printable"),
        ("dataset", {"data_id": None}, "cannot be understood"),
        ("dataset", {"data_id": {"vist": 1}}, "cannot be understood|no dimension"),
        ("dataset", {"size": "many"}, "cannot be understood"),
        ("type", {"dimensions": ["vist"]}, "no dimension"),
        ("type", {"storage": "pickle"}, "There is no storage"),
        ("RUN", {"name": "a b"}, "cannot name a collection"),
        ("CHAINED", {"members": ["nothing"]}, "There is no collection"),
        ("certification", {"begin": "soon"}, "cannot be understood"),
        ("certification", {"begin": 5.0, "end": 4.0}, "until a later one"),
        ("certification", {"end": math.inf}, "is certified in calib within"),
        ("certification", {"data_id": {"instrument": "other", "detector": 2}}, "does not have"),
        ("visit", {"mjd_tai": "today"}, "should be float"),
        ("visit", {"moon": 1}, "other columns"),
        ("quantum", {"record": 5}, "cannot be understood"),
        ("exposure", {"kind": "moon"}, "does not know"),
    ],
)
def test_a_hostile_manifest_is_one_line_and_changes_nothing(new_repo, tmp_path, kind, values, message):
    repo, other = full(new_repo()), new_repo()
    repo.export(tmp_path / "export")
    change(tmp_path / "export", kind, values)
    before = contents(other)

    with pytest.raises(RepoError, match=message) as caught:
        other.import_(tmp_path / "export")
    assert "\n" not in str(caught.value)
    assert contents(other) == before
    assert not list(other.root.rglob("*.json"))


@pytest.mark.parametrize("content", [None, "", "[]\n", "{}\n", '{"format": 2}\n{"rows": 0}\n', "{", '{"format": 1}\n'])
def test_a_folder_that_is_no_export_is_one_line(repo, tmp_path, content):
    if content is not None:
        (tmp_path / MANIFEST).write_text(content)

    with pytest.raises(RepoError) as caught:
        repo.import_(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_cut_off_manifest_is_noticed(new_repo, tmp_path):
    full(new_repo()).export(tmp_path / "export")
    lines = (tmp_path / "export" / MANIFEST).read_text().splitlines(keepends=True)
    (tmp_path / "export" / MANIFEST).write_text("".join(lines[:-3]))

    with pytest.raises(RepoError, match="is cut off after"):
        new_repo().import_(tmp_path / "export")


def test_an_export_goes_into_an_empty_folder_and_needs_every_file(new_repo, tmp_path):
    repo = full(new_repo())
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x").touch()
    with pytest.raises(RepoError, match="is not an empty folder"):
        repo.export(tmp_path / "there")
    repo.find("number", collections="night/1", **ONE).path.unlink()
    with pytest.raises(RepoError, match="cannot be read"):
        repo.export(tmp_path / "new")
