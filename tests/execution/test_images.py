"""A small night of images through a repository: the products are those of ``firstlight process``, to the bit."""

from __future__ import annotations

import html
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from firstlight.cli.exit_codes import FAILED_ON_DATA
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


def firstlight(folder: Path, *words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("firstlight")
    done = subprocess.run(
        [program, *map(str, words)], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == code, done.stderr
    return done


def write_blank(path: Path, *, like: Path) -> None:
    """Write an image without a star, taken at another time than ``like``."""
    with fits.open(like) as file:
        image, header = file[0].data, file[0].header.copy()
    noise = np.random.default_rng(3).normal(np.median(image), 5.0, image.shape)
    header["DATE-OBS"] = "2026-03-01T03:00:00"
    header["MJD-OBS"] = 61100.125
    fits.PrimaryHDU(noise.astype(np.float32), header).writeto(path)


@pytest.fixture(scope="module")
def night(tmp_path_factory) -> Path:
    """A folder with images, what ``process`` made of them, and a repository in which they and a blank one were run."""
    folder = tmp_path_factory.mktemp("night")
    write_night(folder / "raw", SimulationSettings(shape=(320, 340)), seed=11, n_epochs=EPOCHS)
    images = sorted(str(path) for path in (folder / "raw").glob("epoch_*.fits"))
    table = folder / "raw" / "refcat.parquet"
    setting = ("-c", "calibrate:psf.order=1")
    firstlight(folder, "process", *images, "-o", "out", "--refcat", table, "--no-page", *setting)
    write_blank(folder / "raw" / "blank.fits", like=Path(images[0]))
    firstlight(folder, "repo", "create", "repo")
    firstlight(folder, "ingest", "-b", "repo", *images, folder / "raw" / "blank.fits")
    firstlight(folder, "refcat", "ingest", "store", table)
    for name in ("astrometry_refcat", "photometry_refcat"):
        firstlight(folder, "refcat", "register", "-b", "repo", "store", "--name", name)
    (folder / "site.yaml").write_text("provider: local\nworkers_per_node: 2\n")
    for output, place in (("one", ("-j", 1)), ("two", ("-j", 2)), ("parsl", ("--site", "site.yaml"))):
        words = ("run", "-b", "repo", "-p", "single_frame.yaml", "-o", output, *place, *setting)
        firstlight(folder, *words, code=FAILED_ON_DATA)
    return folder


def files_of(folder: Path, output: str) -> dict[str, bytes]:
    root = folder / "repo" / output / "1"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".quanta" not in path.parts and path.name != "run.json"
    }


@pytest.mark.slow
@pytest.mark.parametrize("output", ["two", "parsl"])
def test_the_place_and_the_number_of_processes_change_no_bit_of_any_file(night, output):
    one, other = (files_of(night, name) for name in ("one", output))

    assert sum(name.startswith("visit_image/") for name in one) == EPOCHS
    assert len(one) >= EPOCHS * 11
    assert one == other


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

    assert f"calibrate: {EPOCHS} done, 1 partial" in said
    assert "<html" in page
    assert "http" not in page


@pytest.mark.slow
def test_the_reason_of_a_failing_image_is_in_every_form_of_the_report(night):
    said = firstlight(night, "report", "-b", "repo", "one", "--html", "report.html").stdout
    found = json.loads(firstlight(night, "report", "-b", "repo", "one", "--json").stdout)
    [failure] = found["failures"]

    assert (failure["label"], failure["number"]) == ("calibrate", 1)
    assert failure["error"] in ("NoSourcesError", "TooFewSourcesError", "TooFewStarsError")
    page = html.unescape((night / "report.html").read_text())
    for form in (said, page):
        assert failure["message"] in form
        assert failure["error"] in form
        assert failure["command"] in form
    assert " -c calibrate:psf.order=1 -d " in failure["command"]
    with Repo.open(night / "repo") as repo:
        [blocked] = [row for row in repo.quanta("one/1") if row.status == "blocked"]
    assert blocked.label == "measure"


@pytest.mark.slow
def test_what_the_images_were_like_is_in_queries_and_reports_as_in_the_images_themselves(night):
    rows = [
        json.loads(line)
        for line in firstlight(night, "query", "visits", "-b", "repo", "--json").stdout.split("\n")[:-1]
    ]
    lines = json.loads(firstlight(night, "report", "-b", "repo", "one", "--json").stdout)["exposures"]
    page = (night / "report.html").read_text()
    with Repo.open(night / "repo") as repo:
        whole = [row for row in repo.datasets("preliminary_visit_image", collections="one") if not row.partial]
        for row in whole:
            summary = repo.read(row).summary
            [asked] = [each for each in rows if each["visit"] == row.data_id["visit"]]
            [line] = [each for each in lines if f"visit={row.data_id['visit']} " in each["data_id"]]
            assert asked["seeing"] == round(summary["psf_fwhm"] * summary["pixel_scale"], 3)
            assert asked["depth"] == round(summary["mag_lim"], 3)
            assert (asked["zero_point"], asked["n_detectors"]) == (round(summary["zero_point"], 3), 1)
            assert line["zero_point_mag"] == summary["zero_point"]
            assert line["seeing_arcsec"] == summary["psf_fwhm"] * summary["pixel_scale"]
            assert f"{summary['zero_point']:.3f}" in page

    assert (len(whole), len(lines)) == (EPOCHS, EPOCHS)
    assert [each["seeing"] is None for each in rows].count(True) == 1
