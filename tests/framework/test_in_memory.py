"""Running a pipeline on objects in memory."""

import math
from dataclasses import dataclass

import pytest

from firstlight.errors import AlgorithmError, NoWorkFound, PartialResult, PipelineError
from firstlight.framework import (
    DataId,
    Input,
    Layer,
    Lookup,
    MemoryDatasets,
    Output,
    Pass,
    Pipeline,
    PipelineTask,
    PipelineTaskConfig,
    Prerequisite,
    Struct,
)
from firstlight.testing.arithmetic_pipeline import CompareTask, CorrectTask, SumTask

from .pipeline_tasks import layers

NIGHT = Pipeline.from_tasks(correct=CorrectTask, sum=SumTask, compare=CompareTask)
NO_BIAS = "correct:with_bias=false"


def data_id(**values):
    return DataId(instrument="simulated", **values)


def numbers(**by_place):
    """Return raw numbers by data id, from ``v1d2=3.0``."""
    return {data_id(visit=int(name[1]), detector=int(name[3:])): value for name, value in by_place.items()}


def statuses(run):
    return {str(record.quantum): record.status for record in run.records}


def refusal(pipeline, inputs, *texts):
    with pytest.raises(PipelineError) as raised:
        pipeline.run_in_memory(inputs, *layers(*texts))
    return str(raised.value).splitlines()


def test_plain_objects_need_no_data_ids():
    run = NIGHT.run_in_memory({"raw_number": 5.0, "bias_number": 2.0, "reference_number": 6.0})

    assert (run["corrected_number"], run["total_number"], run["ratio_number"]) == (3.0, 3.0, 0.5)
    assert [str(record.quantum) for record in run.records] == ["correct", "sum", "compare"]
    assert "ratio_number" in run
    assert "residual_number" not in run


def test_several_objects_are_told_apart_by_data_ids():
    raw = numbers(v1d1=1.0, v1d2=2.0, v2d1=4.0)

    run = NIGHT.run_in_memory({"raw_number": raw}, *layers(NO_BIAS))

    assert run.get("total_number", visit=1) == 3.0
    assert run.get("total_number", visit=2) == 4.0
    assert statuses(run) == {
        "correct (instrument=simulated visit=1 detector=1)": "done",
        "correct (instrument=simulated visit=1 detector=2)": "done",
        "correct (instrument=simulated visit=2 detector=1)": "done",
        "sum (instrument=simulated visit=1)": "done",
        "sum (instrument=simulated visit=2)": "done",
        "compare (instrument=simulated visit=1)": "done",
        "compare (instrument=simulated visit=2)": "done",
    }
    assert not run.failures


def test_the_inputs_stay_as_they_were():
    datasets = MemoryDatasets()
    datasets.add("raw_number", 1.0, **data_id(visit=1, detector=1))
    raw = numbers(v1d1=1.0)

    first = NIGHT.run_in_memory(datasets, *layers(NO_BIAS))
    second = NIGHT.run_in_memory(datasets, *layers(NO_BIAS))
    NIGHT.run_in_memory({"raw_number": raw}, *layers(NO_BIAS))

    assert list(datasets) == ["raw_number"]
    assert first["total_number"] == second["total_number"] == 1.0
    assert raw == numbers(v1d1=1.0)


def test_work_is_done_in_the_order_of_its_numbers_whatever_the_order_of_the_inputs():
    raw = numbers(v1d10=1.0, v1d9=2.0, v1d2=3.0)

    run = NIGHT.run_in_memory({"raw_number": raw}, *layers(NO_BIAS))

    assert [record.quantum.data_id["detector"] for record in run.records[:3]] == [2, 9, 10]


def test_an_input_for_fewer_dimensions_goes_with_all_that_agree():
    raw = {DataId(detector=1): 1.0, DataId(detector=2): 2.0}

    run = NIGHT.run_in_memory({"raw_number": raw, "bias_number": 0.5, "reference_number": 2.0})

    assert run["total_number"] == 2.0
    assert run["ratio_number"] == 1.0


