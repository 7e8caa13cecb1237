"""What is put comes back, from the first collection that has it, and nothing is overwritten."""

from __future__ import annotations

import pickle
import subprocess
import sys
from contextlib import nullcontext

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from firstlight.errors import RepoError
from firstlight.framework.dimensions import DataId
from firstlight.repo.dataset_types import DatasetType, data_key
from firstlight.repo.files import checksum_of
from firstlight.repo.repo import Repo
from firstlight.repo.rows import NewDataset, QuantumRow
from firstlight.repo.schema import exposure, visit

ONE = {"instrument": "cam", "visit": 1, "detector": 2}
law = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
).filter(lambda value: not (isinstance(value, dict) and "float" in value))
names = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), min_size=1, max_size=100)
numbers = st.integers(-(2**63) + 1, 2**63 - 1)
data_ids = st.builds(lambda a, b, c: {"instrument": a, "visit": b, "detector": c}, names, numbers, numbers)


def file_of(repo: Repo, run: str, type_name: str, data_id: dict, text: str = "1\n") -> NewDataset:
    """A dataset whose file is there and that nobody knows yet."""
    path = repo.path_for(run, type_name, data_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return NewDataset(type_name, DataId(data_id), path, path.stat().st_size, checksum_of(path))


@law
@given(entries=st.lists(st.tuples(data_ids, plain), max_size=5, unique_by=lambda entry: tuple(entry[0].values())))
def test_what_is_put_comes_back(new_repo, entries):
    repo = new_repo()
    repo.make_run("run")
    rows = [repo.put(value, "number", run="run", **data_id) for data_id, value in entries]

    for row, (data_id, value) in zip(rows, entries, strict=True):
        assert repo.get("number", collections="run", **data_id) == value
        assert repo.find("number", collections="run", **data_id) == row
        assert row.path == repo.path_for("run", "number", data_id)
        assert row.path.is_relative_to(repo.root / "run")
        assert (row.size, row.checksum) == (row.path.stat().st_size, checksum_of(row.path))
    assert {row.location for row in repo.datasets("number", collections="run")} == {row.location for row in rows}
    assert not repo.check()


@law
@given(
    placed=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), unique=True, max_size=12),
    order=st.permutations(["run/0", "run/1", "run/2"]),
)
def test_the_first_collection_that_has_a_dataset_gives_it(new_repo, placed, order):
    repo = new_repo()
    for name in order:
        repo.make_run(name)
    for run, detector in placed:
        repo.put(run, "number", run=f"run/{run}", instrument="cam", visit=1, detector=detector)
    expected = {
        detector: min((order.index(f"run/{run}"), run) for run, other in placed if other == detector)[1]
        for _, detector in placed
    }

    found = repo.datasets("number", collections=order)
    assert {row.data_id["detector"]: repo.read(row) for row in found} == expected
    assert [row.data_id["detector"] for row in found] == sorted(expected)
    for detector, run in expected.items():
        assert repo.get("number", collections=order, instrument="cam", visit=1, detector=detector) == run
    assert len(repo.datasets("number", collections=order, find_first=False)) == len(placed)


@law
@given(left=st.tuples(names, names), right=st.tuples(names, names))
@example(left=("a,physical_filter=b", "c"), right=("a", "b,physical_filter=c"))
@example(left=("a%2C", "b"), right=("a,", "b"))
@example(left=("a", "x" * 90 + "y" + "z" * 9), right=("a", "x" * 90 + "z" * 10))
@example(left=("a/b", "c"), right=("a", "b/c"))
@example(left=("a_b", "c"), right=("a", "b_c"))
def test_different_data_ids_have_different_keys_and_paths(left, right):
    kind = DatasetType("flat", ("instrument", "physical_filter"), "json")
    ids = [DataId(instrument=camera, physical_filter=name) for camera, name in (left, right)]

    assert (data_key(ids[0], kind.dimensions) == data_key(ids[1], kind.dimensions)) == (left == right)
    assert (kind.path("run", ids[0]) == kind.path("run", ids[1])) == (left == right)


def test_a_data_key_names_the_required_dimensions_in_their_order():
    kind = DatasetType("raw_image", ("detector", "exposure"), "json")

    assert kind.dimensions == ("instrument", "exposure", "detector")
    assert data_key({"detector": 3, "band": "r", "exposure": 1, "instrument": "ztf"}, kind.dimensions) == (
        "instrument=ztf,exposure=1,detector=3"
    )


