"""``build_calibrations.yaml``, run in memory, gives calibrations that make a raw image flat sky."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.framework import DataId, Layer, Pipeline
from firstlight.images.exposure import Exposure, plain_header
from firstlight.images.fits import RawImage
from firstlight.instruments import get_instrument
from firstlight.simulation import RawCameraSettings, make_raw_camera, take_raw_frame
from firstlight.tasks.isr import IsrTask

SKY = 300.0
N_FRAMES = 8
STEPS = {
    "overscan": "RowOverscanTask",
    "bias": "SubtractBiasTask",
    "dark": "SubtractDarkTask",
    "flat": "DivideFlatTask",
    "defects": "MaskDefectsTask",
}


@pytest.fixture(scope="module")
def camera():
    return make_raw_camera(RawCameraSettings(shape=(160, 200)), seed=5)


@pytest.fixture(scope="module")
def night(camera):
    """Every raw frame of a night by its data id; the last one shows the sky."""
    plan = [
        *(("bias", {}) for _ in range(N_FRAMES)),
        *(("dark", {"exposure_time": 60.0}) for _ in range(N_FRAMES)),
        *(("flat", {"exposure_time": 5.0, "light": 20_000.0}) for _ in range(N_FRAMES)),
        ("science", {"exposure_time": 60.0, "light": SKY}),
    ]
    frames = {}
    for number, (kind, settings) in enumerate(plan, start=1):
        taken = take_raw_frame(camera, kind, number=number, **settings)
        exposure = get_instrument("simulated").to_exposure(RawImage(taken.image, plain_header(taken.header), 0))
        frames[DataId(instrument="simulated", exposure=number, detector=0, physical_filter="r")] = exposure
    return frames


@pytest.fixture(scope="module")
def run(night):
    return Pipeline.load("build_calibrations.yaml").run_in_memory({"raw": night})


def test_each_kind_of_calibration_is_made_of_its_own_frames(run, night):
    done = [(each.quantum.label, each.status) for each in run.records]

    for label in ("isr_bias", "isr_dark", "isr_flat"):
        assert done.count((label, "done")) == N_FRAMES
        assert done.count((label, "no_work")) == len(night) - N_FRAMES
    assert all((label, "done") in done for label in ("bias", "dark", "flat", "defects"))
    assert all(run[kind].header["NCOMBINE"] == N_FRAMES for kind in ("bias", "dark", "flat"))
    assert not run.failures


def test_the_calibrations_make_a_raw_image_flat_sky(run, night, camera):
    calibrations = {name: run[name] for name in ("bias", "dark", "flat", "defects")}
    layer = Layer.from_mapping({"isr": {slot: {"task": task} for slot, task in STEPS.items()}}, origin="test")
    pipeline = Pipeline.from_tasks(isr=IsrTask)
    science = list(night.values())[-1]
    exposure: Exposure = pipeline.run_in_memory({"raw": science, **calibrations}, layer)["post_isr_image"]
    sky = SKY * np.median(camera.flat / run["flat"].image)
    good = (exposure.mask.array == 0) & (np.abs(exposure.image - sky) < 8 * np.sqrt(exposure.variance))
    pulls = ((exposure.image - sky) / np.sqrt(exposure.variance))[good]

    assert good.mean() > 0.98
    assert pulls.mean() == pytest.approx(0.0, abs=0.1)
    assert pulls.std() == pytest.approx(1.0, abs=5 / np.sqrt(2 * pulls.size))
    np.testing.assert_array_equal(exposure.mask.any_of("BAD") & camera.defect_pixels, camera.defect_pixels)