def test_an_optional_input_is_taken_where_it_is():
    given = {"raw_number": numbers(v1d1=4.0, v2d1=4.0), "reference_number": {data_id(visit=2): 2.0}}

    run = NIGHT.run_in_memory(given, *layers(NO_BIAS))

    assert [run.get("ratio_number", visit=visit) for visit in (1, 2)] == [4.0, 2.0]


@dataclass(frozen=True)
class ListResult(Struct):
    """What was handed over."""

    seen: tuple[object, ...]


class ListTask(PipelineTask[PipelineTaskConfig]):
    """Keeps what it is given."""

    dimensions = ("visit",)
    inputs = {"values": Input("value", float, dimensions=("visit", "detector"), multiple=True, minimum=2)}
    prerequisites = {
        "stars": Prerequisite("stars", str, dimensions=("tract",), multiple=True, minimum=0, lookup=Lookup.REGION),
        "chart": Prerequisite("chart", str, dimensions=("instrument",)),
    }
    outputs = {"seen": Output("seen", tuple)}

    def run(self, values: tuple[float, ...], stars: tuple[str, ...] = (), chart: str = "") -> ListResult:
        return ListResult((values, stars, chart))


@dataclass(frozen=True)
class Interval:
    """A part of a line."""

    low: float
    high: float

    def overlaps(self, other):
        return self.low < other.high and other.low < self.high


LISTS = Pipeline.from_tasks(lists=ListTask)


def test_several_are_a_tuple_in_the_order_of_their_data_ids_and_too_few_are_no_work():
    values = numbers(v1d10=10.0, v1d2=2.0, v2d1=1.0)

    run = LISTS.run_in_memory({"value": values, "chart": "chart"})

    assert run.get("seen", visit=1) == ((2.0, 10.0), (), "chart")
    assert statuses(run) == {
        "lists (instrument=simulated visit=1)": "done",
        "lists (instrument=simulated visit=2)": "no_work",
    }
    assert str(run.records[1]) == (
        "lists (instrument=simulated visit=2): no_work at adjust_quantum: 2 of 'value' are needed; got 1."
    )
    assert not run.failures


def test_a_prerequisite_is_looked_up_by_the_regions_of_all_inputs():
    given = MemoryDatasets()
    given.add("value", 1.0, **data_id(visit=1, detector=1), region=Interval(0, 1))
    given.add("value", 2.0, **data_id(visit=1, detector=2), region=Interval(5, 6))
    given.add("chart", "chart")
    for tract, (low, high) in enumerate([(-3, 0), (0.5, 2), (2, 4), (5.5, 9)]):
        given.add("stars", f"t{tract}", skymap="all", tract=tract, region=Interval(low, high))
    given.add("stars", "everywhere", skymap="all", tract=9)

    assert LISTS.run_in_memory(given)["seen"][1] == ("t1", "t3", "everywhere")


def test_the_region_and_date_of_an_input_are_those_of_what_is_made_of_it():
    given = MemoryDatasets()
    given.add("raw_number", 1.0, **data_id(visit=1, detector=1), region=Interval(0, 1), date=3.0)
    given.add("raw_number", 2.0, **data_id(visit=1, detector=2), region=Interval(5, 6), date=3.0)
    given.add("chart", "chart")
    for tract, low in enumerate([0.5, 2, 5.5]):
        given.add("stars", f"t{tract}", skymap="all", tract=tract, region=Interval(low, low + 0.1))
    both = Pipeline.from_tasks(correct=CorrectTask, lists=ListTask)

    run = both.run_in_memory(given, *layers(NO_BIAS, "lists:connections.values=corrected_number"))

    assert run["seen"][1] == ("t0", "t2")
    assert [each.date for each in run.datasets.of_type("seen")] == [3.0]


