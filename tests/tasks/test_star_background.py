"""The sky between the stars is measured anew, and nothing of the image is lost."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.star_mask import MaskLimits, choose_star_mask
from firstlight.errors import PsfError
from firstlight.images.background import BackgroundList
from firstlight.images.psf import MoffatPsf
from firstlight.tasks.background import MeshBackgroundTask
from firstlight.tasks.detect import MatchedFilterDetectTask
from firstlight.tasks.star_background import StarBackgroundConfig, StarBackgroundTask

from .frames import NOISE, PSF, add_stars, exposure_of, grid_of_stars, noise

SHAPE = (500, 560)
WIDE = MoffatPsf(fwhm=2.8, beta=2.0, radius=120)


def sky_of(shape):
    return 300.0 + 0.05 * np.mgrid[: shape[0], : shape[1]][1]


def first_steps(*, flux=(1e3, 3e5), shape=SHAPE, spacing=60, psf=WIDE):
    """Return the raw image and an exposure with a first sky subtracted and stars detected."""
    raw = add_stars(sky_of(shape) + noise(shape), grid_of_stars(shape, spacing=spacing, flux=flux), psf=psf)
    exposure = exposure_of(raw)
    sky = MeshBackgroundTask().run(exposure).background
    exposure = exposure.replace(image=sky.subtracted_from(exposure.image), background=BackgroundList([sky]))
    return raw, MatchedFilterDetectTask().run(exposure).exposure


def test_image_plus_the_new_sky_is_the_image_before_any_sky_was_subtracted():
    raw, exposure = first_steps()
    result = StarBackgroundTask().run(exposure)

    rebuilt = result.exposure.image + result.background.evaluate()
    np.testing.assert_allclose(rebuilt, raw, rtol=1e-6, atol=1e-6 * np.abs(raw).max())
    assert result.exposure.background == result.background
    assert not result.exposure.mask.any_of("DETECTED", "DETECTED_NEGATIVE").any()


def test_wings_of_stars_raise_the_new_sky_less_than_the_first():
    _, exposure = first_steps()
    result = StarBackgroundTask().run(exposure)

    first, new = (
        float(np.mean(models.evaluate() - sky_of(SHAPE))) for models in (exposure.background, result.background)
    )
    assert first > 0.02 * NOISE
    assert abs(new) < 0.5 * first


def test_without_stars_the_sky_stays():
    exposure = exposure_of(sky_of(SHAPE) + noise(SHAPE))
    result = StarBackgroundTask().run(exposure)

    assert np.abs(result.background.evaluate() - sky_of(SHAPE)).mean() < 0.03 * NOISE


def test_a_crowded_field_keeps_some_sky():
    _, exposure = first_steps(spacing=14, flux=(1e3, 1e5), psf=PSF)
    result = StarBackgroundTask().run(exposure)

    assert np.isfinite(result.exposure.image).all()
    assert abs(np.mean(result.background.evaluate() - sky_of(SHAPE))) < 2 * NOISE


def test_the_same_input_gives_the_same_bits():
    _, exposure = first_steps()
    one, two = (StarBackgroundTask().run(exposure) for _ in range(2))

    np.testing.assert_array_equal(one.exposure.image, two.exposure.image)


def test_a_pedestal_is_taken_away():
    _, exposure = first_steps()
    config = StarBackgroundConfig(pedestal_noise=0.001, pedestal_tolerance=0.001)

    assert len(StarBackgroundTask(config).run(exposure).background) > 2


def test_a_psf_is_needed():
    with pytest.raises(PsfError):
        StarBackgroundTask().run(exposure_of(noise(SHAPE), psf=None))


@pytest.mark.parametrize("n_stars", [1, 30, 2000])
def test_the_mask_leaves_a_part_of_the_image(n_stars):
    rng = np.random.default_rng(n_stars)
    snr = rng.normal(0.0, 1.0, (512, 640))
    snr[rng.integers(0, 512, n_stars), rng.integers(0, 640, n_stars)] = np.exp(rng.uniform(2, 7, n_stars))
    nothing = np.zeros(snr.shape, bool)

    chosen = choose_star_mask(snr, known=nothing, bad=nothing, radius=60.0, limits=MaskLimits())

    if np.isfinite(chosen.threshold):
        assert 0.02 < chosen.mask.mean() < 0.6
    else:
        np.testing.assert_array_equal(chosen.mask, nothing)


def test_where_no_threshold_serves_only_the_known_stars_are_masked():
    known = np.zeros((400, 400), bool)
    known[100:110, 100:110] = True
    nothing = np.zeros_like(known)

    chosen = choose_star_mask(
        np.full(known.shape, 1e9), known=known, bad=nothing, radius=60.0, limits=MaskLimits(iterations=3)
    )

    assert np.isnan(chosen.threshold)
    np.testing.assert_array_equal(chosen.mask, known)
