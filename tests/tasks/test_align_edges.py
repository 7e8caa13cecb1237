"""Exposures and pixel grids at the ends of what an alignment may meet."""

import numpy as np
import pytest

from firstlight.errors import NoWorkFound
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.pixel_grid import PixelGrid
from firstlight.images.psf import GaussianPsf
from firstlight.images.wcs import SkyWcs
from firstlight.simulation import OpticsSettings
from firstlight.simulation.optics import wcs_cards
from firstlight.tasks.align import LanczosAlignTask

FLUX = 1e4
PSF = GaussianPsf(sigma=1.4, radius=8)


def sky(ra=10.0, dec=20.0, *, turn=0.0, scale=1.0, center=(49.0, 49.0), parity=-1):
    cos, sin = (f(np.radians(turn)) * scale / 3600 for f in (np.cos, np.sin))
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg", "RADESYS": "ICRS"}
    cards |= {"CRPIX1": center[0] + 1, "CRPIX2": center[1] + 1, "CRVAL1": ra, "CRVAL2": dec, "EQUINOX": 2000.0}
    return SkyWcs(cards | {"CD1_1": parity * cos, "CD1_2": sin, "CD2_1": -parity * sin, "CD2_2": cos})


def exposure_of(wcs, x, y, shape=(100, 100)):
    """Return stars without noise."""
    image = np.zeros(shape)
    for star_x, star_y in zip(x, y, strict=True):
        column, row = int(np.rint(star_x)), int(np.rint(star_y))
        image[row - 8 : row + 9, column - 8 : column + 9] += FLUX * PSF.image(x=star_x, y=star_y)
    return Exposure(image=image, mask=Mask.empty(shape), variance=np.ones(shape), wcs=wcs, psf=PSF)


def centre_and_flux(image, x, y, radius=10):
    column, row = int(np.rint(x)), int(np.rint(y))
    cut = image[row - radius : row + radius + 1, column - radius : column + radius + 1].astype(float)
    offsets = np.arange(-radius, radius + 1)
    flux = cut.sum()
    return column + cut.sum(axis=0) @ offsets / flux, row + cut.sum(axis=1) @ offsets / flux, flux


def tpv():
    cards = wcs_cards(
        OpticsSettings(distortion_format="TPV", distortion=120.0), seed=3, shape=(100, 100), ra=10.0, dec=20.0,
        rotation=40.0,
    )  # fmt: skip
    return SkyWcs.from_header(cards)


PAIRS = {
    "TPV": (tpv(), sky(scale=1.012)),
    "over the pole": (sky(120.0, 89.999), sky(200.0, 89.9995, turn=70.0)),
    "over the south pole": (sky(0.0, -90.0), sky(30.0, -89.9995, turn=-50.0)),
    "over right ascension 0": (sky(359.9995), sky(0.0005, turn=10.0)),
    "mirrored": (sky(), sky(turn=20.0, parity=1)),
    "upside down": (sky(), sky(turn=180.0)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_stars_come_to_the_place_that_both_wcs_say(name):
    source, target = PAIRS[name]
    rng = np.random.default_rng(2)
    x, y = (grid.ravel() + rng.uniform(-0.5, 0.5, 4) for grid in np.meshgrid([38.0, 60.0], [38.0, 60.0]))

    result = LanczosAlignTask().run(exposure_of(source, x, y), onto=PixelGrid((100, 100), target))

    ra, dec = source.pixel_to_sky(x=x, y=y)
    places = np.stack(target.sky_to_pixel(ra=ra, dec=dec), axis=1)
    inside = np.all((places > 11) & (places < 88), axis=1)
    assert inside.sum() >= 3
    for at_x, at_y in places[inside]:
        found = centre_and_flux(np.nan_to_num(result.exposure.image), at_x, at_y)
        assert found[:2] == pytest.approx((at_x, at_y), abs=0.005)
        assert found[2] == pytest.approx(FLUX, rel=5e-4)


def test_an_output_of_one_pixel_has_the_value_of_that_pixel():
    exposure = exposure_of(sky(), [50.0], [50.0])

    result = LanczosAlignTask().run(exposure, onto=PixelGrid((1, 1), sky(center=(-1.0, -1.0))))

    assert result.exposure.image[0, 0] == pytest.approx(exposure.image[50, 50], rel=1e-4)
    assert result.exposure.psf.image(x=0.0, y=0.0).sum() == pytest.approx(1.0)


def test_an_input_of_one_pixel_is_where_it_lies_and_nowhere_else():
    exposure = Exposure(
        image=np.full((1, 1), 7.0), mask=Mask.empty((1, 1)), variance=np.ones((1, 1)), wcs=sky(center=(0, 0))
    )

    result = LanczosAlignTask().run(exposure, onto=PixelGrid((9, 9), sky(center=(4, 4))))

    known = np.isfinite(result.exposure.image)
    assert known[4, 4]
    assert known.sum() == 1
    assert result.exposure.image[4, 4] == pytest.approx(7.0)
    assert result.exposure.mask.any_of("EDGE")[4, 4]


def test_an_input_that_is_nowhere_finite_is_no_work():
    exposure = exposure_of(sky(), [50.0], [50.0])

    with pytest.raises(NoWorkFound, match="every pixel there is masked"):
        LanczosAlignTask().run(exposure.replace(image=np.full((100, 100), np.nan)), onto=exposure)


@pytest.mark.parametrize("scale", [20.0, 0.05])
def test_hugely_larger_and_smaller_pixels_keep_the_brightness_of_the_sky(scale):
    exposure = exposure_of(sky(), [50.0], [50.0]).replace(image=np.full((100, 100), 3.0))

    result = LanczosAlignTask().run(exposure, onto=PixelGrid((5, 5), sky(scale=scale, center=(2.0, 2.0))))

    known = np.isfinite(result.exposure.image)
    assert known[2, 2]
    np.testing.assert_allclose(result.exposure.image[known], 3.0 * scale**2, rtol=1e-3)


def test_the_whole_flux_stays_when_pixels_become_twenty_times_larger():
    exposure = exposure_of(sky(), [47.0, 52.0], [51.0, 44.0])

    result = LanczosAlignTask().run(exposure, onto=PixelGrid((11, 11), sky(scale=20.0, center=(5.0, 5.0))))

    assert np.nansum(result.exposure.image) == pytest.approx(2 * FLUX, rel=0.02)
