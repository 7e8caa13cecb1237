"""What every sky keeps: nothing is lost, slopes vanish, and galaxies and stars keep their light."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.errors import TooManyMaskedPixelsError
from firstlight.images.background import BackgroundList
from firstlight.images.mask import Mask
from firstlight.tasks.background import BackgroundTask, ConstantBackgroundTask, MeshBackgroundConfig, MeshBackgroundTask
from firstlight.tasks.detect import MatchedFilterDetectTask
from firstlight.tasks.polynomial_background import PolynomialBackgroundConfig, PolynomialBackgroundTask

from .frames import NOISE, add_stars, exposure_of, grid_of_stars, members, noise

every_background = pytest.mark.parametrize("task_class", members(BackgroundTask))
flexible = pytest.mark.parametrize(
    "task",
    [
        MeshBackgroundTask(),
        MeshBackgroundTask(MeshBackgroundConfig(method="spline")),
        PolynomialBackgroundTask(),
    ],
    ids=["chebyshev", "spline", "polynomial"],
)


@every_background
@settings(max_examples=10, deadline=None)
@given(level=st.floats(-1e5, 1e5), slope=st.floats(-50.0, 50.0), seed=st.integers(0, 99), rounds=st.integers(1, 3))
def test_image_plus_all_skies_is_the_input_to_single_precision(task_class, level, slope, seed, rounds):
    raw = exposure_of(level + slope * np.arange(90) + noise((80, 90), seed=seed))
    exposure, models = raw, BackgroundList()
    for _ in range(rounds):
        sky = task_class().run(exposure).background
        exposure, models = exposure.replace(image=sky.subtracted_from(exposure.image)), models + sky

    size = np.abs(raw.image).max() + np.abs(models.evaluate()).max()
    assert np.abs(exposure.image + models.evaluate() - raw.image).max() <= 1e-6 * size


@flexible
@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_no_slope_and_no_level_is_left_of_a_steep_sky(task, slope):
    shape = (640, 600)
    y, x = np.mgrid[: shape[0], : shape[1]]
    truth = 300.0 + slope * (x + 0.5 * y) + slope * 2e-4 * (x - 300.0) ** 2

    error = task.run(exposure_of(truth + noise(shape))).background.evaluate() - truth

    assert abs(error.mean()) < 0.02 * NOISE
    for axis in (0, 1):
        profile = error.mean(axis=axis)
        ends = np.polyval(np.polyfit(np.linspace(-0.5, 0.5, len(profile)), profile, 1), [-0.5, 0.5])
        assert abs(ends[1] - ends[0]) < 0.05 * NOISE


def exponential_galaxy(shape, *, half_light, flux):
    """An exponential disk about the middle of the image (Sersic index 1)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    scale = half_light / 1.678
    return flux / (2 * np.pi * scale**2) * np.exp(-np.hypot(x - 0.47 * shape[1], y - 0.55 * shape[0]) / scale)


@pytest.mark.parametrize(
    ("task", "side"),
    [
        (MeshBackgroundTask(), 1600),
        (MeshBackgroundTask(MeshBackgroundConfig(extended_passes=3)), 1024),
        (PolynomialBackgroundTask(), 800),
    ],
    ids=["mesh", "mesh, small image", "polynomial"],
)
def test_a_galaxy_as_large_as_a_bin_keeps_its_light(task, side):
    light = exponential_galaxy((side, side), half_light=64.0, flux=1e6)
    exposure = exposure_of(light + noise((side, side)))
    found = MatchedFilterDetectTask().run(exposure).exposure

    taken = task.run(found).background.evaluate()

    within = light > 0.02 * light.max()
    assert abs(taken[within].sum()) < 0.05 * light[within].sum()


def test_without_looking_for_extended_light_the_galaxy_would_lose_a_tenth():
    light = exponential_galaxy((1024, 1024), half_light=64.0, flux=1e6)
    found = MatchedFilterDetectTask().run(exposure_of(light + noise((1024, 1024)))).exposure

    taken = MeshBackgroundTask(MeshBackgroundConfig(extended_passes=0)).run(found).background.evaluate()

    within = light > 0.02 * light.max()
    assert taken[within].sum() > 0.1 * light[within].sum()


@pytest.mark.parametrize("task_class", members(BackgroundTask))
def test_isolated_stars_keep_their_light(task_class):
    shape = (600, 600)
    flux = 2000.0
    plain = noise(shape)
    starry = add_stars(plain, grid_of_stars(shape, spacing=200, flux=(flux, flux + 1.0)))

    models = (task_class().run(exposure_of(image)).background for image in (plain, starry))
    without, with_stars = (model.evaluate().mean() for model in models)

    aperture = np.pi * (2 * 2.8) ** 2
    # The same noise lies in both, but the stars take pixels out of the means: allow what these may change.
    chance = 3 * NOISE * np.sqrt(9 * aperture * 4) / plain.size
    assert abs(with_stars - without) * aperture < 0.002 * flux + chance * aperture


def test_the_polynomial_tells_what_it_left_out():
    light = exponential_galaxy((500, 500), half_light=20.0, flux=3e5)
    result = PolynomialBackgroundTask().run(exposure_of(300.0 + light + noise((500, 500))))

    assert result.masked is not None
    assert result.masked[light > NOISE].all()
    assert result.masked.mean() < 0.3


@pytest.mark.parametrize("order", [0, 1, 3])
def test_the_polynomial_has_the_order_that_was_asked_for(order):
    config = PolynomialBackgroundConfig(order=order)
    result = PolynomialBackgroundTask(config).run(exposure_of(300.0 + noise((400, 400))))

    assert result.background.coefficients.shape == (order + 1, order + 1)


def test_masks_that_cover_the_whole_image_are_refused():
    task = PolynomialBackgroundTask(PolynomialBackgroundConfig(extra_growth=400))

    with pytest.raises(TooManyMaskedPixelsError, match="lower max_growth"):
        task.run(exposure_of(exponential_galaxy((200, 200), half_light=20.0, flux=1e6) + noise((200, 200))))


@every_background
def test_pixels_that_are_not_numbers_are_bridged_even_where_a_bin_has_no_other(task_class):
    image = 300.0 + noise((300, 300))
    image[100:230, 60:200] = np.nan
    settings = {} if task_class is ConstantBackgroundTask else {"bin_size": 60}
    task = task_class(type(task_class().config)(**settings))

    result = task.run(exposure_of(image, mask=Mask.empty((300, 300)).with_plane("NO_DATA", np.isnan(image))))

    assert np.isfinite(result.background.evaluate()).all()
    assert np.abs(result.background.evaluate() - 300.0).max() < 0.5 * NOISE
