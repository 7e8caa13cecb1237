"""A raw camera that is known exactly, its frames as exposures, and calibrations made of the truth."""

from __future__ import annotations

import numpy as np

from firstlight.framework import DataId, Handle, Layer, build_config
from firstlight.images.exposure import Exposure, plain_header
from firstlight.images.fits import RawImage
from firstlight.images.mask import Mask
from firstlight.images.observation import Filter, ObservationInfo
from firstlight.instruments import get_instrument
from firstlight.simulation import RawCamera, RawCameraSettings, make_raw_camera, take_raw_frame
from firstlight.tasks.isr import IsrConfig, IsrTask

SEED = 5
OVERSCAN, BIAS, DARK, FLAT = (
    f"{slot}.task={task}"
    for slot, task in {
        "overscan": "RowOverscanTask",
        "bias": "SubtractBiasTask",
        "dark": "SubtractDarkTask",
        "flat": "DivideFlatTask",
    }.items()
)
DEFECTS, SATURATION = "defects.task=MaskDefectsTask", "saturation.task=MarkSaturatedTask"
EVERY_STEP = (SATURATION, OVERSCAN, BIAS, DARK, FLAT, DEFECTS)


def camera(**settings) -> RawCamera:
    return make_raw_camera(RawCameraSettings(**settings), seed=SEED)


def raw(of: RawCamera, kind: str, number: int, **frame) -> Exposure:
    taken = take_raw_frame(of, kind, number=number, **frame)
    return get_instrument("simulated").to_exposure(RawImage(taken.image, plain_header(taken.header), 0))


def isr(*settings: str) -> IsrTask:
    return IsrTask(build_config(IsrConfig, [Layer.from_assignment(text) for text in settings], labelled=False))


def handles(exposures) -> tuple[Handle[Exposure], ...]:
    """Return handles that give the exposures when asked."""
    return tuple(
        Handle("frame", DataId(instrument="simulated", exposure=number, detector=0), lambda each=each: each)
        for number, each in enumerate(exposures)
    )


def exact(image, *, filter_: str | None = "r", header=None, **observation) -> Exposure:
    """Return a calibration that is known without any noise."""
    return Exposure(
        image=image,
        mask=Mask.empty(np.shape(image)),
        variance=np.zeros(np.shape(image)),
        filter=filter_ and Filter(filter_, filter_),
        observation=ObservationInfo(physical_filter=filter_, **observation),
        header=header or {},
    )


def truth_of(of: RawCamera) -> dict[str, Exposure]:
    return {
        "bias": exact(of.bias),
        "dark": exact(of.dark_rate, exposure_time=1.0),
        "flat": exact(of.flat),
    }
