"""Real images: a crowded field of 25 epochs without a WCS, and a turned survey image."""

import os
from pathlib import Path

import numpy as np
import pytest
import sep
from scipy.ndimage import affine_transform

from firstlight.images.fits import read_image
from firstlight.images.mask import Mask
from firstlight.images.wcs import SkyWcs
from firstlight.instruments import find_instrument
from firstlight.tasks.align import LanczosAlignTask
from firstlight.tasks.align_pattern import PatternAlignTask

RADIUS = 8.0


@pytest.fixture(scope="module")
def real_data():
    folder = os.environ.get("FIRSTLIGHT_TEST_DATA")
    if not folder:
        pytest.skip("FIRSTLIGHT_TEST_DATA names no folder with real images")
    return Path(folder)


def read(path):
    return find_instrument(read_image(path).header).read(path)


def shift_of(image, other):
    """Return by how much an image lies off another [pixel], from the peak of their cross-correlation."""
    window = np.outer(np.hanning(image.shape[0]), np.hanning(image.shape[1]))
    spectra = [np.fft.fft2((each - np.median(each)) * window) for each in (image, other)]
    power = np.fft.fftshift(np.fft.ifft2(spectra[0] * np.conj(spectra[1])).real)
    row, column = np.unravel_index(np.argmax(power), power.shape)
    rows, columns = power[row - 1 : row + 2, column], power[row, column - 1 : column + 2]
    ends = [(line[0] - line[2]) / (2 * (line[0] - 2 * line[1] + line[2])) for line in (columns, rows)]
    return column - power.shape[1] // 2 + ends[0], row - power.shape[0] // 2 + ends[1]


def test_all_epochs_of_a_crowded_field_come_to_lie_on_the_sharpest(real_data):
    epochs = [read(real_data / "isis" / f"infile{number}.fits.gz") for number in range(25)]
    task, target, inner = PatternAlignTask(), epochs[0], np.s_[16:-16, 16:-16]
    raw_shifts = []

    for number, exposure in enumerate(epochs[1:], start=1):
        result = task.run(exposure, onto=target)

        gates = {gate.name: gate for gate in result.gates}
        # Hundreds of blended stars a tenth of a pixel apart at the worst seeing: each place is known to about that.
        assert gates["align_rms"].value < 0.2, number
        assert gates["align_held_out_rms"].value < 1.1 * gates["align_rms"].value, number
        assert gates["align_n_stars"].value > 80, number
        assert np.hypot(*shift_of(result.exposure.image[inner], target.image[inner])) < 0.05, number
        raw_shifts.append(np.hypot(*shift_of(exposure.image[inner], target.image[inner])))
    assert max(raw_shifts) > 2.0


def turned(exposure, degrees):
    """Return an exposure turned about its centre by splines of order 5, with the WCS that it then has."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    rotation = np.array([[cos, -sin], [sin, cos]])  # of (x, y), from new pixels to old ones
    center = (np.array(exposure.shape[::-1]) - 1) / 2
    swapped = rotation[::-1, ::-1]
    image = affine_transform(
        exposure.image.astype(float), swapped, offset=center[::-1] - swapped @ center[::-1], order=5
    )
    cards = exposure.wcs.to_header()
    matrix = np.array([[cards[f"CD{i}_{j}"] for j in (1, 2)] for i in (1, 2)]) @ rotation
    place = center + rotation.T @ (np.array([cards["CRPIX1"], cards["CRPIX2"]]) - 1 - center) + 1
    cards |= {"CRPIX1": float(place[0]), "CRPIX2": float(place[1])}
    cards |= {f"CD{i + 1}_{j + 1}": float(matrix[i, j]) for i in range(2) for j in range(2)}
    return exposure.replace(image=image, wcs=SkyWcs(cards), mask=Mask.empty(exposure.shape))


def test_a_survey_image_that_was_turned_comes_back_with_the_flux_and_place_of_its_stars(real_data):
    whole = read(real_data / "ztf" / "ztf_left_sci.fits.gz")
    part = np.s_[800:1500, 400:1100]
    exposure = whole.replace(
        image=whole.image[part] - np.median(whole.image[part]),
        variance=whole.variance[part],
        mask=Mask.empty((700, 700)),
        wcs=whole.wcs.shifted(x=400, y=800),
        psf=None,
    )

    back = LanczosAlignTask().run(turned(exposure, 0.5), onto=exposure).exposure

    before = np.ascontiguousarray(exposure.image, float)
    after = np.ascontiguousarray(np.nan_to_num(back.image), float)
    found = sep.extract(before - sep.Background(before), 30.0, err=float(np.median(np.sqrt(exposure.variance))))
    far = (np.abs(found["x"] - 349.5) < 320) & (np.abs(found["y"] - 349.5) < 320)
    stars = found[far & (found["peak"] < 20_000) & (found["flag"] == 0)]
    # Stars of 1.6 pixels FWHM ring out to 3 pixels: the aperture has to hold all of what was moved.
    flux = [sep.sum_circle(image, stars["x"], stars["y"], RADIUS, subpix=0)[0] for image in (before, after)]
    places = [sep.winpos(image, stars["x"], stars["y"], 0.8) for image in (before, after)]
    ratio = flux[1] / flux[0] - 1
    moved = np.concatenate([places[1][axis] - places[0][axis] for axis in (0, 1)])
    error = np.sqrt(np.pi * RADIUS**2 * np.median(exposure.variance)) / flux[0]
    assert len(stars) > 40
    assert np.median(ratio) == pytest.approx(0.0, abs=5e-4)
    assert np.median(np.abs(ratio) / error) < 1.0
    assert np.median(moved) == pytest.approx(0.0, abs=0.003)
    assert np.sqrt(np.median(moved**2)) < 0.02
