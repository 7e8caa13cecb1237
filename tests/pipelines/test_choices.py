"""The pipeline with other tasks in its slots, with empty slots, and with tasks of another package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import invalidate_caches
from textwrap import dedent

import numpy as np
import pytest

from firstlight.errors import ConfigError
from firstlight.framework import Layer, build_config, known_tasks
from firstlight.images.psf import GaussianPsf, Psf
from firstlight.simulation import SimulationSettings, write_night
from firstlight.tasks.background import ConstantBackgroundTask
from firstlight.tasks.calibrate_image import CalibrateImageTask
from firstlight.tasks.measure_image import MeasureImageConfig, MeasureImageTask
from firstlight.tasks.single_frame import SingleFrameConfig

from .fields import assert_sky_can_be_put_back, process, task_with

CHOICES = [
    "calibrate:psf.task=GaussianPsfTask",
    "calibrate:seeing.task=FixedSeeingTask",
    "calibrate:background.method=spline",
    "calibrate:background={bin_size: 64, order: 2}",
    "calibrate:cosmic_rays=null",
    "measure:background=null",
    "measure:background.task=ConstantBackgroundTask",
    "measure:detection.noise=measured",
    "measure:measurement.plugins.aperture.radii=[2, 3.5]",
]
REMOVABLE = {
    "centroid": {"x_err", "y_err", "centroid_flag"},
    "pixel_flags": {"saturated", "cr", "bad_center"},
    "moments": {"ixx", "ixx_err", "shape_flag", "psf_ixx", "extendedness"},
    "aperture": {"aper_flux", "aper_flux_err", "aper_mag", "aper_flux_flag"},
    "extendedness": {"extendedness"},
    "sky_coord": {"ra", "dec"},
}
"""Plug-in of the deep catalogue -> columns that nobody else fills."""

PACKAGE = """
    from firstlight.images.psf import GaussianPsf
    from firstlight.tasks.background import BackgroundConfig, BackgroundTask, ConstantBackgroundTask, BackgroundResult
    from firstlight.tasks.measurement_plugins import MeasurementPlugin
    from firstlight.tasks.psf import FittedPsf, PsfConfig, PsfTask
    import numpy as np

    class RoundPsfConfig(PsfConfig):
        sigma: float = 1.5

    class RoundPsfTask(PsfTask[RoundPsfConfig]):
        def fit(self, exposure, stars, neighbours):
            return FittedPsf(psf=GaussianPsf(sigma=self.config.sigma, radius=8), used=np.ones(len(stars), dtype=bool))

    class ColumnPlugin(MeasurementPlugin):
        order = 6.0

        def run(self, scene, catalog):
            return {"row_parity": np.asarray(catalog["y"]).round() % 2 == 0}
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return the folder of an installed package with a PSF task and a plug-in."""
    folder = tmp_path / "site-packages"
    about = folder / "roundstars-1.0.dist-info"
    (folder / "roundstars").mkdir(parents=True)
    about.mkdir()
    (folder / "roundstars" / "__init__.py").write_text(dedent(PACKAGE))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: roundstars\nVersion: 1.0\n")
    tasks = ("RoundPsfTask", "ColumnPlugin")
    lines = ["[firstlight.tasks]", *(f"{name} = roundstars:{name}" for name in tasks)]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    invalidate_caches()
    known_tasks.cache_clear()
    yield folder
    sys.modules.pop("roundstars", None)
    monkeypatch.undo()
    known_tasks.cache_clear()


@pytest.fixture(scope="module")
def calibrated(small):
    """Return a calibrated exposure that nothing deep was measured on yet."""
    return CalibrateImageTask().run(small.exposure, **small.references)


def deep_columns(calibrated, measurement) -> set[str]:
    """Return the columns of the deep catalogue with settings of its measurement."""
    layers = [Layer.from_mapping({"measurement": measurement}, origin="the test")]
    task = MeasureImageTask(build_config(MeasureImageConfig, layers, labelled=False))
    return set(task.run(calibrated.exposure).sources.colnames)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_ends_with_a_true_zero_point(small, choice):
    result = process(small, choice)
    # A PSF of the wrong shape is made good by the aperture correction; 0.03 mag is what its few stars allow.
    limit = max(3 * result.summary["zero_point_error"], 0.03)

    assert abs(result.summary["zero_point"] - small.truth.zero_point) < limit
    assert_sky_can_be_put_back(small.exposure, result.exposure, result.applied_photo_calib)
    assert len(result.sources) > len(result.stars) > 20


def test_a_gaussian_psf_by_override_is_used_everywhere(small):
    result = process(small, "calibrate:psf.task=GaussianPsfTask")

    assert isinstance(result.exposure.psf, GaussianPsf)
    assert np.ptp(result.sources["psf_ixx"]) < 0.01 * np.median(result.sources["psf_ixx"])


def test_without_cosmic_ray_repair_no_pixel_is_changed(small):
    result = process(small, "calibrate:cosmic_rays=null", "measure=null")

    assert not result.exposure.mask.any_of("CR", "INTRP").any()
    assert result.sources is None


def test_without_photometry_an_image_is_solved_and_stays_in_counts(small):
    result = process(small, "calibrate:photometry=null", "measure=null")

    assert result.exposure.unit == "count"
    assert result.applied_photo_calib is None
    assert result.summary["astrometry_matches_count"] > 20


def test_without_the_deep_catalogue_the_rest_is_the_same(small, small_result):
    alone, both = process(small, "measure=null"), small_result

    assert (alone.sources, alone.summary["zero_point"]) == (None, both.summary["zero_point"])
    np.testing.assert_array_equal(alone.stars["psf_flux"], both.stars["psf_flux"])
    assert both.gates[: len(alone.gates)] == alone.gates


@pytest.mark.parametrize("plugin", REMOVABLE)
def test_a_plug_in_that_is_removed_takes_its_columns_along(calibrated, plugin):
    columns = deep_columns(calibrated, {"plugins": {plugin: None}})

    assert REMOVABLE[plugin] <= deep_columns(calibrated, {})
    assert not REMOVABLE[plugin] & columns
    assert {"id", "x", "y", "psf_flux", "calib_flux"} <= columns


def test_a_plug_in_added_under_a_new_name_measures_once_more(calibrated):
    columns = deep_columns(calibrated, {"plugins": {"wide": {"task": "ApertureFluxPlugin", "radii": [6]}}})

    assert {"aper_6_fwhm_flux", "aper_6_fwhm_flux_err", "aper_6_fwhm_mag"} <= columns


def test_larger_apertures_hold_more_light(small):
    sources = process(small, "measure:measurement.plugins.aperture.radii=[1, 3]").sources
    bright = (sources["snr"] > 100) & ~sources["blended"] & ~sources["edge"]

    assert np.median((sources["aper_1_fwhm_flux"] / sources["aper_3_fwhm_flux"])[bright]) < 0.9


def test_settings_of_a_slot_reach_its_task(small):
    task = task_with("calibrate:background.task=ConstantBackgroundTask", "calibrate:psf.order=1")

    assert isinstance(task.calibrate.background, ConstantBackgroundTask)
    assert task.calibrate.psf.config.order == 1
    assert task.calibrate.star_detection.config.include_multiplier == 2.0


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("calibrate:psf.task=MeshBackgroundTask", "PsfTask"),
        ("calibrate:psf.task=GausianPsfTask", "did you mean 'GaussianPsfTask'"),
        ("calibrate:background=null", "calibrate:background"),
        ("calibrate:aperture_fwhm=-1", "aperture_fwhm"),
        ("measure:measurement.plugins.aperture.radii=[-3]", "radii"),
    ],
)
def test_a_choice_that_does_not_fit_is_refused(setting, said):
    with pytest.raises(ConfigError) as raised:
        task_with(setting)
    assert said in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_tasks_of_another_package_are_configured_like_our_own(site, small):
    layers = ["calibrate:psf={task: RoundPsfTask, sigma: 1.25}", "measure:measurement.plugins.rows.task=ColumnPlugin"]
    config = build_config(SingleFrameConfig, [Layer.from_assignment(text) for text in layers])
    result = process(small, *layers)

    assert config.calibrate.config.psf.config.sigma == 1.25
    assert isinstance(result.exposure.psf, Psf)
    assert result.summary["psf_sigma"] == pytest.approx(1.25, rel=0.05)
    assert result.sources["row_parity"].dtype == bool


def test_a_task_of_another_package_works_on_the_command_line(site, tmp_path):
    write_night(tmp_path, SimulationSettings(shape=(256, 256)), seed=8)
    call = [sys.executable, "-c", "import sys; from firstlight.cli.main import main; sys.exit(main())"]
    call += ["process", str(tmp_path / "epoch_0.fits"), "--no-page", "-o", str(tmp_path / "out")]
    call += ["--stop-after", "psf_pass_1", "-c", "calibrate:psf={task: RoundPsfTask, sigma: 1.25}"]
    paths = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(call, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, check=False)

    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out" / "epoch_0_summary.json").read_text())
    assert summary["psf_sigma"] == pytest.approx(1.25, rel=0.05)
    assert summary["settings"]["calibrate.psf.sigma"].startswith("1.25")
