"""Every kind of measurement: right on a known source, flagged where it cannot be made, never NaN without a flag."""

from __future__ import annotations

import re

import numpy as np
import pytest
from astropy.wcs import WCS

from firstlight.algorithms.detection_lists import with_sky_positions
from firstlight.framework import Layer, build_config
from firstlight.framework.config_folder import config_folder
from firstlight.images.catalog_columns import meaning_of
from firstlight.images.mask import Mask
from firstlight.images.psf import FWHM_PER_SIGMA
from firstlight.images.wcs import SkyWcs
from firstlight.tasks.detect import MatchedFilterDetectTask
from firstlight.tasks.measure import PluginMeasureConfig, PluginMeasureTask
from firstlight.tasks.measurement_plugins import MeasurementPlugin
from firstlight.tasks.measurement_scene import psf_sigma

from .frames import NOISE, PSF, exposure_of, members, noise, star_exposure

RADIUS = 5.6
SHAPE = (400, 400)
SPECIFIC = re.compile(r"(.*_flag)_\w+$")


def all_plugins() -> PluginMeasureTask:
    """Return a task with every plug-in there is."""
    plugins = {f"plugin_{k}": {"task": plugin.__name__} for k, plugin in enumerate(members(MeasurementPlugin))}
    default = dict.fromkeys(PluginMeasureConfig().plugins)
    layer = Layer.from_mapping({"plugins": default | plugins}, origin="the test")
    return PluginMeasureTask(build_config(PluginMeasureConfig, [layer], labelled=False))


