"""The summary says what is there in numbers, and NaN for what is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from astropy.table import Table

from firstlight.images.background import BackgroundList
from firstlight.images.mask import Mask
from firstlight.images.photo_calib import PhotoCalib
from firstlight.tasks.background import ConstantBackgroundTask
from firstlight.tasks.summarize import SummarizeTask

from .frames import NOISE, PSF, exposure_of, members, noise

SHAPE = (300, 320)
every_summary = pytest.mark.parametrize("task_class", members(SummarizeTask))
NEEDS = {
    "psf": ("psf_sigma", "psf_fwhm", "psf_area", "psf_ixx", "psf_trace_radius_delta", "psf_ap_flux_delta"),
    "stars": ("psf_star_delta_e1_median", "psf_star_delta_size_scatter", "max_dist_to_nearest_psf"),
    "photo_calib": ("zero_point", "mag_lim"),
    "wcs": ("ra", "dec", "pixel_scale"),
    "background": ("sky_bg",),
}


def stars(*, n=40, seed=1) -> Table:
    rng = np.random.default_rng(seed)
    moments = PSF.moments(x=0, y=0)
    table = Table({"x": rng.uniform(0, SHAPE[1] - 1, n), "y": rng.uniform(0, SHAPE[0] - 1, n)})
    for name in ("ixx", "iyy", "ixy"):
        table[f"psf_{name}"] = np.full(n, getattr(moments, name))
        table[name] = table[f"psf_{name}"] + rng.normal(0, 0.01, n)
    table["snr"] = np.full(n, 200.0)
    table["shape_flag"] = np.zeros(n, dtype=bool)
    table["calib_psf_used"] = np.ones(n, dtype=bool)
    return table


def whole():
    exposure = exposure_of(300.0 + noise(SHAPE))
    sky = ConstantBackgroundTask().run(exposure)
    return exposure.replace(
        image=exposure.image - sky.image,
        background=BackgroundList([sky.background]),
        photo_calib=PhotoCalib.from_zero_point(27.0, error=0.01),
    )


@every_summary
def test_an_exposure_without_anything_has_a_summary_of_what_is_missing(task_class):
    summary = task_class().run(exposure_of(noise(SHAPE), psf=None), None).summary

    for part in NEEDS.values():
        assert all(math.isnan(summary[name]) for name in part)
    assert summary["sky_noise"] == pytest.approx(NOISE, rel=0.02)
    assert summary["n_psf_star"] == 0


@every_summary
def test_the_sky_is_what_was_put_in(task_class):
    summary = task_class().run(whole(), stars()).summary

    assert summary["sky_bg"] == pytest.approx(300.0, abs=5 * NOISE / 300)
    assert summary["sky_noise"] == pytest.approx(NOISE, rel=0.02)
    assert summary["mean_var"] == pytest.approx(NOISE**2, rel=1e-5)
    assert summary["variance_ratio"] == pytest.approx(1.0, abs=0.04)
    assert abs(summary["sky_slope"]) < 0.05


@every_summary
def test_a_slope_of_the_sky_is_seen(task_class):
    exposure = whole()
    tilted = exposure.replace(image=(exposure.image + np.linspace(-NOISE, NOISE, SHAPE[1])).astype(np.float32))

    assert task_class().run(tilted, None).summary["sky_slope"] == pytest.approx(2.0, rel=0.25)


@every_summary
def test_the_psf_is_described_at_the_centre(task_class):
    summary = task_class().run(whole(), stars()).summary
    kernel = PSF.kernel_image(x=0, y=0)

    assert summary["psf_sigma"] == pytest.approx(PSF.moments(x=0.5, y=0.5).sigma, rel=1e-3)
    assert summary["psf_area"] == pytest.approx(1 / np.sum(kernel**2), rel=1e-6)
    assert summary["psf_fwhm"] == pytest.approx(PSF.fwhm(x=0.5, y=0.5), rel=1e-2)
    assert summary["psf_trace_radius_delta"] == pytest.approx(0.0, abs=1e-9)


@every_summary
def test_the_residuals_of_the_stars_are_those_put_in(task_class):
    summary = task_class().run(whole(), stars(n=400)).summary
    trace = 2 * PSF.moments(x=0, y=0).ixx

    assert summary["n_psf_star"] == 400
    assert abs(summary["psf_star_delta_e1_median"]) < 4 * 1.25 * 0.01 * np.sqrt(2) / trace / 20
    assert summary["psf_star_delta_e2_scatter"] == pytest.approx(2 * 0.01 / trace, rel=0.2)


@every_summary
def test_the_limiting_magnitude_is_that_of_five_sigma(task_class):
    summary = task_class().run(whole(), None).summary
    flux = 10 ** (-0.4 * (summary["mag_lim"] - summary["zero_point"]))
    error = np.sqrt(flux / 2.0 + summary["sky_noise"] ** 2 * summary["psf_area"])

    assert summary["zero_point"] == pytest.approx(27.0)
    assert flux / error == pytest.approx(5.0, rel=0.01)


@every_summary
def test_shares_of_the_mask_are_counted(task_class):
    where = np.zeros(SHAPE, dtype=bool)
    where[:30] = True
    exposure = exposure_of(noise(SHAPE), mask=Mask.empty(SHAPE).with_plane("SAT", where))

    assert task_class().run(exposure, None).summary["sat_mask_fraction"] == pytest.approx(0.1)


@every_summary
def test_stars_all_in_one_corner_are_far_from_the_other(task_class):
    corner = stars()
    corner["x"], corner["y"] = corner["x"] / 100, corner["y"] / 100

    distance = task_class().run(whole(), corner).summary["max_dist_to_nearest_psf"]
    assert distance == pytest.approx(np.hypot(*SHAPE), rel=0.05)
