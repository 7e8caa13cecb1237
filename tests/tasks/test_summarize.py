"""The summary says what is there in numbers, and NaN for what is not."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from astropy.table import Table

from firstlight.images.aperture_correction import ApertureCorrection, ApertureCorrectionMap
from firstlight.images.background import BackgroundList
from firstlight.images.fields import ChebyshevField
from firstlight.images.mask import Mask
from firstlight.images.observation import Filter
from firstlight.images.photo_calib import PhotoCalib
from firstlight.images.psf import GaussianPsf
from firstlight.images.summary_columns import SUMMARY
from firstlight.tasks.background import ConstantBackgroundTask
from firstlight.tasks.summarize import SummarizeTask

from .frames import NOISE, PSF, add_stars, exposure_of, members, noise

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
    sky = ConstantBackgroundTask().run(exposure).background
    return exposure.replace(
        image=sky.subtracted_from(exposure.image),
        background=BackgroundList([sky]),
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
def test_light_of_stars_too_faint_to_be_detected_is_no_noise_of_the_sky(task_class):
    rng, n = np.random.default_rng(5), SHAPE[0] * SHAPE[1] // 25
    x, y = (rng.uniform(0, size - 1, n) for size in reversed(SHAPE))
    light = add_stars(np.zeros(SHAPE), Table({"x": x, "y": y, "flux": np.full(n, 80.0)}))
    plain = whole()
    crowd = plain.replace(image=np.asarray(plain.image + light - light.mean(), np.float32))
    summary, alone = (task_class().run(exposure, None).summary for exposure in (crowd, plain))

    share = light.var() / (light.var() + NOISE**2)
    assert share > 0.1
    assert alone["sky_light"] < 0.02
    assert summary["sky_light"] == pytest.approx(share, rel=0.25)
    assert summary["sky_noise"] == pytest.approx(NOISE, rel=0.03)
    assert summary["mag_lim"] == pytest.approx(alone["mag_lim"], abs=0.03)


@every_summary
def test_nothing_is_said_about_the_sky_where_sources_fill_the_image(task_class):
    exposure = whole()
    everywhere = np.ones(SHAPE, dtype=bool)
    everywhere[5, 5] = False
    crowded = exposure.replace(mask=exposure.mask.with_plane("DETECTED", everywhere))

    assert math.isnan(task_class().run(crowded, None).summary["sky_noise"])


@every_summary
def test_a_slope_of_the_sky_is_seen(task_class):
    exposure = whole()
    tilted = exposure.replace(image=(exposure.image + np.linspace(-NOISE, NOISE, SHAPE[1])).astype(np.float32))

    assert task_class().run(tilted, None).summary["sky_slope"] == pytest.approx(2.0, rel=0.25)


@every_summary
def test_the_psf_is_described_at_the_centre(task_class):
    summary = task_class().run(whole(), stars()).summary
    steps = np.linspace(-0.4, 0.4, 5)
    areas = [1 / np.sum(PSF.image(x=100 + dx, y=100 + dy) ** 2) for dx in steps for dy in steps]

    assert summary["psf_sigma"] == pytest.approx(PSF.moments(x=0.5, y=0.5).sigma, rel=1e-3)
    assert summary["psf_area"] == pytest.approx(np.mean(areas), rel=1e-5)
    assert summary["psf_fwhm"] == pytest.approx(PSF.fwhm(x=0.5, y=0.5), rel=1e-2)
    assert summary["psf_trace_radius_delta"] == pytest.approx(0.0, abs=1e-6)


@every_summary
def test_the_area_of_an_undersampled_psf_is_that_of_stars_anywhere_in_a_pixel(task_class):
    narrow, steps = GaussianPsf(sigma=0.45, radius=8), np.linspace(-0.45, 0.45, 10)
    anywhere = np.mean([1 / np.sum(narrow.image(x=50 + dx, y=50 + dy) ** 2) for dx in steps for dy in steps])
    centred = 1 / np.sum(narrow.image(x=50.0, y=50.0) ** 2)
    area = task_class().run(whole().replace(psf=narrow), None).summary["psf_area"]

    assert area == pytest.approx(anywhere, rel=0.01)
    assert centred < 0.9 * anywhere


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


def moment_stars(*, n=60, seed=3) -> Table:
    """Return stars with moments of every order that have nothing to do with a PSF."""
    rng, table = np.random.default_rng(seed), stars(n=n, seed=seed)
    table["snr"] = rng.uniform(10, 1500, n)
    table["moments_flag"] = table["shape_flag"] = rng.random(n) < 0.1
    for name in ("30", "21", "12", "03", "40", "31", "22", "13", "04"):
        table[f"moment_{name}"] = rng.normal(size=n)
    return table


def sample_of(table):
    return table[(table["snr"] > 50) & (table["snr"] < 1000) & ~table["shape_flag"]]


def sigma_of(values):
    return 1.4826 * np.median(np.abs(values - np.median(values)))


@every_summary
def test_sizes_and_ellipticities_are_those_of_stars_neither_faint_nor_flagged(task_class):
    table = moment_stars()
    summary, used = task_class().run(whole(), table).summary, sample_of(table)
    size, model = (np.sqrt((used[f"{p}ixx"] + used[f"{p}iyy"]) / 2) for p in ("", "psf_"))
    shear = np.sqrt((used["ixx"] - used["iyy"]) ** 2 + 4 * used["ixy"] ** 2)

    assert 20 < len(used) < len(table)
    assert summary["psf_star_delta_size_median"] == pytest.approx(np.median(size - model))
    assert summary["psf_star_delta_size_scatter"] == pytest.approx(sigma_of(size - model))
    scaled = sigma_of(size - model) / np.median(size) ** 2
    assert summary["psf_star_scaled_delta_size_scatter"] == pytest.approx(scaled)
    assert summary["star_un_normalized_e_median"] == pytest.approx(np.median(shear))
    assert summary["star_e_median"] == pytest.approx(np.median(shear / (used["ixx"] + used["iyy"])))


@every_summary
def test_higher_shapes_turn_as_the_powers_of_x_plus_iy_do(task_class):
    table = moment_stars()
    summary, used = task_class().run(whole(), None, table).summary, sample_of(table)

    def moment_of(power, conjugate):
        """Expand (x + iy)^power (x - iy)^conjugate, and put in the moment of each x^p y^q."""
        factors = {}
        for j in range(power + 1):
            for k in range(conjugate + 1):
                factor = math.comb(power, j) * math.comb(conjugate, k) * 1j**j * (-1j) ** k
                factors[j + k] = factors.get(j + k, 0) + factor
        order = power + conjugate
        return sum(factor * used[f"moment_{order - q}{q}"] for q, factor in factors.items())

    coma, trefoil, quadrupole = moment_of(2, 1), moment_of(3, 0), moment_of(3, 1)
    expected = {
        "coma1": coma.real,
        "coma2": coma.imag,
        "trefoil1": trefoil.real,
        "trefoil2": trefoil.imag,
        "kurtosis": moment_of(2, 2).real,
        "e41": quadrupole.real,
        "e42": quadrupole.imag,
    }
    for name, values in expected.items():
        assert summary[f"star_{name}_median"] == pytest.approx(np.median(values)), name


class GrowingPsf(GaussianPsf):
    """A Gaussian whose sigma grows by half a pixel over the image."""

    def images(self, *, x, y):
        drawn = [
            GaussianPsf(sigma=1.5 + 0.5 * a / (SHAPE[1] - 1), radius=self.radius).images(
                x=np.array([a]), y=np.array([b])
            )
            for a, b in zip(x, y, strict=True)
        ]
        return np.concatenate(drawn)


@every_summary
def test_the_change_of_the_psf_over_the_image_is_measured(task_class):
    exposure = whole()
    corrected = ChebyshevField.fit(
        1.0 + 0.02 * np.arange(4.0) / 3, x=np.array([0, 100, 200, SHAPE[1] - 1.0]), y=np.array([0, 90, 30, 299.0]),
        box=exposure.box, order=0,
    )  # fmt: skip
    corrections = ApertureCorrectionMap({"psf": ApertureCorrection(corrected)})
    varied = exposure.replace(psf=GrowingPsf(sigma=1.75, radius=12), aperture_corrections=corrections)
    summary = task_class().run(varied, None).summary
    widest, narrowest = (np.sqrt(sigma**2 + 1 / 12) for sigma in (2.0, 1.5))

    assert summary["psf_trace_radius_delta"] == pytest.approx(widest - narrowest, rel=0.02)
    shares = [varied.psf.aperture_flux(3 * 1.77, x=x, y=150.0) for x in (0.0, SHAPE[1] - 1.0)]
    assert summary["psf_ap_flux_delta"] == pytest.approx(abs(np.diff(shares))[0], rel=0.1)
    assert summary["psf_ap_corr_sigma_scaled_delta"] == pytest.approx(0.0, abs=1e-12)


@every_summary
def test_the_change_of_the_aperture_correction_counts_in_sigmas(task_class):
    exposure = whole()
    y, x = (axis.ravel() for axis in np.mgrid[0 : SHAPE[0] : 30, 0 : SHAPE[1] : 30].astype(float))
    field = ChebyshevField.fit(1.0 + 0.02 * x / (SHAPE[1] - 1), x=x, y=y, box=exposure.box, order=1)
    corrections = ApertureCorrectionMap({"psf": ApertureCorrection(field)})
    summary = task_class().run(exposure.replace(aperture_corrections=corrections), None).summary

    assert summary["psf_ap_corr_sigma_scaled_delta"] == pytest.approx(0.02 / summary["psf_sigma"], rel=1e-3)


@every_summary
def test_the_effective_time_is_that_of_a_usual_exposure_as_deep(task_class):
    exposure = whole()
    exposure = exposure.replace(filter=Filter("r", "r"))
    depth = task_class().run(exposure, None).summary["mag_lim"]
    usual = {"mag_lim": depth - 1.25, "psf_sigma": 2.0, "sky_bg": 5.0, "zero_point": 24.0, "exposure_time": 15.0}
    summary = task_class(task_class.config_class(fiducials={"r": usual})).run(exposure, None).summary

    assert summary["eff_time"] == pytest.approx(15.0 * 10)
    assert summary["eff_time_psf_sigma_scale"] == pytest.approx((2.0 / summary["psf_sigma"]) ** 2)
    assert summary["eff_time_sky_bg_scale"] == pytest.approx(5.0 / 10.0, rel=0.01)
    expected = 10 ** (0.8 * (27.0 - 2.5 * np.log10(30.0) - 24.0))
    assert summary["eff_time_zero_point_scale"] == pytest.approx(min(expected, 1.1))
    assert math.isnan(task_class().run(exposure, None).summary["eff_time"])


@every_summary
def test_the_zenith_distance_is_that_of_the_airmass(task_class):
    exposure = whole()
    low = exposure.replace(observation=dataclasses.replace(exposure.observation, airmass=2.0))

    assert task_class().run(low, None).summary["zenith_distance"] == pytest.approx(60.0)


@every_summary
def test_the_sky_of_some_rows_is_that_of_all(task_class):
    exposure = whole()
    few = task_class(task_class.config_class(max_sky_pixels=20_000)).run(exposure, None).summary
    every = task_class().run(exposure, None).summary

    assert few["sky_noise"] != every["sky_noise"]
    assert few["sky_noise"] == pytest.approx(NOISE, rel=4 / np.sqrt(2 * 20_000))
    assert abs(few["sky_mean"]) < 4 * NOISE / np.sqrt(20_000)


@every_summary
def test_every_number_has_a_meaning_and_a_unit(task_class):
    assert set(task_class().run(whole(), moment_stars(), moment_stars()).summary) <= set(SUMMARY)
