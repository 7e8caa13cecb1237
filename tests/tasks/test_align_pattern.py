"""Two images of the same stars without any WCS."""

import numpy as np
import pytest

from firstlight.errors import AstrometryError, InputError
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.pixel_grid import PixelGrid
from firstlight.images.psf import GaussianPsf
from firstlight.images.wcs import SkyWcs
from firstlight.tasks.align_pattern import PatternAlignTask

PSF = GaussianPsf(sigma=1.3, radius=9)
SKY, READ_NOISE = 200.0, 5.0


def scene(x, y, flux, *, shape=(260, 280), seed=1):
    image = np.zeros(shape)
    for star_x, star_y, light in zip(x, y, flux, strict=True):
        column, row = int(np.rint(star_x)), int(np.rint(star_y))
        if 9 <= column < shape[1] - 9 and 9 <= row < shape[0] - 9:
            image[row - 9 : row + 10, column - 9 : column + 10] += light * PSF.image(x=star_x, y=star_y)
    rng = np.random.default_rng(seed)
    noisy = rng.poisson(image + SKY) + rng.normal(scale=READ_NOISE, size=shape)
    variance = np.maximum(noisy, SKY) + READ_NOISE**2
    return Exposure(image=noisy, mask=Mask.empty(shape), variance=variance)


@pytest.fixture(scope="module")
def field():
    rng = np.random.default_rng(11)
    return rng.uniform(-60, 340, 140), rng.uniform(-60, 320, 140), 3000 * rng.pareto(1.2, 140) + 1500


@pytest.fixture(scope="module")
def target(field):
    return scene(*field)


@pytest.mark.parametrize(
    ("turn", "scale", "parity", "shift"),
    [(0.0, 1.0, 1, (4.3, -7.8)), (25.0, 1.0, 1, (10.0, 3.0)), (180.0, 0.8, 1, (0.0, 0.0)), (3.0, 1.2, -1, (-6.0, 2.5))],
)
def test_turned_shifted_scaled_and_mirrored_images_come_to_lie_on_each_other(field, target, turn, scale, parity, shift):
    x, y, flux = field
    cos, sin = np.cos(np.radians(turn)) * scale, np.sin(np.radians(turn)) * scale
    u, v = x - 140.0, (y - 130.0) * parity
    bend = 2e-5 * u**2
    moved = (140.0 + cos * u - sin * v + shift[0] + bend, 130.0 + sin * u + cos * v + shift[1])

    result = PatternAlignTask().run(scene(*moved, flux, seed=2), onto=target)

    gates = {gate.name: gate for gate in result.gates}
    assert gates["align_n_stars"].value >= 20
    assert gates["align_rms"].value < 0.1
    warped = result.exposure.image
    assert np.nanmedian(warped) == pytest.approx(SKY * scale**2, rel=0.03)
    inside = (x > 30) & (x < 250) & (y > 30) & (y < 230)
    brightest = np.flatnonzero(inside)[np.argmax(flux[inside])]
    column, row = int(np.rint(x[brightest])), int(np.rint(y[brightest]))
    cut = warped[row - 4 : row + 5, column - 4 : column + 5] - SKY * scale**2
    offsets = np.arange(-4, 5)
    assert (cut.sum(axis=0) @ offsets) / cut.sum() == pytest.approx(x[brightest] - column, abs=0.1)
    assert (cut.sum(axis=1) @ offsets) / cut.sum() == pytest.approx(y[brightest] - row, abs=0.1)


def test_other_fields_are_told_from_this_one(target):
    rng = np.random.default_rng(99)
    other = scene(rng.uniform(0, 280, 90), rng.uniform(0, 260, 90), 3000 * rng.pareto(1.2, 90) + 1500, seed=3)

    with pytest.raises(AstrometryError, match="same field"):
        PatternAlignTask().run(other, onto=target)


def test_a_grid_without_pixels_has_no_stars(target):
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg", "CRPIX1": 1.0, "CRPIX2": 1.0}
    cards |= {"CRVAL1": 0.0, "CRVAL2": 0.0, "CD1_1": -3e-4, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 3e-4}
    wcs = SkyWcs(cards | {"RADESYS": "ICRS", "EQUINOX": 2000.0})

    with pytest.raises(InputError, match="has none"):
        PatternAlignTask().run(target, onto=PixelGrid((10, 10), wcs))
