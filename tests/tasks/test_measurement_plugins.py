"""Measurements of rendered stars: their errors are as large as they say, and a flag says what is not to be used."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.algorithms.detection_lists import with_sky_positions
from firstlight.framework import subtask
from firstlight.images.mask import Mask
from firstlight.tasks.detect import MatchedFilterDetectTask
from firstlight.tasks.measure import MeasureTask, PluginMeasureConfig, PluginMeasureTask, catalog_of
from firstlight.tasks.measure_fluxes import ApertureFluxPlugin, PsfFluxPlugin
from firstlight.tasks.measure_positions import WindowedCentroidPlugin
from firstlight.tasks.measurement_plugins import MeasurementPlugin
from firstlight.tasks.measurement_scene import MeasurementScene

from .frames import PSF, exposure_of, members, noise, star_exposure

RADIUS = 5.0
SHAPE = (800, 800)


def measure(exposure, task=None):
    found = MatchedFilterDetectTask().run(exposure)
    return (task or PluginMeasureTask()).run(found.exposure, found.detections, aperture_radius=RADIUS).catalog


def paired(catalog, stars):
    """Return the row of the catalogue for each star."""
    distance = np.hypot(np.subtract.outer(stars["x"], catalog["x"]), np.subtract.outer(stars["y"], catalog["y"]))
    assert distance.min(axis=1).max() < 1.0
    return catalog[distance.argmin(axis=1)]


@pytest.fixture(scope="module")
def truth_and_catalog():
    exposure, stars = star_exposure(shape=SHAPE, flux=(1.5e3, 1e5))
    return exposure, stars, paired(measure(exposure), stars)


def assert_pulls_are_normal(pull, *, spread=0.12):
    """Errors have the stated size: n pulls of a normal law have a spread of 1 to 1 / sqrt(2 n)."""
    pull = np.asarray(pull)
    n = len(pull)
    assert abs(np.median(pull)) < 4 * 1.25 / np.sqrt(n)
    assert 1.4826 * np.median(np.abs(pull - np.median(pull))) == pytest.approx(
        1.0, abs=max(spread, 4 * 1.17 / np.sqrt(2 * n))
    )
    assert np.mean(np.abs(pull) > 5) <= 0.01


@pytest.mark.parametrize("axis", ["x", "y"])
def test_centroids_are_off_by_what_they_state(truth_and_catalog, axis):
    _, stars, catalog = truth_and_catalog

    assert_pulls_are_normal((catalog[axis] - stars[axis]) / catalog[f"{axis}_err"])


def test_psf_fluxes_are_off_by_what_they_state(truth_and_catalog):
    _, stars, catalog = truth_and_catalog

    assert_pulls_are_normal((catalog["psf_inst_flux"] - stars["flux"]) / catalog["psf_inst_flux_err"])
    np.testing.assert_allclose(catalog["snr"], catalog["psf_inst_flux"] / catalog["psf_inst_flux_err"])


def test_aperture_fluxes_are_off_by_what_they_state(truth_and_catalog):
    _, stars, catalog = truth_and_catalog
    inside = PSF.aperture_flux(RADIUS, x=0, y=0) / PSF.stamp_fraction(x=0, y=0)

    assert_pulls_are_normal((catalog["aper_inst_flux"] - inside * stars["flux"]) / catalog["aper_inst_flux_err"])


def test_the_psf_fits_the_stars_as_well_as_noise_allows(truth_and_catalog):
    _, _, catalog = truth_and_catalog

    assert np.median(catalog["psf_chi2"]) == pytest.approx(1.0, abs=0.1)


def test_shapes_of_stars_are_those_of_the_psf(truth_and_catalog):
    _, _, catalog = truth_and_catalog
    for name in ("ixx", "iyy", "ixy"):
        assert_pulls_are_normal((catalog[name] - catalog[f"psf_{name}"]) / catalog[f"{name}_err"], spread=0.25)


def test_stars_are_not_extended_and_a_blur_is(truth_and_catalog):
    _, _, catalog = truth_and_catalog
    rng = np.random.default_rng(3)
    row, column = np.mgrid[:200, :200]
    blur = 5e4 / (2 * np.pi * 9) * np.exp(-((column - 100.2) ** 2 + (row - 99.7) ** 2) / 18)
    wide = measure(exposure_of(blur + 7.0 * rng.standard_normal((200, 200))))

    assert np.median(catalog["extendedness"]) < 0.05
    assert wide["extendedness"][np.argmax(wide["peak_snr"])] > 0.8


def test_sky_positions_are_unknown_without_a_wcs(truth_and_catalog):
    _, _, catalog = truth_and_catalog

    assert np.isnan(catalog["ra"]).all()
    assert np.isnan(catalog["dec"]).all()


def test_a_masked_pixel_raises_its_flags_and_no_other():
    exposure, stars = star_exposure(shape=(200, 200))
    planes = {"SAT": 0, "CR": 6, "BAD": 12, "SUSPECT": 18}
    mask = Mask.empty((200, 200))
    for plane, row in planes.items():
        where = np.zeros((200, 200), dtype=bool)
        where[round(stars["y"][row]) + 1, round(stars["x"][row])] = True
        mask = mask.with_plane(plane, where)
    catalog = paired(measure(exposure.replace(mask=mask)), stars)
    flags = {"SAT": "saturated", "CR": "cr", "BAD": "bad", "SUSPECT": "suspect"}

    for plane, row in planes.items():
        assert np.flatnonzero(catalog[flags[plane]]).tolist() == [row]
        if plane != "SUSPECT":
            assert np.flatnonzero(catalog[f"{flags[plane]}_center"]).tolist() == [row]


def test_a_source_that_cannot_be_measured_is_nan_and_flagged():
    exposure, stars = star_exposure(shape=(200, 200))
    found = MatchedFilterDetectTask().run(exposure)
    where = np.zeros((200, 200), dtype=bool)
    row, column = round(stars["y"][6]), round(stars["x"][6])
    where[row - 25 : row + 26, column - 18 : column + 19] = True
    bad = found.exposure.replace(mask=found.exposure.mask.with_plane("NO_DATA", where))
    catalog = PluginMeasureTask().run(bad, found.detections, aperture_radius=RADIUS).catalog
    lost = catalog[np.argmin(np.hypot(catalog["peak_x"] - column, catalog["peak_y"] - row))]

    assert lost["psf_flux_flag"]
    assert lost["aper_flux_flag"]
    assert lost["shape_flag"]
    assert lost["centroid_flag"]
    assert np.isnan(lost["psf_inst_flux"])
    assert np.isfinite(lost["x"])


@pytest.mark.parametrize("task_class", members(MeasureTask))
def test_there_is_one_row_for_each_detection_in_their_order(task_class):
    exposure, _ = star_exposure(shape=(200, 200))
    found = MatchedFilterDetectTask().run(exposure)
    catalog = task_class().run(found.exposure, found.detections, aperture_radius=RADIUS).catalog

    assert len(catalog) == found.detections.n_peaks
    np.testing.assert_array_equal(catalog["peak_x"], found.detections.peak_x)
    assert catalog["id"].tolist() == [(7 << 32) + 1 + k for k in range(len(catalog))]


@pytest.mark.parametrize("plugin_class", members(MeasurementPlugin))
def test_every_plug_in_fills_whole_columns_and_leaves_the_catalogue_alone(plugin_class):
    exposure, _ = star_exposure(shape=(200, 200))
    found = MatchedFilterDetectTask().run(exposure)
    catalog = catalog_of(found.detections)
    scene = MeasurementScene(found.exposure, found.detections, RADIUS)
    for earlier in sorted(PluginMeasureTask().plugins.values(), key=lambda plugin: plugin.order):
        if earlier.order >= plugin_class.order:
            break
        for name, column in earlier.run(scene, catalog).items():
            catalog[name] = column
    before = catalog.copy()
    columns = plugin_class().run(scene, catalog)

    assert columns
    assert all(len(column) == len(catalog) for column in columns.values())
    assert catalog.colnames == before.colnames
    for name in before.colnames:
        np.testing.assert_array_equal(catalog[name], before[name])


def test_plug_ins_run_by_their_order_whatever_their_names():
    task = PluginMeasureTask()
    orders = [plugin.order for plugin in task.plugins.values()]

    assert orders == sorted(orders)
    assert isinstance(next(iter(task.plugins.values())), WindowedCentroidPlugin)


def test_further_apertures_are_named_by_their_radius():
    exposure, _ = star_exposure(shape=(200, 200))
    found = MatchedFilterDetectTask().run(exposure)
    plugin = ApertureFluxPlugin(type(ApertureFluxPlugin().config)(radii=(3.0, 4.5), unit="pixel"))
    columns = plugin.run(MeasurementScene(found.exposure, found.detections, RADIUS), catalog_of(found.detections))

    assert {name for name in columns if name.endswith("_inst_flux")} == {
        "aper_inst_flux",
        "aper_3_px_inst_flux",
        "aper_4_5_px_inst_flux",
    }


@pytest.mark.parametrize("first", [-3, 0])
def test_the_flux_at_a_peak_that_stands_in_for_a_centroid_is_flagged(first):
    exposure, stars = star_exposure(shape=(200, 200))
    star = stars[6]
    lost = np.zeros((200, 200), dtype=bool)
    column, row = round(star["x"]) + first, round(star["y"])
    lost[row - 25 : row + 26, column : column + 4] = True
    image = np.where(lost, np.float32(0.0), exposure.image)
    catalog = measure(exposure.replace(image=image, mask=exposure.mask.with_plane("BAD", lost)))

    beside = catalog[np.argmin(np.hypot(catalog["x"] - star["x"], catalog["y"] - star["y"]))]
    assert beside["centroid_flag_reset_to_peak"]
    assert beside["psf_inst_flux"] < star["flux"] - 5 * beside["psf_inst_flux_err"]
    assert beside["psf_flux_flag_no_centroid"]
    assert beside["psf_flux_flag"]
    assert np.count_nonzero(catalog["psf_flux_flag"]) == 1


def test_fluxes_need_no_plugin_for_centroids():
    exposure, _ = star_exposure(shape=(200, 200))
    task = PluginMeasureTask(PluginMeasureConfig(plugins={"psf_flux": subtask(PsfFluxPlugin)}))

    assert not measure(exposure, task)["psf_flux_flag"].any()


def test_without_a_psf_its_flux_is_missing_and_flagged():
    exposure, _ = star_exposure(shape=(200, 200))
    found = MatchedFilterDetectTask().run(exposure)
    catalog = (
        PluginMeasureTask().run(found.exposure.replace(psf=None), found.detections, aperture_radius=RADIUS).catalog
    )

    assert catalog["psf_flux_flag"].all()
    assert np.isnan(catalog["psf_inst_flux"]).all()
    assert np.isfinite(catalog["aper_inst_flux"]).all()


def test_noise_alone_gives_fluxes_around_zero():
    exposure = exposure_of(noise((300, 300)))
    y, x = (a.ravel() for a in np.mgrid[20:281:20, 20:281:20].astype(float))
    found = MatchedFilterDetectTask(type(MatchedFilterDetectTask().config)(threshold=3.0)).run(exposure)
    placed = with_sky_positions(found.detections, x=x, y=y, radius=6, size=1.2)
    catalog = catalog_of(placed)
    columns = ApertureFluxPlugin().run(MeasurementScene(exposure, placed, RADIUS), catalog)
    sky = np.asarray(catalog["sky_source"])

    assert_pulls_are_normal(
        np.asarray(columns["aper_inst_flux"])[sky] / np.asarray(columns["aper_inst_flux_err"])[sky], spread=0.2
    )
    assert not catalog["primary"][sky].any()
    assert not catalog["isolated"][sky].any()
