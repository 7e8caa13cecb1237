"""A camera's noise from its own images, as a user measures it."""

import numpy as np
import pytest

from firstlight.errors import InputError, KernelError
from firstlight.images.background import BackgroundList
from firstlight.images.box import Box
from firstlight.images.exposure import Exposure
from firstlight.images.fields import ChebyshevField
from firstlight.images.mask import Mask
from firstlight.images.spatial_kernel import MatchingKernel, SpatialKernel
from firstlight.tasks.background import ConstantBackgroundTask
from firstlight.tasks.photon_transfer import PhotonTransferTask, with_noise_of

SHAPE = (256, 260)
GAIN, READ_NOISE, SKY = 1.6, 8.0, 150.0
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]


def light_of(sigma):
    """Return 36 stars of many brightnesses."""
    image = np.zeros(SHAPE)
    for k in range(36):
        x, y = 25 + 41 * (k % 6), 25 + 40 * (k // 6)
        image += 4e3 * 1.17**k * np.exp(-0.5 * ((X - x) ** 2 + (Y - y) ** 2) / sigma**2) / (2 * np.pi * sigma**2)
    return image


def exposure_of(light, *, seed, mask=None):
    rng = np.random.default_rng(seed)
    image = (rng.poisson(light * GAIN) + rng.normal(0, READ_NOISE, SHAPE)) / GAIN
    return Exposure(image=image, mask=mask or Mask.empty(SHAPE), variance=np.full(SHAPE, 999.0))


def without_sky(exposure):
    sky = ConstantBackgroundTask().run(exposure).background
    return exposure.replace(image=sky.subtracted_from(exposure.image), background=BackgroundList([sky]))


def assert_is_the_camera(curve):
    assert abs(curve.gain - GAIN) < 4 * curve.gain_err
    assert curve.gain_err < 0.05 * GAIN
    assert abs(curve.floor - (READ_NOISE / GAIN) ** 2) < 4 * curve.floor_err


def test_flats_in_pairs_tell_gain_and_read_noise():
    flats = [exposure_of(np.full(SHAPE, level), seed=k) for k, level in enumerate((50, 50, 500, 500, 4000, 4000))]
    task = PhotonTransferTask()
    result = task.run(task.of_pairs(flats))

    assert_is_the_camera(result.curve)
    assert {gate.status for gate in result.gates} == {"ok"}
    assert result.curve.read_noise == pytest.approx(READ_NOISE, rel=0.1)


def matched(sigmas, *, convolved):
    """Return science, a template of 4 exposures, and the kernel that is true."""
    science = without_sky(exposure_of(light_of(sigmas[0]) + SKY, seed=1))
    inputs = [exposure_of(light_of(sigmas[1]) + SKY, seed=k) for k in range(2, 6)]
    template = without_sky(inputs[0].replace(image=np.mean([each.image for each in inputs], axis=0)))
    width = np.sqrt(abs(sigmas[0] ** 2 - sigmas[1] ** 2))
    side = np.arange(-9, 10)
    kernel = np.exp(-0.5 * (side[:, None] ** 2 + side**2) / width**2)
    zero = ChebyshevField.constant(0.0, box=Box.of_shape(SHAPE))
    spatial = SpatialKernel.constant(kernel / kernel.sum(), shape=SHAPE)
    return science, template, MatchingKernel(spatial, zero, convolved)


@pytest.mark.parametrize(("sigmas", "convolved"), [((2.5, 2.0), "template"), ((2.0, 2.5), "science")])
def test_differences_tell_them_as_well(sigmas, convolved):
    task = PhotonTransferTask()
    sample = task.of_difference(*matched(sigmas, convolved=convolved), template_depth=4)

    assert_is_the_camera(task.run([sample]).curve)


def test_an_exposure_gets_the_variance_of_its_counts():
    exposure = without_sky(exposure_of(light_of(2.0) + SKY, seed=1))
    task = PhotonTransferTask()
    curve = task.run([task.of_difference(*matched((2.5, 2.0), convolved="template"), template_depth=4)]).curve
    better = with_noise_of(exposure, curve)

    truth = (light_of(2.0) + SKY) / GAIN + (READ_NOISE / GAIN) ** 2
    pull = (exposure.image + exposure.background.evaluate() - light_of(2.0) - SKY) / np.sqrt(better.variance)
    assert np.median(better.variance) == pytest.approx(np.median(truth), rel=0.05)
    assert np.std(pull) == pytest.approx(1.0, abs=0.05)
    assert better.detector.gain == curve.gain
    assert better.detector.variance_source == "gain"


def test_masked_pixels_do_not_count():
    where = np.zeros(SHAPE, dtype=bool)
    where[:128] = True
    flats = [exposure_of(np.full(SHAPE, 500.0), seed=k) for k in range(2)]
    task = PhotonTransferTask()
    masked = flats[0].replace(mask=flats[0].mask.with_plane("CR", where))

    assert task.run(task.of_pairs([masked, flats[1]])).curve.n_pixels == 128 * SHAPE[1]


def test_what_makes_no_pair_is_refused():
    task, flat = PhotonTransferTask(), exposure_of(np.full(SHAPE, 500.0), seed=1)
    small = Exposure(image=np.ones((9, 9)), mask=Mask.empty((9, 9)), variance=np.ones((9, 9)))
    with pytest.raises(InputError, match="in pairs; got 3"):
        task.of_pairs([flat, flat, flat])
    with pytest.raises(InputError, match="have one shape"):
        task.of_pairs([flat, small])
    with pytest.raises(InputError, match="the exposure is in nJy"):
        task.of_pairs([flat, flat.replace(unit="nJy")])
    science, _, kernel = matched((2.5, 2.0), convolved="template")
    with pytest.raises(KernelError, match="the same pixels"):
        task.of_difference(science, small, kernel)