def test_a_calibration_is_the_one_that_is_valid_on_the_date():
    given = MemoryDatasets()
    for visit, date in ((1, 0.9), (2, 1.0), (3, 1.9), (4, 2.0)):
        given.add("raw_number", 100.0, **data_id(visit=visit, detector=1), date=date)
    for bias, begin, end in ((10.0, -math.inf, 1.0), (20.0, 1.0, 2.0), (30.0, 2.0, math.inf)):
        given.certify("bias_number", bias, begin=begin, end=end, **data_id(detector=1))
    given.certify("bias_number", 99.0, **data_id(detector=2))

    run = NIGHT.run_in_memory(given)

    assert [run.get("corrected_number", visit=visit) for visit in (1, 2, 3, 4)] == [90.0, 80.0, 80.0, 70.0]


def test_every_missing_calibration_of_a_task_is_told_before_it_is_run():
    given = MemoryDatasets()
    for detector in (1, 2, 10):
        given.add("raw_number", 1.0, **data_id(visit=1, detector=detector), date=5.0)
    given.certify("bias_number", 1.0, **data_id(detector=2), begin=5.0)
    given.certify("bias_number", 1.0, **data_id(detector=10), end=5.0)

    assert refusal(NIGHT, given) == [
        f"correct (instrument=simulated visit=1 detector={detector}): no 'bias_number' for 'bias' is valid on its date"
        for detector in (1, 10)
    ]


def test_calibrations_that_only_a_date_can_tell_apart_need_one():
    given = MemoryDatasets()
    given.add("raw_number", 1.0, **data_id(visit=1, detector=1))
    given.certify("bias_number", 1.0, **data_id(detector=1), end=5.0)
    given.certify("bias_number", 1.0, **data_id(detector=1), begin=5.0)

    assert refusal(NIGHT, given) == [
        "correct (instrument=simulated visit=1 detector=1): takes one 'bias_number' for 'bias'; got 2: "
        "instrument=simulated detector=1; instrument=simulated detector=1 (no input has a date)"
    ]


def test_two_matches_where_one_is_taken_are_told():
    given = {"raw_number": numbers(v1d1=1.0), "reference_number": {data_id(day_obs=night): 1.0 for night in (2, 10)}}

    assert refusal(NIGHT, given, NO_BIAS) == [
        "compare (instrument=simulated visit=1): takes one 'reference_number' for 'reference'; got 2: "
        "instrument=simulated day_obs=2; instrument=simulated day_obs=10"
    ]


def test_a_prerequisite_with_other_values_is_missing():
    given = {"value": numbers(v1d1=1.0, v1d2=2.0), "chart": {DataId(instrument="ztf"): "chart"}}

    assert refusal(LISTS, given) == ["lists (instrument=simulated visit=1): no 'chart' for 'chart' has its data id"]


def test_a_missing_input_is_told_before_anything_is_run():
    assert refusal(NIGHT, {"raw_nubmer": 1.0}, NO_BIAS) == [
        "correct: no task makes 'raw_number' for 'raw', and it is not in what is given; did you mean 'raw_nubmer'? "
        "(from Python)"
    ]


def test_what_a_task_makes_cannot_be_given_too():
    assert refusal(NIGHT, {"raw_number": 1.0, "total_number": 2.0}, NO_BIAS) == [
        "sum: makes 'total_number', which is given too"
    ]


class EitherTask(PipelineTask[PipelineTaskConfig]):
    """Takes what there is."""

    dimensions = ("visit",)
    inputs = {"one": Input("one", float, minimum=0), "other": Input("other", float, minimum=0)}
    outputs = {"seen": Output("seen", tuple)}

    def run(self, one: float = 0.0, other: float = 0.0) -> ListResult:
        return ListResult((one, other))


def test_where_every_input_is_optional_each_data_id_of_one_is_work():
    pipeline = Pipeline.from_tasks(either=EitherTask)
    given = {
        "one": {data_id(visit=1): 1.0, data_id(visit=2): 2.0},
        "other": {data_id(visit=2): 20.0, data_id(visit=3): 30.0},
    }

    run = pipeline.run_in_memory(given)

    assert [run.get("seen", visit=visit) for visit in (1, 2, 3)] == [(1.0, 0.0), (2.0, 20.0), (0.0, 30.0)]
    assert pipeline.run_in_memory({"one": {data_id(visit=1): 1.0}, "other": 5.0})["seen"] == (1.0, 5.0)
    assert pipeline.run_in_memory({})["seen"] == (0.0, 0.0)


