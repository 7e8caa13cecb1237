"""Stars have one total flux, whatever measured it, and what cannot be corrected says so."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from firstlight.algorithms.psf_compose import compose_psf
from firstlight.algorithms.psf_moffat import Domain, MoffatField
from firstlight.algorithms.psf_residual import start_residual
from firstlight.errors import ApertureCorrectionError
from firstlight.framework import subtask
from firstlight.images.aperture_correction import ApertureCorrection, ApertureCorrectionMap, BrightnessTerm
from firstlight.images.box import Box
from firstlight.images.fields import ChebyshevField
from firstlight.images.psf import GaussianPsf
from firstlight.tasks.aperture_correction import StarApertureCorrectionTask, with_total_flux
from firstlight.tasks.calibration_flux import (
    ApertureCalibrationFluxTask,
    CalibrationFluxTask,
    TophatCalibrationFluxTask,
)
from firstlight.tasks.detect import MatchedFilterDetectTask
from firstlight.tasks.measure import PluginMeasureTask
from firstlight.tasks.psf import PixelPsfTask

from .frames import PSF, exposure_of, members, star_exposure

RADIUS = 6.0
FLAT = ChebyshevField(Box(0, 0, 600, 400), np.array([[1.01]]))
every_calibration_flux = pytest.mark.parametrize("task_class", members(CalibrationFluxTask))


@pytest.fixture(scope="module")
def measured():
    """Return an exposure with its PSF, and its stars, each measured, with their true fluxes."""
    exposure, truth = star_exposure(shape=(600, 600))
    found = MatchedFilterDetectTask().run(exposure.replace(psf=GaussianPsf(sigma=1.3, radius=10)))
    stars = PluginMeasureTask().run(found.exposure, found.detections, aperture_radius=RADIUS).catalog
    model = PixelPsfTask().run(found.exposure, stars, found.detections)
    exposure = found.exposure.replace(psf=model.psf)
    stars = PluginMeasureTask().run(exposure, found.detections, aperture_radius=RADIUS).catalog
    stars["calib_psf_candidate"], stars["calib_psf_used"] = model.candidate, model.used
    nearest = np.hypot(stars["x"][:, None] - truth["x"], stars["y"][:, None] - truth["y"]).argmin(axis=1)
    # The flux of a simulated star is that on its stamp.
    stars["true_flux"] = truth["flux"][nearest] / PSF.stamp_fraction(x=300.0, y=300.0)
    return exposure, stars


def task_with(calibration_flux=ApertureCalibrationFluxTask, **settings):
    config = type(StarApertureCorrectionTask().config)
    return StarApertureCorrectionTask(config(calibration_flux=subtask(calibration_flux), **settings))


@every_calibration_flux
def test_corrected_fluxes_of_bright_stars_are_the_total_flux(task_class, measured):
    exposure, stars = measured
    found = task_with(task_class).run(exposure, stars, aperture_radius=RADIUS)
    corrected = with_total_flux(stars, exposure.replace(aperture_corrections=found.corrections))

    bright = (stars["snr"] > 200) & ~corrected["calib_flux_flag"]
    ratio = np.asarray(corrected["calib_inst_flux"] / stars["true_flux"])[bright]
    assert bright.sum() > 50
    assert np.median(ratio) == pytest.approx(1.0, abs=2e-3)
    total = task_class().run(exposure, stars[bright], aperture_radius=RADIUS)
    against = np.asarray(corrected["calib_inst_flux"])[bright] / total.flux
    assert np.median(against) == pytest.approx(1.0, abs=1e-3)
    assert 1.4826 * np.median(np.abs(against - np.median(against))) < 5e-3


def test_stars_that_do_not_fit_the_psf_are_left_out_also_the_brightest(measured):
    exposure, stars = measured
    rejected = np.zeros(len(stars), bool)
    candidates = np.flatnonzero(stars["calib_psf_candidate"])
    rejected[[candidates[np.argmax(stars["snr"][candidates])], *candidates[::7]]] = True
    hiding = stars.copy()
    hiding["aper_inst_flux"][rejected] *= 1.02
    hiding["psf_chi2"][rejected] *= 3

    with_them, alone = (task_with().run(exposure, each, aperture_radius=RADIUS) for each in (hiding, stars[~rejected]))

    assert not with_them.used["psf"][rejected].any()
    (error,) = (gate.value for gate in alone.gates if gate.name == "aperture_correction_error")
    assert with_them.psf_to_total == pytest.approx(alone.psf_to_total, abs=error)


def in_blends(stars, share):
    """Return the stars with the brightest candidates in blends: that share of all sources."""
    chosen = np.argsort(-np.asarray(stars["snr"] * stars["calib_psf_candidate"]))[: round(share * len(stars))]
    blended = stars.copy()
    blended["blended"] = np.isin(np.arange(len(stars)), chosen)
    return blended


def test_stars_in_blends_are_left_out_unless_the_field_is_crowded(measured):
    exposure, stars = measured
    few, many = (in_blends(stars, share) for share in (0.13, 0.5))

    in_a_field, in_a_crowd = (
        task_with().run(exposure, each, aperture_radius=RADIUS).used["psf"] for each in (few, many)
    )

    assert not in_a_field[few["blended"]].any()
    assert in_a_field.sum() > 50
    assert in_a_crowd[many["blended"]].any()


def test_where_all_bright_stars_are_in_blends_they_are_used(measured):
    exposure, stars = measured
    few = in_blends(stars, 0.05)
    faint = np.asarray(few["snr"]) < np.asarray(few["snr"])[few["blended"]].min()

    used = task_with(min_snr=few["snr"][~faint].min()).run(exposure, few, aperture_radius=RADIUS).used["psf"]

    assert used[few["blended"]].sum() > 5
    assert not used[~few["blended"]].any()


def test_every_flux_of_the_stars_is_corrected(measured):
    exposure, stars = measured
    halved = stars.copy()
    halved["half_inst_flux"] = 0.5 * stars["psf_inst_flux"]

    corrections = task_with().run(exposure, halved, aperture_radius=RADIUS).corrections

    assert {"psf", "aper", "half"} <= set(corrections)
    assert corrections["half"].field.mean() == pytest.approx(2 * corrections["psf"].field.mean(), rel=1e-4)
    chosen = task_with(fluxes=("psf",)).run(exposure, halved, aperture_radius=RADIUS).corrections
    assert set(chosen) == {"psf", "aper"}


def dented(measured, *, slope=0.0, own=0.0, around=0.0):
    """Return the stars with PSF fluxes that lack a part growing with the flux and some counts, and more light around.

    The light around each star, in counts for a pixel, is even to beyond the ring of the top-hat.
    """
    exposure, stars = measured
    changed = stars.copy()
    full = np.asarray(stars["psf_inst_flux"])
    changed["psf_inst_flux"] = (full * (1 - slope * full) - own) * stars["psf_inst_flux"].unit
    if around:
        exposure = exposure.replace(image=exposure.image + np.float32(around))
        sums = np.asarray(stars["aper_inst_flux"]) + around * np.pi * RADIUS**2
        changed["aper_inst_flux"] = sums * stars["aper_inst_flux"].unit
    return exposure, changed


def total_over_truth(exposure, stars):
    corrections = task_with().run(exposure, stars, aperture_radius=RADIUS).corrections
    corrected = with_total_flux(stars, exposure.replace(aperture_corrections=corrections))
    bright = (np.asarray(stars["snr"]) > 100) & ~np.asarray(corrected["calib_flux_flag"])
    ratio = np.asarray(corrected["calib_inst_flux"] / stars["true_flux"])[bright]
    return np.asarray(stars["true_flux"])[bright], ratio, corrections["psf"].brightness


def test_fluxes_of_stars_that_grow_wider_with_brightness_are_the_total_flux(measured):
    slope = 2e-7
    flux, ratio, term = total_over_truth(*dented(measured, slope=slope))

    assert term.slope == pytest.approx(slope, rel=0.2)
    assert np.median(ratio[flux > 1e5]) == pytest.approx(1.0, abs=3e-3)
    assert np.median(ratio[flux < 2e4]) == pytest.approx(1.0, abs=3e-3)


def test_stars_of_one_shape_have_one_factor_whatever_their_brightness(measured):
    *_, term = total_over_truth(*measured)

    assert term is None


def test_light_left_behind_by_the_readout_is_given_back_to_the_stars(measured):
    own = 200.0
    flux, ratio, term = total_over_truth(*dented(measured, own=own))

    assert term.offset == pytest.approx(own, rel=0.3)
    assert np.median(ratio[flux < 2e4]) == pytest.approx(1.0, abs=4e-3)


@pytest.mark.parametrize(("share", "given"), [(0.13, 200.0), (0.5, 0.0)])
def test_the_share_of_all_sources_in_blends_says_whether_light_may_be_given_back(measured, share, given):
    exposure, stars = dented(measured, own=200.0)
    stars = in_blends(stars, share)
    bright = stars["calib_psf_candidate"] & (stars["snr"] > 100)
    assert np.mean(stars["blended"][bright]) > 0.15

    term = task_with().run(exposure, stars, aperture_radius=RADIUS).corrections["psf"].brightness

    assert (term.offset if term else 0.0) == pytest.approx(given, rel=0.3)


def test_light_that_lies_evenly_around_the_stars_is_not_given_to_them(measured):
    _, _, term = total_over_truth(*dented(measured, around=3.0))

    assert term is None or term.offset == 0.0


def test_the_term_of_brightness_is_held_beyond_its_stars_and_follows_the_unit():
    term = BrightnessTerm(slope=1e-7, offset=50.0, faintest=1e3, brightest=1e5)
    corrections = ApertureCorrectionMap({"psf": ApertureCorrection(FLAT, brightness=term)})

    np.testing.assert_allclose(term.evaluate([10.0, -1e3, 1e6]), [0.0501, 0.0501, 0.0105])
    nanojansky = corrections.in_unit(30.0)["psf"]
    at = {"x": np.array([3.0]), "y": np.array([4.0])}
    np.testing.assert_allclose(
        nanojansky.evaluate(**at, flux=[3e5]), corrections["psf"].evaluate(**at, flux=[1e4]), rtol=1e-12
    )


def test_a_correction_with_a_term_of_brightness_survives_saving():
    term = BrightnessTerm(slope=1e-7, offset=50.0, faintest=1e3, brightest=1e5)
    corrections = ApertureCorrectionMap(
        {"psf": ApertureCorrection(FLAT, 0.001, term), "aper": ApertureCorrection(FLAT)}
    )

    again = ApertureCorrectionMap.from_parts(*corrections.to_parts())

    assert again["psf"].brightness == term
    assert again["aper"].brightness is None


def test_a_flux_that_no_star_has_is_left_out(measured):
    exposure, stars = measured
    broken = stars.copy()
    broken["odd_inst_flux"] = np.full(len(stars), np.nan) * u.ct

    corrections = task_with().run(exposure, broken, aperture_radius=RADIUS).corrections

    assert "odd" not in corrections
    assert "psf" in corrections


def test_the_tophat_is_blind_to_the_sky(measured):
    exposure, stars = measured
    brighter = exposure.replace(image=exposure.image + np.float32(20.0))
    use = stars[stars["calib_psf_used"] & (stars["snr"] < 150)]

    before, after = (TophatCalibrationFluxTask().run(e, use, aperture_radius=RADIUS) for e in (exposure, brighter))

    area = np.pi * RADIUS**2
    change = (after.flux - before.flux) / before.normalization
    assert np.abs(change).max() < 0.01 * 20.0 * area
    assert before.normalization == pytest.approx(1.0, abs=0.2)


def test_the_factor_follows_the_share_of_light_on_the_stamp_where_stars_are_too_few_to_show_it():
    coefficients = np.zeros((3, 3))
    coefficients[0] = np.log(2.0), 0.05, 0.2  # the logarithm of the width, wider towards large y
    field = MoffatField(coefficients, 1 / 2.5, Domain(-0.5, 599.5, -0.5, 599.5))
    nothing = start_residual(order=0, fwhm=2.0, radius=9, peak=0.2)
    psf = compose_psf(field, nothing, radius=9, average_position=(300.0, 300.0)).psf
    x, y = (axis.ravel() for axis in np.meshgrid([60.0, 540.0], [50.0, 250.0, 550.0]))
    total = np.full(6, 1e5)
    on_stamp, in_circle = (
        total * [share(a, b) for a, b in zip(x, y, strict=True)]
        for share in (lambda a, b: psf.stamp_fraction(x=a, y=b), lambda a, b: psf.aperture_flux(RADIUS, x=a, y=b))
    )
    one, none = np.ones(6), np.zeros(6, bool)
    stars = Table({"x": x, "y": y, "snr": 300 * one, "psf_chi2": one, "calib_psf_candidate": ~none})
    stars["psf_inst_flux"], stars["aper_inst_flux"] = on_stamp * u.ct, in_circle * u.ct
    stars["psf_inst_flux_err"] = stars["aper_inst_flux_err"] = 300.0 * one * u.ct
    stars["psf_flux_flag"] = stars["aper_flux_flag"] = none
    exposure = exposure_of(np.zeros((600, 600)), psf=psf)

    found = task_with().run(exposure, stars, aperture_radius=RADIUS)
    corrected = with_total_flux(stars, exposure.replace(aperture_corrections=found.corrections))

    assert np.ptp(on_stamp / total) > 0.005
    np.testing.assert_allclose(corrected["calib_inst_flux"], total, rtol=5e-4)


@every_calibration_flux
def test_without_a_psf_there_is_no_total_flux(task_class, measured):
    exposure, stars = measured

    with pytest.raises(ApertureCorrectionError, match="exposure has none"):
        task_class().run(exposure.replace(psf=None), stars, aperture_radius=RADIUS)


def test_without_a_star_the_tophat_cannot_be_normalised(measured):
    exposure, stars = measured
    flagged = stars.copy()
    flagged["aper_flux_flag"] = True

    with pytest.raises(ApertureCorrectionError, match="normalise") as raised:
        TophatCalibrationFluxTask().run(exposure, flagged, aperture_radius=RADIUS)
    assert raised.value.facts == {"n_psf_stars": len(stars), "n_flagged": len(stars)}


def test_stars_beyond_the_image_and_negative_factors_are_flagged(measured):
    exposure, stars = measured
    box = Box(0, 0, 600, 600)
    slope = ApertureCorrection(ChebyshevField(box, np.array([[0.5, 1.0]])))
    few = stars[:3].copy()
    few["x"], few["y"] = [590.0, 10.0, 700.0], [300.0, 300.0, 300.0]
    few["psf_flux_flag"] = False

    found = with_total_flux(few, exposure.replace(aperture_corrections=ApertureCorrectionMap({"psf": slope})))

    np.testing.assert_array_equal(found["calib_flux_flag"], [False, True, True])
    np.testing.assert_array_equal(np.isnan(found["calib_inst_flux"]), [False, True, True])


def test_a_correction_can_be_drawn_as_a_map():
    field = ChebyshevField(Box(0, 0, 600, 400), np.array([[1.0, 0.02], [0.01, 0.0]]))

    drawn = ApertureCorrection(field).sampled(5)

    assert drawn.shape == (5, 5)
    np.testing.assert_allclose(drawn[[0, 0, -1, -1], [0, -1, 0, -1]], [0.97, 1.01, 0.99, 1.03])
