"""Defects of a night are made of science frames that have moved, and refused from others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from firstlight.algorithms.isr import pixels_of_boxes
from firstlight.errors import CalibrationError, InputError, NoWorkFound
from firstlight.tasks.build_night_defects import BuildNightDefectsTask
from firstlight.tasks.isr_steps import DEFECT_COLUMNS

from .raw import exact, handles

SHAPE = (60, 70)
HOT = (20, 31)


def frame(number, *, kind="science", moves=True, shape=SHAPE):
    """Return a frame with twelve stars, which move from one to the next, and a hot pixel."""
    random = np.random.default_rng(number)
    image = random.normal(100.0, 3.0, shape)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for star in range(12):
        at_x, at_y = 5.0 + 5.5 * star + (6 * number if moves else 0.0), (17 * star) % 50 + 5.0
        image += 2000.0 / (2 * np.pi) * np.exp(-0.5 * ((x - at_x % 70) ** 2 + (y - at_y) ** 2))
    image[HOT] += 60.0
    return exact(image.astype(np.float32), observation_type=kind)


def test_the_hot_pixel_of_drifting_frames_is_the_one_defect():
    result = BuildNightDefectsTask().run(handles([frame(number) for number in range(8)]))
    bad = pixels_of_boxes(np.array([result.defects[name] for name in DEFECT_COLUMNS]).T, shape=SHAPE)

    assert list(zip(*np.nonzero(bad), strict=True)) == [HOT]
    # Eight frames are few: the gate says so.
    assert {gate.name: gate.status for gate in result.gates}["defect_frames"] == "warn"


def test_frames_between_which_the_sky_stands_still_are_refused_with_the_reason():
    with pytest.raises(CalibrationError, match="stars do not move on 8 frames"):
        BuildNightDefectsTask().run(handles([frame(number, moves=False) for number in range(8)]))


def test_darks_among_the_frames_do_not_count():
    frames = [frame(number) for number in range(4)] + [frame(9, kind="dark") for _ in range(4)]

    with pytest.raises(CalibrationError, match="at least 5 frames of the sky; got 4 of 8"):
        BuildNightDefectsTask().run(handles(frames))
    with pytest.raises(NoWorkFound, match="None of 4 frames shows the sky"):
        BuildNightDefectsTask().run(handles(frames[4:]))


def test_frames_of_other_sizes_are_refused_and_of_other_filters_taken():
    frames = [frame(number) for number in range(6)]
    red = frames[5].replace(filter=replace(frames[5].filter, physical="i"))

    assert len(BuildNightDefectsTask().run(handles([*frames[:5], red])).defects) == 1
    with pytest.raises(InputError, match="differ in pixels"):
        BuildNightDefectsTask().run(handles([*frames[:5], frame(7, shape=(60, 71))]))
