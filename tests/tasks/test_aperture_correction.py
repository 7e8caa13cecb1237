"""Stars have one total flux, whatever measured it, and what cannot be corrected says so."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u

from firstlight.errors import ApertureCorrectionError
from firstlight.framework import subtask
from firstlight.images.aperture_correction import ApertureCorrection, ApertureCorrectionMap
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

from .frames import PSF, members, star_exposure

RADIUS = 6.0
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
    stars["calib_psf_used"], stars["calib_psf_reserved"] = model.used, model.reserved
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


def test_every_flux_of_the_stars_is_corrected(measured):
    exposure, stars = measured
    halved = stars.copy()
    halved["half_inst_flux"] = 0.5 * stars["psf_inst_flux"]

    corrections = task_with().run(exposure, halved, aperture_radius=RADIUS).corrections

    assert {"psf", "aper", "half"} <= set(corrections)
    assert corrections["half"].field.mean() == pytest.approx(2 * corrections["psf"].field.mean(), rel=1e-4)
    chosen = task_with(fluxes=("psf",)).run(exposure, halved, aperture_radius=RADIUS).corrections
    assert set(chosen) == {"psf", "aper"}


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
