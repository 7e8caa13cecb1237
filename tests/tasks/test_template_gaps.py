"""Templates where inputs end, and where one of them is saturated."""

import numpy as np
import pytest

from firstlight.images.psf import GaussianPsf
from firstlight.tasks.input_facts import CELL
from firstlight.tasks.template_gaps import Expected, Gaps

SHAPE = (3 * CELL, 6 * CELL)
WEIGHTS = np.array([0.3, 0.3, 0.4])
PSFS = [GaussianPsf(sigma=sigma, radius=12) for sigma in (0.9, 1.1, 1.4)]


@pytest.fixture(scope="module")
def stars():
    """Return inputs of the same stars, without noise."""
    inputs, rng = np.zeros((3, *SHAPE)), np.random.default_rng(3)
    for x in np.arange(16, SHAPE[1] - 16, 9):
        y = rng.uniform(16, SHAPE[0] - 16)
        square = np.s_[round(y) - 12 : round(y) + 13, x - 12 : x + 13]
        for image, psf in zip(inputs, PSFS, strict=True):
            image[square] += 1e4 * psf.image(x=float(x), y=y)
    return inputs


def filled(inputs, used, *, saturated=None, psfs=PSFS):
    """Return mean, its filled form, and that of all inputs."""
    cells = used[:, CELL // 2 :: CELL, CELL // 2 :: CELL]
    expected = Expected.near(cells, WEIGHTS)
    weight = WEIGHTS[:, None, None] * used
    mean = ((weight * inputs).sum(axis=0) / weight.sum(axis=0)).astype(np.float32)
    bands = [slice(0, CELL), slice(CELL, SHAPE[0])]
    gaps = Gaps.joined([expected.gaps(used[:, rows], rows) for rows in bands])
    nothing = np.zeros(SHAPE, bool)
    done = gaps.filled(
        mean, np.ones(SHAPE, np.float32), psfs, saturated=nothing if saturated is None else saturated, reach=2
    )
    return mean, done, np.tensordot(WEIGHTS, inputs, axes=1)


def test_stars_beyond_the_end_of_an_input_look_as_if_it_went_on(stars):
    used = np.ones((3, *SHAPE), bool)
    used[0, :, 140:] = False
    used[1, :, 131:133] = False

    mean, done, whole = filled(stars, used)

    off, left = np.abs(mean - whole), np.abs(done.image - whole)
    assert off[:, 140:].max() > 100.0
    assert left.max() < 0.25 * off.max()
    assert not done.inexact.any()
    np.testing.assert_array_equal(done.image[:, :60], mean[:, :60])


def test_an_input_is_not_expected_far_beyond_its_end(stars):
    used = np.ones((3, *SHAPE), bool)
    used[0, :, CELL:] = False

    mean, done, _ = filled(stars, used)

    assert np.any(done.image[:, CELL : 3 * CELL] != mean[:, CELL : 3 * CELL])
    np.testing.assert_array_equal(done.image[:, 3 * CELL :], mean[:, 3 * CELL :])


def test_a_sky_that_nobody_subtracted_changes_nothing(stars):
    used = np.ones((3, *SHAPE), bool)
    used[0, :, 130:] = False

    _, dark, _ = filled(stars, used)
    _, bright, _ = filled(stars + 2048.0, used)

    np.testing.assert_allclose(bright.image - 2048.0, dark.image, atol=2e-3)
    np.testing.assert_allclose(bright.variance, dark.variance, rtol=1e-6)


def test_no_input_is_drawn_far_from_its_end(stars):
    class PsfOfTheLeft(GaussianPsf):
        def images(self, *, x, y):
            return super().images(x=x, y=y) * np.where(x < 4 * CELL, 1.0, np.nan)[:, None, None]

    used = np.ones((3, *SHAPE), bool)
    used[2, :, CELL:] = False
    used[0, :, 131:133] = False

    mean, done, _ = filled(stars, used, psfs=[*PSFS[:2], PsfOfTheLeft(sigma=1.4, radius=12)])

    assert np.any(done.image[:, 131:133] != mean[:, 131:133])
    assert np.isfinite(done.image).all()


def test_the_psf_is_inexact_where_most_is_missing_and_nothing_is_told_beside_saturated_stars(stars):
    used = np.ones((3, *SHAPE), bool)
    used[:2, :, 130:] = False
    used[0, 40:50, 30:40] = False
    saturated = np.zeros(SHAPE, bool)
    saturated[45, 35] = True

    mean, done, whole = filled(stars, used, saturated=saturated)

    hole = np.s_[40:50, 30:40]
    assert done.inexact[:, 130:].all()
    assert done.inexact[hole].all()
    assert done.inexact.sum() == done.inexact[:, 130:].sum() + 100
    assert np.array_equal(done.image[hole], mean[hole])
    assert np.abs(done.image - whole)[:, 130:].max() < 0.5 * np.abs(mean - whole)[:, 130:].max()


def test_what_no_psf_explains_does_not_ring_in_the_gaps_about_it():
    used = np.ones((3, *SHAPE), bool)
    used[:2, :, 130:] = False
    inputs = np.zeros((3, *SHAPE))
    inputs[2, 45, 160] = 1e6

    mean, done, _ = filled(inputs, used)

    about = np.ones(SHAPE, bool)
    about[43:48, 158:163] = False
    assert mean[45, 160] == 1e6
    np.testing.assert_array_equal(done.image[about], mean[about])
    assert np.abs(done.image - mean).max() <= 0.5e6


def test_where_nothing_shines_nothing_is_changed():
    used = np.ones((3, *SHAPE), bool)
    used[0, :, 130:] = False
    noise = np.random.default_rng(4).normal(size=(3, *SHAPE))

    mean, done, _ = filled(noise, used)

    np.testing.assert_array_equal(done.image, mean)
    np.testing.assert_array_equal(done.variance, 1.0)
