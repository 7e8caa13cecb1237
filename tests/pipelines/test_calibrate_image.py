"""The contract of `CalibrateImageTask`: products that join, one schema, and nothing untrue after a failure."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS

from firstlight import errors
from firstlight.errors import ConfigError, PartialResult
from firstlight.framework import Layer, build_config, run_until, subtask
from firstlight.images.fits import read_exposure, write_exposure
from firstlight.images.psf import GaussianPsf
from firstlight.images.summary_columns import SUMMARY
from firstlight.refcats.formats import TableReferenceCatalog
from firstlight.tasks.calibrate_image import CalibrateImageTask
from firstlight.tasks.calibrate_image_contract import CalibrateImageConfig
from firstlight.tasks.measure import MeasureResult, PluginMeasureTask

from .fields import assert_sky_can_be_put_back

OPTIONAL = (
    "psf_stars",
    "psf_stars_footprints",
    "stars_footprints",
    "astrometry_matches",
    "photometry_matches",
    "mask",
)


def calibrate(*settings: str) -> CalibrateImageTask:
    return CalibrateImageTask(build_config(CalibrateImageConfig, [Layer.from_assignment(text) for text in settings]))


@pytest.fixture(scope="module")
def made(small):
    """Return what one run makes with every optional output."""
    return calibrate(f"optional_outputs=[{', '.join(OPTIONAL)}]").run(small.exposure, **small.references)


def joined(one, other):
    """Return the rows of two columns of numbers that are equal, 0 aside."""
    shared, rows, others = np.intersect1d(one, other, return_indices=True)
    return rows[shared != 0], others[shared != 0]


def test_psf_stars_and_stars_join_by_psf_id_and_not_by_id(made):
    psf_stars, stars = made.psf_stars, made.stars
    rows, others = joined(psf_stars["id"], stars["psf_id"])

    assert len(rows) == np.count_nonzero(stars["psf_id"]) > 20
    assert np.hypot(psf_stars["x"][rows] - stars["x"][others], psf_stars["y"][rows] - stars["y"][others]).max() < 0.5
    assert joined(psf_stars["id"], stars["id"])[0].size > 20  # each is counted from one: these pairs mean nothing


def test_the_matches_of_astrometry_and_photometry_join_by_the_psf_star(made):
    astrometry, photometry = made.astrometry_matches, made.photometry_matches
    rows, others = joined(astrometry["src_id"], photometry["src_psf_id"])

    assert len(rows) > 20
    np.testing.assert_array_equal(astrometry["ref_row"][rows], photometry["ref_row"][others])
    by_star, by_match = joined(made.stars["id"], photometry["src_id"])
    assert len(by_match) == len(photometry)
    np.testing.assert_array_equal(made.stars["psf_id"][by_star], photometry["src_psf_id"][by_match])


def test_hidden_stars_come_after_the_others_and_the_psf_is_fitted_again_beside_them(small, made):
    crowd = calibrate("hidden_stars.crowded_share=0").run(small.exposure, **small.references)
    n = len(made.psf_stars)
    plain, more = crowd.psf_stars[:n], crowd.psf_stars[n:]

    assert len(more) > 0
    assert np.hypot(plain["x"] - made.psf_stars["x"], plain["y"] - made.psf_stars["y"]).max() < 0.5
    assert crowd.psf_stars["calib_psf_used"].sum() >= 0.9 * made.psf_stars["calib_psf_used"].sum()
    assert 0 < abs(crowd.summary["psf_sigma"] - made.summary["psf_sigma"]) < 3 * made.summary["psf_sigma_error"]
    assert len(np.unique(crowd.psf_stars["id"])) == len(crowd.psf_stars)
    assert abs(crowd.summary["zero_point"] - made.summary["zero_point"]) < 3 * made.summary["zero_point_error"]


def test_footprints_and_mask_are_made_on_request(small, made):
    plain = calibrate("optional_outputs=[]").run(small.exposure, **small.references)

    assert (plain.stars_footprints, plain.psf_stars_footprints, plain.mask) == (None, None, None)
    assert made.mask == made.exposure.mask
    for catalog, footprints in ((made.stars, made.stars_footprints), (made.psf_stars, made.psf_stars_footprints)):
        row_of = {number: row for row, number in enumerate(catalog["id"])}
        rows = [row_of[number] for number in footprints.peaks["id"]]
        column, line = (np.rint(catalog[name][rows]).astype(int) for name in ("x", "y"))
        own = footprints.labels[line, column] == footprints.peaks["footprint"]
        assert len(footprints.peaks) == len(catalog)
        assert own.mean() > 0.95


def test_the_highest_pixel_belongs_to_the_candidates(small, made):
    chosen = made.psf_stars["calib_psf_candidate"]
    image = small.exposure.image - made.background.evaluate() / made.applied_photo_calib.mean
    at = tuple(np.rint(made.psf_stars[name][chosen]).astype(int) for name in ("y", "x"))

    assert made.psf_stars["psf_max_value"].unit == u.ct
    assert np.isnan(made.psf_stars["psf_max_value"][~chosen]).all()
    assert np.all(made.psf_stars["psf_max_value"][chosen] >= 0.7 * image[at])
    carried = made.stars[made.stars["calib_psf_candidate"]]
    rows, others = joined(made.psf_stars["id"], carried["psf_id"])
    np.testing.assert_array_equal(made.psf_stars["psf_max_value"][rows], carried["psf_max_value"][others])


def test_the_header_of_the_image_gives_any_program_the_same_positions(made, tmp_path):
    write_exposure(made.exposure, tmp_path / "image.fits")
    (ny, nx), other = made.exposure.shape, WCS(fits.getheader(tmp_path / "image.fits", "IMAGE"))
    y, x = (axis.ravel() for axis in np.mgrid[-100 : ny + 100 : 40, -100 : nx + 100 : 40].astype(float))
    ra, dec = made.exposure.wcs.pixel_to_sky(x=x, y=y)

    assert np.hypot(*(a - b for a, b in zip(other.all_world2pix(ra, dec, 0), (x, y), strict=True))).max() < 1e-4
    there_and_back = made.exposure.wcs.sky_to_pixel(ra=ra, dec=dec)
    assert np.hypot(there_and_back[0] - x, there_and_back[1] - y).max() < 1e-6


def test_stars_say_for_which_calibrations_they_were_used(made):
    stars, psf_stars = made.stars, made.psf_stars
    names = [
        name for name in psf_stars.colnames if name.startswith(("calib_", "apcorr_")) and psf_stars[name].dtype == bool
    ]
    rows, others = joined(psf_stars["id"], stars["psf_id"])

    assert {"calib_psf_used", "calib_psf_reserved", "calib_astrometry_used", "apcorr_psf_used"} <= set(names)
    for name in names:
        np.testing.assert_array_equal(psf_stars[name][rows], stars[name][others])
        assert not stars[name][stars["psf_id"] == 0].any()
    assert 5 < np.sum(psf_stars["apcorr_psf_used"]) <= np.sum(psf_stars["calib_psf_used"])
    assert set(made.photometry_matches["src_id"][made.photometry_matches["used"]]) == set(
        stars["id"][stars["calib_photometry_used"]]
    )


def test_the_summary_has_every_number_that_there_is_and_each_is_known(small):
    task = calibrate("summarize.fiducials={r: {mag_lim: 20.7, psf_sigma: 1.1, sky_bg: 10, zero_point: 22.5}}")
    observation = dataclasses.replace(small.exposure.observation, airmass=1.2)
    summary = task.run(small.exposure.replace(observation=observation), **small.references).summary

    assert set(summary) == set(SUMMARY)
    assert [name for name, value in summary.items() if not np.isfinite(value)] == []
    assert summary["eff_time"] == pytest.approx(30 * 10 ** (0.8 * (summary["mag_lim"] - 20.7)))


def test_the_sky_between_the_stars_can_be_measured_from_the_start(small):
    result = calibrate("star_background={task: StarBackgroundTask}").run(small.exposure, **small.references)
    sky = result.background.evaluate() / result.applied_photo_calib.mean
    free = ~result.exposure.mask.any_of("DETECTED", "SAT", "CR", "INTRP")

    assert_sky_can_be_put_back(small.exposure, result.exposure, result.applied_photo_calib)
    assert np.sqrt(np.mean((sky - small.truth.sky)[free] ** 2)) < 0.2 * result.summary["sky_noise"]
    assert abs(result.summary["zero_point"] - small.truth.zero_point) < 4 * result.summary["zero_point_error"]


def test_trails_are_marked_and_stars_on_them_calibrate_nothing(small, made):
    stars = made.psf_stars[made.psf_stars["calib_psf_used"] & made.psf_stars["calib_astrometry_used"]]
    stars = stars[np.argsort(stars["snr"])[-6:]]
    first, last = stars[np.argmin(stars["x"] + stars["y"])], stars[np.argmax(stars["x"] + stars["y"])]
    angle = np.arctan2(last["y"] - first["y"], last["x"] - first["x"])
    y, x = np.indices(small.exposure.shape)
    distance = (y - first["y"]) * np.cos(angle) - (x - first["x"]) * np.sin(angle)
    light = 3 * made.summary["sky_noise"] * np.exp(-0.5 * (distance / 1.5) ** 2)
    crossed = small.exposure.replace(image=(small.exposure.image + light).astype(np.float32))
    result = calibrate().run(crossed, **small.references)
    psf_stars, catalog = result.psf_stars, result.stars

    assert made.summary["streak_mask_fraction"] == 0
    assert result.exposure.mask.any_of("STREAK")[light > 0.1 * light.max()].mean() > 0.95
    assert 0.01 < result.summary["streak_mask_fraction"] < 0.1
    for star in (first, last):
        assert psf_stars["streak_center"][
            np.nanargmin(np.hypot(psf_stars["x"] - star["x"], psf_stars["y"] - star["y"]))
        ]
    assert not (psf_stars["streak"] & psf_stars["calib_psf_used"]).any()
    assert not (psf_stars["streak_center"] & psf_stars["calib_astrometry_used"]).any()
    assert not (catalog["streak"] & catalog["calib_photometry_used"]).any()


@pytest.mark.parametrize("passes", [1, 2])
def test_one_psf_pass_and_two_agree_with_the_truth(small, passes):
    result = calibrate(f"psf_passes={passes}").run(small.exposure, **small.references)
    ny, nx = small.exposure.shape
    true = small.truth.point_spread.adaptive_moments(x=(nx - 1) / 2, y=(ny - 1) / 2).sigma

    assert abs(result.summary["psf_sigma"] - true) < 4 * result.summary["psf_sigma_error"]
    assert abs(result.summary["zero_point"] - small.truth.zero_point) < 4 * result.summary["zero_point_error"]


def test_the_columns_of_the_stars_do_not_depend_on_how_far_it_went(small, made):
    stopped = run_until("stars", calibrate().run, small.exposure, **small.references).products["stars"]
    uncalibrated = calibrate().run(small.exposure).stars
    with pytest.raises(PartialResult) as raised:
        calibrate(*BAD_PHOTOMETRY).run(small.exposure, **small.references)

    for stars in (stopped, uncalibrated, raised.value.partial["stars"]):
        assert set(stars.colnames) == set(made.stars.colnames)
        assert all(stars[name].dtype == made.stars[name].dtype for name in stars.colnames)
        assert all(stars[name].unit == made.stars[name].unit for name in stars.colnames)
        assert np.isnan(stars["calib_flux"]).all()
        assert not stars["calib_photometry_used"].any()


class PlacesNothing(PluginMeasureTask):
    """Finds no centroid once the PSF is a model."""

    def run(self, exposure, detections, *, aperture_radius, light=None):
        catalog = super().run(exposure, detections, aperture_radius=aperture_radius, light=light).catalog
        catalog["centroid_flag"] |= not isinstance(exposure.psf, GaussianPsf)
        return MeasureResult(catalog=catalog)


class PlacesAside(PluginMeasureTask):
    """Finds every source a thousand pixels to the right of where it is."""

    def run(self, exposure, detections, *, aperture_radius, light=None):
        catalog = super().run(exposure, detections, aperture_radius=aperture_radius, light=light).catalog
        catalog["x"][:] = np.asarray(catalog["x"]) + 1000.0
        return MeasureResult(catalog=catalog)


def masked(field):
    return field.exposure.replace(mask=field.exposure.mask.with_plane("SAT", np.ones(field.exposure.shape, dtype=bool)))


def unlit(field):
    noise = np.random.default_rng(1).normal(300, 7, field.exposure.shape)
    return field.exposure.replace(image=noise.astype(np.float32))


def saturated_stars(field):
    bright = field.exposure.image > np.median(field.exposure.image) + 20
    return field.exposure.replace(mask=field.exposure.mask.with_plane("SAT", bright))


def scrambled(field):
    table, rng = field.reference.table.copy(), np.random.default_rng(5)
    for name in ("ra", "dec"):
        table[name] = rng.uniform(table[name].min(), table[name].max(), len(table))
    return {"astrometry_refcat": TableReferenceCatalog(table, name="scrambled")}


def sparse(field):
    return {"photometry_refcat": field.moved_reference(2.0)}


@dataclasses.dataclass(frozen=True)
class Failure:
    """A way to fail: where, by which error with which facts, and how to bring it about."""

    step: str
    error: str
    facts: tuple[str, ...]
    settings: tuple[str, ...] = ()
    tasks: dict = dataclasses.field(default_factory=dict)
    exposure: object = lambda field: field.exposure
    references: object = lambda field: {}

    def happen(self, field) -> PartialResult:
        task = CalibrateImageTask(CalibrateImageConfig(**self.tasks)) if self.tasks else calibrate(*self.settings)
        with pytest.raises(PartialResult) as raised:
            task.run(self.exposure(field), **{**field.references, **self.references(field)})
        return raised.value


BAD_PHOTOMETRY = ("photometry.max_error=1e-5", "photometry.warn_error=1e-5")
FAILURES = {
    "masked all over": Failure("psf_pass_1", "TooManyMaskedPixelsError", ("n_pixels",), exposure=masked),
    "cosmic rays": Failure("psf_pass_1", "TooManyCosmicRaysError", (), ("cosmic_rays.max_pixels=1",)),
    "no source": Failure("psf_pass_1", "NoSourcesError", ("threshold", "psf_sigma"), exposure=unlit),
    "no star for a PSF": Failure("psf_pass_1", "PsfError", ("n_sources", "n_flagged"), exposure=saturated_stars),
    "no centroid": Failure(
        "psf_stars",
        "AllCentroidsFlaggedError",
        ("n_sources", "psf_ixx", "psf_iyy", "psf_ixy", "psf_sigma"),
        tasks={"psf_measurement": subtask(PlacesNothing)},
    ),
    "no flux in the aperture": Failure(
        "aperture_correction", "ApertureCorrectionError", ("n_psf_stars",), ("aperture_fwhm=60",)
    ),
    "no astrometric match": Failure(
        "astrometry", "AstrometryError", (), ("astrometry.max_tries=100000",), references=scrambled
    ),
    "bad astrometric fit": Failure(
        "astrometry",
        "AstrometryError",
        ("rms_px", "max_rms_px", "offset_mean_arcsec", "n_sources", "n_reference", "n_matched", "n_used"),
        ("astrometry.max_rms_pixels=0.001", "astrometry.warn_rms_pixels=0.001"),
    ),
    "no star at a PSF star": Failure(
        "stars",
        "NoPsfStarsToStarsMatchError",
        ("n_psf_stars", "n_stars", "nearest_px"),
        tasks={"star_measurement": subtask(PlacesAside)},
    ),
    "no calibrator": Failure(
        "photometry", "PhotometryError", ("n_sources", "n_selected", "n_reference"), references=sparse
    ),
    "bad zero point": Failure("photometry", "PhotometryError", ("n_used", "zero_point_error"), BAD_PHOTOMETRY),
}
ORDER = ("psf_pass_1", "psf_stars", "aperture_correction", "astrometry", "stars", "photometry")


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_says_why_and_leaves_nothing_untrue(small, tmp_path, name):
    failure = FAILURES[name]
    end = failure.happen(small)
    exposure, index = end.partial["exposure"], ORDER.index(failure.step)

    assert end.step == failure.step
    assert isinstance(end.cause, getattr(errors, failure.error))
    assert set(failure.facts) <= set(end.cause.facts)
    assert all(isinstance(fact, int | float | str | None) for fact in end.cause.facts.values())
    assert (exposure.psf is not None) == (index > 0)
    assert (exposure.wcs is not None) == (index > ORDER.index("astrometry"))
    assert (exposure.photo_calib, exposure.unit) == (None, "count")
    assert np.isfinite(end.partial["summary"]["psf_sigma"]) == (index > 0)
    assert np.isfinite(end.partial["summary"]["pixel_scale"]) == (index > ORDER.index("astrometry"))
    assert not {"applied_photo_calib", "photometry_matches"} & set(end.partial)
    assert_marked(end, tmp_path / "partial.fits")


def assert_marked(end, path):
    """The exposure, also in its file, and the catalogues say that they are partial, and have no place without a WCS."""
    mark = {"FLFAILED": end.step, "FLREASON": str(end.cause)}
    write_exposure(end.partial["exposure"], path)

    assert mark.items() <= read_exposure(path).header.items()
    for name in {"stars", "psf_stars"} & set(end.partial):
        catalog = end.partial[name]
        assert mark.items() <= catalog.meta.items()
        assert np.isfinite(catalog["ra"]).any() == (end.partial["exposure"].wcs is not None)


def test_a_header_s_wcs_stays_where_there_is_nothing_to_fit_it_to(small):
    with pytest.raises(PartialResult) as raised:
        calibrate("aperture_fwhm=60").run(small.exposure)

    assert raised.value.partial["exposure"].wcs is small.exposure.wcs


def test_an_exposure_whose_number_has_no_room_is_refused_before_anything_is_done(small):
    observation = dataclasses.replace(small.exposure.observation, exposure_id=2**40)
    task = calibrate()

    with pytest.raises(ConfigError, match="41 bits"):
        task.run(small.exposure.replace(observation=observation))
    assert task.metadata.passes == []
    wide = calibrate("ids={max_sources: 1000, n_detectors: 4}")
    assert np.all(wide.run(small.exposure.replace(observation=observation)).stars["id"] > 0)
