"""One law for every astrometric, photometric and aperture calibration, on tables whose truth is known exactly."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table, vstack

from firstlight.errors import (
    ApertureCorrectionError,
    AstrometryError,
    NoPsfStarsToStarsMatchError,
    PhotometryError,
)
from firstlight.images.aperture_correction import ApertureCorrectionMap
from firstlight.images.background import BackgroundList
from firstlight.images.box import Box
from firstlight.images.exposure import Exposure
from firstlight.images.fields import ChebyshevField
from firstlight.images.photo_calib import PhotoCalib
from firstlight.images.wcs import SkyWcs
from firstlight.refcats.formats import TableReferenceCatalog
from firstlight.tasks.aperture_correction import ApertureCorrectionTask, with_total_flux
from firstlight.tasks.astrometry import AstrometryTask, Pointing
from firstlight.tasks.background import ConstantBackgroundTask
from firstlight.tasks.calibrated_columns import calibrate_pixels, with_njy_names
from firstlight.tasks.match_psf_stars import join_psf_stars
from firstlight.tasks.photo_cal import PhotoCalTask, ZeroPointPhotoCalTask

from .frames import PSF, exposure_of, members, noise

SHAPE = (600, 700)
ZERO_POINT = 27.3
ERROR_PX = 0.05
every_astrometry = pytest.mark.parametrize("task_class", members(AstrometryTask))
every_photometry = pytest.mark.parametrize("task_class", members(PhotoCalTask))
every_correction = pytest.mark.parametrize("task_class", members(ApertureCorrectionTask))


def made(task_class, **settings):
    return task_class(type(task_class().config)(**settings))


def wcs(*, mirrored=False, angle=0.3, ra=150.0, dec=20.0) -> SkyWcs:
    scale, turn = 1.1 / 3600, np.deg2rad(angle)
    sign = 1 if mirrored else -1
    return SkyWcs.from_header(
        {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CRVAL1": ra,
            "CRVAL2": dec,
            "CRPIX1": SHAPE[1] / 2,
            "CRPIX2": SHAPE[0] / 2,
            "CD1_1": sign * scale * np.cos(turn),
            "CD1_2": scale * np.sin(turn),
            "CD2_1": -sign * scale * np.sin(turn),
            "CD2_2": scale * np.cos(turn),
        }
    )


def made_field(true: SkyWcs, *, n=120, seed=1, bias=0.0) -> tuple[Table, TableReferenceCatalog]:
    """Return measured sources and the reference, which holds every second of them and others outside the image."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-300, SHAPE[1] + 300, 5 * n), rng.uniform(-300, SHAPE[0] + 300, 5 * n)
    magnitude = rng.uniform(14, 19, 5 * n)
    ra, dec = true.pixel_to_sky(x=x, y=y)
    reference = Table({"ra": ra, "dec": dec, "r_mag": magnitude, "r_mag_error": np.full(5 * n, 0.005)})
    inside = (x > 5) & (x < SHAPE[1] - 6) & (y > 5) & (y < SHAPE[0] - 6)
    flux = 10 ** (-0.4 * (magnitude[inside] - ZERO_POINT))
    flux_error = 0.01 * flux
    number = inside.sum()
    sources = Table(
        {
            "id": np.arange(1, number + 1) * 10,
            "x": x[inside] + rng.normal(0, ERROR_PX, number) + bias,
            "y": y[inside] + rng.normal(0, ERROR_PX, number),
            "x_err": np.full(number, ERROR_PX),
            "y_err": np.full(number, ERROR_PX),
            "peak_snr": flux / flux_error,
            "snr": flux / flux_error,
            "aper_inst_flux": flux,
            "calib_inst_flux": (flux + rng.normal(0, flux_error)) * u.ct,
            "calib_inst_flux_err": flux_error * u.ct,
            "extendedness": np.zeros(number),
        }
    )
    for flag in ("centroid_flag", "psf_flux_flag", "edge", "no_data", "saturated", "bad", "interpolated_center"):
        sources[flag] = False
    sources["cr_center"] = False
    sources["ra"], sources["dec"] = ra[inside] * u.deg, dec[inside] * u.deg
    rows = np.flatnonzero(~inside | (np.cumsum(inside) % 2 == 0))
    return sources, TableReferenceCatalog(reference[rows], name="reference")


def blank(header_wcs: SkyWcs | None = None) -> Exposure:
    return exposure_of(np.zeros(SHAPE), wcs=header_wcs)


