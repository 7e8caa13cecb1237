"""``firstlight difference``: what it writes, what it says, and what it does with bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from firstlight.cli.main import run
from firstlight.images.catalog import read_catalog
from firstlight.images.fits import read_exposure, write_exposure
from firstlight.images.spatial_kernel import SpatialKernel
from firstlight.simulation import SimulationSettings, write_night

ENDINGS = (
    "_difference.fits",
    "_template.fits",
    "_kernel.fits",
    "_candidates.parquet",
    "_kernel_stars.parquet",
    "_difference_summary.json",
    "_difference.png",
)


@pytest.fixture(scope="module")
def field(tmp_path_factory) -> Path:
    """Two frames of one field on different pixels, with right WCS in their headers."""
    folder = tmp_path_factory.mktemp("field")
    settings = SimulationSettings(shape=(360, 360)).varied(
        header_wcs="exact", star_density=60_000.0, transient_density=3000.0
    )
    write_night(folder, settings, seed=4, n_epochs=2)
    return folder


@pytest.fixture(scope="module")
def done(field, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    assert difference(field / "epoch_1.fits", field / "epoch_0.fits", folder) == 0
    return folder


def difference(science, template, folder, *options) -> int:
    return run(["difference", str(science), str(template), "-o", str(folder), *map(str, options)])


def complaint(capsys) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("firstlight: ")]
    assert len(lines) == 1
    return lines[0]


def summary_of(folder, stem="epoch_1") -> dict:
    return json.loads((folder / f"{stem}_difference_summary.json").read_text())


def test_a_plain_pair_leaves_every_product_and_nothing_else(done, field):
    assert {path.name for path in done.iterdir()} == {f"epoch_1{ending}" for ending in ENDINGS}
    found = read_exposure(done / "epoch_1_difference.fits")
    assert found.shape == fits.getdata(field / "epoch_1.fits").shape
    values = summary_of(done)
    assert (values["status"], values["image"], values["template"]) == ("ok", "epoch_1.fits", "epoch_0.fits")
    assert values["candidate_count"] == len(read_catalog(done / "epoch_1_candidates.parquet"))
    assert {"registration_fraction", "kernel_stars", "masked_core_fraction"} <= {g["name"] for g in values["gates"]}
    assert [step["step"] for step in values["timing"]][-5:] == [
        "difference.align",
        "difference.registration",
        "difference.subtract",
        "difference.detect",
        "difference.vet",
    ]


def test_bright_new_sources_of_the_simulation_are_among_the_candidates(done, field):
    truth = read_catalog(field / "truth.parquet")
    flux = np.nan_to_num(np.asarray(truth["flux_1"], dtype=float)) - np.nan_to_num(np.asarray(truth["flux_0"]))
    x, y = (np.asarray(truth[name], dtype=float) for name in ("x_1", "y_1"))
    new = (np.asarray(truth["first_epoch"]) == 1) & (flux > 800) & (x > 15) & (x < 345) & (y > 15) & (y < 345)
    table = read_catalog(done / "epoch_1_candidates.parquet")
    distance = np.hypot(x[new, None] - np.asarray(table["x"]), y[new, None] - np.asarray(table["y"])).min(axis=1)

    assert new.sum() >= 2
    assert np.mean(distance < 1.0) > 0.8


def test_the_kernel_file_holds_the_kernel(done):
    with fits.open(done / "epoch_1_kernel.fits") as hdus:
        shape = hdus[0].header["IMAGENY"], hdus[0].header["IMAGENX"]
        kernel = SpatialKernel(np.asarray(hdus["COMPONENTS"].data, dtype=float), shape)
        middle = hdus[0].data[kernel.radius * 2 + 1 : -(kernel.radius * 2 + 1)]
        scale, convolved = hdus[0].header["FLUXSCAL"], hdus[0].header["CONVOLVD"]

    width = 2 * kernel.radius + 1
    np.testing.assert_allclose(middle[:, width:-width], kernel.image(x=179.5, y=179.5), atol=1e-6)
    total = kernel.total(x=np.array([179.5]), y=np.array([179.5]))[0]
    assert scale == pytest.approx(total if convolved == "template" else 1 / total)


def test_calibrated_exposures_are_taken_as_they_are_and_settings_count(done, field, tmp_path, capsys):
    # The difference is an exposure with a PSF; the science exposure is it plus the template.
    of_difference, template = (
        read_exposure(done / f"epoch_1{name}") for name in ("_difference.fits", "_template.fits")
    )
    science = template.replace(
        image=of_difference.image + np.nan_to_num(template.image), mask=of_difference.mask.without("EDGE")
    )
    write_exposure(science, tmp_path / "new.fits")
    write_exposure(template, tmp_path / "old.fits")

    code = difference(
        tmp_path / "new.fits",
        tmp_path / "old.fits",
        tmp_path / "out",
        "--no-page",
        "-c",
        "difference:detect.threshold=50",
    )

    values = summary_of(tmp_path / "out", "new")
    assert code == 0
    assert not any(step["step"].startswith("science.") for step in values["timing"])
    assert not (tmp_path / "out" / "new_difference.png").exists()
    assert values["settings"]["difference.detect.threshold"].startswith("50")
    assert (np.abs(read_catalog(tmp_path / "out" / "new_candidates.parquet")["peak_snr"]) > 50).all()
    assert "candidate" in capsys.readouterr().out


def moved(field, folder, **changes):
    """The template with other cards in its header."""
    path = folder / "moved.fits"
    pixels, header = fits.getdata(field / "epoch_0.fits", header=True)
    header.update(changes)
    fits.PrimaryHDU(pixels, header).writeto(path)
    return path


def test_a_wrong_wcs_is_one_line_and_nothing_is_subtracted(done, field, tmp_path, capsys):
    header = fits.getheader(field / "epoch_0.fits")
    wrong = moved(field, tmp_path, CRPIX1=header["CRPIX1"] + 15.0)

    code = difference(field / "epoch_1.fits", wrong, tmp_path / "out")

    line = complaint(capsys)
    assert code == 1
    assert "registration failed" in line
    assert "PatternAlignTask" in line
    assert not (tmp_path / "out" / "epoch_1_difference.fits").exists()
    assert summary_of(tmp_path / "out")["status"] == "failed"


def test_images_of_different_places_are_one_line(field, tmp_path, capsys):
    code = difference(field / "epoch_1.fits", moved(field, tmp_path, CRVAL2=-40.0), tmp_path / "out")

    assert code == 3
    assert "overlap" in complaint(capsys)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-c", "difference:detect.treshold=6"), "threshold"),
        (("-c", "detect:threshold=6"), "detect"),
        (("--stop-after", "substract"), "subtract"),
        (("--instrument", "nosuch"), "nosuch"),
    ],
)
def test_mistakes_are_found_before_anything_is_read(field, tmp_path, capsys, options, words):
    code = difference(tmp_path / "missing.fits", tmp_path / "missing.fits", tmp_path / "out", *options)

    assert code == 2
    assert words in complaint(capsys)


def test_a_file_that_is_not_there_is_one_line(field, tmp_path, capsys):
    assert difference(field / "epoch_1.fits", tmp_path / "nothing.fits", tmp_path / "out") == 2
    assert "nothing.fits" in complaint(capsys)