def wcs(scale=0.3) -> SkyWcs:
    made = WCS(naxis=2)
    made.wcs.ctype, made.wcs.crval, made.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.0, 60.0], [200.0, 200.0]
    turn = np.radians(30)
    made.wcs.cd = scale / 3600 * np.array([[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return SkyWcs.from_header(made.to_header())


@pytest.fixture(scope="module")
def stars():
    exposure, truth = star_exposure(shape=SHAPE, flux=(5e3, 1e5))
    found = MatchedFilterDetectTask().run(exposure.replace(wcs=wcs()))
    catalog = all_plugins().run(found.exposure, found.detections, aperture_radius=RADIUS).catalog
    apart = np.hypot(np.subtract.outer(truth["x"], catalog["x"]), np.subtract.outer(truth["y"], catalog["y"]))
    return truth, catalog[apart.argmin(axis=1)]


def broken_exposures():
    """Return images on which most measurements fail, with the sources where they are looked for."""
    exposure, _ = star_exposure(shape=(120, 120), flux=(5e3, 1e5))
    found = MatchedFilterDetectTask().run(exposure)
    x, y = np.array([0.0, 119.0, 60.0, 61.0]), np.array([0.0, 60.0, 119.0, 20.0])
    placed = with_sky_positions(found.detections, x=x, y=y, radius=3, size=1.2)
    everywhere = np.ones((120, 120), dtype=bool)
    blank = np.zeros((120, 120), dtype=np.float32)
    saturated = exposure.replace(mask=Mask.empty((120, 120)).with_plane("SAT", everywhere))
    nothing = exposure.replace(image=blank * np.nan, mask=Mask.empty((120, 120)).with_plane("NO_DATA", everywhere))
    return {
        "good": (found.exposure, placed),
        "blank": (exposure.replace(image=blank), placed),
        "negative": (exposure.replace(image=-np.abs(exposure.image) - 50), placed),
        "all saturated": (saturated, placed),
        "all without data": (nothing, placed),
        "not masked but not finite": (exposure.replace(image=blank * np.nan), placed),
        "without variance": (exposure.replace(variance=blank), placed),
    }


@pytest.mark.parametrize("name", ["good", *[key for key in broken_exposures() if key != "good"]])
@pytest.mark.filterwarnings("error")
def test_a_value_without_its_flag_is_a_number_and_a_flag_is_the_sum_of_its_parts(name):
    exposure, detections = broken_exposures()[name]
    catalog = all_plugins().run(exposure.replace(wcs=wcs()), detections, aperture_radius=RADIUS).catalog
    groups: dict[str, list[str]] = {}
    for column in catalog.colnames:
        if part := SPECIFIC.match(column):
            groups.setdefault(part.group(1), []).append(column)

    assert {"centroid_flag", "shape_flag", "psf_flux_flag", "aper_flux_flag"} <= set(groups)
    for flag, parts in groups.items():
        np.testing.assert_array_equal(catalog[flag], np.any([catalog[part] for part in parts], axis=0), err_msg=flag)
    for column in [c for c in catalog.colnames if c.endswith("_inst_flux")]:
        good = ~catalog[f"{column.removesuffix('_inst_flux')}_flux_flag"]
        assert np.isfinite(catalog[column][good]).all(), column
        assert np.isfinite(catalog[f"{column}_err"][good]).all(), column
    for flag, columns in {
        "shape_flag": ("ixx", "iyy", "ixy", "ixx_err"),
        "extendedness_flag": ("extendedness",),
        "flux_extendedness_flag": ("flux_extendedness",),
        "blendedness_flag": ("blendedness",),
        "variance_flag": ("variance",),
        "local_background_flag": ("local_background", "local_background_err"),
        "moments_flag": ("moment_30", "moment_04"),
        "sky_flag": ("ra", "dec"),
    }.items():
        for column in columns:
            assert np.isfinite(catalog[column][~catalog[flag]]).all(), column
    assert np.isfinite(catalog["x"]).all()
    assert np.isfinite(catalog["y"]).all()


def test_every_column_has_a_meaning(stars):
    _, catalog = stars

    assert [name for name in catalog.colnames if not meaning_of(name)] == []


def assert_centred(pull):
    pull = np.asarray(pull)[np.isfinite(pull)]
    assert abs(np.median(pull)) < 4 * 1.25 / np.sqrt(len(pull))
    assert 1.4826 * np.median(np.abs(pull)) == pytest.approx(1.0, abs=0.3)


def test_a_compensated_aperture_is_blind_to_the_sky_and_lacks_the_light_of_its_ring(stars):
    truth, catalog = stars
    fwhm = FWHM_PER_SIGMA * psf_sigma(exposure_of(noise((60, 60))))
    total = PSF.stamp_fraction(x=0, y=0)
    core, inner, outer = (PSF.aperture_flux(s * 2 * fwhm, x=0, y=0) / total for s in (1.0, 1.0, 1.7))
    expected = core - (outer - inner) / (1.7**2 - 1)

    assert_centred(
        (catalog["tophat_2_fwhm_inst_flux"] - expected * truth["flux"]) / catalog["tophat_2_fwhm_inst_flux_err"]
    )


def test_errors_on_the_sky_are_those_on_the_image_times_the_scale(stars):
    _, catalog = stars
    area = catalog["ra_err"] ** 2 + catalog["dec_err"] ** 2

    np.testing.assert_allclose(np.sqrt(area), 0.3 / 3600 * np.hypot(catalog["x_err"], catalog["y_err"]), rtol=1e-4)


def test_shapes_on_the_sky_are_turned_and_scaled(stars):
    _, catalog = stars
    sky = catalog["sky_ixx"] * catalog["sky_iyy"] - catalog["sky_ixy"] ** 2
    image = catalog["ixx"] * catalog["iyy"] - catalog["ixy"] ** 2
    east = np.cos(np.radians(30)) ** 2 * catalog["ixx"] + np.sin(np.radians(30)) ** 2 * catalog["iyy"]
    east = east - 2 * np.cos(np.radians(30)) * np.sin(np.radians(30)) * catalog["ixy"]

    np.testing.assert_allclose(sky, 0.3**4 * image, rtol=1e-3)
    np.testing.assert_allclose(catalog["sky_ixx"], 0.3**2 * east, rtol=1e-2)


def test_stars_are_points_by_size_and_by_flux(stars):
    _, catalog = stars

    assert (catalog["extendedness"] < 0.5).mean() >= 0.98
    assert (catalog["flux_extendedness"] == 0).mean() >= 0.98


def test_the_variance_is_that_of_the_sky_and_of_the_light_of_the_star(stars):
    truth, catalog = stars
    faint = truth["flux"] < 8e3

    assert (catalog["variance"] > NOISE**2).all()
    np.testing.assert_allclose(catalog["variance"][faint], NOISE**2, rtol=0.15)


def test_an_aperture_that_looks_beyond_the_tiles_is_summed_on_the_image(stars):
    _, catalog = stars
    exposure, _ = star_exposure(shape=(200, 200), flux=(5e3, 1e5))
    found = MatchedFilterDetectTask().run(exposure)
    layer = Layer.from_mapping({"plugins": {"aperture": {"radii": [4.0, 19.0], "unit": "pixel"}}}, origin="the test")
    task = PluginMeasureTask(build_config(PluginMeasureConfig, [layer], labelled=False))
    measured = task.run(found.exposure, found.detections, aperture_radius=RADIUS).catalog
    inner = ~measured["aper_19_px_flux_flag"]

    assert inner.sum() >= 4
    assert (measured["aper_19_px_inst_flux"] > measured["aper_4_px_inst_flux"])[inner].all()
    assert len(catalog) > 0


def test_the_preset_adds_the_fluxes_of_lsst(tmp_path):
    preset = config_folder() / "presets" / "lsst_measurement.yaml"
    text = preset.read_text()
    body = text[text.index("    plugins:") :].replace("\n    ", "\n").strip()
    path = tmp_path / "plugins.yaml"
    path.write_text(body)
    layer = Layer.from_file(path)
    task = PluginMeasureTask(build_config(PluginMeasureConfig, [layer], labelled=False))
    exposure, _ = star_exposure(shape=(200, 200), flux=(5e3, 1e5))
    found = MatchedFilterDetectTask().run(exposure)
    names = task.run(found.exposure, found.detections, aperture_radius=RADIUS).catalog.colnames

    assert {"aper_12_px_inst_flux", "tophat_12_px_inst_flux", "compensated_3_px_inst_flux", "local_background"} <= set(
        names
    )
