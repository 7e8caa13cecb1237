"""Plans: saving, loading, what is hostile; and which pieces of work there are, against brute force."""

from __future__ import annotations

import gzip
import itertools
import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.framework.pipeline_tasks import task_class

from firstlight.errors import RepoError
from firstlight.execution.plan import Plan
from firstlight.execution.planner import make_plan
from firstlight.framework import DataId, Pipeline
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.repo import Repo
from firstlight.repo.rows import NewDataset

from .numbers import built, make_repo

PLACES = {
    ("instrument", "visit", "detector"): [(v, d) for v in range(3) for d in range(3)],
    ("instrument", "visit"): [(v,) for v in range(3)],
    ("instrument", "detector"): [(d,) for d in range(3)],
}


def plan_of(folder) -> Plan:
    make_repo(folder, visits=3)
    with Repo.open(folder / "repo") as repo:
        return make_plan(built(folder), repo, collections=["raw/x"])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    plan = plan_of(folder)
    plan.save(folder / "plan.gz")
    return plan, folder / "plan.gz"


def test_a_saved_plan_comes_back_equal(saved):
    plan, path = saved

    assert Plan.load(path) == plan


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_plan_is_one_line(saved, data, tmp_path_factory):
    _, path = saved
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(["cut", "flip"]))
    flipped = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    bad = path.with_name("bad.gz")
    bad.write_bytes(whole[:place] if kind == "cut" else flipped)

    if kind == "flip" and place < 10:  # the head of a gzip file has bytes that mean nothing
        with suppress(RepoError):
            Plan.load(bad)
        return
    with pytest.raises(RepoError) as raised:
        Plan.load(bad)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [lines[0].replace('"format":3', '"format":99'), *lines[1:]],
        lambda lines: [*lines[:-1], lines[-1].replace("[[", "[[-999999,", 1)],
        lambda lines: [*lines[:-1], lines[-1].replace("[[", "[[999999,", 1)],
        lambda lines: [*lines[:-1], json.dumps([99, *json.loads(lines[-1])[1:]])],
        lambda lines: [*lines[:-1], lines[-1].replace('"visit"', '"vist"')],
        lambda lines: [*lines[:-1], lines[-1].replace('"visit":2', '"visit":"2"')],
        lambda _: ["[" * 100_000],
        lambda _: ["[]"],
        lambda _: [""],
    ],
)
def test_a_plan_that_was_tampered_with_is_one_line(saved, change):
    _, path = saved
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    changed = change(lines)
    assert changed != lines
    bad = path.with_name("tampered.gz")
    bad.write_bytes(gzip.compress("\n".join(changed).encode()))

    with pytest.raises(RepoError) as raised:
        Plan.load(bad)
    assert len(str(raised.value).splitlines()) == 1


@st.composite
def tables(draw):
    """Draw three dataset types, each with dimensions and the data ids of its datasets."""
    found = {}
    for name in ("x", "y", "z"):
        dimensions = draw(st.sampled_from(list(PLACES)))
        places = draw(st.lists(st.sampled_from(PLACES[dimensions]), unique=True, min_size=1))
        found[name] = (dimensions, [DataId(dict(zip(dimensions, ("x", *place), strict=True))) for place in places])
    return found


@given(tables())
@settings(max_examples=30, deadline=None)
def test_the_work_of_a_plan_is_the_join_that_brute_force_finds(tmp_path_factory, inputs):
    task = task_class("JoinTask", list(inputs), ["joined"], dimensions=("instrument", "visit", "detector"))
    expected = set()
    for combination in itertools.product(*(data_ids for _, data_ids in inputs.values())):
        merged = {}
        if all(merged.setdefault(name, value) == value for one in combination for name, value in one.items()):
            expected.add(DataId(merged))
    expected = {one for one in expected if len(one) == 3}
    with Repo.create(tmp_path_factory.mktemp("join") / "repo") as repo:
        repo.make_run("r")
        for name, (dimensions, data_ids) in inputs.items():
            kind = DatasetType(name, dimensions, "json")
            repo.register_type(kind)
            repo.insert("r", [NewDataset(name, one, repo.root / kind.path("r", one), 1, "0") for one in data_ids])
        plan = make_plan(Pipeline.from_tasks(join=task).build(), repo, collections=["r"])

    assert [quantum.data_id for quantum in plan.quanta] == sorted(expected, key=DataId.sort_key)
    assert plan.found["join"] == len(plan) + sum(line.number for line in plan.dropped)
    for quantum in plan.quanta:
        for (source,) in quantum.inputs:
            assert plan.inputs[source].data_id.agrees(quantum.data_id)


CALIBRATED = """
description: Corrected numbers.
inputs: [raw_number, bias_number]
tasks:
  correct: firstlight.testing.arithmetic_pipeline:CorrectTask
"""


def test_every_missing_calibration_is_in_the_ledger_with_its_number(tmp_path):
    make_repo(tmp_path, visits=5)
    (tmp_path / "night.yaml").write_text(CALIBRATED)
    with Repo.open(tmp_path / "repo") as repo:
        repo.register_type(DatasetType("bias_number", ("instrument", "detector"), "json"))
        repo.make_run("bias")
        repo.put(1.0, "bias_number", run="bias", instrument="x", detector=0)
        repo.make_run("bias2")
        repo.put(2.0, "bias_number", run="bias2", instrument="x", detector=0)
        plan = make_plan(built(tmp_path), repo, collections=["raw/x"])
        assert list(plan.ledger())[1].startswith("  10 dropped: no bias_number is certified for its date")

        repo.make_calibration("calib")
        repo.certify("bias_number", run="bias", collection="calib", begin=0.0, end=10.0)
        plan = make_plan(built(tmp_path), repo, collections=["raw/x", "calib"])
        assert {quantum.data_id["detector"] for quantum in plan.quanta} == {0}
        assert list(plan.ledger())[:2] == [
            "correct: 10 found -> 5 quanta",
            "  5 dropped: no bias_number is certified for its date (such as instrument=x visit=0 detector=1)",
        ]

        repo.certify("bias_number", run="bias2", collection="calib", begin=10.0, end=20.0)
        plan = make_plan(built(tmp_path), repo, collections=["raw/x", "calib"])
        assert not len(plan)
        assert "5 dropped: 2 bias_number where one is taken" in "\n".join(plan.ledger())