def test_a_path_is_one_that_a_person_would_choose(repo):
    assert repo.path_for("u/jane/1", "number", ONE) == repo.root / "u/jane/1/number/cam/1/number_cam_1_2.json"
    assert repo.path_for("u/jane/1", "note", {}) == repo.root / "u/jane/1/note/note.json"


def test_what_is_there_is_never_overwritten(repo):
    repo.make_run("run")
    row = repo.put(1, "number", run="run", **ONE)

    with pytest.raises(RepoError, match=r"run has number \(instrument=cam visit=1 detector=2\) already"):
        repo.put(2, "number", run="run", **ONE)
    with pytest.raises(RepoError, match="already"):
        repo.insert("run", [NewDataset("number", DataId(ONE), row.path, 2, "x")])
    assert repo.get("number", collections="run", **ONE) == 1
    assert not repo.check()


def test_many_datasets_become_known_together_or_not_at_all(repo):
    repo.make_run("run")
    rows = [file_of(repo, "run", "number", ONE | {"detector": detector}) for detector in range(4)]
    repo.insert("run", rows[:2])

    with pytest.raises(RepoError, match="already"):
        repo.insert("run", rows[1:])
    assert len(repo.datasets("number", collections="run")) == 2
    with pytest.raises(RepoError, match="give each one once"):
        repo.insert("run", [rows[2], rows[2]])
    with pytest.raises(RepoError, match="detector is missing"):
        repo.insert("run", [rows[2], rows[3]._replace(data_id=DataId(instrument="cam", visit=1))])
    repo.insert("run", rows[2:])
    repo.insert("run", [])
    assert [row.data_id["detector"] for row in repo.datasets("number", collections="run")] == [0, 1, 2, 3]