@every_astrometry
@pytest.mark.parametrize(
    "initial",
    [
        pytest.param({}, id="true"),
        pytest.param({"ra": 150.1, "angle": 3.0}, id="shifted and turned"),
        pytest.param({"dec": 20.15, "angle": 130.0}, id="upside down"),
        pytest.param({"mirrored": True}, id="of the wrong parity"),
    ],
)
def test_a_wcs_is_found_from_a_header_that_is_wrong(task_class, initial):
    true = wcs()
    sources, reference = made_field(true)
    result = task_class().run(blank(wcs(**initial)), sources, reference=reference)
    y, x = (a.ravel() for a in np.mgrid[0 : SHAPE[0] : 50, 0 : SHAPE[1] : 50].astype(float))
    found_x, found_y = result.wcs.sky_to_pixel(**dict(zip(("ra", "dec"), true.pixel_to_sky(x=x, y=y), strict=True)))

    assert np.sqrt(np.mean((found_x - x) ** 2 + (found_y - y) ** 2)) < 4 * ERROR_PX / np.sqrt(result.used.sum() / 6)
    assert result.measured["parity"] == true.parity


@every_astrometry
def test_residuals_flags_and_counts_belong_together(task_class):
    sources, reference = made_field(wcs())
    sources["no_data"][:7] = True
    sources["x"][20:24] += 0.7
    result = task_class().run(blank(wcs()), sources, reference=reference)
    matches, row_of = result.matches, {key: row for row, key in enumerate(sources["id"])}
    rows = [row_of[key] for key in matches["src_id"]]

    assert result.used.shape == (len(sources),)
    assert result.used[rows].tolist() == matches["used"].tolist()
    assert result.used.sum() == matches["used"].sum() < len(matches)
    assert not result.used[:7].any()
    assert not result.used[20:24].any()
    np.testing.assert_array_equal(matches["src_x"], sources["x"][rows])
    assert result.measured["astrometry_matches_count"] == len(matches) > 40
    assert np.std(matches["dx"][matches["used"]]) == pytest.approx(ERROR_PX, rel=0.4)
    assert result.funnel.steps[0] == ("sources", len(sources))
    assert all(gate.status == "ok" for gate in result.gates)


@every_astrometry
def test_a_field_that_does_not_say_where_it_is_is_solved_by_hand(task_class):
    sources, reference = made_field(wcs(mirrored=True))
    pointing = Pointing(ra=150.1, dec=19.9, radius=0.3, scale_low=0.9, scale_high=1.4)
    result = task_class().run(blank(), sources, reference=reference, pointing=pointing)

    assert result.measured["parity"] == wcs(mirrored=True).parity
    assert float(result.wcs.pixel_scale(x=300.0, y=300.0)) == pytest.approx(1.1, rel=1e-3)


@every_astrometry
def test_nowhere_to_look_is_said(task_class):
    sources, reference = made_field(wcs())

    with pytest.raises(AstrometryError, match="--ra and --dec"):
        task_class().run(blank(), sources, reference=reference)


@every_astrometry
def test_a_reference_without_stars_there_is_said(task_class):
    sources, _ = made_field(wcs())
    _, elsewhere = made_field(wcs(ra=10.0, dec=-40.0))

    with pytest.raises(AstrometryError, match="right field") as raised:
        task_class().run(blank(wcs()), sources, reference=elsewhere)
    assert raised.value.facts == {"n_reference": 0}


@every_astrometry
def test_other_stars_are_not_matched_by_chance(task_class):
    sources, _ = made_field(wcs(), seed=1)
    _, other = made_field(wcs(), seed=2)

    with pytest.raises(AstrometryError) as raised:
        made(task_class, max_tries=50_000).run(blank(wcs()), sources, reference=other)
    assert raised.value.facts


@every_photometry
def test_the_zero_point_is_within_three_stated_errors(task_class):
    sources, reference = made_field(wcs())
    result = task_class().run(blank(wcs()), sources, reference=reference)

    assert abs(result.zero_point.value - ZERO_POINT) < 3 * result.zero_point.error
    assert result.zero_point.error == pytest.approx(0.012 / np.sqrt(result.used.sum()), rel=0.5)
    assert result.photo_calib.zero_point == pytest.approx(result.zero_point.value)
    assert result.photo_calib.zero_point_error == pytest.approx(result.zero_point.error)
    assert result.band == "r"


