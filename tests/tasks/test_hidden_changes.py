"""Sources of a difference beside brighter ones: told apart, each with its own flux and place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from firstlight.algorithms.detection import smooth_for_detection
from firstlight.algorithms.difference_sources import detect_changes
from firstlight.errors import PsfError
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.psf import FWHM_PER_SIGMA, MoffatPsf
from firstlight.tasks.hidden_changes import HiddenChangesTask
from firstlight.tasks.measurement_scene import psf_sigma

SIDE, STEP, THRESHOLD = 384, 48, 5.0
PSF = MoffatPsf(fwhm=2.8, beta=3.0, radius=12)
UNIT = 1.0 / np.sqrt((PSF.image(x=0.0, y=0.0) ** 2).sum())
"""Flux of signal-to-noise ratio 1 on noise of 1."""


def exposure_of(stars, *, seed=1, drawn=PSF) -> Exposure:
    """A difference of unit noise with stars (x, y, signal-to-noise ratio), drawn with a PSF."""
    image = np.random.default_rng(seed).normal(size=(SIDE, SIDE))
    for x, y, snr in stars:
        row, column = round(y), round(x)
        square = np.s_[row - PSF.radius : row + PSF.radius + 1, column - PSF.radius : column + PSF.radius + 1]
        image[square] += snr * UNIT * drawn.image(x=x, y=y)
    return Exposure(
        image=image.astype(np.float32),
        mask=Mask.empty(image.shape),
        variance=np.ones(image.shape, dtype=np.float32),
        psf=PSF,
    )


def looked_again(exposure, *, negative=False):
    sigma = psf_sigma(exposure)
    none = np.zeros(exposure.shape, dtype=bool)
    smoothed = smooth_for_detection(exposure.image, variance=exposure.variance, bad=none, psf_sigma=sigma)
    score = smoothed.__class__(smoothed.snr, np.ones_like(smoothed.sigma), 1)
    found = detect_changes(score, psf_sigma=sigma, threshold=THRESHOLD, min_prominence=2.0, negative=negative)
    shown = exposure.replace(image=-exposure.image) if negative else exposure
    return found, HiddenChangesTask().run(shown, found, noise=score.sigma, threshold=THRESHOLD)


def grid():
    """Places far from each other, at all phases of a pixel."""
    at = np.arange(STEP / 2, SIDE, STEP)
    x, y = (place.ravel() for place in np.meshgrid(at, at))
    return np.column_stack([x, y]) + np.random.default_rng(2).uniform(-0.5, 0.5, (len(x), 2))


@pytest.mark.parametrize(("bright", "separation"), [(20.0, 1.5), (30.0, 2.0), (100.0, 1.5)])
@pytest.mark.parametrize("negative", [False, True])
def test_a_source_beside_a_brighter_one_is_found_with_its_flux_and_place(bright, separation, negative):
    places = grid()
    angle = np.random.default_rng(3).uniform(0, 2 * np.pi, len(places))
    others = places + separation * 2.8 * np.column_stack([np.cos(angle), np.sin(angle)])
    sign = -1.0 if negative else 1.0
    stars = [(*place, sign * bright) for place in places] + [(*place, sign * 10.0) for place in others]

    before, result = looked_again(exposure_of(stars), negative=negative)
    after, light = result.detections, result.light

    distance = np.hypot(after.x[before.n_peaks :, None] - others[:, 0], after.y[before.n_peaks :, None] - others[:, 1])
    nearest = distance.argmin(axis=1)
    # An error of a place is the width of the PSF over S/N; at 1.5 FWHM from a brighter source it is half as much again.
    assert (distance.min(axis=1) < 5 * 1.5 * 2.8 / FWHM_PER_SIGMA / 10).all()
    assert len(np.unique(nearest)) == len(nearest)
    # S/N 10 and a threshold of 5, half of a pair may be one peak or two before.
    assert len(nearest) + (before.n_peaks - len(places)) >= 0.9 * len(places)
    assert len(nearest) > 0.5 * len(places)
    assert ((after.peak_snr < 0) == negative).all()
    flux = [light.light[light.first[k] : light.first[k + 1]].sum() for k in range(before.n_peaks, after.n_peaks)]
    pull = np.array(flux) / UNIT - 10.0
    # Their scatter is up to 1.5 where a neighbour is fitted too; half a sigma of selection.
    assert abs(pull.mean()) < 0.5 + 4 * 1.5 / np.sqrt(len(pull))


def test_the_image_is_what_is_left_and_the_light_of_each_star_at_its_place():
    places = grid()[9:11]
    (x, y), steps = places[0], (-1.5, 0.0, 1.5)
    wide = [(x + 2.0 + dx, y + 16.0 + dy, 8.0) for dx in steps for dy in steps]
    exposure = exposure_of([(x, y, 30.0), (x + 4.5, y, 10.0), (*places[1], 30.0), *wide])

    before, result = looked_again(exposure)
    after, light = result.detections, result.light

    assert after.n_peaks == before.n_peaks + 1
    whole = light.residual.astype(np.float64)
    for number in range(len(light)):
        box = light.boxes[number]
        square = np.s_[box[1] : box[1] + box[3], box[0] : box[0] + box[2]]
        whole[square] += light.light[light.first[number] : light.first[number + 1]].reshape(box[3], box[2])
    np.testing.assert_allclose(whole, exposure.image, atol=1e-3)
    # The lone source is left in the image, and so is what is no star.
    assert light.skipped.sum() == 2
    # The middle of both together is a pixel from the brighter one, which has its own place now.
    off = [np.hypot(found.x[: before.n_peaks] - x, found.y[: before.n_peaks] - y).min() for found in (before, after)]
    assert off[0] > 0.5
    assert off[1] < 5 * 1.5 * 2.8 / FWHM_PER_SIGMA / 30
    assert (after.area == np.bincount(light.labels.ravel())[1:]).all()
    assert (light.labels[after.peak_y, after.peak_x] == np.arange(1, len(light) + 1)).all()


@pytest.mark.parametrize("snr", [15.0, 30.0, 60.0, 150.0])
def test_a_lone_source_stays_one(snr):
    before, result = looked_again(exposure_of([(*place, snr) for place in grid()]))

    assert before.n_peaks >= len(grid())
    assert result.detections is before
    assert result.light is None


@pytest.mark.parametrize("length", [1.5, 2.0, 3.0])
def test_a_trail_is_not_taken_for_two_sources(length):
    places = grid()
    angle = np.random.default_rng(4).uniform(0, np.pi, len(places))
    steps = length * 2.8 * (np.arange(9) / 8 - 0.5)
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    pieces = [(*(place + step * way), 40.0 / 9) for place, way in zip(places, along, strict=True) for step in steps]

    before, result = looked_again(exposure_of(pieces))

    # Of 64 with three sigma of doubt each, one or two may be.
    assert result.detections.n_peaks - before.n_peaks <= 2


def test_a_source_wider_than_stars_stays_one():
    wide = MoffatPsf(fwhm=1.35 * 2.8, beta=3.0, radius=12)

    before, result = looked_again(exposure_of([(*place, 60.0) for place in grid()], drawn=wide))

    # Noise makes some of 64 rings lopsided; without a look at the other sides 13 are taken apart.
    assert result.detections.n_peaks - before.n_peaks <= 4


def test_what_the_psf_may_be_wrong_by_is_no_source():
    places = grid()
    # One per cent of the light of stars of S/N 1000 at a FWHM from their middle: 10 sigma.
    flaws = [(x + 2.8, y, 10.0) for x, y in places]

    before, result = looked_again(exposure_of([(*place, 1000.0) for place in places] + flaws))

    assert result.detections is before


def test_what_the_subtraction_leaves_counts_in_the_significance_of_what_was_hidden():
    exposure = exposure_of([(100.0, 100.0, 60.0), (104.5, 100.0, 14.0)])
    found, _ = looked_again(exposure)

    snr = {}
    for noise in (1.0, 2.0, 4.0):
        plane = np.full(exposure.shape, noise, dtype=np.float32)
        after = HiddenChangesTask().run(exposure, found, noise=plane, threshold=THRESHOLD).detections
        snr[noise] = after.peak_snr[found.n_peaks :]

    np.testing.assert_allclose(snr[2.0], snr[1.0] / 2.0, rtol=1e-6)
    assert len(snr[1.0]) == 1
    assert len(snr[4.0]) == 0


def test_beside_a_source_without_a_usable_pixel_nothing_is_told_apart():
    found, _ = looked_again(exposure_of([(100.0, 100.0, 60.0)]))
    y, x = np.indices((SIDE, SIDE))
    wide = replace(found, labels=(np.hypot(x - 100, y - 100) < 14).astype(np.int32))
    exposure = exposure_of([(100.0, 100.0, 60.0), (109.3, 100.0, 30.0)])
    hit = exposure.mask.with_plane("CR", np.maximum(abs(x - 100), abs(y - 100)) <= 7)

    result = HiddenChangesTask().run(
        exposure.replace(mask=hit), wide, noise=np.ones(exposure.shape, np.float32), threshold=THRESHOLD
    )

    assert result.detections is wide


def test_without_a_psf_nothing_can_be_taken_off():
    exposure = exposure_of([(100.0, 100.0, 30.0)])
    found, _ = looked_again(exposure)

    with pytest.raises(PsfError, match="the difference has none"):
        HiddenChangesTask().run(
            exposure.replace(psf=None), found, noise=np.ones(exposure.shape, np.float32), threshold=THRESHOLD
        )
