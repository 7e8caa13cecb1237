"""Noise, wells and defects."""

import numpy as np
import pytest

from firstlight.simulation.cosmic_rays import CHARGE_PER_PIXEL, draw_cosmic_rays
from firstlight.simulation.detector import FULL_WELL, TruthBit, bleed, read_out
from firstlight.simulation.settings import DetectorSettings

CLEAN = DetectorSettings(cosmic_rays=0, hot_pixels=0, bad_columns=0)


@pytest.mark.parametrize(("level", "gain", "read_noise"), [(300.0, 6.2, 10.0), (20.0, 1.0, 5.0), (0.0, 2.0, 8.0)])
def test_variance_is_photon_noise_plus_read_noise(level, gain, read_noise):
    settings = DetectorSettings(gain=gain, read_noise=read_noise, cosmic_rays=0, hot_pixels=0, bad_columns=0)
    image = read_out(np.full((600, 600), level), settings=settings, seed=1, epoch=0).image.astype(float)
    rounding = 1 / 12
    expected = level / gain + (read_noise / gain) ** 2 + rounding

    assert image.var() == pytest.approx(expected, rel=5 * np.sqrt(2 / image.size))
    assert image.mean() == pytest.approx(level, abs=5 * np.sqrt(expected / image.size))
    np.testing.assert_array_equal(image, np.round(image))


def test_noise_of_neighbours_is_independent():
    image = read_out(np.full((500, 500), 300.0), settings=CLEAN, seed=2, epoch=0).image.astype(float)
    image -= image.mean()
    products = [np.mean(image[:, 1:] * image[:, :-1]), np.mean(image[1:] * image[:-1])]

    assert np.abs(products).max() / image.var() < 5 / np.sqrt(image.size)


def test_overfull_wells_bleed_along_their_column_only_and_keep_the_charge():
    electrons = np.full((101, 5), 100.0)
    electrons[50, 2] = 5_000.0
    spilled = bleed(electrons, full_well=1_000.0)

    np.testing.assert_array_equal(spilled[:, [0, 1, 3, 4]], 100.0)
    assert spilled.sum() == pytest.approx(electrons.sum())
    full = np.flatnonzero(spilled[:, 2] >= 1_000.0)
    np.testing.assert_array_equal(full, np.arange(full[0], full[-1] + 1))
    assert abs((50 - full[0]) - (full[-1] - 50)) <= 1


def test_charge_that_reaches_an_end_of_the_column_is_lost():
    electrons = np.zeros((11, 1))
    electrons[0, 0] = 10_000.0
    spilled = bleed(electrons, full_well=1_000.0)

    assert spilled.max() == 1_000.0
    assert spilled.sum() == pytest.approx(1_000 + 4_500)


def test_saturated_stars_have_trails_and_a_mask():
    light = np.full((200, 60), 300.0)
    light[99:102, 29:32] += 200_000.0
    readout = read_out(light, settings=CLEAN, seed=1, epoch=0)
    saturated = (readout.mask & TruthBit.SATURATED) > 0

    assert readout.image.max() < FULL_WELL * CLEAN.saturation + 20
    assert np.all(readout.image[saturated] >= CLEAN.saturation)
    rows, columns = np.nonzero(saturated)
    assert set(columns) == {29, 30, 31}
    assert np.ptp(rows) > 8


def test_cosmic_rays_come_at_the_stated_rate_and_with_the_charge_of_muons():
    thickness, n_expected = 6.0, 400
    charge = draw_cosmic_rays(
        (2048, 2048), per_megapixel=n_expected / 4, thickness=thickness, rng=np.random.default_rng(1)
    )
    touched = np.count_nonzero(charge > 50)

    assert 3 < touched / n_expected < 25
    # The mean path through the layer under the cosine-squared law is between 1 and 2 thicknesses.
    assert CHARGE_PER_PIXEL * thickness < charge.sum() / n_expected < 2.5 * CHARGE_PER_PIXEL * thickness


def test_truth_masks_say_what_spoiled_a_pixel():
    settings = DetectorSettings(cosmic_rays=200, hot_pixels=100, bad_columns=4)
    light = np.full((512, 512), 300.0)
    readout = read_out(light, settings=settings, seed=4, epoch=0)
    noise = np.sqrt(300 / 6.2 + (10 / 6.2) ** 2)
    deviates = np.abs(readout.image - 300) > 7 * noise

    assert np.all(readout.mask[deviates] > 0)
    hit = (readout.mask & TruthBit.COSMIC_RAY) > 0
    assert np.all(readout.cosmic_ray_charge[hit] > 2.9 * noise * 0.3)
    assert np.all(readout.image[(readout.mask & TruthBit.BAD_COLUMN) > 0][:50] < 300 + 5 * noise)
    assert np.median(readout.image[(readout.mask & TruthBit.HOT) > 0]) > 310


def test_defects_stay_and_cosmic_rays_change_from_epoch_to_epoch():
    settings = DetectorSettings(cosmic_rays=100, hot_pixels=50, bad_columns=4)
    first, second = (read_out(np.full((512, 512), 300.0), settings=settings, seed=4, epoch=k).mask for k in (0, 1))

    for bit in (TruthBit.HOT, TruthBit.BAD_COLUMN):
        np.testing.assert_array_equal(first & bit, second & bit)
    assert np.any((first & TruthBit.COSMIC_RAY) != (second & TruthBit.COSMIC_RAY))


def test_without_noise_the_light_comes_through_unchanged():
    settings = DetectorSettings(noise=False, rounding=False, cosmic_rays=0, hot_pixels=0, bad_columns=0)
    light = np.random.default_rng(0).uniform(100, 1000, (40, 50))

    np.testing.assert_allclose(read_out(light, settings=settings, seed=0, epoch=0).image, light, rtol=1e-6)
