"""One calibration holds at a time, and is found by the date of the observation."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from firstlight.errors import RepoError
from firstlight.repo.schema import visit

from .test_repo import law

BIAS = {"instrument": "cam", "detector": 3}
ends = st.integers(0, 12).map(float) | st.sampled_from([-math.inf, math.inf])
periods = st.tuples(ends, ends).map(sorted).filter(lambda period: period[0] < period[1])


@law
@given(steps=st.lists(st.tuples(st.booleans(), periods), max_size=8))
def test_certifications_never_overlap_and_tell_what_holds_when(new_repo, steps):
    repo = new_repo()
    repo.make_calibration("calib")
    held: dict[float, int] = {}
    moments = [*(each + half for each in range(-1, 14) for half in (0.0, 0.5))]
    for number, (add, (begin, end)) in enumerate(steps):
        within = [moment for moment in moments if begin <= moment < end]
        if not add:
            repo.decertify("bias", collection="calib", begin=begin, end=end)
            held = {moment: value for moment, value in held.items() if moment not in within}
            continue
        repo.make_run(f"bias/{number}")
        repo.put(number, "bias", run=f"bias/{number}", **BIAS)
        if held.keys() & set(within):
            with pytest.raises(RepoError, match=r"bias \(instrument=cam detector=3\) is certified in calib for \["):
                repo.certify("bias", run=f"bias/{number}", collection="calib", begin=begin, end=end)
        else:
            assert repo.certify("bias", run=f"bias/{number}", collection="calib", begin=begin, end=end) == 1
            held |= dict.fromkeys(within, number)

    certified = repo.certified("bias", collections="calib")
    for before, after in pairwise(certified):
        assert before.end_mjd <= after.begin_mjd
    for moment in moments:
        if moment in held:
            assert repo.get("bias", collections="calib", date=moment, **BIAS) == held[moment]
        else:
            with pytest.raises(RepoError, match="no bias"):
                repo.find("bias", collections="calib", date=moment, **BIAS)


def certified_bias(repo, value, begin, end, *, collection="calib", detector=3):
    run = f"bias/{value}"
    repo.make_run(run)
    repo.make_calibration(collection)
    repo.put(value, "bias", run=run, instrument="cam", detector=detector)
    repo.certify("bias", run=run, collection=collection, begin=begin, end=end)


def test_a_calibration_is_found_by_the_date_of_the_visit(repo):
    certified_bias(repo, 1, 60000.0, 60100.0)
    certified_bias(repo, 2, 60100.0, 60200.0)
    with repo.database.write() as connection:
        connection.execute(sa.insert(visit), {"instrument": "cam", "visit": 7, "mjd_tai": 60100.0})

    assert repo.get("bias", collections="calib", visit=7, **BIAS) == 2
    assert repo.get("bias", collections="calib", visit=7, date=60099.9, **BIAS) == 1
    with pytest.raises(RepoError, match=r"in calib without a date; it is certified for \[60000.0, 60100.0\), \[60100"):
        repo.find("bias", collections="calib", **BIAS)
    with pytest.raises(RepoError, match=r"on MJD 60200.0; it is certified for"):
        repo.find("bias", collections="calib", date=60200.0, **BIAS)
    assert repo.get("bias", collections="bias/1", **BIAS) == 1


def test_the_first_collection_that_holds_gives_the_calibration(repo):
    certified_bias(repo, 1, 0.0, 10.0, collection="a")
    certified_bias(repo, 2, 5.0, 20.0, collection="b")
    repo.make_run("own")
    repo.chain("both", ["a", "b"])

    for order, date, expected in [
        ("both", 7.0, 1),
        (["b", "a"], 7.0, 2),
        ("both", 15.0, 2),
        (["bias/1", "b"], 15.0, 1),
    ]:
        assert repo.get("bias", collections=order, date=date, **BIAS) == expected
    certified = repo.certified("bias", collections=["own", "both"])
    assert [(each.rank, each.row.run) for each in certified] == [(1, "bias/1"), (2, "bias/2")]
    assert [row.run for row in repo.datasets("bias", collections="both")] == ["bias/1"]
    assert [row.run for row in repo.datasets("bias", collections="both", find_first=False)] == ["bias/1", "bias/2"]


def test_only_what_meets_the_condition_is_certified(repo):
    repo.make_run("run")
    repo.make_calibration("calib")
    for detector in range(4):
        repo.put(detector, "bias", run="run", instrument="cam", detector=detector)

    assert repo.certify("bias", run="run", collection="calib", begin=0, end=1, where="detector in (1..2)") == 2
    assert [each.row.data_id["detector"] for each in repo.certified("bias", collections="calib")] == [1, 2]
    with pytest.raises(RepoError, match=r"from run, which overlaps \[0, 2\) \(1 more like this\)"):
        repo.certify("bias", run="run", collection="calib", begin=0, end=2)
    assert repo.decertify("bias", collection="calib", where="detector = 1") == 1
    assert repo.certify("bias", run="run", collection="calib", begin=0, end=2, where="detector != 2") == 3


def test_a_mistake_in_certifying_is_one_line(repo):
    repo.make_run("run")
    repo.make_calibration("calib")
    for begin, end in [(2.0, 1.0), (1.0, 1.0), (math.nan, 1.0), (math.inf, math.inf)]:
        with pytest.raises(RepoError, match="holds from a date until a later one"):
            repo.certify("bias", run="run", collection="calib", begin=begin, end=end)
    with pytest.raises(RepoError, match="run has no bias"):
        repo.certify("bias", run="run", collection="calib", begin=0, end=1)
    with pytest.raises(RepoError, match="There is no collection 'clib'; did you mean 'calib'"):
        repo.certify("bias", run="run", collection="clib", begin=0, end=1)
    with pytest.raises(RepoError, match="run is a run; give a calibration collection"):
        repo.certify("bias", run="run", collection="run", begin=0, end=1)


def test_a_certified_dataset_is_not_removed_until_it_is_decertified(repo):
    certified_bias(repo, 1, 0.0, 10.0)
    for remove in (lambda: repo.remove_run("bias/1"), lambda: repo.prune("bias", collections="bias/1")):
        with pytest.raises(RepoError, match="1 of them are certified in calib; decertify them first"):
            remove()
    assert repo.get("bias", collections="calib", date=1.0, **BIAS) == 1
    repo.remove_collection("calib")
    repo.remove_run("bias/1")

    assert repo.collections() == []
