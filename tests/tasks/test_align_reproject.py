"""Exposures of stars on known positions, resampled by reproject: the laws that every alignment keeps."""

import numpy as np
import pytest

from firstlight.errors import ConfigError, InputError, NoWorkFound
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.pixel_grid import PixelGrid
from firstlight.images.psf import MoffatPsf
from firstlight.images.wcs import SkyWcs
from firstlight.tasks import align_reproject
from firstlight.tasks.align_reproject import AdaptiveAlignConfig, AdaptiveAlignTask, ExactAlignTask

FLUX = 1e5
SIDE = 160
PSF = MoffatPsf(fwhm=2.5, beta=3.0, radius=15, e1=0.1)
TASKS = {
    "gaussian": AdaptiveAlignTask(),
    "hann": AdaptiveAlignTask(AdaptiveAlignConfig(kernel="hann")),
    "exact": ExactAlignTask(),
}
ALIASING = {"gaussian": 2e-3, "hann": 1.5e-2, "exact": 1e-4}
"""How far the flux of one star of 2.5 pixels FWHM strays with its place in a pixel: weights that do not sum to the same
everywhere (DeForest 2004, section 3)."""


def sky(turn=0.0, scale=1.0, center=79.0, ra=10.0):
    cos, sin = (f(np.radians(turn)) * scale / 3600 for f in (np.cos, np.sin))
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg", "RADESYS": "ICRS"}
    cards |= {"CRPIX1": center + 1, "CRPIX2": center + 1, "CRVAL1": ra, "CRVAL2": 20.0, "EQUINOX": 2000.0}
    return SkyWcs(cards | {"CD1_1": -cos, "CD1_2": sin, "CD2_1": sin, "CD2_2": cos})


@pytest.fixture(scope="module")
def stars():
    rng = np.random.default_rng(3)
    x, y = (grid.ravel() for grid in np.meshgrid(np.arange(35.0, 130, 44), np.arange(35.0, 130, 44)))
    return x + rng.uniform(-0.5, 0.5, x.size), y + rng.uniform(-0.5, 0.5, y.size)


@pytest.fixture(scope="module")
def exposure(stars):
    image = np.zeros((SIDE, SIDE))
    for x, y in zip(*stars, strict=True):
        column, row = int(np.rint(x)), int(np.rint(y))
        image[row - 15 : row + 16, column - 15 : column + 16] += FLUX * PSF.image(x=x, y=y)
    return Exposure(image=image, mask=Mask.empty(image.shape), variance=np.ones_like(image), wcs=sky(), psf=PSF)


@pytest.fixture(params=TASKS)
def kind(request):
    return request.param


@pytest.fixture
def task(kind):
    return TASKS[kind]


@pytest.mark.parametrize(("turn", "scale"), [(0.0, 1.3), (30.0, 1.0), (20.0, 0.7)])
def test_stars_keep_their_flux_and_look_as_the_warped_psf_says(exposure, stars, kind, turn, scale):
    onto = PixelGrid((240, 240), sky(turn, scale, center=119.3))

    warped = TASKS[kind].run(exposure, onto=onto).exposure

    ra, dec = exposure.wcs.pixel_to_sky(x=stars[0], y=stars[1])
    radius = warped.psf.radius
    kernel_is_the_same = turn == 0 or kind == "gaussian"
    count = 0
    for x, y in zip(*onto.wcs.sky_to_pixel(ra=ra, dec=dec), strict=True):
        column, row = int(np.rint(x)), int(np.rint(y))
        if not radius <= min(column, row) <= max(column, row) < 240 - radius:
            continue
        count += 1
        cut = warped.image[row - radius : row + radius + 1, column - radius : column + radius + 1] / FLUX
        model = warped.psf.image(x=x, y=y)
        assert cut.sum() == pytest.approx(1.0, abs=ALIASING[kind])
        assert np.abs(cut - model).max() < (1.5 * ALIASING[kind] if kernel_is_the_same else 0.05) * model.max()
        offsets = np.arange(-radius, radius + 1)
        for axis, off in ((0, x - column), (1, y - row)):
            assert (cut - model).sum(axis=axis) @ offsets == pytest.approx(0.0, abs=0.02), off
    assert count >= 5


def test_the_same_pixels_come_back_from_overlaps(exposure):
    warped = ExactAlignTask().run(exposure, onto=exposure).exposure

    np.testing.assert_allclose(warped.image, exposure.image, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(warped.variance, exposure.variance, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.7, 1.0, 2.2])
def test_a_flat_sky_gets_the_brightness_of_the_larger_or_smaller_pixels(exposure, task, scale):
    flat = exposure.replace(image=np.full(exposure.shape, 100.0), psf=None)

    warped = task.run(flat, onto=PixelGrid((40, 40), sky(12.0, scale, center=19.0))).exposure

    np.testing.assert_allclose(warped.image, 100.0 * scale**2, rtol=1e-4)


@pytest.mark.parametrize("turn", [0.0, 45.0])
def test_white_noise_has_the_variance_that_is_stated(exposure, task, turn):
    noise = np.random.default_rng(5).normal(size=exposure.shape)
    noise -= noise.mean()

    warped = task.run(exposure.replace(image=noise), onto=PixelGrid((100, 100), sky(turn, 1.0, center=49.4))).exposure

    samples = warped.image.size / 4
    assert np.mean(warped.image**2) / np.mean(warped.variance) == pytest.approx(
        1.0, abs=4 * np.sqrt(2 / samples) + 0.06
    )


def test_bad_pixels_are_left_out_and_flagged(exposure, task):
    image, bad = exposure.image.copy(), np.zeros(exposure.shape, bool)
    image[60, 50:53], image[100, 100], bad[100, 100] = np.nan, 1e9, True
    onto = PixelGrid(exposure.shape, sky(0.0, 1.0, center=79.3))

    hurt = exposure.replace(image=image, mask=exposure.mask.with_plane("BAD", bad))
    warped, clean = (task.run(each, onto=onto).exposure for each in (hurt, exposure))

    far = np.ones(exposure.shape, bool)
    far[56:65, 46:57] = far[96:105, 96:105] = False
    np.testing.assert_allclose(warped.image[far], clean.image[far], rtol=1e-5, atol=1e-3)
    assert np.nanmax(warped.image) < FLUX
    assert warped.mask.any_of("BAD")[100:102, 100:102].any()
    assert np.array_equal(warped.mask.any_of("NO_DATA"), ~np.isfinite(warped.image))


def test_exposures_that_do_not_overlap_are_no_work(exposure, task):
    with pytest.raises(NoWorkFound, match="do not overlap"):
        task.run(exposure, onto=PixelGrid((20, 20), sky(ra=12.0)))


def test_without_a_wcs_the_way_out_is_named(exposure, task):
    with pytest.raises(InputError, match="PatternAlignTask"):
        task.run(exposure.replace(wcs=None), onto=exposure)


def test_without_reproject_the_command_that_brings_it_is_told(exposure, task, monkeypatch):
    monkeypatch.setattr(align_reproject, "reproject", None)

    with pytest.raises(ConfigError, match=r"pip install firstlight\[align\]"):
        task.run(exposure, onto=exposure)
