"""Exposures of stars on known positions, warped onto other pixels."""

import numpy as np
import pytest

from firstlight.errors import InputError, NoWorkFound
from firstlight.images.exposure import Exposure
from firstlight.images.fits import read_exposure, write_exposure
from firstlight.images.mask import Mask
from firstlight.images.pixel_grid import PixelGrid
from firstlight.images.psf import MoffatPsf
from firstlight.images.wcs import SkyWcs
from firstlight.tasks.align import LanczosAlignTask

FLUX = 1e5
PSF = MoffatPsf(fwhm=2.5, beta=3.0, radius=20, e1=0.1)


def sky(turn=0.0, scale=1.0, center=149.0, ra=10.0):
    cos, sin = (f(np.radians(turn)) * scale / 3600 for f in (np.cos, np.sin))
    return SkyWcs(
        {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CUNIT1": "deg",
            "CUNIT2": "deg",
            "CRPIX1": center + 1,
            "CRPIX2": center + 1,
            "CRVAL1": ra,
            "CRVAL2": 20.0,
            "CD1_1": -cos,
            "CD1_2": sin,
            "CD2_1": sin,
            "CD2_2": cos,
            "RADESYS": "ICRS",
            "EQUINOX": 2000.0,
        }
    )


@pytest.fixture
def stars():
    rng = np.random.default_rng(3)
    x, y = (grid.ravel() for grid in np.meshgrid(np.arange(40.0, 261, 55), np.arange(40.0, 261, 55)))
    return x + rng.uniform(-0.5, 0.5, x.size), y + rng.uniform(-0.5, 0.5, y.size)


@pytest.fixture
def exposure(stars):
    image = np.zeros((300, 300))
    for x, y in zip(*stars, strict=True):
        column, row = int(np.rint(x)), int(np.rint(y))
        image[row - 20 : row + 21, column - 20 : column + 21] += FLUX * PSF.image(x=x, y=y)
    return Exposure(image=image, mask=Mask.empty(image.shape), variance=np.ones_like(image), wcs=sky(), psf=PSF)


@pytest.mark.parametrize(("turn", "scale"), [(0.5, 1.0), (30.0, 1.0), (0.0, 1.3), (20.0, 0.7)])
def test_stars_keep_their_flux_and_their_place_and_look_as_the_warped_psf_says(exposure, stars, turn, scale):
    onto = PixelGrid((420, 420), sky(turn, scale, center=209.0))

    warped = LanczosAlignTask().run(exposure, onto=onto).exposure

    ra, dec = exposure.wcs.pixel_to_sky(x=stars[0], y=stars[1])
    x, y = onto.wcs.sky_to_pixel(ra=ra, dec=dec)
    radius = warped.psf.radius
    fluxes = []
    for star_x, star_y in zip(x, y, strict=True):
        column, row = int(np.rint(star_x)), int(np.rint(star_y))
        if not radius <= min(column, row) <= max(column, row) < 420 - radius:
            continue
        cut = warped.image[row - radius : row + radius + 1, column - radius : column + radius + 1]
        model = warped.psf.image(x=star_x, y=star_y)
        fluxes.append(cut.sum() / FLUX)
        assert np.abs(cut / FLUX - model).max() < 5e-4 * model.max()
    assert len(fluxes) >= 12
    assert np.abs(np.array(fluxes) - 1).max() < 5e-4


@pytest.mark.parametrize(("turn", "scale"), [(0.5, 1.0), (45.0, 1.0), (0.0, 1.3), (20.0, 0.7)])
def test_the_core_of_a_warped_psf_is_the_middle_of_its_stamp(exposure, stars, turn, scale):
    psf = LanczosAlignTask().run(exposure, onto=PixelGrid((420, 420), sky(turn, scale, center=209.0))).exposure.psf
    x, y = stars
    middle = slice(psf.radius - 4, psf.radius + 5)

    cores = psf.cores(4, x=x, y=y)

    stamps = psf.images(x=x, y=y)[:, middle, middle]
    np.testing.assert_allclose(cores, stamps, atol=1e-3 * stamps.max())


def test_the_same_pixels_come_back(exposure):
    warped = LanczosAlignTask().run(exposure, onto=exposure).exposure

    np.testing.assert_allclose(warped.image, exposure.image, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(warped.variance, exposure.variance, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.3, 2.2])
