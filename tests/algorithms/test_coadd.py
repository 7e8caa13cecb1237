"""Stacks of images with known content."""

from itertools import combinations

import numpy as np
import pytest

from firstlight.algorithms.coadd import coadd_images, coadd_weights, high_variance, seeing_contrast
from firstlight.images.psf import GaussianPsf


@pytest.fixture
def stack():
    rng = np.random.default_rng(4)
    sigma = np.array([1.0, 1.5, 2.0, 1.2, 1.0, 3.0])
    images = 10.0 + sigma[:, None, None] * rng.normal(size=(6, 80, 90))
    variances = np.broadcast_to((sigma**2)[:, None, None], images.shape)
    nothing = np.zeros(images.shape, bool)
    return images, variances, nothing


def test_the_mean_of_white_noise_has_the_noise_that_is_stated_and_the_least_possible(stack):
    images, variances, nothing = stack
    weights = coadd_weights(variances[:, 0, 0])

    result = coadd_images(images, variances=variances, poor=nothing, lost=nothing, weights=weights)

    n = result.image.size
    assert result.image.mean() == pytest.approx(10.0, abs=float(4 * np.sqrt(result.variance.mean() / n)))
    assert np.var(result.image) == pytest.approx(result.variance.mean(), rel=4 * np.sqrt(2 / n))
    assert result.variance.mean() == pytest.approx(1 / np.sum(1 / variances[:, 0, 0]), rel=1e-3)
    assert result.n_clipped.sum() <= 3


def test_a_cosmic_ray_and_a_trail_are_left_out_and_counted(stack):
    images, variances, nothing = stack
    images[2, 40, 30:36] += 80.0
    images[4, 10] += 40.0

    result = coadd_images(images, variances=variances, poor=nothing, lost=nothing, weights=np.ones(6) / 6)

    assert np.all(result.n_clipped[40, 30:36] == 1)
    assert np.mean(result.n_clipped[10] == 1) > 0.99
    assert abs(result.image[10].mean() - 10.0) < 4 * np.sqrt(result.variance[10].mean() / 90)


SEEING = [(2.0, 2.3, 2.8, 3.2, 2.1), (1.6, 2.0, 2.4, 1.7, 1.8), (3.9, 4.4, 5.1, 5.6, 6.1), (2.0, 2.0, 2.8)]


@pytest.mark.parametrize("fwhms", SEEING)
def test_the_cores_of_stars_are_not_clipped_when_the_seeing_changes(fwhms):
    rng = np.random.default_rng(6)
    n, reach = len(fwhms), int(np.ceil(np.max(fwhms) / 2))
    psfs = [GaussianPsf(sigma=fwhm / 2.355, radius=12) for fwhm in fwhms]
    images = np.zeros((n, 200, 200))
    positions = [
        (25 + 30 * i + rng.uniform(-0.5, 0.5), 25 + 30 * j + rng.uniform(-0.5, 0.5)) for i in range(6) for j in range(6)
    ]
    fluxes = 10 ** rng.uniform(3, 6, 36)
    for image, psf in zip(images, psfs, strict=True):
        for (x, y), flux in zip(positions, fluxes, strict=True):
            row, column = round(y), round(x)
            image[row - 12 : row + 13, column - 12 : column + 13] += flux * psf.image(x=x, y=y)
    variances = images + 100.0
    noisy = images + np.sqrt(variances) * rng.normal(size=images.shape)
    noisy[1, 40, 40] += 3000.0
    nothing, phases = np.zeros(images.shape, bool), np.array([0.0, 0.5, 0.25])
    contrast = seeing_contrast(np.stack([psf.images(x=phases, y=phases[::-1]) for psf in psfs]), reach=reach)

    result = coadd_images(
        noisy, variances=variances, poor=nothing, lost=nothing, weights=np.ones(n), contrast=contrast, reach=reach
    )

    stars = np.zeros((200, 200), bool)
    for (x, y), flux in zip(positions, fluxes, strict=True):
        square = np.s_[round(y) - 12 : round(y) + 13, round(x) - 12 : round(x) + 13]
        stars[square] = True
        error = float(np.sqrt(result.variance[square].sum()))
        assert result.image[square].sum() == pytest.approx(flux, abs=5 * error)
    assert result.clipped[:, stars].sum() <= 3
    assert result.clipped[1, 40, 40]


