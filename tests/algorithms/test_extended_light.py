"""Light too faint for single pixels is marked, and masks grow to where the light ends."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.extended_light import mark_extended_light
from firstlight.algorithms.mask_growth import grow_to_sky
from firstlight.kernels.blocks import block_sums

from .frames import gaussian

SHAPE = (400, 500)


def noise(seed=1):
    return np.random.default_rng(seed).normal(0.0, 1.0, SHAPE).astype(np.float32)


def nothing():
    return np.zeros(SHAPE, bool)


def test_light_below_the_noise_of_a_pixel_is_marked():
    glow = gaussian(SHAPE, x=250, y=200, sigma=40.0)
    glow *= 0.7 / glow.max()

    marked = mark_extended_light(noise() + glow.astype(np.float32), bad=nothing())

    assert marked[glow > 0.15].all()
    assert marked[glow < 1e-5].mean() < 0.03


def test_hardly_anything_of_pure_noise_is_marked():
    shares = [mark_extended_light(noise(seed), bad=nothing()).mean() for seed in range(5)]

    assert np.mean(shares) < 0.02


def test_holes_and_bad_pixels_are_not_marked():
    image, bad = noise(), nothing()
    image[100:150, 100:150] -= 2.0
    image[250:300, 300:400] += 1e6
    bad[250:300, 300:400] = True

    marked = mark_extended_light(image, bad=bad)

    assert not marked[90:160, 90:160].any()
    assert marked[240:310, 290:410].mean() < 0.1


def test_an_image_without_a_good_pixel_has_no_extended_light():
    assert not mark_extended_light(noise(), bad=~nothing()).any()


@pytest.mark.parametrize("block", [1, 8, 33])
def test_sums_of_blocks_are_those_of_numpy(block):
    image, bad = noise(), np.random.default_rng(2).random(SHAPE) < 0.1
    total, number = block_sums(image, bad, block)

    rows, columns = (np.arange(0, n, block) for n in SHAPE)
    for expected, got in ((np.where(bad, 0.0, image), total), ((~bad).astype(float), number)):
        np.testing.assert_allclose(
            got, np.add.reduceat(np.add.reduceat(expected, rows, 0), columns, 1), rtol=1e-4, atol=1e-3
        )


def test_a_mask_grows_to_where_the_light_ends():
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    radius = np.hypot(rows - 200, columns - 250)
    disk = np.clip(20.0 - radius, 0.0, None)
    segments = (radius < 5).astype(np.int32)

    grown = grow_to_sky(disk + 0.01 * noise(), segments=segments, bad=nothing())

    assert grown[radius < 19].all()
    assert not grown[radius > 24].any()


def test_a_mask_stops_at_its_limit_and_then_grows_by_what_is_added():
    light = gaussian(SHAPE, x=250, y=200, sigma=50.0, flux=1e6)
    radius = np.hypot(*(np.mgrid[: SHAPE[0], : SHAPE[1]] - np.array([200, 250])[:, None, None]))

    grown = grow_to_sky(light, segments=(radius < 5).astype(np.int32), bad=nothing(), max_growth=20, extra=7)

    assert radius[grown].max() == pytest.approx(5 + 20 + 7, abs=1.5)


def test_a_mask_does_not_climb_its_neighbour():
    light = gaussian(SHAPE, x=200, y=200, sigma=4.0, flux=3e3) + gaussian(SHAPE, x=250, y=200, sigma=8.0, flux=1e5)
    segments = np.zeros(SHAPE, np.int32)
    segments[199:202, 199:202] = 1

    grown = grow_to_sky(light, segments=segments, bad=nothing())

    assert grown[200, 195:206].all()
    assert not grown[:, 245:].any()


def test_without_segments_nothing_grows():
    assert not grow_to_sky(noise(), segments=np.zeros(SHAPE, np.int32), bad=nothing()).any()
