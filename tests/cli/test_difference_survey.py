"""``firstlight difference --survey``: a simulated survey, served by this machine as the CDS serves it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from firstlight.cli.main import run
from firstlight.images.catalog import read_catalog
from firstlight.images.wcs import SkyWcs
from firstlight.simulation import SimulationSettings, night_sky, write_night

from ..refcats.services import OFFLINE, Service, serving
from ..refcats.survey_sky import SurveySky

SEED, SIDE = 4, 240
SETTINGS = SimulationSettings(shape=(SIDE, SIDE)).varied(
    header_wcs="exact", star_density=60_000.0, transient_density=6000.0, galaxy_fraction=0.0
)


@pytest.fixture(scope="module")
def field(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("field")
    write_night(folder, SETTINGS, seed=SEED, n_epochs=2)
    return folder


@pytest.fixture(scope="module")
def service(field) -> Iterator[Service]:
    from astroquery.hips2fits import hips2fitsClass

    wcs = SkyWcs.from_header(fits.getheader(field / "epoch_1.fits"))
    ra, dec = (float(each) for each in wcs.pixel_to_sky(x=SIDE / 2, y=SIDE / 2))
    sky = night_sky(SETTINGS, seed=SEED, n_epochs=2)
    survey = SurveySky(sky, ra=ra, dec=dec, side=0.11, pixel_scale=0.25, fwhm=1.3, zero_point=27.0)
    with serving(survey.answer) as service, pytest.MonkeyPatch.context() as patch:
        patch.setattr(hips2fitsClass, "server", service.url)
        yield service


def difference(field, folder, *options) -> int:
    return run(["difference", str(field / "epoch_1.fits"), *options, "-o", str(folder), "--no-page"])


@pytest.fixture(scope="module")
def done(field, service, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    assert difference(field, folder, "--survey", "auto") == 0
    return folder


def test_new_sources_are_found_against_a_survey(done, field):
    truth = read_catalog(field / "truth.parquet")
    x, y, flux = (np.nan_to_num(np.asarray(truth[name], dtype=float)) for name in ("x_1", "y_1", "flux_1"))
    inside = (np.minimum(x, y) > 15) & (np.maximum(x, y) < SIDE - 15)
    new = (np.asarray(truth["first_epoch"]) == 1) & (flux > 800) & inside
    table = read_catalog(done / "epoch_1_candidates.parquet")
    distance = np.hypot(x[new, None] - np.asarray(table["x"]), y[new, None] - np.asarray(table["y"])).min(axis=1)

    assert new.sum() >= 3
    assert np.mean(distance < 1.0) > 0.8
    gates = {each["name"]: each for each in json.loads((done / "epoch_1_difference_summary.json").read_text())["gates"]}
    assert {gates[name]["status"] for name in ("registration_median_offset", "residual_ratio", "difference_noise")} == {
        "ok"
    }


def test_the_cutout_stays_as_a_file_that_says_where_it_is_from(done):
    header = fits.getheader(done / "epoch_1_survey.fits")

    assert (header["SURVEY"], header["FILTER"]) == ("LS/r", "r")
    assert json.loads((done / "epoch_1_difference_summary.json").read_text())["template"] == "epoch_1_survey.fits"


def test_a_second_call_needs_no_network(done, field, service):
    before = len(service.asked)

    assert difference(field, done, "--survey", "auto", "--stop-after", "science.psf_pass_1") == 0
    assert len(service.asked) == before


def test_without_a_network_one_line_says_what_to_do(field, tmp_path, capsys, monkeypatch):
    from astroquery.hips2fits import hips2fitsClass

    monkeypatch.setattr(hips2fitsClass, "server", OFFLINE)

    assert difference(field, tmp_path, "--survey", "SDSS") == 2
    [line] = [each for each in capsys.readouterr().err.splitlines() if each.startswith("firstlight: ")]
    assert "cannot be reached" in line
    assert "Give a template file" in line
    assert not list(tmp_path.glob("*"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "Give either TEMPLATE or --survey"),
        (("old.fits", "--survey", "auto"), "Give either TEMPLATE or --survey"),
        (("--survey", "auto", "--template-hdu", "1"), "belong to TEMPLATE"),
        (("--survey", "DSS9"), "No survey is called 'DSS9'"),
    ],
)
def test_what_does_not_go_together_is_said(field, tmp_path, capsys, options, words):
    assert difference(field, tmp_path, *options) == 2
    assert words in " ".join(capsys.readouterr().err.split())
