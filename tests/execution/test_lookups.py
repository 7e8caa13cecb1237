"""Prerequisites are found by name, by date, by place on the sky, and among what the run makes itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import sqlalchemy as sa
from astropy.coordinates import SkyCoord

from firstlight.errors import PipelineError, RepoError
from firstlight.execution.planner import make_plan
from firstlight.execution.sky_join import SkyJoin
from firstlight.framework import (
    DataId,
    Input,
    Lookup,
    Output,
    Pipeline,
    PipelineTask,
    PipelineTaskConfig,
    Prerequisite,
    Struct,
)
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.reference_catalogs import register_refcat
from firstlight.repo.regions import Region, add_regions
from firstlight.repo.repo import Repo
from firstlight.repo.schema import visit

DETECTOR = ("instrument", "visit", "detector")


@dataclass(frozen=True)
class OneNumber(Struct):
    """A number."""

    number: float


class StackTask(PipelineTask[PipelineTaskConfig]):
    """Adds up everything that lies where a number was taken."""

    dimensions = DETECTOR
    inputs = {"raw": Input("raw_number", float)}
    prerequisites = {"near": Prerequisite("old_number", float, lookup=Lookup.REGION, multiple=True, minimum=0)}
    outputs = {"number": Output("stack_number", float)}

    def run(self, raw: float, near: tuple[float, ...] = ()) -> OneNumber:
        """Return the sum."""
        return OneNumber(raw + sum(near))


class LevelTask(PipelineTask[PipelineTaskConfig]):
    """Makes the bias of a detector of all that it took."""

    dimensions = ("instrument", "detector")
    inputs = {"raw": Input("raw_number", float, DETECTOR, multiple=True)}
    outputs = {"number": Output("bias_number", float)}

    def run(self, raw: tuple[float, ...]) -> OneNumber:
        """Return the mean."""
        return OneNumber(sum(raw) / len(raw))


class DebiasTask(PipelineTask[PipelineTaskConfig]):
    """Subtracts the bias that is valid."""

    dimensions = DETECTOR
    inputs = {"raw": Input("raw_number", float)}
    prerequisites = {"bias": Prerequisite("bias_number", float, ("instrument", "detector"), lookup=Lookup.VALIDITY)}
    outputs = {"number": Output("plain_number", float)}

    def run(self, raw: float, bias: float) -> OneNumber:
        """Return the difference."""
        return OneNumber(raw - bias)


@pytest.fixture
def repo(tmp_path):
    """A repository with raw numbers of three visits, a day apart, of two detectors."""
    with Repo.create(tmp_path / "repo") as made:
        made.make_run("raw")
        made.register_type(DatasetType("raw_number", DETECTOR, "json"))
        with made.database.write() as connection:
            rows = [{"instrument": "x", "visit": number, "mjd_tai": 100.0 + number} for number in range(3)]
            connection.execute(sa.insert(visit), rows)
        for number in range(3):
            for detector in range(2):
                made.put(1.0, "raw_number", run="raw", instrument="x", visit=number, detector=detector)
        yield made


def sources_of(plan, label, place):
    """Return data id of a piece of work -> data ids of what was found for one of its arguments."""
    found = {}
    for quantum in plan.quanta:
        if plan.label(quantum) == label:
            several = [
                plan.inputs[each].data_id if each >= 0 else plan.quanta[plan.made_by(each)[0]].data_id
                for each in quantum.inputs[place]
            ]
            found[quantum.data_id] = several
    return found


def test_every_visit_takes_the_calibration_of_its_date(repo):
    repo.register_type(DatasetType("bias_number", ("instrument", "detector"), "json"))
    repo.make_calibration("calib")
    for number, (begin, end) in enumerate([(100.0, 101.0), (101.0, 102.0)]):
        repo.make_run(f"bias{number}")
        for detector in range(2):
            repo.put(float(number), "bias_number", run=f"bias{number}", instrument="x", detector=detector)
        repo.certify("bias_number", run=f"bias{number}", collection="calib", begin=begin, end=end)
    plan = make_plan(Pipeline.from_tasks(debias=DebiasTask).build(), repo, collections=["raw", "calib"])

    taken = {q.data_id: plan.inputs[q.inputs[1][0]].path for q in plan.quanta}
    assert {(where["visit"], "bias1" in path) for where, path in taken.items()} == {(0, False), (1, True)}
    assert "  2 dropped: no bias_number is certified for its date (such as instrument=x visit=2 detector=0)" in list(
        plan.ledger()
    )


def test_a_run_takes_the_calibrations_that_it_makes_and_certified_ones_where_it_makes_none(repo):
    pipeline = Pipeline.from_tasks(debias=DebiasTask, level=LevelTask).build()
    alone = make_plan(pipeline, repo, collections=["raw"])

    assert [step.label for step in alone.steps] == ["level", "debias"]
    assert alone.counts() == {"level": 2, "debias": 6}
    for where, several in sources_of(alone, "debias", 1).items():
        assert several == [DataId(instrument="x", detector=where["detector"])]
    for number, quantum in enumerate(alone.quanta):
        assert all(alone.made_by(each)[0] < number for several in quantum.inputs for each in several if each < 0)

    repo.register_type(DatasetType("bias_number", ("instrument", "detector"), "json"))
    repo.make_run("bias")
    repo.make_calibration("calib")
    repo.put(0.0, "bias_number", run="bias", instrument="x", detector=1)
    repo.certify("bias_number", run="bias", collection="calib", begin=0.0, end=1e9)
    repo.put(0.0, "raw_number", run="raw", instrument="x", visit=2, detector=7)
    both = make_plan(pipeline, repo, collections=["raw", "calib"])
    only_debias = make_plan(Pipeline.from_tasks(debias=DebiasTask).build(), repo, collections=["raw", "calib"])

    assert both.counts() == {"level": 3, "debias": 7}
    assert only_debias.counts() == {"debias": 3}


def test_a_registered_catalogue_is_handed_to_every_piece_of_work(repo, tmp_path):
    register_refcat(repo, "old_number", tmp_path / "store", "abc")
    plan = make_plan(Pipeline.from_tasks(stack=StackTask).build(), repo, collections=["raw"])

    [place] = {quantum.inputs[1] for quantum in plan.quanta}
    assert plan.inputs[place[0]].path == str(tmp_path / "store")
    assert plan.inputs[place[0]].storage == "refcat"


def test_work_without_its_catalogue_says_which_ones_there_are(repo, tmp_path):
    register_refcat(repo, "gaia", tmp_path / "store", "abc")
    plan = make_plan(Pipeline.from_tasks(stack=StackTask).build(), repo, collections=["raw"])

    assert len(plan) == 6
    [note] = plan.notes
    assert "no reference catalogue is registered as 'old_number' (registered: gaia;" in note


def test_datasets_of_other_visits_are_found_where_they_overlap(repo):
    repo.register_type(DatasetType("old_number", DETECTOR, "json"))
    repo.make_run("old")
    for number in range(3):
        repo.put(5.0, "old_number", run="old", instrument="x", visit=number, detector=0)
    places = [Region("x", number, 0, ra=359.9 + 0.15 * number, dec=10.0, radius=0.1) for number in range(3)]
    with repo.database.write() as connection:
        add_regions(connection, [*places, Region("x", 0, 1, ra=180.0, dec=-10.0, radius=0.1)])
    plan = make_plan(Pipeline.from_tasks(stack=StackTask).build(), repo, collections=["raw", "old"])

    found = {
        (where["visit"], where["detector"]): {each["visit"] for each in several}
        for where, several in sources_of(plan, "stack", 1).items()
    }
    assert found == {
        (0, 0): {0, 1},
        (1, 0): {0, 1, 2},
        (2, 0): {1, 2},
        (0, 1): set(),
        (1, 1): set(),
        (2, 1): set(),
    }


def test_what_has_no_known_place_on_the_sky_is_refused_when_it_is_planned(repo):
    repo.register_type(DatasetType("old_number", ("skymap", "tract", "patch"), "json"))
    repo.make_run("old")
    repo.put(5.0, "old_number", run="old", skymap="s", tract=1, patch=2)

    with pytest.raises(PipelineError, match=r"stack: 'near' is looked up on the sky, and 'old_number' is for each"):
        make_plan(Pipeline.from_tasks(stack=StackTask).build(), repo, collections=["raw", "old"])


@pytest.mark.parametrize("seed", range(3))
def test_what_overlaps_is_what_separations_say(seed):
    rng = np.random.default_rng(seed)
    number = 150
    ra = np.concatenate([rng.uniform(0, 360, number // 2), rng.normal(0, 3, number // 2) % 360])
    dec = np.concatenate([np.degrees(np.arcsin(rng.uniform(-1, 1, number // 2))), rng.normal(88, 2, number // 2)])
    dec, radius = np.clip(dec, -90, 90), rng.uniform(0, 4, number)
    places = [Region("x", n, 0, float(ra[n]), float(dec[n]), float(radius[n])) for n in range(number)]
    data_ids = [DataId(instrument="x", visit=n, detector=0) for n in range(number)]
    join = SkyJoin(places, data_ids)

    sky = SkyCoord(ra, dec, unit="deg")
    for n in range(number):
        apart = sky[n].separation(sky).deg
        found = join.overlapping(data_ids[n])
        assert sorted(found) == np.flatnonzero(apart <= radius[n] + radius).tolist()
        assert np.all(np.diff(apart[found]) > -1e-6)  # the nearest come first


def test_a_tract_lies_where_its_pixels_do():
    places = [Region("x", 1, 0, 10.0, 20.0, 0.5), Region("x", 2, 0, 50.0, 20.0, 0.5)]
    tracts = [DataId(skymap="fields", tract=number) for number in range(3)]
    circles = {("fields", 0): (10.8, 20.0, 0.4), ("fields", 1): (10.1, 20.0, 0.4), ("fields", 2): (200.0, 0.0, 0.4)}

    join = SkyJoin(places, tracts, tracts=circles)

    assert join.overlapping(DataId(instrument="x", visit=1, detector=0)) == [1, 0]
    assert join.overlapping(DataId(instrument="x", visit=2, detector=0)) == []


def test_a_condition_is_asked_of_what_has_its_field_and_one_that_nobody_has_is_refused(repo):
    repo.register_type(DatasetType("bias_number", ("instrument", "detector"), "json"))
    repo.make_run("bias")
    for detector in range(2):
        repo.put(0.0, "bias_number", run="bias", instrument="x", detector=detector)

    class PlainTask(PipelineTask[PipelineTaskConfig]):
        """Subtracts the bias of a detector."""

        dimensions = DETECTOR
        inputs = {"raw": Input("raw_number", float), "bias": Input("bias_number", float, ("instrument", "detector"))}
        outputs = {"number": Output("plain_number", float)}

        def run(self, raw: float, bias: float) -> OneNumber:
            """Return the difference."""
            return OneNumber(raw - bias)

    pipeline = Pipeline.from_tasks(plain=PlainTask).build()
    plan = make_plan(pipeline, repo, collections=["raw", "bias"], where="visit in (1..2) and detector = 1")

    assert [(q.data_id["visit"], q.data_id["detector"]) for q in plan.quanta] == [(1, 1), (2, 1)]
    with pytest.raises(RepoError, match=r"'tract = 3': no input \(raw_number, bias_number\) has 'tract'; leave it out"):
        make_plan(pipeline, repo, collections=["raw", "bias"], where="visit = 1 and tract = 3")
