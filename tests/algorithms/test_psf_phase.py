"""Positions of undersampled stars do not depend on where in a pixel the stars lie."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.centroids import measure_centroids
from firstlight.algorithms.psf_phase import phase_offsets, without_phase_error
from firstlight.images.psf import MoffatPsf

from .frames import moffat

SIDE, SNR = 25, 300.0


def drawn(fwhm, *, n=24):
    """Stars of unit flux under each other at phases all over a pixel, and their positions in the middle of stamps."""
    rng = np.random.default_rng(4)
    dx, dy = rng.uniform(-0.5, 0.5, (2, n))
    image = np.concatenate([moffat(SIDE, dx=a, dy=b, fwhm=fwhm, oversampling=15) for a, b in zip(dx, dy, strict=True)])
    return image, SIDE // 2 + dx, SIDE // 2 + SIDE * np.arange(n) + dy


def measured(image, x, y, psf_sigma):
    found = measure_centroids(
        image,
        variance=np.full(image.shape, 1e-6),
        bad=np.zeros(image.shape, bool),
        x=np.rint(x),
        y=np.rint(y),
        snr=np.full(len(x), SNR),
        psf_sigma=psf_sigma,
    )
    assert not found.flag.any()
    return found


@pytest.mark.parametrize("fwhm", [0.9, 1.2])
def test_positions_of_coarsely_sampled_stars_are_those_they_were_drawn_at(fwhm):
    psf = MoffatPsf(fwhm=fwhm, beta=3.0, radius=12)
    sigma = psf.moments(x=0.0, y=0.0).sigma
    image, x, y = drawn(fwhm)
    found = measured(image, x, y, sigma)

    free_x, free_y = without_phase_error(psf, x=found.x, y=found.y, snr=np.full(len(x), SNR), psf_sigma=sigma)

    assert np.abs(found.x - x).max() > 0.01
    assert np.hypot(free_x - x, free_y - y).max() < 0.002


def test_the_noise_of_positions_stays_what_it_was():
    psf = MoffatPsf(fwhm=1.2, beta=3.0, radius=12)
    sigma = psf.moments(x=0.0, y=0.0).sigma
    image, x, y = drawn(1.2, n=150)
    noisy = image + 2e-3 * np.random.default_rng(5).normal(size=image.shape)
    found, without_noise = measured(noisy, x, y, sigma), measured(image, x, y, sigma)

    free_x, _ = without_phase_error(psf, x=found.x, y=found.y, snr=np.full(len(x), SNR), psf_sigma=sigma)

    noise = (found.x - without_noise.x).std()
    assert (free_x - x).std() < 1.1 * noise
    assert abs((free_x - x).mean()) < 4 * noise / np.sqrt(len(x))


def test_positions_that_noise_moves_further_are_improved_once():
    psf = MoffatPsf(fwhm=0.9, beta=3.0, radius=12)
    sigma = psf.moments(x=0.0, y=0.0).sigma
    image, x, y = drawn(0.9)
    found = measured(image, x, y, sigma)
    given = {"x": found.x, "y": found.y, "snr": np.full(len(x), SNR), "psf_sigma": sigma}
    error = np.where(np.arange(len(x)) % 2 == 0, 1.0, 0.0)

    mixed, _ = without_phase_error(psf, **given, error=error)

    once, twice = (without_phase_error(psf, **given, rounds=rounds)[0] for rounds in (1, 2))
    np.testing.assert_allclose(mixed, np.where(error > 0, once, twice), atol=1e-12)


def test_without_stars_there_is_nothing_to_improve():
    nothing = np.zeros(0)

    free = without_phase_error(
        MoffatPsf(fwhm=0.9, beta=3.0, radius=12), x=nothing, y=nothing, snr=nothing, psf_sigma=0.6
    )

    assert [len(each) for each in free] == [0, 0]


def test_well_sampled_stars_have_no_phase_error():
    psf = MoffatPsf(fwhm=3.0, beta=3.0, radius=15)
    x, y = 10.0 + np.linspace(-0.5, 0.5, 7), np.full(7, 20.3)

    dx, dy = phase_offsets(psf, x=x, y=y, snr=np.full(7, SNR), psf_sigma=psf.moments(x=0.0, y=0.0).sigma)

    assert np.hypot(dx, dy).max() < 1e-3