class HalfTask(PipelineTask[PipelineTaskConfig]):
    """Makes its number, and then fails where it is odd."""

    dimensions = ("visit", "detector")
    inputs = {"raw": Input("raw_number", float)}
    outputs = {"corrected": Output("corrected_number", float)}

    def passes(self):
        return (Pass("make", lambda state: None), Pass("check", self._check))

    def run(self, raw: float) -> "HalfResult":
        self.run_passes(HalfState(raw))
        return HalfResult(raw)

    def _check(self, state):
        if state.value % 2:
            raise AlgorithmError("An odd number.", value=state.value)


@dataclass(frozen=True)
class HalfResult(Struct):
    """What `HalfTask.run` returns."""

    corrected: float


@dataclass
class HalfState:
    """A number that is true from the start."""

    value: float

    def products(self):
        return {"corrected": self.value}


BAD = {"raw_number": numbers(v1d1=1.0, v2d1=4.0), "bias_number": 2.0}


def test_a_failure_is_raised_with_the_piece_of_work_in_a_note():
    with pytest.raises(AlgorithmError, match="below its bias") as raised:
        NIGHT.run_in_memory(BAD)

    assert raised.value.__notes__ == ["in correct (instrument=simulated visit=1 detector=1)"]


def test_what_hangs_on_a_failure_is_blocked_and_the_rest_is_run():
    run = NIGHT.run_in_memory(BAD, raise_failures=False)

    assert statuses(run) == {
        "correct (instrument=simulated visit=1 detector=1)": "failed",
        "correct (instrument=simulated visit=2 detector=1)": "done",
        "sum (instrument=simulated visit=1)": "blocked",
        "sum (instrument=simulated visit=2)": "done",
        "compare (instrument=simulated visit=1)": "blocked",
        "compare (instrument=simulated visit=2)": "done",
    }
    assert [record.status for record in run.failures] == ["failed", "blocked", "blocked"]
    assert run["total_number"] == 2.0


def test_what_gathers_several_goes_on_without_the_one_that_failed():
    given = {"raw_number": numbers(v1d1=1.0, v1d2=4.0), "bias_number": 2.0}

    run = NIGHT.run_in_memory(given, raise_failures=False)

    assert run["total_number"] == 2.0
    assert [record.status for record in run.failures] == ["failed"]


def test_a_partial_product_is_kept_and_nothing_is_made_of_it():
    pipeline = Pipeline.from_tasks(half=HalfTask, sum=SumTask)

    run = pipeline.run_in_memory({"raw_number": numbers(v1d1=1.0, v2d1=4.0)}, raise_failures=False)

    assert run.get("corrected_number", visit=1) == 1.0
    assert statuses(run) == {
        "half (instrument=simulated visit=1 detector=1)": "partial",
        "half (instrument=simulated visit=2 detector=1)": "done",
        "sum (instrument=simulated visit=1)": "blocked",
        "sum (instrument=simulated visit=2)": "done",
    }
    with pytest.raises(PartialResult) as raised:
        pipeline.run_in_memory({"raw_number": numbers(v1d1=1.0)})
    assert raised.value.partial == {"corrected": 1.0}
    assert raised.value.step == "check"


def test_where_there_is_no_work_there_is_none_downstream_and_nothing_has_failed():
    given = {"raw_number": numbers(v1d1=1.0, v2d1=4.0, v2d2=5.0)}

    run = NIGHT.run_in_memory(given, *layers(NO_BIAS, "sum:least=2"))

    assert statuses(run)["sum (instrument=simulated visit=1)"] == "no_work"
    assert statuses(run)["compare (instrument=simulated visit=1)"] == "no_work"
    assert run["ratio_number"] == 9.0
    assert run.failures == ()
    error = next(record.outcome.error for record in run.records if record.quantum.label == "compare")
    assert isinstance(error, NoWorkFound)
    assert str(error) == "total_number (instrument=simulated visit=1) was not made: there was no work for it."