@every_photometry
@pytest.mark.parametrize("flag", ["saturated", "psf_flux_flag", "edge", "interpolated_center", "centroid_flag"])
def test_flagged_sources_do_not_define_it(task_class, flag):
    sources, reference = made_field(wcs())
    bad = np.arange(len(sources)) % 3 == 0
    sources[flag] = bad
    sources["calib_inst_flux"][bad] *= 5
    result = task_class().run(blank(wcs()), sources, reference=reference)

    assert not result.used[bad].any()
    assert abs(result.zero_point.value - ZERO_POINT) < 3 * result.zero_point.error


def with_companions(sources: Table, reference: TableReferenceCatalog) -> TableReferenceCatalog:
    """Hide a star four magnitudes fainter beside every third star, and return the catalogue that knows of it."""
    stars = reference.table
    hidden = stars[::3].copy()
    light = dict(zip(np.asarray(hidden["ra"]), 10 ** (-0.4 * (hidden["r_mag"] + 4.0 - ZERO_POINT)), strict=True))
    added = np.array([light.get(ra, 0.0) for ra in np.asarray(sources["ra"])])
    sources["calib_inst_flux"] = (np.asarray(sources["calib_inst_flux"]) + added) * u.ct
    hidden["dec"] += 1e-4
    hidden["r_mag"] += 4.0
    return TableReferenceCatalog(vstack([stars, hidden]), name="with companions")


def test_stars_with_a_companion_in_the_reference_do_not_define_it():
    sources, reference = made_field(wcs())
    reference = with_companions(sources, reference)
    kept = made(ZeroPointPhotoCalTask, max_neighbour_share=None).run(blank(wcs()), sources, reference=reference)
    result = ZeroPointPhotoCalTask().run(blank(wcs()), sources, reference=reference)

    assert 0 < len(result.matches) < len(kept.matches)
    assert kept.zero_point.value - ZERO_POINT > 3 * kept.zero_point.error
    assert abs(result.zero_point.value - ZERO_POINT) < 3 * result.zero_point.error


@every_photometry
def test_the_error_of_the_total_flux_is_part_of_it(task_class):
    sources, reference = made_field(wcs())
    exposure = blank(wcs())
    alone = task_class().run(exposure, sources, reference=reference)
    corrections = made_corrections(exposure, error=0.02)
    both = task_class().run(exposure.replace(aperture_corrections=corrections), sources, reference=reference)

    assert both.zero_point.error == pytest.approx(np.hypot(alone.zero_point.error, 1.0857 * 0.02), rel=1e-3)


@every_photometry
def test_reserved_calibrators_test_the_zero_point_and_do_not_make_it(task_class):
    sources, reference = made_field(wcs())
    result = made(task_class, reserve_fraction=0.3).run(blank(wcs()), sources, reference=reference)
    matches = result.matches
    offset = {gate.name: gate for gate in result.gates}["zero_point_reserved_offset"]

    assert matches["reserved"].sum() == int(0.3 * len(matches)) == result.reserved.sum() == offset.n
    assert not (result.used & result.reserved).any()
    assert abs(result.zero_point.value - ZERO_POINT) < 3 * result.zero_point.error
    assert abs(offset.value) < 4 * 1.25 * 0.012 / np.sqrt(offset.n)
    assert np.std(matches["residual"][matches["reserved"]]) == pytest.approx(0.012, rel=0.5)


@every_photometry
def test_nothing_is_reserved_unless_asked_for(task_class):
    sources, reference = made_field(wcs())

    assert not task_class().run(blank(wcs()), sources, reference=reference).reserved.any()


@every_photometry
def test_matches_join_by_identifier(task_class):
    sources, reference = made_field(wcs())
    matches = task_class().run(blank(wcs()), sources, reference=reference).matches
    row_of = {key: row for row, key in enumerate(sources["id"])}
    found = sources[[row_of[key] for key in matches["src_id"]]]

    np.testing.assert_allclose(found["ra"], matches["ref_ra"], atol=1e-9)
    np.testing.assert_array_equal(found["calib_inst_flux"], matches["src_inst_flux"])
    np.testing.assert_array_equal(reference.table["r_mag"][matches["ref_row"]], matches["ref_mag"])


