"""A package of somebody else's, installed with pip, brings a task that every command finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from firstlight.simulation import SimulationSettings, write_night

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "their-package"
version = "1.2"

[project.entry-points."firstlight.tasks"]
TheirPsfTask = "their_package.psf:TheirPsfTask"
"""
TASK = '''
from pydantic import PositiveFloat

from firstlight.tasks.psf import GaussianPsfTask, PsfConfig, PsfResult


class TheirPsfConfig(GaussianPsfTask.config_class):
    """Settings of `TheirPsfTask`."""

    widen: PositiveFloat = 1.0
    """Factor on the width; 1 leaves it as it is."""


class TheirPsfTask(GaussianPsfTask):
    """A Gaussian PSF with a twist of theirs."""

    config_class = TheirPsfConfig

    def run(self, *args, **kwargs) -> PsfResult:
        """Model the PSF."""
        print("TheirPsfTask was here")
        return super().run(*args, **kwargs)
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The folder into which pip installs the package."""
    source = tmp_path_factory.mktemp("their-package")
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "their_package").mkdir()
    (source / "their_package" / "__init__.py").write_text("")
    (source / "their_package" / "psf.py").write_text(TASK)
    target = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    return target


def firstlight(site: Path, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("firstlight"), *map(str, arguments)]
    paths = os.pathsep.join(part for part in (str(site), os.environ.get("PYTHONPATH", "")) if part)
    return subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )


def test_the_list_of_tasks_shows_it_with_its_package(site, tmp_path):
    done = firstlight(site, "tasks", "list", "PsfTask", folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "TheirPsfTask" in done.stdout
    assert "A Gaussian PSF with a twist of theirs. [their-package]" in done.stdout
    assert "PixelPsfTask" in done.stdout


def test_without_the_package_its_name_is_unknown(tmp_path):
    done = firstlight(tmp_path, "config", "show", "-c", "calibrate:psf.task=TheirPsfTask", folder=tmp_path)

    assert done.returncode == 2
    assert done.stderr.startswith("firstlight: calibrate:psf.task: no task is named 'TheirPsfTask'")
    assert done.stderr.count("\n") == 1


def test_its_settings_are_shown_and_checked(site, tmp_path):
    task = ("-c", "calibrate:psf.task=TheirPsfTask")
    shown = firstlight(site, "config", "show", "calibrate:psf", *task, folder=tmp_path)
    wrong = firstlight(site, "config", "show", *task, "-c", "calibrate:psf.widden=2", folder=tmp_path)

    assert "widen: 1.0" in shown.stdout
    assert "no such field; did you mean 'widen'?" in wrong.stderr


@pytest.mark.slow
def test_process_runs_it(site, tmp_path):
    write_night(tmp_path, SimulationSettings(shape=(300, 320)), seed=3)
    call = ("process", "epoch_0.fits", "-o", "out", "--no-page", "--stop-after", "psf_pass_1")
    done = firstlight(site, *call, "-c", "calibrate:psf.task=TheirPsfTask", folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "TheirPsfTask was here" in done.stdout
    settings = json.loads((tmp_path / "out" / "epoch_0_summary.json").read_text())["settings"]
    assert settings["calibrate.psf.task"].startswith("TheirPsfTask")