@pytest.mark.parametrize("fwhms", SEEING)
def test_the_cores_of_stars_are_not_clipped_where_only_three_images_show_them(fwhms):
    rng, reach = np.random.default_rng(7), int(np.ceil(np.max(fwhms) / 2))
    psfs = [GaussianPsf(sigma=fwhm / 2.355, radius=12) for fwhm in fwhms]
    groups = list(combinations(range(len(fwhms)), 3))
    images = np.zeros((len(fwhms), 30, 30 * len(groups)))
    lost = np.ones(images.shape, bool)
    for number, group in enumerate(groups):
        x, y = 15.0 + 30 * number + rng.uniform(-0.5, 0.5), 15.0 + rng.uniform(-0.5, 0.5)
        lost[group, :, 30 * number : 30 * (number + 1)] = False
        for image, psf in zip(images, psfs, strict=True):
            row, column = round(y), round(x)
            image[row - 12 : row + 13, column - 12 : column + 13] += 3e5 * psf.image(x=x, y=y)
    variances = images + 100.0
    noisy, phases = images + np.sqrt(variances) * rng.normal(size=images.shape), np.array([0.0, 0.5, 0.25])
    contrast = seeing_contrast(np.stack([psf.images(x=phases, y=phases[::-1]) for psf in psfs]), reach=reach)

    result = coadd_images(
        noisy,
        variances=variances,
        poor=np.zeros(images.shape, bool),
        lost=lost,
        weights=np.ones(len(fwhms)),
        contrast=contrast,
        reach=reach,
    )

    # Of some ten thousand values none is 5 sigma off by chance.
    assert result.clipped.sum() == 0


@pytest.mark.parametrize("factor", [0.2, 0.5, 1.8, 4.0])
def test_a_variable_star_keeps_its_core_and_a_ray_or_a_body_on_a_star_does_not(factor):
    rng, fwhms = np.random.default_rng(8), (2.2, 2.6, 2.4, 3.0)
    psfs = [GaussianPsf(sigma=fwhm / 2.355, radius=14) for fwhm in fwhms]
    places, changed = [(15.3, 14.8), (45.1, 15.4), (74.7, 15.2)], np.ones((4, 3))
    changed[1, 0] = factor
    images = np.zeros((4, 30, 90))
    for image, psf, row in zip(images, psfs, changed, strict=True):
        for (x, y), flux in zip(places, 1e5 * row, strict=True):
            image[1:30, round(x) - 14 : round(x) + 15] += flux * psf.images(x=np.array([x]), y=np.array([y]))[0]
    images[2, 15, 45] += 0.6 * images[2, 15, 45]
    images[3, 1:30, 63:] += 1e5 * psfs[3].image(x=76.7, y=15.0)[:, :27]
    variances = images + 100.0
    noisy, phases = images + np.sqrt(variances) * rng.normal(size=images.shape), np.array([0.0, 0.5, 0.25])
    contrast = seeing_contrast(np.stack([psf.images(x=phases, y=phases[::-1]) for psf in psfs]), reach=2)
    nothing, weights = np.zeros(images.shape, bool), np.full(4, 0.25)

    result = coadd_images(
        noisy, variances=variances, poor=nothing, lost=nothing, weights=weights, contrast=contrast, reach=2
    )

    star = np.s_[1:30, 1:30]
    error = float(np.sqrt(result.variance[star].sum()))
    assert result.clipped[:, *star].sum() == 0
    assert result.image[star].sum() == pytest.approx(1e5 * changed[:, 0].mean(), abs=4 * error)
    assert result.clipped[2, 15, 45]
    assert result.clipped[3, 15, 77]


def test_saturated_pixels_are_used_only_where_there_is_nothing_else(stack):
    images, variances, nothing = stack
    poor = nothing.copy()
    poor[0, 5, 5] = poor[:, 7, 7] = True
    images[0, 5, 5] = 500.0
    lost = nothing.copy()
    lost[:, 9, 9] = True
    images[1, 3, 3] = np.nan

    result = coadd_images(images, variances=variances, poor=poor, lost=lost, weights=np.ones(6) / 6)

    assert result.n_used[5, 5] == 5
    assert result.poor[7, 7]
    assert result.poor.sum() == 1
    assert np.isnan(result.image[9, 9])
    assert np.isnan(result.variance[9, 9])
    assert result.n_used[3, 3] == 5


def test_images_without_noise_cannot_be_weighted():
    with pytest.raises(ValueError, match="positive variance"):
        coadd_weights(np.array([np.nan, 0.0]))


def test_two_rays_on_one_pixel_of_four_images_leave_the_other_two(stack):
    images, variances, nothing = stack
    images[:2, 20, 20] += 500.0

    result = coadd_images(
        images[:4], variances=variances[:4], poor=nothing[:4], lost=nothing[:4], weights=np.ones(4) / 4
    )

    assert result.clipped[:, 20, 20].tolist() == [True, True, False, False]
    assert abs(result.image[20, 20] - 10.0) < 5 * np.sqrt(result.variance[20, 20])


def test_the_faint_wing_of_a_ray_is_left_out_and_the_same_excess_elsewhere_is_not(stack):
    images, variances, nothing = stack
    images[:, 29:32, 28:32] = images[:, 49:52, 48:52] = 10.0
    images[0, 30, 30], images[0, 30, 31], images[0, 50, 51] = 100.0, 14.0, 14.0

    result = coadd_images(images, variances=variances, poor=nothing, lost=nothing, weights=np.ones(6) / 6)

    assert result.clipped[0, 30, 31]
    assert not result.clipped[0, 50, 51]


def test_a_noisy_part_is_told_from_noisy_stars():
    variance = np.ones((96, 128))
    variance[:, 96:], variance[20:24, 20:24], variance[0, 0] = 5.0, 500.0, np.nan

    marked = high_variance(variance, threshold=4.0, cell=32)

    assert marked[:, 96:].all()
    assert not marked[:, :96].any()