@every_photometry
def test_another_band_is_taken_when_asked_for(task_class):
    sources, reference = made_field(wcs())
    reference.table["g_mag"] = reference.table["r_mag"] + 0.4
    both = TableReferenceCatalog(reference.table, name="two bands")
    result = made(task_class, band="g").run(blank(wcs()), sources, reference=both)

    assert result.band == "g"
    assert result.zero_point.value == pytest.approx(ZERO_POINT + 0.4, abs=0.01)


@every_photometry
def test_no_calibrator_is_said_with_the_numbers(task_class):
    sources, _ = made_field(wcs())
    _, elsewhere = made_field(wcs(ra=151.0))

    with pytest.raises(PhotometryError, match="No calibrator") as raised:
        task_class().run(blank(wcs()), sources, reference=elsewhere)
    assert raised.value.facts["n_sources"] == len(sources)


def made_stars(*, factor=1.04, radius=6.0, n=60, seed=4) -> Table:
    """Return PSF stars whose PSF flux lacks ``factor`` to the total flux."""
    rng = np.random.default_rng(seed)
    total = 10 ** rng.uniform(4, 6, n)
    error = 0.002 * total
    inside = PSF.aperture_flux(radius, x=0, y=0)
    return Table(
        {
            "x": rng.uniform(20, SHAPE[1] - 20, n),
            "y": rng.uniform(20, SHAPE[0] - 20, n),
            "psf_inst_flux": total / factor * u.ct,
            "psf_inst_flux_err": error * u.ct,
            "aper_inst_flux": (total * inside + rng.normal(0, error)) * u.ct,
            "aper_inst_flux_err": error * u.ct,
            "snr": total / error,
            "calib_psf_candidate": np.ones(n, dtype=bool),
            "psf_chi2": np.ones(n),
            "psf_flux_flag": np.zeros(n, dtype=bool),
            "aper_flux_flag": np.zeros(n, dtype=bool),
        }
    )


def made_corrections(exposure, *, error) -> ApertureCorrectionMap:
    task = members(ApertureCorrectionTask)[0]()
    found = task.run(exposure, made_stars(), aperture_radius=6.0).corrections
    return ApertureCorrectionMap({**found, "psf": dataclasses.replace(found["psf"], error=error)})


@every_correction
def test_the_aperture_correction_is_within_three_errors(task_class):
    result = task_class().run(blank(), made_stars(), aperture_radius=6.0)
    error = result.corrections["psf"].error

    assert abs(result.psf_to_total - 1.04) < 3 * 1.04 * error
    assert 0.0001 < error < 0.002
    assert result.n_stars > 50


@every_correction
def test_the_total_flux_is_the_psf_flux_times_the_correction(task_class):
    stars, exposure = made_stars(), blank()
    corrections = task_class().run(exposure, stars, aperture_radius=6.0).corrections
    totals = with_total_flux(stars, exposure.replace(aperture_corrections=corrections))

    assert np.median(totals["calib_inst_flux"] / stars["psf_inst_flux"]) == pytest.approx(1.04, abs=0.002)
    assert totals["calib_inst_flux"].unit == u.ct
    assert "calib_inst_flux" not in stars.colnames


@every_correction
def test_one_star_of_the_wrong_flux_does_not_matter(task_class):
    stars = made_stars()
    stars["aper_inst_flux"][3] *= 2
    result = task_class().run(blank(), stars, aperture_radius=6.0)

    assert result.psf_to_total == pytest.approx(1.04, abs=0.003)
    assert result.n_stars < len(stars)


@every_correction
def test_without_a_star_there_is_no_aperture_correction(task_class):
    stars = made_stars()
    stars["aper_flux_flag"] = True

    with pytest.raises(ApertureCorrectionError) as raised:
        task_class().run(blank(), stars, aperture_radius=6.0)
    assert raised.value.facts == {"n_psf_stars": len(stars)}


def test_without_a_correction_the_total_flux_is_unknown():
    assert np.isnan(with_total_flux(made_stars(), blank())["calib_inst_flux"]).all()


def psf_stars_at(x) -> Table:
    x = np.asarray(x, dtype=float)
    table = Table({"id": np.arange(11, 11 + len(x)), "x": x, "y": x})
    table["calib_psf_used"] = np.arange(len(x)) % 2 == 0
    table["apcorr_psf_used"] = np.arange(len(x)) == 1
    table["psf_max_value"] = (100.0 + np.arange(len(x))) * u.ct
    return table


