"""Exposures that cannot be processed end with a clear message and true products, never with a bug's exception."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.errors import PartialResult
from firstlight.images.exposure import Exposure
from firstlight.images.fits import RawImage
from firstlight.instruments.registry import known_instruments

from .fields import task_with

SKY, NOISE, SATURATED = 300.0, 7.0, 60_000.0
SHAPE = (240, 260)


def sky(shape=SHAPE):
    return np.random.default_rng(1).normal(SKY, NOISE, shape)


def star(*, x, y, flux=2e5, sigma=1.2):
    row, column = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return flux / (2 * np.pi * sigma**2) * np.exp(-((column - x) ** 2 + (row - y) ** 2) / 2 / sigma**2)


def frame(field, pixels) -> Exposure:
    raw = RawImage(np.asarray(pixels, dtype=np.float32), field.exposure.header, 0)
    return known_instruments()["simulated"].to_exposure(raw)


def run(field, exposure, *, with_reference=True):
    return task_with().run(exposure, **(field.references if with_reference else {}))


HOPELESS = {
    "all NaN": (lambda: sky() * np.nan, "usable"),
    "constant": (lambda: np.full(SHAPE, SKY), "no noise"),
    "zero": (lambda: np.zeros(SHAPE), "no noise"),
    "empty sky": (sky, "No source exceeds 10 sigma"),
    "all saturated": (lambda: sky() + SATURATED, "usable pixel"),
    "negative": (lambda: -sky(), "No source"),
    "a steep sky": (lambda: sky() + 10 * np.arange(SHAPE[1]), "No source"),
    "one usable corner": (lambda: np.where(np.add.outer(*map(np.arange, SHAPE)) < 30, sky(), np.nan), "No source"),
    "nine pixels": (lambda: sky((3, 3)), "No source"),
    "a strip": (lambda: sky((5, 200)), "No source"),
}


@pytest.mark.parametrize("with_reference", [True, False])
@pytest.mark.parametrize("name", HOPELESS)
def test_an_image_without_stars_says_why_and_gives_itself_back(small, name, with_reference):
    make, said = HOPELESS[name]
    exposure = frame(small, make())
    with pytest.raises(PartialResult) as raised:
        run(small, exposure, with_reference=with_reference)
    end = raised.value

    assert end.step == "calibrate.psf_pass_1"
    assert said in str(end)
    assert str(end).endswith((".", "?"))
    assert end.cause.facts
    assert end.partial["exposure"].shape == exposure.shape
    assert "stars" not in end.partial
    assert "psf_stars" not in end.partial


NO_STAR_FOR_A_PSF = {
    "every star saturated": lambda field: np.where(starlight(field) > 20, 52_000, sky()),
    "a bright edge": lambda field: sky() + 1e4 * (np.arange(SHAPE[1]) < 3),
    "cosmic rays only": lambda field: sky() + 1e4 * (np.random.default_rng(2).random(SHAPE) < 0.001),
}


def starlight(field):
    return (field.truth.light - field.truth.sky)[: SHAPE[0], : SHAPE[1]]


@pytest.mark.parametrize("with_reference", [True, False])
@pytest.mark.parametrize("name", NO_STAR_FOR_A_PSF)
def test_an_image_without_a_star_for_a_psf_says_why(small, name, with_reference):
    exposure = frame(small, NO_STAR_FOR_A_PSF[name](small))
    with pytest.raises(PartialResult, match="No source is fit to model the PSF") as raised:
        run(small, exposure, with_reference=with_reference)
    end = raised.value

    assert end.step == "calibrate.psf_pass_1"
    assert end.cause.facts["n_sources"] == end.cause.facts["n_flagged"] == len(end.partial["psf_stars"])
    assert end.partial["summary"]["n_psf_star"] == 0
    assert np.isnan(end.partial["summary"]["zero_point"])


@pytest.mark.parametrize("plane", ["BAD", "NO_DATA", "CR", "SAT"])
def test_an_image_that_is_masked_all_over_has_no_usable_pixel(small, plane):
    mask = small.exposure.mask.with_plane(plane, np.ones(small.exposure.shape, dtype=bool))
    with pytest.raises(PartialResult, match="usable") as raised:
        run(small, small.exposure.replace(mask=mask))
    assert raised.value.cause.facts


@pytest.mark.parametrize("n_stars", [1, 2])
def test_too_few_stars_for_a_wcs_leave_psf_and_star_list(small, n_stars):
    exposure = frame(small, sky() + sum(star(x=100.3 + 40 * k, y=80.2 + 50 * k) for k in range(n_stars)))
    with pytest.raises(PartialResult, match="at least 3") as raised:
        run(small, exposure)
    end = raised.value

    assert end.step == "calibrate.astrometry"
    assert end.cause.facts["n_detected"] == n_stars
    assert len(end.partial["psf_stars"]) == n_stars
    assert end.partial["exposure"].psf.moments(x=100, y=80).sigma == pytest.approx(1.24, abs=0.05)
    assert np.isnan(end.partial["summary"]["zero_point"])


def test_one_star_is_measured_when_no_reference_is_asked_for(small):
    result = run(small, frame(small, sky() + star(x=100.3, y=80.2)), with_reference=False)

    assert len(result.stars) == 1
    assert {gate.name for gate in result.gates if gate.status == "warn"} >= {"psf_n_stars", "reference_catalog"}
    assert result.stars["x"][0] == pytest.approx(100.3, abs=0.02)
    assert result.stars["calib_inst_flux"][0] == pytest.approx(2e5, rel=0.01)


def test_half_an_image_is_processed_where_there_are_pixels(small):
    column = np.arange(small.exposure.shape[1])
    result = run(small, frame(small, np.where(column < 160, np.nan, small.truth.image)))

    assert np.all(result.sources["x"] > 158)
    assert result.summary["no_data_mask_fraction"] == 0.5
    assert np.isfinite(result.summary["zero_point"])
