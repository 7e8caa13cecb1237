"""Centroids reach the photon limit and survive what real images do to them."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.centroids import measure_centroids
from firstlight.kernels import centroids as kernel

from .frames import gaussian, moffat, tiled

SKY_VARIANCE, GAIN = 51.0, 6.2


def photon_limit(fwhm, flux, dx):
    step = 0.01
    up, down = (moffat(25, dx=dx + sign * step, fwhm=fwhm) for sign in (1, -1))
    slope = flux * (up - down) / (2 * step)
    variance = SKY_VARIANCE + flux * moffat(25, dx=dx, fwhm=fwhm) / GAIN
    return 1 / np.sqrt((slope**2 / variance).sum())


def star_sigma(fwhm):
    return 1.11 / 2.36 * np.hypot(fwhm, 0.85)


@pytest.mark.parametrize("flux", [600.0, 5000.0, 40_000.0])
@pytest.mark.parametrize("fwhm", [2.2, 4.0])
def test_positions_scatter_by_the_photon_limit_and_errors_say_so(fwhm, flux):
    rng = np.random.default_rng(1)
    light, x, y = tiled(flux * moffat(25, dx=0.3, fwhm=fwhm), 40, 40)
    variance = SKY_VARIANCE + light / GAIN
    image = light + rng.normal(size=light.shape) * np.sqrt(variance)
    snr = np.full(len(x), flux / np.sqrt(4 * np.pi * star_sigma(fwhm) ** 2 * SKY_VARIANCE + flux / GAIN))

    found = measure_centroids(
        image, variance=variance, bad=np.zeros(image.shape, bool), x=x, y=y, snr=snr, psf_sigma=star_sigma(fwhm)
    )

    used = ~found.flag
    error = found.x[used] - x[used] - 0.3
    assert used.mean() > 0.98
    assert error.std() < 1.08 * photon_limit(fwhm, flux, 0.3)
    assert abs(error.mean()) < 0.2 * photon_limit(fwhm, flux, 0.3)
    assert 0.9 < (error / found.x_err[used]).std() < 1.12


@pytest.mark.parametrize("hole", [1, 3, 5])
def test_a_star_with_a_saturated_core_is_centred_by_its_wings(hole):
    image = 1e5 * moffat(41, dx=0.3, dy=-0.4, fwhm=3.0)
    bad = np.zeros(image.shape, bool)
    reach = hole // 2
    bad[20 - reach : 21 + reach, 20 - reach : 21 + reach] = True
    image[bad] = np.nan

    found = measure_centroids(
        image, variance=np.ones(image.shape), bad=bad, x=[20.0], y=[20.0], snr=np.array([500.0]), psf_sigma=1.5
    )

    assert not found.flag[0]
    np.testing.assert_allclose([found.x[0], found.y[0]], [20.3, 19.6], atol=0.06)


def test_a_blown_up_star_is_centred_with_its_own_width():
    rng = np.random.default_rng(2)
    image = np.minimum(gaussian((80, 80), x=40.3, y=39.8, sigma=4.0, flux=1e6), 3000.0) + rng.normal(0, 30, (80, 80))

    narrow, wide = (
        measure_centroids(
            image,
            variance=np.full(image.shape, 900.0),
            bad=np.zeros(image.shape, bool),
            x=[41.0],
            y=[41.0],
            snr=np.array([300.0]),
            psf_sigma=1.3,
            size=size,
        )
        for size in (None, np.array([5.0]))
    )

    assert abs(wide.x[0] - 40.3) < 0.03
    assert abs(wide.x[0] - 40.3) < abs(narrow.x[0] - 40.3)


@pytest.mark.parametrize("row", [0, 1, 2, 4, 6])
@pytest.mark.parametrize("across", [False, True])
def test_a_star_on_the_border_is_centred_or_flagged(row, across):
    rng = np.random.default_rng(3)
    light = np.concatenate([3e4 * moffat(41, dx=0.2, dy=0.3, fwhm=2.5)[20 - row :] for _ in range(200)], axis=1)
    image = light + rng.normal(size=light.shape) * 7.0
    variance = np.full(image.shape, 49.0)
    along, beside = np.arange(200) * 41 + 20.0, np.full(200, float(row))
    planes = (image.T, variance.T) if across else (image, variance)
    x, y = (beside, along) if across else (along, beside)

    found = measure_centroids(
        planes[0],
        variance=planes[1],
        bad=np.zeros(planes[0].shape, bool),
        x=x,
        y=y,
        snr=np.full(200, 40.0),
        psf_sigma=1.2,
    )

    off = np.median(found.x - x - 0.3 if across else found.y - y - 0.3)
    error = np.median(found.x_err if across else found.y_err)
    # What the border cuts off is made up for from the other side, to less than a tenth of a pixel.
    assert found.flag.all() or abs(off) < 1.5 * error + 0.1


def test_the_light_of_a_labelled_neighbour_does_not_pull():
    image = gaussian((60, 60), x=25, y=30, sigma=1.3, flux=1000.0) + gaussian(
        (60, 60), x=30, y=30, sigma=1.3, flux=9000.0
    )
    labels = np.ones(image.shape, dtype=np.int32)
    labels[:, 27:] = 2
    ask = {
        "variance": np.ones(image.shape),
        "bad": np.zeros(image.shape, bool),
        "x": [25.0],
        "y": [30.0],
        "snr": np.array([100.0]),
        "psf_sigma": 1.3,
    }

    blind = measure_centroids(image, **ask)
    found = measure_centroids(image, **ask, labels=labels, own_label=np.array([1]))

    assert blind.flag[0] or blind.x[0] > 25.3
    assert abs(found.x[0] - 25.0) < 0.25


def test_a_centroid_that_runs_away_is_reset_and_flagged():
    image = gaussian((60, 60), x=33, y=30, sigma=3.0, flux=1000.0)

    found = measure_centroids(
        image,
        variance=np.ones(image.shape),
        bad=np.zeros(image.shape, bool),
        x=[28.0],
        y=[30.0],
        snr=np.array([10.0]),
        psf_sigma=2.0,
    )

    assert found.flag[0]
    assert found.status[0] == kernel.SHIFTED
    assert (found.x[0], found.y[0]) == (28.0, 30.0)
    assert found.x_err[0] == pytest.approx(0.2)


@pytest.mark.parametrize(("value", "all_bad"), [(0.0, False), (-1.0, False), (1.0, True)])
def test_positions_are_finite_even_where_nothing_can_be_measured(value, all_bad):
    image = np.full((30, 30), value)

    found = measure_centroids(
        image,
        variance=np.ones(image.shape),
        bad=np.full(image.shape, all_bad),
        x=[15.0, -40.0],
        y=[15.0, 10.0],
        snr=np.array([5.0, 5.0]),
        psf_sigma=1.0,
    )

    assert found.flag.all()
    assert np.isfinite([found.x, found.y, found.x_err, found.y_err]).all()


@pytest.mark.parametrize(
    "odd", [{"snr": np.nan}, {"psf_sigma": np.nan}, {"psf_sigma": np.inf}, {"x": np.nan}, {"image": np.inf}]
)
def test_a_source_of_which_a_number_is_missing_is_flagged_and_the_next_is_measured(odd):
    image = 1e4 * moffat(41, dx=0.3, dy=-0.4, fwhm=3.0)
    image = np.hstack([image, image])
    image[20, 20] = odd.get("image", image[20, 20])
    second = {"snr": 500.0, "psf_sigma": 1.5, "x": 20.0}
    both = {name: np.array([odd.get(name, value), value]) for name, value in second.items()}

    found = measure_centroids(
        image,
        variance=np.ones(image.shape),
        bad=np.zeros(image.shape, bool),
        x=both["x"] + [0.0, 41.0],
        y=[20.0, 20.0],
        snr=both["snr"],
        psf_sigma=both["psf_sigma"],
    )

    assert found.flag.tolist() == [True, False]
    assert found.x[1] == pytest.approx(61.3, abs=1e-3)


def test_a_centroid_may_move_however_far_where_no_limit_is_set():
    rows, columns = np.mgrid[:81, :121]
    image = 1e4 * np.exp(-0.5 * ((columns - 60.0) ** 2 + (rows - 40.0) ** 2) / 10.0**2)

    found = measure_centroids(
        image,
        variance=np.ones(image.shape),
        bad=np.zeros(image.shape, bool),
        x=[28.0],
        y=[40.0],
        snr=np.array([500.0]),
        psf_sigma=1.5,
        size=np.array([5.0]),
        max_shift=np.inf,
    )

    assert not found.flag[0]
    assert found.x[0] == pytest.approx(60.0, abs=1e-2)
