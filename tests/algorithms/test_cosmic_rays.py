"""Cosmic rays are told from stars."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from firstlight.algorithms.background import fit_mesh_background
from firstlight.algorithms.cosmic_rays import find_cosmic_rays
from firstlight.errors import TooManyCosmicRaysError

from .frames import moffat, star_frame, tiled

COSMIC_RAY, FAINT, HOT, COLUMN, SATURATED = 1, 2, 4, 8, 16


def search(frame, fwhm=2.2, variance_factor=1.0, **settings):
    bad = (frame.mask & (COLUMN | SATURATED)) > 0
    sky = fit_mesh_background(frame.image, bad=bad).evaluate()
    return find_cosmic_rays(
        frame.image - sky,
        variance=(variance_factor * frame.variance).astype(np.float32),
        bad=bad,
        psf_kernel=moffat(15, fwhm=fwhm),
        min_charge=24.0,
        **settings,
    )


@pytest.mark.parametrize(("density", "recall", "precision"), [(24_000.0, 0.94, 0.93), (165_000.0, 0.94, 0.8)])
def test_most_hits_are_found_and_few_are_false(density, recall, precision):
    found, hit, marked, true_marks = 0, 0, 0, 0
    for seed in (31, 32, 33):
        frame = star_frame(seed=seed, density=density, side=512, cosmic_rays=120.0)
        mask = search(frame).mask
        truth = (frame.mask & (COLUMN | SATURATED | COSMIC_RAY)) == COSMIC_RAY
        found, hit = found + (mask & truth).sum(), hit + truth.sum()
        marked, true_marks = marked + mask.sum(), true_marks + (mask & (frame.mask > 0)).sum()

    assert found > recall * hit
    assert true_marks > precision * marked


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.2])
def test_star_cores_are_left_alone_even_with_a_profile_of_the_wrong_width(factor):
    frame = star_frame(seed=34, density=200_000.0, side=512)
    bright = (frame.sources["mag"] < 18.0) & (frame.sources["kind"] != "galaxy")
    stars = np.c_[frame.sources["x"], frame.sources["y"]][bright]

    rows, columns = np.nonzero(search(frame, fwhm=2.2 * factor).mask & ((frame.mask & 7) == 0))

    distance, star = cKDTree(stars).query(np.c_[columns, rows])
    lost = len(np.unique(star[distance < 2.0]))
    assert lost <= (0.01 * len(stars) if factor > 1.0 else 0)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_star_cores_are_left_alone_even_with_a_variance_wrong_by_two(factor):
    frame = star_frame(seed=35, density=200_000.0, side=512)
    bright = (frame.sources["mag"] < 18.0) & (frame.sources["kind"] != "galaxy")
    stars = np.c_[frame.sources["x"], frame.sources["y"]][bright]

    found = search(frame, variance_factor=factor).mask

    rows, columns = np.nonzero(found & ((frame.mask & 7) == 0))
    distance, star = cKDTree(stars).query(np.c_[columns, rows])
    assert len(np.unique(star[distance < 2.0])) <= 0.01 * len(stars)
    truth = (frame.mask & (COLUMN | SATURATED | COSMIC_RAY)) == COSMIC_RAY
    assert (found & truth).sum() > (0.75 if factor > 1 else 0.94) * truth.sum()


@pytest.mark.parametrize("fwhm", [1.5, 2.0, 3.0, 6.0])
def test_stars_of_any_width_and_brightness_are_no_cosmic_rays(fwhm):
    rng = np.random.default_rng(1)
    side = 2 * int(2 * fwhm) + 7
    blocks = [
        [flux * moffat(side, dx=dx, dy=dy, fwhm=fwhm) for dx, dy in rng.uniform(-0.5, 0.5, (8, 2))]
        for flux in np.geomspace(3e2, 3e5, 8)
    ]
    light = np.block(blocks)
    image = rng.poisson((300.0 + light) * 6.0) / 6.0 - 300.0

    found = find_cosmic_rays(
        image.astype(np.float32),
        variance=((300.0 + light) / 6.0).astype(np.float32),
        bad=np.zeros(image.shape, bool),
        psf_kernel=moffat(15, fwhm=fwhm),
    )

    assert found.count == 0
    np.testing.assert_array_equal(found.image, image.astype(np.float32))


def test_a_kernel_far_too_broad_does_not_eat_the_stars():
    rng = np.random.default_rng(2)
    light, _, _ = tiled(20_000.0 * moffat(21, fwhm=1.8), 15, 15)
    image = (rng.poisson((300.0 + light) * 6.0) / 6.0 - 300.0).astype(np.float32)
    variance = ((300.0 + light) / 6.0).astype(np.float32)

    found = find_cosmic_rays(image, variance=variance, bad=np.zeros(image.shape, bool), psf_kernel=moffat(31, fwhm=4.0))

    eaten = found.mask.reshape(15, 21, 15, 21)[:, 9:12, :, 9:12].all(axis=(1, 3))
    assert eaten.mean() < 0.05


def test_tracks_two_pixels_wide_are_found_among_stars_of_one_and_a_half_pixels():
    rng = np.random.default_rng(6)
    image = rng.normal(0.0, 5.0, (120, 400)).astype(np.float32)
    tracks = np.zeros(image.shape, bool)
    for column in range(10, 390, 20):
        image[20:26, column : column + 2] += [150.0, 90.0]
        image[60:66, column : column + 2] += [90.0, 150.0]
        tracks[20:26, column : column + 2] = tracks[60:66, column : column + 2] = True

    found = find_cosmic_rays(
        image,
        variance=np.full(image.shape, 25.0, np.float32),
        bad=np.zeros(image.shape, bool),
        psf_kernel=moffat(15, fwhm=1.25),
    )

    assert found.mask[tracks].mean() > 0.85


def test_what_lay_under_a_track_is_put_back_without_bias():
    rng = np.random.default_rng(3)
    image = rng.normal(0.0, 5.0, (200, 200)).astype(np.float32)
    rows, columns = rng.integers(5, 195, (2, 150))
    image[rows, columns] += 1000.0

    found = find_cosmic_rays(
        image,
        variance=np.full(image.shape, 25.0, np.float32),
        bad=np.zeros(image.shape, bool),
        psf_kernel=moffat(9, fwhm=2.5),
    )

    assert found.mask[rows, columns].all()
    filled = found.image[rows, columns]
    assert abs(filled.mean()) < 4 * 5.0 / np.sqrt(len(filled))
    assert filled.std() < 7.0


def test_masked_pixels_and_their_neighbours_are_never_marked():
    image = np.zeros((30, 30), dtype=np.float32)
    image[10, 10] = image[10, 11] = image[11, 9] = image[20, 20] = 500.0
    bad = np.zeros(image.shape, bool)
    bad[10, 10] = True

    found = find_cosmic_rays(
        image, variance=np.full(image.shape, 1.0, np.float32), bad=bad, psf_kernel=moffat(9, fwhm=2.5)
    )

    assert np.argwhere(found.mask).tolist() == [[20, 20]]


def test_weak_groups_can_be_left_out():
    image = np.zeros((30, 30), dtype=np.float32)
    image[10, 10], image[20, 20] = 20.0, 200.0

    found = find_cosmic_rays(
        image,
        variance=np.full(image.shape, 1.0, np.float32),
        bad=np.zeros(image.shape, bool),
        psf_kernel=moffat(9, fwhm=2.5),
        min_charge=100.0,
    )

    assert np.argwhere(found.mask).tolist() == [[20, 20]]


def test_more_hits_than_allowed_are_an_error_with_the_numbers():
    rng = np.random.default_rng(4)
    image = rng.normal(0.0, 5.0, (100, 100)).astype(np.float32)

    with pytest.raises(TooManyCosmicRaysError) as caught:
        find_cosmic_rays(
            image,
            variance=np.full(image.shape, 0.01, np.float32),
            bad=np.zeros(image.shape, bool),
            psf_kernel=moffat(9, fwhm=2.5),
            max_pixels=50,
        )

    assert caught.value.facts["max_pixels"] == 50
