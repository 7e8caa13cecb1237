"""Exposures become visits: one each, or snaps where their data ids say so."""

from __future__ import annotations

from dataclasses import dataclass

from firstlight.framework import DataId, Input, Output, Pipeline, PipelineTask, PipelineTaskConfig, Struct


@dataclass(frozen=True)
class Reduced(Struct):
    number: float


class ReduceTask(PipelineTask[PipelineTaskConfig]):
    """Halves the number of an exposure."""

    dimensions = ("instrument", "exposure", "detector")
    inputs = {"raw": Input("raw", float)}
    outputs = {"number": Output("reduced", float)}

    def run(self, raw: float) -> Reduced:
        """Return half of ``raw``."""
        return Reduced(number=raw / 2)


class AddTask(PipelineTask[PipelineTaskConfig]):
    """Adds the exposures of a visit."""

    dimensions = ("instrument", "visit", "detector")
    inputs = {"parts": Input("reduced", float, dimensions=("instrument", "exposure", "detector"), multiple=True)}
    outputs = {"number": Output("visit_sum", float)}

    def run(self, parts: tuple[float, ...]) -> Reduced:
        """Return the sum."""
        return Reduced(number=sum(parts))


PIPELINE = Pipeline.from_tasks(reduce=ReduceTask, add=AddTask)


def test_an_exposure_is_a_visit_of_the_same_number():
    ids = [DataId(instrument="x", exposure=each, detector=0) for each in (1, 2)]
    run = PIPELINE.run_in_memory({"raw": {ids[0]: 2.0, ids[1]: 6.0}})

    assert [run.get("visit_sum", visit=visit) for visit in (1, 2)] == [1.0, 3.0]
    assert run.get("reduced", exposure=2) == 3.0


def test_snaps_are_exposures_that_name_their_visit():
    ids = [DataId(instrument="x", exposure=each, visit=7, detector=0) for each in (1, 2)]
    run = PIPELINE.run_in_memory({"raw": {ids[0]: 2.0, ids[1]: 6.0}})

    assert run.get("visit_sum", visit=7) == 4.0
    assert len(run.records) == 3
