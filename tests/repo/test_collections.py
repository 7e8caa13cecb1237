"""Runs, chains and what is searched in which order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.errors import RepoError
from firstlight.framework.dimensions import DataId
from firstlight.repo.rows import CollectionInfo, NewDataset

from .test_repo import ONE, law

RUNS = ["run/0", "run/1", "run/2"]
CHAINS = ["chain/0", "chain/1", "chain/2", "chain/3"]


def depth_first(name, members, seen):
    """The rule, as plainly as it can be said."""
    if name not in seen:
        seen.append(name)
        for member in members.get(name, ()):
            depth_first(member, members, seen)
    return seen


def leads_to(name, target, members):
    return target in depth_first(name, members, [])


@law
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(CHAINS), st.lists(st.sampled_from(RUNS + CHAINS), max_size=4, unique=True)),
        max_size=8,
    ),
    asked=st.lists(st.sampled_from(RUNS + CHAINS), min_size=1, max_size=3),
)
def test_chains_are_searched_depth_first_without_repetition_and_never_in_circles(new_repo, steps, asked):
    repo = new_repo()
    for name in RUNS:
        repo.make_run(name)
    members: dict[str, list[str]] = {}
    for chain, wanted in steps:
        missing = [name for name in wanted if name in CHAINS and name not in members]
        if missing or any(leads_to(name, chain, members) for name in wanted):
            with pytest.raises(RepoError, match=r"no collection|leads to"):
                repo.chain(chain, wanted)
        else:
            repo.chain(chain, wanted)
            members[chain] = wanted

    assert {info.name: list(info.members) for info in repo.collections("chain/*")} == members
    there = [name for name in asked if name in RUNS or name in members]
    order: list[str] = []
    for name in there:
        depth_first(name, members, order)
    assert repo.resolve(there) == [name for name in order if name in RUNS]


def test_a_collection_is_of_one_kind_and_made_once(repo):
    repo.make_run("a")
    repo.make_run("a")
    repo.make_calibration("calib")
    repo.make_chain("c", ["a", "calib"])
    repo.make_chain("c", ["a", "calib"])

    assert repo.collections() == [
        CollectionInfo("a", "RUN", (), 0),
        CollectionInfo("c", "CHAINED", ("a", "calib"), 0),
        CollectionInfo("calib", "CALIBRATION", (), 0),
    ]
    assert [info.name for info in repo.collections("c*")] == ["c", "calib"]
    with pytest.raises(RepoError, match="a is a run, so it cannot be a calibration collection; take another name"):
        repo.make_calibration("a")
    with pytest.raises(RepoError, match="c is there and searches a, calib"):
        repo.make_chain("c", ["a"])
    repo.chain("c", ["a"])
    assert repo.resolve("c") == ["a"]
    with pytest.raises(RepoError, match="a is given twice as a member of c"):
        repo.chain("c", ["a", "a"])
    with pytest.raises(RepoError, match="c leads to c"):
        repo.chain("c", ["c"])
    with pytest.raises(RepoError, match="c is a chain; give a run"):
        repo.put(1, "number", run="c", **ONE)


def test_a_chain_counts_what_it_leads_to_once(repo):
    for name in ("a", "b"):
        repo.make_run(name)
        repo.put(1, "number", run=name, **ONE)
    repo.chain("inner", ["a"])
    repo.chain("outer", ["inner", "a", "b"])

    assert {info.name: info.n_datasets for info in repo.collections()} == {"a": 1, "b": 1, "inner": 1, "outer": 2}


def test_a_removed_run_is_gone_with_its_files_and_from_chains(repo):
    for name in ("a", "b"):
        repo.make_run(name)
        repo.put(1, "number", run=name, **ONE)
    repo.chain("c", ["a", "b"])
    repo.remove_run("a")

    assert repo.resolve("c") == ["b"]
    assert not (repo.root / "a").exists()
    assert repo.find("number", collections="c", **ONE).run == "b"
    with pytest.raises(RepoError, match="There is no collection 'a'"):
        repo.remove_run("a")
    with pytest.raises(RepoError, match="c is a chain; give a run"):
        repo.remove_run("c")
    repo.remove_collection("c")
    assert [info.name for info in repo.collections()] == ["b"]
    with pytest.raises(RepoError, match="b is a run; give a chain or a calibration collection"):
        repo.remove_collection("b")


def test_pruning_takes_what_meets_the_condition_and_nothing_else(repo):
    for name in ("a", "b"):
        repo.make_run(name)
        for detector in range(4):
            repo.put(detector, "number", run=name, **ONE | {"detector": detector})
    pruned = repo.prune("number", collections="a", where="detector in (1..2)")

    assert [row.data_id["detector"] for row in pruned] == [1, 2]
    assert not any(row.path.exists() for row in pruned)
    assert [row.data_id["detector"] for row in repo.datasets("number", collections="a")] == [0, 3]
    assert len(repo.datasets("number", collections="b")) == 4
    assert not repo.check()
    repo.put(9, "number", run="a", **ONE | {"detector": 1})
    assert repo.get("number", collections=["a", "b"], **ONE | {"detector": 1}) == 9


def test_a_file_that_another_dataset_shares_or_that_lies_outside_is_not_deleted(repo, tmp_path):
    outside = tmp_path / "telescope.fits"
    outside.write_text("pixels")
    repo.make_run("a")
    first = repo.put(1, "number", run="a", **ONE)
    new = repo.datasets("number", collections="a")[0]
    repo.insert("a", [_again(new, detector=3, path=first.path), _again(new, detector=4, path=outside)])

    repo.prune("number", collections="a", where="detector = 2 or detector = 4")
    assert first.path.exists()
    assert outside.exists()
    repo.remove_run("a")
    assert not first.path.exists()


def _again(row, *, detector, path):
    return NewDataset("number", DataId(ONE | {"detector": detector}), path, row.size, row.checksum)