def test_ten_thousand_datasets_are_registered_at_once_and_found(repo):
    repo.make_run("run")
    new = [
        NewDataset("number", DataId(instrument="cam", visit=n // 10, detector=n % 10), repo.root / f"run/{n}", 1, "x")
        for n in range(10_000)
    ]
    repo.insert("run", new)

    assert len(repo.datasets("number", collections="run")) == 10_000
    [one] = repo.datasets("number", collections="run", where="visit = 77 and detector = 7")
    assert one == repo.find("number", collections="run", instrument="cam", visit=77, detector=7)


def test_what_follows_from_a_visit_is_known_of_its_datasets(repo):
    repo.make_run("run")
    with repo.database.write() as connection:
        night = {"instrument": "cam", "day_obs": 20260101, "physical_filter": "R2", "band": "r", "mjd_tai": 61041.5}
        connection.execute(sa.insert(visit), night | {"visit": 1})
        connection.execute(sa.insert(exposure), night | {"exposure": 7})
    row = repo.put(1, "number", run="run", **ONE)
    repo.put(2, "number", run="run", **ONE | {"visit": 5}, band="g")

    assert row.data_id == ONE | {"day_obs": 20260101, "physical_filter": "R2", "band": "r"}
    assert repo.find("number", collections="run", **ONE).data_id == row.data_id
    assert [row.data_id["visit"] for row in repo.datasets("number", collections="run", where="band = 'r'")] == [1]
    assert [row.data_id["visit"] for row in repo.datasets("number", collections="run", where="band = 'g'")] == [5]
    with pytest.raises(RepoError, match=r"band='g' contradicts .*, which has band='r'"):
        repo.put(1, "number", run="run", **ONE | {"detector": 3}, band="g")
    with pytest.raises(RepoError, match=r"no number .*band=g"):
        repo.find("number", collections="run", band="g", **ONE)
    repo.put(3, "flat", run="run", instrument="cam", detector=2, physical_filter="R2")
    assert repo.get("flat", collections="run", instrument="cam", detector=2, exposure=7) == 3


def test_the_condition_is_met_before_the_first_is_taken(repo):
    repo.make_run("new")
    repo.make_run("old")
    repo.put(1, "number", run="new", partial=True, producer="calibrate", **ONE)
    repo.put(2, "number", run="old", **ONE)

    [whole] = repo.datasets("number", collections=["new", "old"], where="dataset.partial = false")
    assert (whole.run, whole.partial, whole.producer) == ("old", False, None)
    [first] = repo.datasets("number", collections=["new", "old"])
    assert (first.run, first.partial, first.producer) == ("new", True, "calibrate")


def test_a_mistake_is_one_line_that_says_what_exists(repo):
    repo.make_run("u/jane/1")
    repo.make_run("u/jane/2")
    repo.put(1, "number", run="u/jane/1", **ONE)

    for message, call in {
        "There is no dataset type 'nmber'; did you mean 'number'?": lambda: repo.find("nmber", collections="u/jane/1"),
        "There is no collection 'u/jan/1'; did you mean 'u/jane/1'?": lambda: repo.resolve("u/jan/1"),
        "no dimension is named 'vist'; did you mean 'visit'?": lambda: repo.find(
            "number", collections="u/jane/1", vist=1
        ),
        "detector is missing from the data id; got instrument='cam', visit=1.": lambda: repo.find(
            "number", collections="u/jane/1", instrument="cam", visit=1
        ),
        "There is no number (instrument=cam visit=1 detector=2) in u/jane/2; it is in u/jane/1.": lambda: repo.find(
            "number", collections="u/jane/2", **ONE
        ),
        "'firstlight query datasets number' shows what exists": lambda: repo.find(
            "number", collections="u/jane/2", **ONE | {"visit": 8}
        ),
        "Datasets of type 'number' have no skymap; their dimensions are instrument, visit, detector.": lambda: repo.put(
            1, "number", run="u/jane/1", skymap="sky", **ONE | {"visit": 9}
        ),
        "datasets have no 'vist'; did you mean 'visit'?": lambda: repo.datasets(
            "number", collections="u/jane/1", where="vist = 1"
        ),
        "Storage 'json' cannot keep this tuple": lambda: repo.put(
            (1j,), "number", run="u/jane/1", **ONE | {"visit": 3}
        ),
        "Storage 'table' keeps Table; got an object of class int.": lambda: repo.put(
            1, "catalog", run="u/jane/1", instrument="cam", visit=3
        ),
        "Dataset type number (instrument, visit, detector; json) is there": lambda: repo.register_type(
            DatasetType("number", ("instrument",), "json")
        ),
        "There is no storage 'jsn'; did you mean 'json'?": lambda: DatasetType("other", (), "jsn"),
        "no dimension is named 'vist'": lambda: DatasetType("other", ("vist",), "json"),
    }.items():
        with pytest.raises(RepoError) as caught:
            call()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert [row.run for row in repo.datasets("number", collections="u/jane/1")] == ["u/jane/1"]
    assert not repo.check()


HOSTILE = [
    "'; DROP TABLE dataset; --",
    "../../etc",
    "..",
    "/etc/passwd",
    "a\nb",
    "%s{0}",
    "x" * 100,
    "ж🚀",
    ".hidden",
    " ",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_value_is_a_value_like_any_other_or_refused(repo, name):
    repo.make_run("run")
    data_id = {"instrument": name, "visit": 1, "detector": 2}
    if not name.isprintable():
        with pytest.raises(RepoError, match="printable characters"):
            repo.put(1, "number", run="run", **data_id)
        return
    row = repo.put(1, "number", run="run", **data_id)

    assert row.path.resolve().is_relative_to(repo.root / "run" / "number")
    assert repo.get("number", collections="run", **data_id) == 1
    assert row.data_id["instrument"] == name
    assert [each.path for each in repo.datasets("number", collections="run")] == [row.path]
    assert not repo.check()


@pytest.mark.parametrize("value", [2**63, -(2**63), 10**100])
def test_a_number_that_no_database_holds_is_refused(repo, value):
    repo.make_run("run")

    with pytest.raises(RepoError, match="too large"):
        repo.put(1, "number", run="run", **ONE | {"visit": value})


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "a/", "/a", "a//b", "..", "a/../b", "a/..", ".a", "a\nb", "a b"),
        *("ж", "a'", 'a"', "a;b", "a*", "a\0"),
        *("x" * 101, "/".join(["x" * 99] * 3), "firstlight.sqlite", "repo.yaml/a", "firstlight.sqlite-wal"),
    ],
)
def test_a_hostile_collection_name_is_refused(repo, name):
    for make in (repo.make_run, repo.make_calibration, lambda name: repo.chain(name, [])):
        with pytest.raises(RepoError, match=r"cannot name a collection|too long for a collection"):
            make(name)
    with pytest.raises(RepoError, match="There is no collection"):
        repo.resolve(name)
    with pytest.raises(RepoError, match=r"cannot name a collection|too long for a collection"):
        repo.path_for(name, "note", {})
    assert repo.collections() == []


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "a'", "1a", "a\n", "x" * 65, "a.b"])
def test_a_hostile_type_name_is_refused(name):
    with pytest.raises(RepoError, match="cannot name a dataset type"):
        DatasetType(name, (), "json")


