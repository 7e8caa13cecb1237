"""Stars that did not make a PSF tell what is wrong with it."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.psf_neighbours import Neighbours
from firstlight.algorithms.psf_residuals import MedianOfStars, compare_with_stars
from firstlight.images.psf import MoffatPsf

TRUE = {"fwhm": 2.2, "beta": 3.0, "radius": 14, "e1": 0.05, "e2": -0.03}
SHAPE = (500, 500)
NOISE, GAIN = 5.0, 2.0


class Field:
    """Stars of known profile on a noisy sky, and what was said of their places."""

    def __init__(self, *, n=100, seed=3, flux=40_000.0, **changes):
        rng = np.random.default_rng(seed)
        psf = MoffatPsf(**{**TRUE, **changes})
        side = int(np.sqrt(n))
        row, column = (a.ravel() for a in np.mgrid[:side, :side])
        self.x = 30 + column * 440 / (side - 1) + rng.uniform(-0.5, 0.5, n)
        self.y = 30 + row * 440 / (side - 1) + rng.uniform(-0.5, 0.5, n)
        light = np.zeros(SHAPE)
        self.add(light, psf, self.x, self.y, np.full(n, flux))
        self.light, self.rng = light, rng
        self.found_x, self.found_y = self.x + rng.normal(0, 0.1, n), self.y + rng.normal(0, 0.1, n)

    @staticmethod
    def add(light, psf, x, y, flux):
        for a, b, f, stamp in zip(x, y, flux, psf.images(x=x, y=y), strict=True):
            row, column = round(b) - psf.radius, round(a) - psf.radius
            light[row : row + len(stamp), column : column + len(stamp)] += f * stamp

    def compare(self, psf, *, neighbours=None, bad=None):
        variance = NOISE**2 + np.maximum(self.light, 0) / GAIN
        return compare_with_stars(
            self.light + self.rng.normal(size=SHAPE) * np.sqrt(variance),
            variance=variance,
            bad=np.zeros(SHAPE, dtype=bool) if bad is None else bad,
            psf=psf,
            x=self.found_x,
            y=self.found_y,
            neighbours=neighbours,
        )


def within_errors(median, expected=0.0, *, also=0.0):
    return abs(median.value - expected) < 4.0 * median.error + also


@pytest.mark.parametrize("fwhm", [1.2, 2.2, 5.0])
def test_the_true_profile_leaves_nothing(fwhm):
    psf = MoffatPsf(**{**TRUE, "fwhm": fwhm, "radius": 20})

    found = Field(fwhm=fwhm, radius=20).compare(psf)

    for name in ("size", "e1", "e2"):
        assert within_errors(found.median(name)), name
        assert 0 < found.median(name).scatter < 0.03
    assert within_errors(found.median("chi2"), 1.0, also=0.01)
    assert np.isfinite(found.size).all()


@pytest.mark.parametrize(("change", "name", "expected"), [
    ({"fwhm": 2.2 * 1.02}, "size", -0.018),
    ({"e1": 0.07}, "e1", -0.02),
    ({"e2": 0.0}, "e2", -0.03),
])  # fmt: skip
def test_a_wrong_profile_is_seen(change, name, expected):
    found = Field().compare(MoffatPsf(**{**TRUE, **change}))

    # The pixels and the weight dilute what is wrong with the profile before them.
    assert expected * 1.05 < found.median(name).value < expected * 0.6
    assert abs(found.median(name).value) > 5 * found.median(name).error


def test_fluxes_and_positions_are_those_of_the_stars():
    field = Field()

    found = field.compare(MoffatPsf(**TRUE))

    assert within_errors(MedianOfStars.of(found.flux / 40_000 - 1))
    assert np.median(np.hypot(found.x - field.x, found.y - field.y)) < 0.02
    pulls = (found.flux - 40_000) / found.flux_err
    assert 0.75 < np.std(pulls) < 1.25
    np.testing.assert_allclose(found.snr, found.flux / found.flux_err)


def test_known_neighbours_do_not_count():
    field, psf = Field(), MoffatPsf(**TRUE)
    angle = field.rng.uniform(0, 2 * np.pi, 100)
    x, y, flux = field.x + 5 * np.cos(angle), field.y + 5 * np.sin(angle), np.full(100, 8000.0)
    field.add(field.light, psf, x, y, flux)
    everything = Neighbours(np.append(field.x, x), np.append(field.y, y), np.append(np.full(100, 4e4), flux))

    alone, told = field.compare(psf), field.compare(psf, neighbours=everything)

    assert alone.median("chi2").value > 2
    assert told.median("chi2").value < 1.2
    assert within_errors(told.median("size"), also=1e-3)


def test_stars_without_place_or_pixels_are_nan():
    field, bad = Field(), np.zeros(SHAPE, dtype=bool)
    field.found_x[0] = np.nan
    field.found_x[1] = -60.0
    row, column = round(field.y[5]), round(field.x[5])
    bad[row - 2 : row + 3, column - 2 : column + 3] = True

    found = field.compare(MoffatPsf(**TRUE), bad=bad)

    assert np.isnan(found.size[[0, 1, 5]]).all()
    assert found.median("size").n == 97


def test_without_stars_the_median_is_nan():
    psf = MoffatPsf(**TRUE)
    nothing = np.zeros(SHAPE)

    found = compare_with_stars(nothing, variance=nothing + 1, bad=nothing > 0, psf=psf, x=np.zeros(0), y=np.zeros(0))

    assert found.median("size").n == 0
    assert np.isnan(found.median("size").value)
