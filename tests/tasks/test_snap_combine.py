"""One law for every combination of snaps: two become one with the light of both."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from firstlight.errors import InputError
from firstlight.images.mask import Mask
from firstlight.images.psf import MoffatPsf
from firstlight.tasks.snap_combine import SnapCombineTask, SumSnapsConfig, SumSnapsTask

from .frames import NOISE, add_stars, exposure_of, grid_of_stars, members, noise

SHAPE = (60, 70)
every_combination = pytest.mark.parametrize("task_class", members(SnapCombineTask))


def snap(*, seed, bad=None, **observation):
    mask = Mask.empty(SHAPE)
    if bad is not None:
        where = np.zeros(SHAPE, dtype=bool)
        where[bad] = True
        mask = mask.with_plane("CR", where)
    exposure = exposure_of(100.0 + noise(SHAPE, seed=seed), mask=mask)
    return exposure.replace(observation=dataclasses.replace(exposure.observation, **observation))


@every_combination
def test_light_variance_and_time_add_up(task_class):
    one, two = snap(seed=1), snap(seed=2)
    both = task_class().run(one, two).exposure

    np.testing.assert_allclose(both.image, one.image + two.image, rtol=1e-6)
    np.testing.assert_allclose(both.variance, 2 * NOISE**2, rtol=1e-6)
    assert both.observation.exposure_time == 60.0
    assert not both.mask.any_of("CR").any()


@every_combination
def test_the_other_snap_stands_in_for_a_bad_pixel(task_class):
    one, two = snap(seed=1, bad=(5, 6)), snap(seed=2, bad=(7, 8))
    both = task_class().run(one, two).exposure

    assert both.image[5, 6] == 2 * two.image[5, 6]
    assert both.image[7, 8] == 2 * one.image[7, 8]
    assert both.variance[5, 6] == pytest.approx(4 * NOISE**2)
    assert not both.mask.any_of("CR").any()
    assert np.argwhere(both.mask.any_of("INTRP")).tolist() == [[5, 6], [7, 8]]


@every_combination
def test_a_pixel_that_is_bad_in_both_stays_bad(task_class):
    both = task_class().run(snap(seed=1, bad=(5, 6)), snap(seed=2, bad=(5, 6))).exposure

    assert np.argwhere(both.mask.any_of("CR")).tolist() == [[5, 6]]


@every_combination
def test_the_snaps_are_not_changed(task_class):
    one, two = snap(seed=1, bad=(5, 6)), snap(seed=2)
    before = one.image.copy(), one.variance.copy(), one.mask.array.copy(), two.image.copy()
    task_class().run(one, two)

    for array, copy in zip((one.image, one.variance, one.mask.array, two.image), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@every_combination
@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda: exposure_of(noise((60, 71))), "shape"),
        (lambda: snap(seed=2, physical_filter="g"), "filter"),
    ],
)
def test_snaps_that_do_not_fit_are_refused(task_class, other, said):
    with pytest.raises(InputError, match=f"differ in {said}"):
        task_class().run(snap(seed=1, physical_filter="r"), other())


def starry(*, seed, seeing=1.0, hit=()):
    """Return a snap of stars up to 300 times the noise, with charge in some pixels."""
    stars = grid_of_stars((200, 200), spacing=25, flux=(2e3, 6e4))
    psf = MoffatPsf(fwhm=3.0 * seeing, beta=3.0, radius=12)
    image = 100.0 + noise((200, 200), seed=seed) + add_stars(np.zeros((200, 200)), stars, psf=psf)
    for row, column, charge in hit:
        image[row, column] += charge
    return exposure_of(image)


@pytest.mark.parametrize("seeing", [1.0, 1.08])
def test_cosmic_rays_in_one_snap_are_replaced_and_stars_are_not(seeing):
    rng = np.random.default_rng(5)
    rays = [(row, column, 15 * NOISE) for row, column in rng.integers(0, 200, (60, 2))]
    clean, one, two = starry(seed=1), starry(seed=1, hit=rays), starry(seed=2, seeing=seeing)
    both = SumSnapsTask().run(one, two).exposure
    changed = both.mask.any_of("INTRP")
    empty = [two.image[row, column] < 100.0 + 5 * NOISE for row, column, _ in rays]
    found = np.array([changed[row, column] for row, column, _ in rays])

    assert found[empty].mean() > 0.99
    assert np.count_nonzero(changed) <= len(rays) + 3
    assert not SumSnapsTask().run(clean, two).exposure.mask.any_of("INTRP").any()
    np.testing.assert_allclose(both.image[changed], 2 * two.image[changed])
    np.testing.assert_allclose(both.image[~changed], (one.image + two.image)[~changed], rtol=1e-6)


def test_all_is_summed_where_snaps_are_not_to_be_compared():
    one, two = starry(seed=1, hit=[(100, 100, 5e3)]), starry(seed=2)
    both = SumSnapsTask(SumSnapsConfig(outlier_sigma=None)).run(one, two).exposure

    np.testing.assert_array_equal(both.image, one.image + two.image)
