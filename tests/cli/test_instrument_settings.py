"""The settings of a camera for tasks reach every command, below what the user says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firstlight.cli.main import run
from firstlight.instruments import known_instruments
from firstlight.simulation import SimulationSettings, write_night

CAMERA = """
name: tiny
pixel_scale: 0.7
recognise: {INSTRUME: Nothing}
"""


@pytest.fixture
def camera(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "instrument.yaml").write_text(CAMERA)
    (folder / "CalibrateImageTask.yaml").write_text("psf: {task: GaussianPsfTask}\naperture_fwhm: 1.75\n")
    monkeypatch.chdir(tmp_path)
    return Path("tiny/instrument.yaml")


def test_history_tells_the_file_of_the_camera(camera, capsys):
    call = ["config", "history", "calibrate:aperture_fwhm", "--instrument", str(camera)]

    assert run([*call, "-c", "calibrate:aperture_fwhm=2.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["2.0", "default", "of", "CalibrateImageConfig"],
        ["1.75", "tiny/CalibrateImageTask.yaml:2"],
        ["*", "2.5", "-c", "calibrate:aperture_fwhm=2.5"],
    ]


def test_process_uses_them_and_says_so(camera, tmp_path):
    write_night(tmp_path / "night", SimulationSettings(shape=(300, 320)), seed=3)
    call = ["process", "night/epoch_0.fits", "-o", "out", "--no-page", "--stop-after", "psf_pass_1"]

    assert run([*call, "--instrument", str(camera), "-c", "calibrate:psf.warn_n_stars=3"]) == 0
    settings = json.loads(Path("out/epoch_0_summary.json").read_text())["settings"]
    assert settings == {
        "calibrate.psf.task": "GaussianPsfTask (tiny/CalibrateImageTask.yaml:1)",
        "calibrate.aperture_fwhm": "1.75 (tiny/CalibrateImageTask.yaml:2)",
        "calibrate.psf.warn_n_stars": "3 (-c calibrate:psf.warn_n_stars=3)",
    }


def test_a_mistake_in_the_file_of_a_camera_is_one_line_with_its_place(camera, capsys):
    (camera.parent / "CalibrateImageTask.yaml").write_text("psf: {oder: 2}\n")

    assert run(["pipeline", "check", "single_frame.yaml", "--instrument", str(camera)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "firstlight: calibrate:psf.oder: no such field; did you mean 'order'? (from tiny/CalibrateImageTask.yaml:1)"
    ]


@pytest.mark.parametrize("name", sorted(known_instruments()))
def test_the_settings_of_every_camera_that_comes_along_can_be_used(name, capsys):
    pipelines = ["single_frame.yaml", "difference.yaml", "night.yaml"]

    assert [run(["pipeline", "check", pipeline, "--instrument", name]) for pipeline in pipelines] == [0, 0, 0], (
        capsys.readouterr().err
    )


def test_decam_is_calibrated_with_its_colour_terms(capsys):
    assert run(["config", "history", "calibrate:photometry.color_terms", "--instrument", "decam"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[:2] == ["*", '"decam"']


def test_a_file_that_is_named_almost_like_a_task_is_refused(camera, capsys):
    (camera.parent / "CalibrateImgTask.yaml").write_text("aperture_fwhm: 2\n")

    assert run(["pipeline", "check", "single_frame.yaml", "--instrument", str(camera)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "firstlight: tiny/CalibrateImgTask.yaml: no task is named 'CalibrateImgTask'; "
        "did you mean 'CalibrateImageTask'?"
    ]


def test_a_file_of_a_task_that_is_no_label_is_refused_rather_than_ignored(camera, capsys):
    (camera.parent / "PixelPsfTask.yaml").write_text("order: 1\n")

    assert run(["pipeline", "check", "--instrument", str(camera)]) == 2
    assert "PixelPsfTask is no task of a pipeline, so nothing reads this file" in capsys.readouterr().err