def test_a_flat_sky_gets_the_brightness_of_the_larger_or_smaller_pixels(exposure, scale):
    flat = exposure.replace(image=np.full(exposure.shape, 100.0), psf=None)

    warped = LanczosAlignTask().run(flat, onto=PixelGrid((90, 90), sky(12.0, scale, center=44.0))).exposure

    np.testing.assert_allclose(warped.image, 100.0 * scale**2, rtol=1e-4)


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.5])
def test_white_noise_has_the_variance_that_is_stated_and_more_in_large_areas_by_the_stated_factor(exposure, scale):
    noise = np.random.default_rng(5).normal(size=exposure.shape)
    size = int(280 / scale)

    result = LanczosAlignTask().run(
        exposure.replace(image=noise), onto=PixelGrid((size, size), sky(7.0, scale, center=size / 2))
    )

    warped, margin = result.exposure, int(25 / scale)
    pixels = warped.image[margin:-margin, margin:-margin]
    stated = warped.variance[margin:-margin, margin:-margin]
    assert np.mean(pixels**2) / np.mean(stated) == pytest.approx(1.0, abs=6 / np.sqrt(pixels.size * scale**2))
    block = int(15 / scale)
    side = pixels.shape[0] // block * block
    sums = pixels[:side, :side].reshape(side // block, block, -1, block).sum(axis=(1, 3))
    naive = stated[:side, :side].reshape(side // block, block, -1, block).sum(axis=(1, 3))
    factor = np.sqrt(np.mean(sums**2 / naive))
    assert factor == pytest.approx(result.noise_correlation, rel=4 / np.sqrt(2 * sums.size) + 0.03)


def test_bad_pixels_are_left_out_flagged_and_touch_only_their_neighbours(exposure):
    image = exposure.image.copy()
    image[100, 90:95], image[200, 200] = np.nan, 1e9
    bad = np.zeros(image.shape, bool)
    bad[200, 200] = True
    saturated = np.zeros(image.shape, bool)
    saturated[50, 60] = True
    mask = exposure.mask.with_plane("BAD", bad).with_plane("SAT", saturated)

    hurt = exposure.replace(image=image, mask=mask)
    onto = PixelGrid(exposure.shape, sky(0.0, 1.0, center=149.3))
    warped, clean = (LanczosAlignTask().run(each, onto=onto).exposure for each in (hurt, exposure))

    differs = ~(np.abs(warped.image - clean.image) < 1e-3 * np.sqrt(FLUX))
    near = np.zeros_like(differs)
    for row, column in [(200, 200), *((100, c) for c in range(90, 95))]:
        near[row - 4 : row + 5, column - 4 : column + 5] = True
    assert not np.any(differs & ~near)
    assert np.nanmax(warped.image) < FLUX
    assert warped.mask.any_of("BAD")[200:202, 200:202].any()
    assert warped.mask.any_of("SAT")[50:52, 60:62].any()
    assert np.all(warped.mask.any_of("NO_DATA")[~np.isfinite(warped.image)])


def test_what_lies_outside_is_not_a_number_and_no_data(exposure):
    onto = PixelGrid(exposure.shape, exposure.wcs.shifted(x=150, y=0))

    result = LanczosAlignTask().run(exposure, onto=onto)

    assert result.coverage == pytest.approx(0.5, abs=0.005)
    outside = result.exposure.mask.any_of("NO_DATA")
    assert np.array_equal(outside, ~np.isfinite(result.exposure.image))
    assert outside[:, 151:].all()


def test_exposures_that_do_not_overlap_are_no_work(exposure):
    with pytest.raises(NoWorkFound, match="do not overlap"):
        LanczosAlignTask().run(exposure, onto=PixelGrid((50, 50), sky(ra=12.0)))


def test_without_a_wcs_the_way_out_is_named(exposure):
    with pytest.raises(InputError, match="PatternAlignTask"):
        LanczosAlignTask().run(exposure.replace(wcs=None), onto=exposure)


def test_a_warped_psf_comes_back_from_a_file(exposure, tmp_path):
    warped = LanczosAlignTask().run(exposure, onto=PixelGrid((120, 120), sky(3.0, 1.1, center=60.0))).exposure

    write_exposure(warped, tmp_path / "a.fits")

    assert read_exposure(tmp_path / "a.fits").psf == warped.psf
