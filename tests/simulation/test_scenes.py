"""Difficult scenes: clouds, gradients, big galaxies, bright stars, oval stars, satellites."""

import numpy as np
import pytest

from firstlight.errors import ConfigError
from firstlight.simulation import SimulationSettings, simulate_exposure
from firstlight.simulation.detector import TruthBit

EMPTY = SimulationSettings.quiet().varied(shape=(256, 320), star_density=0.0)


def test_clouds_take_their_share_of_the_light_and_not_of_the_sky():
    settings = SimulationSettings.quiet().varied(shape=(128, 128))
    clear, cloudy = (simulate_exposure(settings.varied(transparency=share), seed=3) for share in (1.0, 0.7))

    np.testing.assert_allclose(cloudy.sources["flux"], 0.7 * clear.sources["flux"], rtol=1e-12)
    np.testing.assert_array_equal(cloudy.sky, clear.sky)
    assert cloudy.zero_point == pytest.approx(clear.zero_point + 2.5 * np.log10(0.7))


def test_bright_stars_and_the_big_galaxy_stand_on_the_image_and_move_nobody_else():
    settings = SimulationSettings.quiet().varied(shape=(256, 320))
    added = settings.varied(bright_stars=(9.0, 11.0), big_galaxy_radius=12.0, big_galaxy_magnitude=12.0)
    for seed in range(5):
        plain, scene = (simulate_exposure(s, seed=seed) for s in (settings, added))
        ordinary = np.isin(scene.sources["id"], plain.sources["id"])
        new = scene.sources[~ordinary]

        np.testing.assert_array_equal(scene.sources["x"][ordinary], plain.sources["x"])
        assert sorted(new["mag"]) == [9.0, 11.0, 12.0]
        assert list(new["kind"][new["mag"] == 12.0]) == ["galaxy"]
        assert np.all((new["x"] > 0) & (new["x"] < 319) & (new["y"] > 0) & (new["y"] < 255))


def test_half_of_the_light_of_the_big_galaxy_lies_within_its_ellipse():
    settings = EMPTY.varied(big_galaxy_radius=25.0, shape=(640, 640), sky_gradient=0.0)
    exposure = simulate_exposure(settings, seed=4)
    (galaxy,) = exposure.sources
    dy, dx = np.indices(settings.shape) - np.array([galaxy["y"], galaxy["x"]])[:, None, None]
    light = exposure.light.astype(float) - exposure.sky
    moments = [(light * product).sum() for product in (dx * dx, dy * dy, dx * dy)]
    angle = 0.5 * np.arctan2(2 * moments[2], moments[0] - moments[1])
    major, minor = dx * np.cos(angle) + dy * np.sin(angle), -dx * np.sin(angle) + dy * np.cos(angle)
    radius = np.hypot(major, minor / galaxy["axis_ratio"]) * settings.optics.pixel_scale

    assert light.sum() == pytest.approx(galaxy["flux"], rel=0.01)
    assert light[radius < 25.0].sum() / galaxy["flux"] == pytest.approx(0.5, abs=0.01)


def test_all_stars_share_the_ellipticity_of_the_settings():
    for seed in range(3):
        settings = EMPTY.varied(ellipticity=0.3, ellipticity_variation=0.02)
        spread = simulate_exposure(settings, seed=seed).point_spread
        x, y = (g.ravel() for g in np.meshgrid(np.linspace(0, 319, 9), np.linspace(0, 255, 9)))
        moments = [spread.adaptive_moments(x=x[k], y=y[k]) for k in (0, 40, 80)]

        assert np.abs(np.hypot(spread.e1(x=x, y=y), spread.e2(x=x, y=y)) - 0.3).max() < 0.0201
        for m in moments:
            measured = np.hypot(m.ixx - m.iyy, 2 * m.ixy) / (m.ixx + m.iyy)
            assert 0.2 < measured < 0.3  # the pixel makes stars rounder


def test_the_sky_goes_from_side_to_side_as_the_gradient_says():
    exposure = simulate_exposure(EMPTY.varied(sky_gradient=0.8), seed=2)
    middle = exposure.sky[128, 160]
    across = np.array([exposure.sky[128, -1] - exposure.sky[128, 0], exposure.sky[-1, 160] - exposure.sky[0, 160]])

    assert middle == pytest.approx(300, rel=0.01)
    assert np.hypot(*across) / middle == pytest.approx(0.8, rel=0.01)


def test_satellites_cross_the_image_as_wide_as_the_stars():
    settings = EMPTY.varied(satellite_trails=1, trail_peak=(20.0, 20.0), fwhm=3.0, sky_gradient=0.0)
    exposure = simulate_exposure(settings, seed=5)
    (trail,) = exposure.trails
    light = exposure.light.astype(float) - exposure.sky
    rows, columns = np.indices(settings.shape)
    distance = (rows - trail.y) * np.cos(trail.angle) - (columns - trail.x) * np.sin(trail.angle)
    alpha = 3.0 / (2 * np.sqrt(2 ** (1 / 3) - 1))
    width = 2 * alpha * np.sqrt(2 ** (1 / 2.5) - 1)

    assert light.max() == pytest.approx(trail.peak, rel=0.05)
    assert light[np.abs(distance) < 0.5].min() > 0.8 * trail.peak
    assert light[np.abs(np.abs(distance) - width / 2) < 0.1].mean() == pytest.approx(0.5 * trail.peak, rel=0.06)
    marked = (exposure.mask & TruthBit.TRAIL) > 0
    assert marked[np.abs(distance) < width].all()
    assert not marked[np.abs(distance) > 5 * width].any()


def test_there_are_as_many_trails_as_wanted_and_other_ones_at_other_epochs():
    settings = EMPTY.varied(satellite_trails=3, trail_peak=(2.0, 50.0))
    first, later = (simulate_exposure(settings, seed=5, epoch=epoch) for epoch in (0, 1))

    assert len(first.trails) == len(later.trails) == 3
    assert not set(first.trails) & set(later.trails)
    assert simulate_exposure(settings, seed=5).trails == first.trails


@pytest.mark.parametrize(
    "change", [{"transparency": 0.0}, {"ellipticity": 0.6}, {"satellite_trails": -1}, {"big_galaxy_radius": -1.0}]
)
def test_impossible_scenes_are_refused_by_name(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        SimulationSettings().varied(**change)
