"""One law for every background task: what is sky is found, what is masked is not looked at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.errors import TooManyMaskedPixelsError
from firstlight.images.mask import Mask
from firstlight.tasks.background import BackgroundTask, MeshBackgroundConfig, MeshBackgroundTask

from .frames import NOISE, add_stars, exposure_of, grid_of_stars, members, noise

SHAPE = (256, 300)
every_background = pytest.mark.parametrize("task_class", members(BackgroundTask))


@every_background
@settings(max_examples=15, deadline=None)
@given(level=st.floats(-1e4, 1e4))
def test_a_constant_sky_is_recovered(task_class, level):
    result = task_class().run(exposure_of(np.full((150, 170), level)))

    np.testing.assert_allclose(result.background.evaluate(), level, rtol=1e-6, atol=1e-4)


@every_background
def test_noise_leaves_an_error_that_its_number_of_pixels_allows(task_class):
    result = task_class().run(exposure_of(300.0 + noise(SHAPE)))

    # A clipped mean of a bin of 128 x 128 pixels knows the sky to NOISE / 128; a cubic knows corners 2.5 times worse.
    error = result.background.evaluate() - 300.0
    assert np.sqrt(np.mean(error**2)) < 2.5 * NOISE / 128
    assert np.abs(error).max() < 12 * NOISE / 128
    assert result.background.level == pytest.approx(300.0, abs=5 * NOISE / 128)


@every_background
@pytest.mark.parametrize("plane", ["BAD", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "NO_DATA", "SAT", "CR"])
def test_masked_pixels_do_not_count(task_class, plane):
    where = np.zeros(SHAPE, dtype=bool)
    where[40:120, 60:200] = True
    image = 300.0 + noise(SHAPE)
    exposure = exposure_of(np.where(where, 3000.0, image), mask=Mask.empty(SHAPE).with_plane(plane, where))
    other = exposure.replace(image=np.where(where, -9e4, image).astype(np.float32))

    sky, same = (task_class().run(each).background.evaluate() for each in (exposure, other))

    np.testing.assert_array_equal(sky, same)
    assert np.abs(sky - 300).max() < 10 * NOISE / 128


@every_background
def test_stars_raise_the_sky_by_little(task_class):
    image = add_stars(300.0 + noise(SHAPE), grid_of_stars(SHAPE, spacing=50, flux=(1e3, 1e4)))
    result = task_class().run(exposure_of(image))

    assert np.abs(result.background.evaluate() - 300.0).max() < 0.2 * NOISE


@every_background
def test_an_image_without_a_usable_pixel_is_refused(task_class):
    mask = Mask.empty(SHAPE).with_plane("NO_DATA", np.ones(SHAPE, dtype=bool))

    with pytest.raises(TooManyMaskedPixelsError) as raised:
        task_class().run(exposure_of(noise(SHAPE), mask=mask))
    assert raised.value.facts


@every_background
def test_in_a_crowd_without_sky_the_pixels_of_the_sources_count(task_class):
    image = exposure_of(300.0 + noise(SHAPE))
    everywhere = np.ones(SHAPE, dtype=bool)
    everywhere[5, 5] = False
    crowded = image.replace(mask=image.mask.with_plane("DETECTED", everywhere))

    sky, same = (task_class().run(each).background.evaluate() for each in (crowded, image))

    np.testing.assert_array_equal(sky, same)


@pytest.mark.parametrize("method", ["chebyshev", "spline"])
def test_a_sloping_sky_is_followed(method):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    sky = 300.0 + 0.1 * x - 0.05 * y
    config = MeshBackgroundConfig(bin_size=50, method=method)

    result = MeshBackgroundTask(config).run(exposure_of(sky + noise(SHAPE)))

    assert np.sqrt(np.mean((result.background.evaluate() - sky) ** 2)) < 3 * NOISE / 50