def test_without_an_optional_product_there_is_no_work_for_what_needs_it():
    @dataclass(frozen=True)
    class MaybeResult(Struct):
        corrected: float | None

    class MaybeTask(PipelineTask[PipelineTaskConfig]):
        dimensions = ("visit", "detector")
        inputs = {"raw": Input("raw_number", float)}
        outputs = {"corrected": Output("corrected_number", float, optional=True)}

        def run(self, raw: float) -> MaybeResult:
            return MaybeResult(raw if raw > 0 else None)

    run = Pipeline.from_tasks(maybe=MaybeTask, sum=SumTask).run_in_memory({"raw_number": numbers(v1d1=-1.0, v2d1=2.0)})

    assert [(record.quantum.label, record.status) for record in run.records] == [
        ("maybe", "done"),
        ("maybe", "done"),
        ("sum", "no_work"),
        ("sum", "done"),
    ]


def test_a_mistake_of_a_person_is_raised_also_where_failures_are_kept():
    with pytest.raises(PipelineError):
        NIGHT.run_in_memory(
            {"raw_number": 1.0, "bias_number": {DataId(detector=n): 1.0 for n in (1, 2)}}, raise_failures=False
        )


def test_a_dataset_is_found_by_type_and_part_of_its_data_id():
    datasets = MemoryDatasets()
    datasets.add("number", 1.0, visit=1, detector=1)
    datasets.add("number", 2.0, visit=1, detector=2)

    assert datasets.get("number", detector=2) == 2.0
    for name, values, words in (
        ("number", {"visit": 1}, "2 datasets number (visit=1); there are: visit=1 detector=1; visit=1 detector=2."),
        ("number", {"visit": 3}, "0 datasets number (visit=3); there are: visit=1 detector=1; visit=1 detector=2."),
        ("nubmer", {}, "no dataset is of type 'nubmer'; did you mean 'number'?"),
        ("zz", {}, "no dataset is of type 'zz'; there are number."),
    ):
        with pytest.raises(PipelineError) as raised:
            datasets.get(name, **values)
        assert str(raised.value) == words


def test_long_lists_of_datasets_are_cut():
    datasets = MemoryDatasets()
    for visit in range(12):
        datasets.add("number", 1.0, visit=visit)

    with pytest.raises(PipelineError, match=r"^12 datasets number; there are: visit=0; .*; visit=9; and 2 more\.$"):
        datasets.get("number")


def test_a_dataset_is_added_once_and_validities_do_not_overlap():
    datasets = MemoryDatasets()
    datasets.add("number", 1.0, visit=1)
    datasets.certify("bias", 1.0, begin=1.0, end=2.0, detector=1)
    datasets.certify("bias", 1.0, begin=2.0, end=3.0, detector=1)

    for refused in (
        lambda: datasets.add("number", 2.0, visit=1),
        lambda: datasets.certify("bias", 1.0, begin=1.5, end=1.6, detector=1),
        lambda: datasets.certify("bias", 1.0, detector=1),
    ):
        with pytest.raises(PipelineError, match=r": there is one already\.$"):
            refused()
    for begin, end in ((2.0, 2.0), (3.0, 2.0), (math.nan, 2.0)):
        with pytest.raises(PipelineError, match=r"^bias \(detector=2\): begins at .* and ends at .*\.$"):
            datasets.certify("bias", 1.0, begin=begin, end=end, detector=2)


def test_a_copy_takes_more_without_the_original():
    datasets = MemoryDatasets.from_mapping({"number": {DataId(visit=1): 1.0}, "table": {"a": 1}, "nothing": {}})
    copy = datasets.copy()
    copy.add("number", 2.0, visit=2)

    assert datasets.get("number") == 1.0
    assert copy.get("number", visit=2) == 2.0
    assert (datasets.get("table"), datasets.get("nothing")) == ({"a": 1}, {})


def test_layers_are_given_to_a_run_as_to_a_build():
    run = NIGHT.run_in_memory({"raw_number": 1.0}, Layer.from_mapping({"correct.with_bias": False}, origin="here"))

    assert run["ratio_number"] == 1.0
