"""Trails of satellites are found where they are; stars, spikes and traces of the read-out are none."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.images.mask import Mask
from firstlight.kernels.hough import line_votes
from firstlight.tasks.streaks import StreakConfig, StreakTask

from .frames import NOISE, add_stars, exposure_of, grid_of_stars, noise, star_exposure

SHAPE = (600, 700)
MIDDLE = (330.0, 280.0)


def distance(angle, x=MIDDLE[0], y=MIDDLE[1]):
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    turn = np.radians(angle)
    return (rows - y) * np.cos(turn) - (columns - x) * np.sin(turn)


def stars(seed=1):
    """Stars at random places, as many as in a field of middle latitude."""
    rng = np.random.default_rng(seed)
    table = grid_of_stars(SHAPE, spacing=35, flux=(3e2, 3e5), seed=seed)
    table["x"], table["y"] = rng.uniform(0, SHAPE[1] - 1, len(table)), rng.uniform(0, SHAPE[0] - 1, len(table))
    return add_stars(noise(SHAPE, seed=seed), table)


@pytest.mark.parametrize(
    ("angle", "peak", "sigma"),
    [(33.0, 1.5, 2.0), (33.0, 20.0, 2.0), (120.0, 0.7, 7.0), (92.0, 3.0, 3.0), (2.0, 3.0, 3.0), (170.0, 50.0, 6.0)],
)
def test_a_trail_is_found_with_its_place_direction_and_width(angle, peak, sigma):
    profile = (1 + (distance(angle) / sigma) ** 2) ** -2.5
    result = StreakTask().run(exposure_of(stars() + peak * NOISE * profile))

    assert len(result.streaks) == 1
    found = result.streaks[0]
    # Bright parts of the trail give the line to a fraction of a pixel over 600 pixels.
    assert abs((found.angle - angle + 90) % 180 - 90) < 0.2
    assert abs(found.distance(x=np.array([MIDDLE[0]]), y=np.array([MIDDLE[1]]))[0]) < 1.0
    assert found.sigma == pytest.approx(sigma, rel=0.35)
    marked = result.exposure.mask.any_of("STREAK")
    assert marked[peak * profile > 0.3].mean() > 0.98
    assert marked.mean() < 8 * sigma * 700 / np.prod(SHAPE)


@pytest.mark.parametrize("seed", range(1, 7))
def test_a_field_of_stars_has_no_trail(seed):
    assert not StreakTask().run(exposure_of(stars(seed))).streaks


def test_two_trails_that_cross_are_both_found():
    light = sum((1 + (distance(angle) / 2.5) ** 2) ** -2.5 for angle in (25.0, 110.0))
    result = StreakTask().run(exposure_of(stars() + 4 * NOISE * light))

    assert sorted(round(streak.angle) for streak in result.streaks) == [25, 110]


def test_the_spikes_of_a_bright_star_are_no_trails():
    radius = np.hypot(distance(0.0), distance(90.0))
    spikes = sum(np.exp(-0.5 * (distance(angle) / 1.5) ** 2) for angle in (40.0, 130.0)) * np.exp(-radius / 60.0)

    assert not StreakTask().run(exposure_of(stars() + 40 * NOISE * spikes)).streaks


@pytest.mark.parametrize("angle", [0.0, 90.0])
def test_lines_along_rows_and_columns_are_traces_of_the_read_out(angle):
    bleed = 100 * NOISE * (np.abs(distance(angle)) < 1.5)

    assert not StreakTask().run(exposure_of(stars() + bleed)).streaks


def test_a_faint_band_nearly_along_the_rows_is_a_trace_of_the_read_out():
    band = 0.6 * NOISE * (1 + (distance(0.9) / 15.0) ** 2) ** -2.5

    assert not StreakTask().run(exposure_of(stars() + band)).streaks


def test_light_wider_than_the_widest_trail_is_none():
    band = NOISE * (1 + (distance(25.0) / 80.0) ** 2) ** -2.5

    assert not StreakTask().run(exposure_of(noise(SHAPE) + band)).streaks


@pytest.mark.parametrize("angle", [25.0, 120.0])
def test_trails_across_small_images_are_found(angle):
    light = 3 * NOISE * np.exp(-0.5 * (distance(angle) / 1.5) ** 2)
    exposure = exposure_of((stars() + light)[180:400, 230:450])

    assert [round(streak.angle) for streak in StreakTask().run(exposure).streaks] == [angle]


def test_a_bright_row_of_stars_is_no_trail():
    table = grid_of_stars(SHAPE, spacing=350, flux=(1e5, 2e5))
    table = table[np.zeros(9, dtype=int)]
    table["x"], table["y"] = np.linspace(50, 650, 9), np.linspace(100, 500, 9)

    assert not StreakTask().run(exposure_of(add_stars(stars(), table))).streaks


def test_the_plane_is_set_anew_and_nothing_else_changes():
    exposure, _ = star_exposure()
    stale = exposure.replace(mask=Mask.empty(exposure.shape).with_plane("STREAK", np.ones(exposure.shape, bool)))
    result = StreakTask().run(stale)

    assert result.exposure.mask == Mask.empty(exposure.shape)
    assert result.exposure.image is stale.image


@pytest.mark.parametrize("image", [np.full(SHAPE, np.nan), np.zeros(SHAPE), np.zeros((3, 4))])
def test_images_without_anything_have_no_trail(image):
    assert not StreakTask().run(exposure_of(image)).streaks


def test_no_more_trails_are_marked_than_asked_for():
    light = sum((1 + (distance(angle) / 2.5) ** 2) ** -2.5 for angle in (25.0, 110.0))

    assert len(StreakTask(StreakConfig(max_streaks=1)).run(exposure_of(5 * NOISE * light + noise(SHAPE))).streaks) == 1


def test_votes_are_those_of_a_direct_count():
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-20, 20, (2, 50))
    normals = np.linspace(0.0, 3.0, 7)

    votes = line_votes(x, y, np.cos(normals), np.sin(normals), 30)

    for k, normal in enumerate(normals):
        rho = np.floor(x * np.cos(normal) + y * np.sin(normal) + 0.5).astype(int)
        np.testing.assert_array_equal(votes[k], np.bincount(rho + 30, minlength=61))
