"""``single_frame.yaml``, run in memory, is `SingleFrameTask` cut into its labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from firstlight.errors import PartialResult, PipelineError
from firstlight.framework import DataId, Layer, Pipeline
from firstlight.framework.config_folder import config_folder
from firstlight.images.exposure import Exposure

from .fields import Field, assert_same_table, process

TABLES = {
    "stars": "single_visit_star_unstandardized",
    "psf_stars": "single_visit_psf_star",
    "sources": "single_visit_source",
    "astrometry_matches": "initial_astrometry_match_detector",
    "photometry_matches": "initial_photometry_match_detector",
}


def inputs_of(field: Field) -> dict[str, object]:
    return {"raw": field.exposure, **field.references}


def assert_same_exposure(one: Exposure, two: Exposure) -> None:
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.variance, two.variance)
    np.testing.assert_array_equal(one.mask.array, two.mask.array)
    np.testing.assert_equal(dict(one.summary), dict(two.summary))
    assert one.wcs == two.wcs or one.wcs.to_header() == two.wcs.to_header()


@pytest.mark.parametrize("settings", [(), ("calibrate:psf.task=GaussianPsfTask", "measure:background=null")])
def test_the_pipeline_gives_the_bits_of_the_single_task(small, settings):
    whole = process(small, *settings)
    run = Pipeline.load("single_frame.yaml").run_in_memory(
        inputs_of(small), *[Layer.from_assignment(text) for text in settings]
    )

    assert [record.status for record in run.records] == ["done"] * 3
    assert_same_exposure(run["visit_image"], whole.exposure)
    for name, dataset in TABLES.items():
        assert_same_table(run[dataset], getattr(whole, name))
    gates = [gate for record in run.records for gate in record.outcome.gates]
    assert gates == list(whole.gates)


def test_the_single_task_is_a_pipeline_of_one_too(small, small_result):
    run = Pipeline.from_tasks(frame=type_of_single_frame()).run_in_memory(
        {"post_isr_image": small.exposure, **small.references}
    )

    assert_same_exposure(run["visit_image"], small_result.exposure)
    assert_same_table(run["single_visit_source"], small_result.sources)


def type_of_single_frame():
    from firstlight.tasks.single_frame import SingleFrameTask

    return SingleFrameTask


def test_a_failure_keeps_what_is_true_and_leaves_the_rest_undone(small):
    elsewhere = small.moved_reference(20.0)
    inputs = {"raw": small.exposure, "astrometry_refcat": elsewhere, "photometry_refcat": elsewhere}
    run = Pipeline.load("single_frame.yaml").run_in_memory(inputs, raise_failures=False)

    _, calibrate, measure = run.records
    assert (calibrate.status, calibrate.outcome.step) == ("partial", "astrometry")
    assert run["preliminary_visit_image"].psf is not None
    assert "initial_photoCalib_detector" not in run
    assert measure.status == "blocked"
    assert "visit_image" not in run
    with pytest.raises(PartialResult, match=r"^astrometry: "):
        Pipeline.load("single_frame.yaml").run_in_memory(inputs)


def test_several_images_are_told_apart_by_their_data_ids(small):
    ids = [DataId(instrument="simulated", visit=visit, detector=0) for visit in (1, 2)]
    dimmer = small.exposure.replace(image=small.exposure.image * np.float32(0.5) + np.float32(100.0))
    run = Pipeline.load("single_frame.yaml#..calibrate").run_in_memory(
        {"raw": dict(zip(ids, (small.exposure, dimmer), strict=True)), **small.references}
    )

    first, second = (run.get("initial_photoCalib_detector", visit=visit) for visit in (1, 2))
    assert second.mean / first.mean == pytest.approx(2.0, rel=0.02)
    with pytest.raises(PipelineError, match="2 datasets preliminary_visit_image"):
        run["preliminary_visit_image"]


def test_a_missing_input_is_told_before_anything_runs(small):
    with pytest.raises(PipelineError) as raised:
        Pipeline.load("single_frame.yaml").run_in_memory({"rwa": small.exposure})

    assert str(raised.value).startswith(
        "isr: no task makes 'raw' for 'raw', and it is not in what is given; did you mean 'rwa'?"
    )


SHIPPED = sorted((config_folder() / "pipelines").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_pipeline_that_comes_with_firstlight_fits_together(path: Path):
    pipeline = Pipeline.load(path)

    built = pipeline.build()

    assert pipeline.description
    assert pipeline.inputs is not None
    assert set(built.graph.outside) <= set(pipeline.inputs)
    assert list(built.make_tasks()) == list(built.graph.nodes)
