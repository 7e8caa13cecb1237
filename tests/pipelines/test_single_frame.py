"""What `SingleFrameTask` makes of a simulated field: complete, consistent, true within its own errors."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from scipy.spatial import KDTree

from firstlight.tasks.single_frame import SingleFrameResult
from firstlight.tasks.source_ids import PackedSourceIdTask

from .fields import assert_same_table, assert_sky_can_be_put_back, process, simulated_field, task_with

CATALOGS = ("stars", "psf_stars", "sources")
FLAG_OF = {
    "x": "centroid_flag",
    "y": "centroid_flag",
    "x_err": "centroid_flag",
    "y_err": "centroid_flag",
    "ra": "centroid_flag",
    "dec": "centroid_flag",
    "ixx": "shape_flag",
    "iyy": "shape_flag",
    "ixy": "shape_flag",
    "psf_ixx": "shape_flag",
    "psf_inst_flux": "psf_flux_flag",
    "psf_inst_flux_err": "psf_flux_flag",
    "psf_flux": "psf_flux_flag",
    "psf_flux_err": "psf_flux_flag",
    "psf_chi2": "psf_flux_flag",
    "snr": "psf_flux_flag",
    "calib_inst_flux": "psf_flux_flag",
    "calib_flux": "psf_flux_flag",
    "calib_flux_err": "psf_flux_flag",
    "aper_inst_flux": "aper_flux_flag",
    "aper_flux": "aper_flux_flag",
    "aper_flux_err": "aper_flux_flag",
}
UNITS = {
    "x": "pix",
    "y_err": "pix",
    "peak_x": "pix",
    "ra": "deg",
    "dec": "deg",
    "ixx": "pix2",
    "psf_iyy": "pix2",
    "psf_inst_flux": "ct",
    "psf_inst_flux_err": "ct",
    "calib_inst_flux": "ct",
    "aper_inst_flux_err": "ct",
    "psf_flux": "nJy",
    "calib_flux_err": "nJy",
    "calib_mag": "mag",
    "aper_mag_err": "mag",
}
GATES = {
    "seeing_n_stars",
    "psf_n_stars",
    "aperture_correction_error",
    "astrometry_n_matches",
    "astrometry_rms",
    "astrometry_held_out_ratio",
    "photometry_n_calibrators",
    "zero_point_error",
    "zero_point_scatter",
    "measure_flagged_fraction",
}


def whole_frame(shape, *, n=33):
    ny, nx = shape
    y, x = np.meshgrid(np.linspace(0, ny - 1, n), np.linspace(0, nx - 1, n))
    return x.ravel(), y.ravel()


def rms_to_true_wcs(field, exposure):
    """Return the rms distance over the whole frame [arcsec]."""
    x, y = whole_frame(exposure.shape)
    found = SkyCoord(*exposure.wcs.pixel_to_sky(x=x, y=y), unit="deg")
    true = SkyCoord(*field.truth.wcs.all_pix2world(x, y, 0), unit="deg")
    return float(np.sqrt(np.mean(found.separation(true).arcsec ** 2)))


def size_error(field, exposure):
    """Return the size of the PSF at the centre over the true one, minus one."""
    ny, nx = exposure.shape
    centre = {"x": (nx - 1) / 2, "y": (ny - 1) / 2}
    return exposure.psf.moments(**centre).sigma / field.truth.point_spread.adaptive_moments(**centre).sigma - 1


def true_stars(field):
    sources = field.truth.sources
    return sources[(sources["kind"] == "star") & ~sources["saturated"]]


def test_every_product_is_there(result):
    for field in fields(SingleFrameResult):
        assert getattr(result, field.name) is not None, field.name
    assert all(len(getattr(result, name)) > 20 for name in CATALOGS)
    assert (result.exposure.unit, result.exposure.photo_calib.mean) == ("nJy", 1.0)
    assert None not in (result.exposure.psf, result.exposure.wcs, result.exposure.aperture_corrections)
    assert result.background is result.exposure.background
    assert dict(result.exposure.summary) == pytest.approx(dict(result.summary), nan_ok=True)


def test_gates_and_funnels_tell_how_it_went(result):
    assert {gate.name for gate in result.gates} >= GATES
    assert [gate for gate in result.gates if gate.status != "ok"] == []
    assert {funnel.name for funnel in result.funnels} == {"psf_stars", "astrometry", "star_selection", "photometry"}
    for funnel in result.funnels:
        assert all(left >= 0 for _, left in funnel.steps)
        assert funnel.steps[-1][1] > 0


def test_image_plus_background_is_the_input(field, result):
    assert_sky_can_be_put_back(field.exposure, result.exposure, result.applied_photo_calib)


def test_pixels_and_variance_are_in_nanojansky(field, result):
    per_count = result.applied_photo_calib.mean

    assert per_count == pytest.approx(10 ** (-0.4 * (result.summary["zero_point"] - 31.4)), rel=1e-12)
    np.testing.assert_allclose(result.exposure.variance, field.exposure.variance * per_count**2, rtol=1e-6)


def test_the_wcs_is_within_three_stated_errors_of_the_truth(field, result):
    assert rms_to_true_wcs(field, result.exposure) < 3 * result.summary["astrom_stated_error"]
    assert result.summary["astrom_stated_error"] < 0.01
    assert result.summary["parity"] == np.sign(np.linalg.det(field.truth.wcs.wcs.cd))


def test_the_zero_point_is_within_three_stated_errors_of_the_truth(field, result):
    error = result.summary["zero_point_error"]

    assert abs(result.summary["zero_point"] - field.truth.zero_point) < 3 * error
    assert 0.0005 < error < 0.005
    assert result.summary["n_photometry"] == np.sum(result.stars["calib_photometry_used"]) >= 60


def test_the_size_of_the_psf_is_true_to_half_a_per_cent(field, result):
    assert abs(size_error(field, result.exposure)) < 0.005


def test_the_sky_level_and_its_noise_are_true(field, result):
    free = ~result.exposure.mask.any_of("DETECTED", "SAT", "CR", "INTRP")
    difference = result.background.evaluate() / result.applied_photo_calib.mean - field.truth.sky

    assert result.summary["sky_bg"] == pytest.approx(np.median(field.truth.sky), rel=0.005)
    assert result.summary["sky_noise"] == pytest.approx(np.sqrt(np.median(field.truth.variance[free])), rel=0.03)
    assert np.sqrt(np.mean(difference[free] ** 2)) < 0.2 * result.summary["sky_noise"]


@pytest.mark.parametrize("name", CATALOGS)
def test_sources_lie_where_stars_are(field, result, name):
    catalog = getattr(result, name)
    true = field.truth.sources
    good = ~(catalog["centroid_flag"] | catalog["edge"] | catalog["blended"] | catalog["saturated"])
    bright = good & (catalog["snr"] > 30)
    distance, _ = KDTree(np.c_[true["x"], true["y"]]).query(np.c_[catalog["x"], catalog["y"]][bright])

    assert bright.sum() > 30
    assert np.median(distance) < 3 * np.median(np.hypot(catalog["x_err"], catalog["y_err"])[bright])
    assert np.mean(distance < 0.5) > 0.97


@pytest.mark.parametrize("name", ["stars", "sources"])
def test_magnitudes_are_true_within_their_errors(field, result, name):
    catalog, true = getattr(result, name), true_stars(field)
    good = ~(catalog["psf_flux_flag"] | catalog["edge"] | catalog["blended"] | catalog["saturated"] | catalog["cr"])
    catalog = catalog[good & (catalog["snr"] > 20) & (catalog["extendedness"] < 0.5)]
    distance, star = KDTree(np.c_[true["x"], true["y"]]).query(np.c_[catalog["x"], catalog["y"]])
    near = distance < 0.5
    error = np.hypot(catalog["calib_mag_err"], 0.01)
    pull = ((catalog["calib_mag"] - true["mag"][star]) / error)[near]

    assert near.sum() > 50
    assert abs(np.median(pull)) < 3 / np.sqrt(near.sum())
    assert 0.5 < 1.4826 * np.median(np.abs(pull - np.median(pull))) < 1.5


def test_positions_on_the_sky_are_those_of_the_pixels(result):
    for name in CATALOGS:
        catalog = getattr(result, name)
        ra, dec = result.exposure.wcs.pixel_to_sky(x=np.asarray(catalog["x"]), y=np.asarray(catalog["y"]))
        np.testing.assert_allclose(catalog["ra"], ra, rtol=0, atol=1e-9)
        np.testing.assert_allclose(catalog["dec"], dec, rtol=0, atol=1e-9)


def test_stars_join_to_psf_stars(result):
    stars, psf_stars = result.stars, result.psf_stars
    joined = stars[stars["psf_id"] != 0]
    row_of = {identifier: row for row, identifier in enumerate(psf_stars["id"])}
    partner = psf_stars[[row_of[identifier] for identifier in joined["psf_id"]]]

    assert len(joined) > 0.8 * len(stars)
    assert len(set(joined["psf_id"])) == len(joined)
    assert np.all(np.hypot(joined["x"] - partner["x"], joined["y"] - partner["y"]) < 1.5)
    for flag in ("calib_psf_candidate", "calib_psf_used", "calib_psf_reserved", "calib_astrometry_used"):
        np.testing.assert_array_equal(joined[flag], partner[flag])
        assert not stars[flag][stars["psf_id"] == 0].any()


def test_matches_join_to_the_catalogues_and_the_reference(field, result):
    reference = field.reference.table
    years = field.exposure.observation.epoch - reference["ref_epoch"]
    for matches, catalog, used in (
        (result.astrometry_matches, result.psf_stars, "calib_astrometry_used"),
        (result.photometry_matches, result.stars, "calib_photometry_used"),
    ):
        assert set(matches["src_id"]) <= set(catalog["id"])
        assert len(set(matches["src_id"])) == len(set(matches["ref_row"])) == len(matches)
        assert set(matches["src_id"][matches["used"]]) == set(catalog["id"][catalog[used]])
        moved = reference["dec"] + reference["pmdec"] * years / 3.6e6
        np.testing.assert_allclose(matches["ref_dec"], moved[matches["ref_row"]], rtol=0, atol=1e-9)
    assert result.photometry_matches.meta["band"] == "r"
    assert len(result.astrometry_matches) == result.summary["astrometry_matches_count"]
    np.testing.assert_array_equal(
        result.photometry_matches["ref_mag"], reference["r_mag"][result.photometry_matches["ref_row"]]
    )


def test_residuals_of_matches_are_detection_minus_reference(result):
    matches = result.astrometry_matches
    x, y = result.exposure.wcs.sky_to_pixel(ra=np.asarray(matches["ref_ra"]), dec=np.asarray(matches["ref_dec"]))

    np.testing.assert_allclose(matches["dx"], matches["src_x"] - x, atol=2e-3)
    np.testing.assert_allclose(matches["dy"], matches["src_y"] - y, atol=2e-3)


@pytest.mark.parametrize("name", CATALOGS)
def test_identifiers_are_unique_and_carry_the_exposure(field, result, name):
    identifiers = np.asarray(getattr(result, name)["id"])

    assert identifiers.dtype == np.int64
    assert len(set(identifiers)) == len(identifiers)
    parts = [PackedSourceIdTask().unpack(int(each)) for each in identifiers]
    assert {each.exposure for each in parts} == {field.exposure.observation.exposure_id}
    counters = [each.counter for each in parts]
    assert counters == sorted(counters)
    assert name == "stars" or counters == list(range(1, len(parts) + 1))


@pytest.mark.parametrize("name", CATALOGS)
def test_flags_are_boolean_and_what_is_not_flagged_is_a_number(result, name):
    catalog = getattr(result, name)
    flags = [column for column in catalog.colnames if column.endswith("_flag") or column.startswith("calib_psf_")]
    flags += ["edge", "blended", "saturated", "saturated_center", "interpolated", "cr", "bad", "no_data", "suspect"]

    for flag in flags:
        assert catalog[flag].dtype == bool, flag
    for column in set(FLAG_OF) & set(catalog.colnames):
        assert np.isfinite(catalog[column][~catalog[FLAG_OF[column]]]).all(), column


@pytest.mark.parametrize("name", CATALOGS)
def test_columns_have_units(result, name):
    catalog = getattr(result, name)

    for column in set(UNITS) & set(catalog.colnames):
        assert catalog[column].unit == UNITS[column], column
    for column in catalog.colnames:
        if catalog[column].dtype != bool and column.endswith(("_flux", "_flux_err", "_mag", "_mag_err")):
            assert catalog[column].unit is not None, column


def test_pixel_flags_agree_with_the_mask(result):
    stars, mask = result.stars, result.exposure.mask
    column, row = np.rint(stars["x"]).astype(int), np.rint(stars["y"]).astype(int)
    touched = mask.any_of("SAT")[np.clip(row, 0, mask.shape[0] - 1), np.clip(column, 0, mask.shape[1] - 1)]

    assert stars["saturated_center"][touched].all()
    assert stars["saturated"][stars["saturated_center"]].all()


def test_the_deep_catalogue_goes_deeper_than_the_stars(result):
    assert len(result.sources) > len(result.stars)
    assert np.nanmedian(result.sources["calib_mag"]) > np.nanmedian(result.stars["calib_mag"])


def test_two_runs_are_equal_to_the_last_bit(field, result):
    again = process(field)

    for name in ("image", "variance"):
        np.testing.assert_array_equal(getattr(again.exposure, name), getattr(result.exposure, name))
    assert again.exposure.mask == result.exposure.mask
    assert again.background == result.background
    assert again.exposure.wcs.to_header() == result.exposure.wcs.to_header()
    np.testing.assert_equal(again.exposure.psf.to_parts(), result.exposure.psf.to_parts())
    np.testing.assert_equal(dict(again.summary), dict(result.summary))
    assert (again.gates, again.funnels) == (result.gates, result.funnels)
    for name in (*CATALOGS, "astrometry_matches", "photometry_matches"):
        assert_same_table(getattr(again, name), getattr(result, name))


def test_a_task_may_be_run_again_on_another_field(small, small_result, field):
    task = task_with()
    task.run(field.exposure, **field.references)
    again = task.run(small.exposure, **small.references)

    np.testing.assert_array_equal(again.exposure.image, small_result.exposure.image)
    assert_same_table(again.sources, small_result.sources)


def test_the_input_is_not_changed(small):
    exposure, table = small.exposure, small.reference.table
    image, variance, mask = exposure.image.copy(), exposure.variance.copy(), exposure.mask.array.copy()
    reference = table.copy()
    process(small)

    np.testing.assert_array_equal(exposure.image, image)
    np.testing.assert_array_equal(exposure.variance, variance)
    np.testing.assert_array_equal(exposure.mask.array, mask)
    assert_same_table(table, reference)
    assert (exposure.psf, exposure.photo_calib, len(exposure.background)) == (None, None, 0)


def test_without_a_reference_pixels_stay_in_counts_and_the_wcs_is_the_header_s(small):
    result = task_with().run(small.exposure)
    missing = {"zero_point", "mag_lim", "astrometry_matches_count", "astrom_offset_std"}

    assert result.exposure.unit == "count"
    assert result.exposure.wcs is small.exposure.wcs
    assert (result.astrometry_matches, result.photometry_matches, result.applied_photo_calib) == (None, None, None)
    assert_sky_can_be_put_back(small.exposure, result.exposure, None)
    assert [gate.status for gate in result.gates if gate.name == "reference_catalog"] == ["warn"]
    assert all(np.isnan(result.summary.get(name, np.nan)) for name in missing)
    assert np.isfinite(result.summary["psf_sigma"])
    assert result.sources["psf_inst_flux"].unit == "ct"
    assert "psf_flux" not in result.sources.colnames
    assert len(result.stars) > 20


def test_with_astrometry_alone_the_wcs_is_fitted_and_pixels_stay_in_counts(small):
    result = task_with("measure=null").run(small.exposure, astrometry_refcat=small.reference)

    assert (result.exposure.unit, result.photometry_matches) == ("count", None)
    assert rms_to_true_wcs(small, result.exposure) < 3 * result.summary["astrom_stated_error"]
    assert result.stars["calib_astrometry_used"].sum() > 20


def test_two_snaps_are_processed_as_one_exposure(small, small_result):
    result = task_with("measure=null").run(small.exposure, snap=small.exposure, **small.references)
    alone = small_result

    assert result.exposure.observation.exposure_time == 2 * small.exposure.observation.exposure_time
    assert result.summary["sky_bg"] == pytest.approx(2 * alone.summary["sky_bg"], rel=1e-3)
    assert result.summary["zero_point"] - alone.summary["zero_point"] == pytest.approx(2.5 * np.log10(2), abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 4, 7])
def test_a_field_of_the_usual_size_is_true(seed):
    field = simulated_field(seed=seed, size=1024)
    result = process(field)

    assert rms_to_true_wcs(field, result.exposure) < 0.005
    assert abs(result.summary["zero_point"] - field.truth.zero_point) < 0.005
    assert result.summary["n_photometry"] >= 60
    assert abs(size_error(field, result.exposure)) < 0.005


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 8])
def test_a_sparse_field_is_true_within_its_errors_and_says_how_few_stars_there_are(seed):
    field = simulated_field(seed=seed, size=1024, star_density=2500)
    result = process(field)
    summary = result.summary

    assert rms_to_true_wcs(field, result.exposure) < 3 * summary["astrom_stated_error"]
    assert abs(summary["zero_point"] - field.truth.zero_point) < 3 * summary["zero_point_error"]
    assert abs(size_error(field, result.exposure)) < 3 * summary["psf_sigma_error"] / summary["psf_sigma"]
    numbers = {gate.name: gate.value for gate in result.gates if gate.sense == "min"}
    assert numbers["psf_n_stars"] == summary["n_psf_star"] < 30
    assert numbers["photometry_n_calibrators"] == summary["n_photometry"] < 60
