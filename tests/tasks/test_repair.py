"""One law for every cosmic-ray task: rays are found and filled in, stars are left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from firstlight.errors import ConfigError, PsfError, TooManyCosmicRaysError
from firstlight.images.mask import Mask
from firstlight.tasks import laplacian_cosmic_rays
from firstlight.tasks.laplacian_cosmic_rays import LaplacianCosmicRayTask
from firstlight.tasks.repair import CosmicRayTask

from .frames import NOISE, add_stars, exposure_of, grid_of_stars, members, noise

SHAPE = (300, 300)
every_repair = pytest.mark.parametrize("task_class", members(CosmicRayTask))


def with_rays(image, *, charge=800.0):
    """Return the image with rays between the stars, and where they are."""
    where = np.zeros(SHAPE, dtype=bool)
    for row, column in ((40, 41), (100, 121), (161, 200), (240, 81)):
        where[row, column : column + 6] = True
    for row, column in ((81, 160), (200, 161)):
        where[row + np.arange(5), column + np.arange(5)] = True
    where[121, 240] = True
    return image + charge * where, where


@pytest.fixture(scope="module")
def starry():
    return add_stars(noise(SHAPE), grid_of_stars(SHAPE, flux=(3e2, 1e5)))


@every_repair
def test_stars_are_not_touched(task_class, starry):
    result = task_class().run(exposure_of(starry), interpolate=True)

    assert result.n_pixels == 0
    np.testing.assert_array_equal(result.exposure.image, starry.astype(np.float32))


@every_repair
def test_rays_are_found_and_nothing_else(task_class, starry):
    image, where = with_rays(starry)
    found = task_class().run(exposure_of(image), interpolate=False).exposure.mask.any_of("CR")

    assert found[where].mean() > 0.95
    # On the flank of a track noise alone lifts one pixel in ten above the limit.
    assert (found & ~where).sum() <= 0.1 * where.sum()


@every_repair
def test_what_is_filled_in_is_sky_and_flagged(task_class, starry):
    image, where = with_rays(starry)
    result = task_class().run(exposure_of(image), interpolate=True)
    filled = result.exposure.mask.any_of("CR")

    np.testing.assert_array_equal(result.exposure.mask.any_of("INTRP"), filled)
    np.testing.assert_array_equal(result.exposure.image[~filled], image[~filled].astype(np.float32))
    assert np.abs(result.exposure.image[filled & where]).max() < 6 * NOISE
    assert result.n_pixels == filled.sum()


@every_repair
def test_without_filling_in_only_the_mask_changes(task_class, starry):
    exposure = exposure_of(with_rays(starry)[0])
    result = task_class().run(exposure, interpolate=False)

    assert result.exposure.image is exposure.image
    assert not result.exposure.mask.any_of("INTRP").any()
    assert not exposure.mask.any_of("CR").any()


@every_repair
def test_the_plane_is_set_anew_each_time(task_class, starry):
    stale = np.zeros(SHAPE, dtype=bool)
    stale[5:9, 5:9] = True
    exposure = exposure_of(starry, mask=Mask.empty(SHAPE).with_plane("CR", stale))

    assert not task_class().run(exposure, interpolate=False).exposure.mask.any_of("CR").any()


@every_repair
def test_saturated_pixels_are_not_rays(task_class, starry):
    image, where = with_rays(starry, charge=1e5)
    exposure = exposure_of(image, mask=Mask.empty(SHAPE).with_plane("SAT", where))

    assert not task_class().run(exposure, interpolate=False).exposure.mask.any_of("CR")[where].any()


@every_repair
def test_more_rays_than_allowed_are_refused(task_class, starry):
    task = task_class(type(task_class().config)(max_pixels=5))

    with pytest.raises(TooManyCosmicRaysError) as raised:
        task.run(exposure_of(with_rays(starry)[0]), interpolate=True)
    assert raised.value.facts["max_pixels"] == 5


@every_repair
def test_a_psf_is_needed(task_class):
    with pytest.raises(PsfError, match="has none"):
        task_class().run(exposure_of(noise(SHAPE), psf=None), interpolate=True)


def test_without_astroscrappy_the_command_that_brings_it_is_told(monkeypatch):
    monkeypatch.setattr(laplacian_cosmic_rays, "astroscrappy", None)

    with pytest.raises(ConfigError, match=r"pip install firstlight\[lacosmic\]"):
        LaplacianCosmicRayTask().run(exposure_of(noise(SHAPE)), interpolate=True)


@every_repair
def test_where_the_gain_is_not_known_rays_are_found_whatever_the_size_of_a_count(task_class, starry):
    image, where = with_rays(starry)
    exposure = exposure_of(image)
    coarse = exposure.replace(
        image=exposure.image / np.float32(64.0),
        variance=exposure.variance / np.float32(64.0**2),
        detector=replace(exposure.detector, gain=None),
    )
    found = task_class().run(coarse, interpolate=False).exposure.mask.any_of("CR")

    assert found[where].mean() > 0.95
