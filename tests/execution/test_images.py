"""A small night of images through a repository: the products are those of ``firstlight process``, to the bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from firstlight.images.catalog import read_catalog
from firstlight.images.fits import read_exposure
from firstlight.repo.repo import Repo
from firstlight.simulation import SimulationSettings, write_night

PRODUCTS = {
    "visit_image": "epoch_{}_image.fits",
    "single_visit_star_unstandardized": "epoch_{}_stars.parquet",
    "single_visit_psf_star": "epoch_{}_psf_stars.parquet",
    "single_visit_source": "epoch_{}_sources.parquet",
}
EPOCHS = 2


def firstlight(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("firstlight")
    done = subprocess.run(
        [program, *map(str, words)], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def night(tmp_path_factory) -> Path:
    """A folder with images, what ``process`` made of them, and a repository in which they were run twice."""
    folder = tmp_path_factory.mktemp("night")
    write_night(folder / "raw", SimulationSettings(shape=(320, 340)), seed=11, n_epochs=EPOCHS)
    images = sorted(str(path) for path in (folder / "raw").glob("epoch_*.fits"))
    table = folder / "raw" / "refcat.parquet"
    setting = ("-c", "calibrate:psf.order=1")
    firstlight(folder, "process", *images, "-o", "out", "--refcat", table, "--no-page", *setting)
    firstlight(folder, "repo", "create", "repo")
    firstlight(folder, "ingest", "-b", "repo", *images)
    firstlight(folder, "refcat", "ingest", "store", table)
    for name in ("astrometry_refcat", "photometry_refcat"):
        firstlight(folder, "refcat", "register", "-b", "repo", "store", "--name", name)
    for output, jobs in (("one", 1), ("two", 2)):
        firstlight(folder, "run", "-b", "repo", "-p", "single_frame.yaml", "-o", output, "-j", jobs, *setting)
    return folder


def files_of(folder: Path, output: str) -> dict[str, bytes]:
    root = folder / "repo" / output / "1"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".quanta" not in path.parts and path.name != "run.json"
    }


@pytest.mark.slow
def test_the_number_of_processes_changes_no_bit_of_any_file(night):
    one, two = (files_of(night, output) for output in ("one", "two"))

    assert len(one) == EPOCHS * 11
    assert one == two


@pytest.mark.slow
def test_run_and_process_make_the_same(night):
    with Repo.open(night / "repo") as repo:
        visits = [row.data_id["visit"] for row in repo.datasets("visit_image", collections="one")]
        by_image = {
            repo.get(
                "visit_image", collections="one", instrument="simulated", visit=visit, detector=0
            ).observation.mjd_tai: visit
            for visit in visits
        }
        for epoch in range(EPOCHS):
            processed = read_exposure(night / "out" / f"epoch_{epoch}_image.fits")
            where = {"instrument": "simulated", "visit": by_image[processed.observation.mjd_tai], "detector": 0}
            exposure = repo.get("visit_image", collections="one", **where)
            np.testing.assert_array_equal(exposure.image, processed.image)
            np.testing.assert_array_equal(exposure.variance, processed.variance)
            np.testing.assert_array_equal(exposure.mask.array, processed.mask.array)
            for name in list(PRODUCTS)[1:]:
                table = repo.get(name, collections="one", **where)
                other = read_catalog(night / "out" / PRODUCTS[name].format(epoch))
                assert table.colnames == other.colnames
                for column in table.colnames:
                    np.testing.assert_array_equal(table[column], other[column], err_msg=column)


@pytest.mark.slow
def test_the_history_of_a_file_is_told_back_to_the_raw_image(night):
    path = next((night / "repo" / "one" / "1" / "visit_image").rglob("*.fits"))
    said = firstlight(night, "provenance", "show", "-b", "repo", "-r", path).stdout

    assert "made by measure in run one/1: done" in said
    assert "made by isr in run one/1: done" in said
    assert "in raw/simulated, from outside" in said


@pytest.mark.slow
def test_the_report_counts_and_its_page_stands_alone(night):
    said = firstlight(night, "report", "-b", "repo", "one", "--html", "report.html").stdout
    page = (night / "report.html").read_text()

    assert f"calibrate: {EPOCHS} done" in said
    assert "<html" in page
    assert "http" not in page