@pytest.mark.parametrize("path", ["../x", "a/../../x", "a\nb"])
def test_a_file_outside_is_not_taken_in_by_a_relative_path(repo, path):
    repo.make_run("run")

    with pytest.raises(RepoError, match="cannot be the path of a dataset"):
        repo.insert("run", [file_of(repo, "run", "number", ONE)._replace(path=type(repo.root)(path))])
    assert repo.datasets("number", collections="run") == []


def test_a_file_that_is_gone_is_one_line_with_what_to_do(repo):
    repo.make_run("run")
    row = repo.put(1, "number", run="run", **ONE)
    row.path.unlink()

    with pytest.raises(RepoError, match="is not there any more; 'firstlight repo check' lists all such files"):
        repo.get("number", collections="run", **ONE)


def test_a_file_of_something_else_is_one_line(repo):
    repo.make_run("run")
    row = repo.put(1, "number", run="run", **ONE)
    row.path.write_bytes(b"\x80\x04K\x01.")

    with pytest.raises(RepoError, match="cannot be read as JSON"):
        repo.read(row)


def test_raw_images_are_read_by_the_reader_of_their_instrument(repo):
    repo.register_type(DatasetType("raw", ("instrument", "exposure", "detector"), "raw"))
    repo.make_run("raw/all")
    data_id = {"instrument": "cam", "exposure": 1, "detector": 2}
    repo.insert("raw/all", [file_of(repo, "raw/all", "raw", data_id, "pixels")])

    with pytest.raises(RepoError, match="raw_reader"):
        repo.get("raw", collections="raw/all", **data_id)
    with pytest.raises(RepoError, match="such files are only read"):
        repo.put(1, "raw", run="raw/all", **data_id | {"exposure": 2})
    with Repo.open(repo.root, raw_reader=lambda path, data_id: (path.read_text(), data_id["detector"])) as other:
        assert other.get("raw", collections="raw/all", **data_id) == ("pixels", 2)


def test_records_of_work_come_back_and_the_last_one_counts(repo):
    repo.make_run("run")
    first = [QuantumRow("isr", f"visit={n}", "failed", "k", {"error": None}) for n in (2, 1)]
    repo.save_quanta("run", first)
    repo.save_quanta("run", [QuantumRow("isr", "visit=2", "done", "k2", {"gates": [1.5, "ж"], "nested": {"a": True}})])
    repo.save_quanta("run", [])

    assert repo.quanta("run") == [
        QuantumRow("isr", "visit=1", "failed", "k", {"error": None}),
        QuantumRow("isr", "visit=2", "done", "k2", {"gates": [1.5, "ж"], "nested": {"a": True}}),
    ]
    with pytest.raises(RepoError, match="cannot be kept"):
        repo.save_quanta("run", [QuantumRow("isr", "visit=3", "done", "k", {"object": object()})])


def test_a_text_that_the_server_cannot_keep_is_one_line(repo):
    repo.make_run("run")
    refused = nullcontext() if repo.database.is_sqlite else pytest.raises(RepoError, match="cannot keep a value")
    with refused:
        repo.save_quanta("run", [QuantumRow("is\0r", "", "done", "k", {})])

    assert [row.label for row in repo.quanta("run")] == (["is\0r"] if repo.database.is_sqlite else [])


def test_a_repository_opened_again_is_the_same(repo):
    repo.make_run("run")
    row = repo.put(1, "number", run="run", **ONE)

    with Repo.open(repo.root) as other:
        assert other.find("number", collections="run", **ONE) == row
        assert other.type_names() == repo.type_names()
        assert other.collections() == repo.collections()


def test_a_row_travels_between_processes(repo):
    repo.make_run("run")
    row = repo.put(1, "number", run="run", **ONE)

    assert pickle.loads(pickle.dumps(row)) == row  # noqa: S301 - between our own processes


def test_importing_the_repository_loads_no_arrays():
    code = "import sys, firstlight.repo.repo; print(sorted({'numpy', 'astropy', 'pyarrow'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