def test_stars_find_their_psf_star_and_what_is_known_of_it():
    psf_stars = psf_stars_at([10, 50, 90])
    stars = Table({"id": [1, 2, 3, 4], "x": [90.4, 10.0, 30.0, 52.5], "y": [90.0, 10.3, 30.0, 50.0]})
    joined = join_psf_stars(stars, psf_stars, radius=1.0)

    assert joined["psf_id"].tolist() == [13, 11, 0, 0]
    assert joined["calib_psf_used"].tolist() == [True, True, False, False]
    assert not joined["apcorr_psf_used"].any()
    np.testing.assert_array_equal(joined["psf_max_value"], [102.0, 100.0, np.nan, np.nan])
    assert "psf_id" not in stars.colnames


def test_a_psf_star_goes_to_the_nearest_star_that_is_no_parent_and_no_empty_sky():
    stars = Table({"id": [1, 2, 3, 4], "x": [10.0, 10.6, 10.2, 10.1], "y": [10.0, 10.0, 10.0, 10.0]})
    stars["deblend_n_child"] = [2, 0, 0, 0]
    stars["sky_source"] = [False, False, False, True]

    assert join_psf_stars(stars, psf_stars_at([10]), radius=3.0)["psf_id"].tolist() == [0, 0, 11, 0]


def test_two_psf_stars_never_share_a_star():
    stars = Table({"id": [1, 2], "x": [10.0, 300.0], "y": [10.0, 300.0]})
    joined = join_psf_stars(stars, psf_stars_at([9.5, 10.2]), radius=3.0)

    assert joined["psf_id"].tolist() == [12, 0]


def test_no_match_tells_both_numbers_and_how_near_the_nearest_is():
    stars = Table({"id": [1, 2], "x": [14.0, 300.0], "y": [10.0, 300.0]})
    with pytest.raises(NoPsfStarsToStarsMatchError, match="too strict, or is the image bad") as raised:
        join_psf_stars(stars, psf_stars_at([10, 50, 90]), radius=3.0)

    assert (raised.value.facts["n_psf_stars"], raised.value.facts["n_stars"]) == (3, 2)
    assert raised.value.facts["nearest_px"] == pytest.approx(4.0)
    assert (raised.value.facts["n_within_10_px"], raised.value.facts["n_within_100_px"]) == (1, 2)


def test_pixels_and_fluxes_become_nanojansky_together():
    calib = PhotoCalib.from_zero_point(ZERO_POINT, error=0.01)
    exposure = exposure_of(noise((50, 60)))
    changed = calibrate_pixels(exposure, calib)

    np.testing.assert_allclose(changed.image, exposure.image * calib.mean, rtol=1e-6)
    np.testing.assert_allclose(changed.variance, exposure.variance * calib.mean**2, rtol=1e-6)
    assert (changed.unit, changed.photo_calib.mean) == ("nJy", 1.0)
    assert changed.photo_calib.error == pytest.approx(calib.error / calib.mean)
    assert exposure.unit == "count"


def test_a_calibration_that_varies_is_refused_where_sky_was_subtracted():
    field = ChebyshevField.fit(
        np.array([0.9, 1.1, 1.0]),
        x=np.array([0.0, 59, 30]),
        y=np.array([0.0, 49, 20]),
        box=Box.of_shape((50, 60)),
        order=0,
    )
    exposure = exposure_of(noise((50, 60)))
    sky = ConstantBackgroundTask().run(exposure).background
    calib = PhotoCalib(100.0, variation=field)

    assert calibrate_pixels(exposure, calib).unit == "nJy"
    with pytest.raises(ValueError, match="constant"):
        calibrate_pixels(exposure.replace(background=BackgroundList([sky])), calib)


def test_columns_measured_on_nanojansky_are_named_so():
    catalog = Table({"aper_inst_flux": [3630.78, -5.0] * u.nJy, "aper_inst_flux_err": [36.3078, 1.0] * u.nJy})
    named = with_njy_names(catalog)

    assert named.colnames == ["aper_flux", "aper_flux_err", "aper_mag", "aper_mag_err"]
    assert named["aper_mag"][0] == pytest.approx(31.4 - 2.5 * np.log10(3630.78), abs=1e-3)
    assert named["aper_mag_err"][0] == pytest.approx(0.010857, rel=1e-3)
    assert np.isnan(named["aper_mag"][1])
    assert catalog.colnames == ["aper_inst_flux", "aper_inst_flux_err"]
