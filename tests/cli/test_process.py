"""``firstlight process``: what it writes, what it says, and what it does with bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from firstlight.cli.main import run
from firstlight.images.catalog import read_catalog
from firstlight.images.fits import read_exposure
from firstlight.qa.advice import ADVICE
from firstlight.simulation import SimulationSettings, write_night

PRODUCTS = ("_image.fits", "_background.fits", "_psf_stars.parquet", "_stars.parquet", "_sources.parquet")
MATCHES = ("_astrometry_matches.parquet", "_photometry_matches.parquet")
TIMES = re.compile(r"\d+\.\d+ s \(\d+\.\d+ CPU s\)|width: [\d.]+%")
SKY, NOISE, SATURATED = 300.0, 7.0, 60_000.0


@pytest.fixture(scope="module")
def field(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("field")
    write_night(folder, SimulationSettings(shape=(400, 420)), seed=4)
    return folder


@pytest.fixture(scope="module")
def done(field, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    assert process(field / "epoch_0.fits", folder, "--refcat", field / "refcat.parquet") == 0
    return folder


def process(image, folder, *options) -> int:
    return run(["process", str(image), "-o", str(folder), *map(str, options)])


def summary_of(folder: Path, stem: str) -> dict:
    return json.loads((folder / f"{stem}_summary.json").read_text())


def complaints(capsys) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("firstlight: ")]


def variant(field: Path, folder: Path, name: str, pixels, *, header: fits.Header | None = None) -> Path:
    header = fits.getheader(field / "epoch_0.fits") if header is None else header
    path = folder / f"{name}.fits"
    fits.PrimaryHDU(np.asarray(pixels, dtype=np.float32), header=header).writeto(path)
    return path


def test_a_call_leaves_every_product_and_nothing_else(done):
    assert {path.name for path in done.iterdir()} == {
        *(f"epoch_0{ending}" for ending in (*PRODUCTS, *MATCHES)),
        "epoch_0.html",
        "epoch_0_summary.json",
    }


def test_the_products_belong_together(field, done):
    exposure = read_exposure(done / "epoch_0_image.fits")
    stars, psf_stars = (read_catalog(done / f"epoch_0_{name}.parquet") for name in ("stars", "psf_stars"))
    background = fits.getdata(done / "epoch_0_background.fits")
    raw = fits.getdata(field / "epoch_0.fits")
    scale = 10 ** (-0.4 * (summary_of(done, "epoch_0")["zero_point"] - 31.4))
    untouched = ~exposure.mask.any_of("INTRP", "CR", "SAT", "BAD")

    assert exposure.unit == "nJy"
    np.testing.assert_allclose(((exposure.image + background) / scale)[untouched], raw[untouched], rtol=1e-4)
    assert set(stars["psf_id"][stars["calib_psf_used"]]) <= set(psf_stars["id"])
    assert stars["calib_photometry_used"].sum() > 20


def test_the_summary_has_the_numbers_and_how_good_they_are(done):
    values = summary_of(done, "epoch_0")

    assert values["status"] == "ok"
    assert values["image"] == "epoch_0.fits"
    for name in ("zero_point", "psf_sigma", "n_psf_star", "psf_star_delta_e1_median", "astrom_offset_std"):
        assert isinstance(values[name], float | int)
    for name in ("sky_noise", "mag_lim", "pixel_scale"):
        assert isinstance(values[name], float)
    assert {gate["name"] for gate in values["gates"]} >= {"astrometry_rms", "zero_point_error"}
    assert [time["step"] for time in values["timing"]][:2] == ["read", "calibrate.psf_pass_1"]
    assert [time["step"] for time in values["timing"]][-2:] == ["write", "page"]


def test_the_same_call_gives_the_same_bytes(field, done, tmp_path):
    assert process(field / "epoch_0.fits", tmp_path, "--refcat", field / "refcat.parquet") == 0

    for ending in (*PRODUCTS, *MATCHES):
        assert (tmp_path / f"epoch_0{ending}").read_bytes() == (done / f"epoch_0{ending}").read_bytes(), ending
    first, second = (TIMES.sub("", (folder / "epoch_0.html").read_text()) for folder in (done, tmp_path))
    assert first == second


def test_a_page_can_be_drawn_again_from_the_products(done, tmp_path, capsys):
    assert run(["qa", str(done), "-o", str(tmp_path)]) == 0

    assert capsys.readouterr().out.strip() == str(tmp_path / "epoch_0.html")
    assert (tmp_path / "epoch_0.html").read_text() == (done / "epoch_0.html").read_text()


def test_every_gate_of_an_image_is_explained_on_its_page(done):
    assert {gate["name"] for gate in summary_of(done, "epoch_0")["gates"]} <= set(ADVICE)


def test_a_folder_without_results_has_no_pages(tmp_path, capsys):
    (tmp_path / "bad_summary.json").write_text("{}")
    (tmp_path / "empty").mkdir()

    assert run(["qa", str(tmp_path / "empty")]) == 2
    assert run(["qa", str(tmp_path / "bad_summary.json")]) == 2
    assert run(["qa", str(tmp_path / "none_summary.json")]) == 2
    said = complaints(capsys)
    assert len(said) == 3
    for line, reason in zip(said, ("No NAME_summary.json in", "is no summary of", "No such file"), strict=True):
        assert reason in line


def test_without_a_reference_pixels_stay_in_counts_and_a_gate_warns(field, tmp_path, capsys):
    assert process(field / "epoch_0.fits", tmp_path) == 0
    values = summary_of(tmp_path, "epoch_0")

    assert values["gate_status"] == "warn"
    assert values["zero_point"] is None
    assert read_exposure(tmp_path / "epoch_0_image.fits").unit == "count"
    assert "warn: reference_catalog" in capsys.readouterr().out


def test_the_wcs_of_the_header_can_be_ignored(field, tmp_path):
    assert process(field / "epoch_0.fits", tmp_path, "--ignore-wcs", "--no-page") == 0
    assert read_exposure(tmp_path / "epoch_0_image.fits").wcs is None
    assert not (tmp_path / "epoch_0.html").exists()


def test_a_position_and_a_scale_replace_what_the_header_says(field, done, tmp_path):
    truth = summary_of(done, "epoch_0")
    blind = variant(field, tmp_path, "blind", fits.getdata(field / "epoch_0.fits"), header=fits.Header())
    where = ("--ra", truth["ra"] + 0.1, "--dec", truth["dec"], "--radius", 0.3, "--scale-low", 0.9, "--scale-high", 1.2)
    assert process(blind, tmp_path, "--refcat", field / "refcat.parquet", "--no-page", *where) == 0
    values = summary_of(tmp_path, "blind")

    assert values["dec"] == pytest.approx(truth["dec"], abs=1e-5)
    assert values["pixel_scale"] == pytest.approx(truth["pixel_scale"], rel=1e-4)


def test_work_stops_after_a_pass_and_older_products_go(field, tmp_path, capsys):
    assert process(field / "epoch_0.fits", tmp_path) == 0
    assert process(field / "epoch_0.fits", tmp_path, "--stop-after", "psf_pass_1", "--no-page") == 0
    values = summary_of(tmp_path, "epoch_0")

    assert (values["status"], values["stopped_after"]) == ("stopped", "calibrate.psf_pass_1")
    assert read_exposure(tmp_path / "epoch_0_image.fits").psf is not None
    assert not (tmp_path / "epoch_0_stars.parquet").exists()
    assert not (tmp_path / "epoch_0.html").exists()
    assert "calibrate.psf_stars" not in capsys.readouterr().err.rpartition("epoch_0.fits")[2]


def test_settings_of_files_and_of_the_command_line_count_in_this_order(field, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("calibrate:\n  background: {bin_size: 64, order: 1}\nmeasure: null\n")
    options = ("-C", file, "-c", "calibrate:background.order=2", "--stop-after", "psf_pass_1", "--no-page")
    assert process(field / "epoch_0.fits", tmp_path, *options) == 0
    settings = summary_of(tmp_path, "epoch_0")["settings"]

    assert settings["calibrate.background.order"] == "2 (-c calibrate:background.order=2)"
    assert settings["calibrate.background.bin_size"] == f"64 ({file}:2)"
    assert read_exposure(tmp_path / "epoch_0_image.fits").background[0].coefficients.shape == (3, 3)


def test_two_snaps_become_one_exposure(field, tmp_path):
    assert (
        process(field / "epoch_0.fits", tmp_path, "--snap", field / "epoch_0.fits", "--stop-after", "psf_pass_1") == 0
    )
    assert summary_of(tmp_path, "epoch_0")["exp_time"] == 60


def test_one_bad_image_does_not_stop_the_others(field, tmp_path, capsys):
    text = tmp_path / "text.fits"
    text.write_text("not FITS\n" * 1000)
    flat = variant(field, tmp_path, "flat", np.full((100, 100), SKY))
    arguments = ["process", text, flat, field / "epoch_0.fits", "-o", tmp_path / "out", "--stop-after", "psf_pass_1"]

    assert run([str(argument) for argument in arguments]) == 2
    shown = capsys.readouterr()
    rows = {line.split()[0]: line.split()[1] for line in shown.out.splitlines() if ".fits" in line}
    assert rows == {"text.fits": "unreadable", "flat.fits": "failed", "epoch_0.fits": "stopped"}
    assert len([line for line in shown.err.splitlines() if line.startswith("firstlight: ")]) == 2
    assert summary_of(tmp_path / "out", "epoch_0")["status"] == "stopped"


def test_images_of_the_same_name_are_refused_before_anything_is_done(field, tmp_path, capsys):
    image = field / "epoch_0.fits"

    assert run(["process", str(image), str(image), "-o", str(tmp_path / "out")]) == 2
    assert "'epoch_0'" in complaints(capsys)[0]
    assert not (tmp_path / "out").exists()


def noise(shape=(400, 420)):
    return np.random.default_rng(1).normal(SKY, NOISE, shape)


def one_star():
    y, x = np.mgrid[:400, :420]
    return noise() + 2e4 * np.exp(-((x - 200.3) ** 2 + (y - 150.2) ** 2) / 2 / 1.2**2)


DATA = {
    "all_nan": lambda: noise() * np.nan,
    "constant": lambda: np.full((400, 420), SKY),
    "no_stars": noise,
    "one_star": one_star,
    "all_saturated": lambda: noise() + SATURATED,
}


@pytest.mark.parametrize("name", DATA)
def test_an_image_without_use_is_one_line_and_keeps_what_is_true(field, tmp_path, capsys, name):
    image = variant(field, tmp_path, name, DATA[name]())

    assert process(image, tmp_path, "--refcat", field / "refcat.parquet") == 1
    said = complaints(capsys)
    values = summary_of(tmp_path, name)
    assert len(said) == 1
    assert said[0].startswith(f"firstlight: {name}.fits: {values['failed_pass']} failed: ")
    assert said[0].endswith(".") or said[0].endswith("?")
    assert values["status"] == "failed"
    assert values["error"] in said[0]
    assert read_exposure(tmp_path / f"{name}_image.fits").shape == (400, 420)
    assert (tmp_path / f"{name}.html").exists()


def text_file(field, folder):
    path = folder / "bad.fits"
    path.write_text("hello\n" * 1000)
    return path, {}


def cut_off(field, folder):
    whole = (field / "epoch_0.fits").read_bytes()
    path = folder / "bad.fits"
    path.write_bytes(whole[: len(whole) // 2])
    return path, {}


def empty_file(field, folder):
    path = folder / "bad.fits"
    path.touch()
    return path, {}


def without_image(field, folder):
    path = folder / "bad.fits"
    fits.HDUList([fits.PrimaryHDU()]).writeto(path)
    return path, {}


def empty_reference(field, folder):
    table = pq.read_table(field / "refcat.parquet")
    pq.write_table(table.slice(0, 0), folder / "empty.parquet")
    return field / "epoch_0.fits", {"--refcat": folder / "empty.parquet"}


def reference_without_positions(field, folder):
    (folder / "stars.csv").write_text("a,b\n1,2\n")
    return field / "epoch_0.fits", {"--refcat": folder / "stars.csv"}


def folder_is_a_file(field, folder):
    (folder / "taken").touch()
    return field / "epoch_0.fits", {"-o": folder / "taken"}


def option(name, value):
    return lambda field, folder: (field / "epoch_0.fits", {name: value})


MISTAKES = {
    "not FITS": (text_file, "not a FITS file"),
    "empty file": (empty_file, "not a FITS file"),
    "truncated": (cut_off, "cut off"),
    "no image in it": (without_image, "no two-dimensional image"),
    "not there": (lambda field, folder: (folder / "none.fits", {}), "not there"),
    "no such extension": (option("--hdu", "7"), "no HDU '7'"),
    "empty reference": (empty_reference, "no rows"),
    "reference without positions": (reference_without_positions, "ra: NAME"),
    "no reference table": (option("--refcat", "none.csv"), "none.csv"),
    "folder is a file": (folder_is_a_file, "choose another folder"),
    "misspelt field": (option("-c", "calibrate:psf.oder=3"), "did you mean 'order'?"),
    "misspelt label": (option("-c", "calbrate:psf.order=3"), "did you mean 'calibrate'?"),
    "wrong type": (option("-c", "calibrate:background.bin_size=many"), "many"),
    "no assignment": (option("-c", "rubbish"), "label:path=value"),
    "no settings file": (option("-C", "none.yaml"), "none.yaml"),
    "misspelt pass": (option("--stop-after", "astrometri"), "did you mean 'astrometry'?"),
    "misspelt instrument": (option("--instrument", "ztff"), "did you mean 'ztf'?"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_of_the_user_is_one_line_that_says_what_to_do(field, tmp_path, capsys, name):
    make, expected = MISTAKES[name]
    image, options = make(field, tmp_path)
    given = {"-o": tmp_path / "out", **options}

    assert run(["process", str(image), *(str(word) for pair in given.items() for word in pair)]) == 2
    said = complaints(capsys)
    assert len(said) == 1
    assert expected in said[0]
    assert not list((tmp_path / "out").glob("*"))


def test_a_reference_of_another_field_fails_in_astrometry_and_keeps_the_psf(field, tmp_path, capsys):
    table = pq.read_table(field / "refcat.parquet")
    index = table.column_names.index("ra")
    moved = pa.array((table["ra"].to_numpy() + 30) % 360)
    pq.write_table(table.set_column(index, "ra", moved), tmp_path / "elsewhere.parquet")

    assert process(field / "epoch_0.fits", tmp_path, "--refcat", tmp_path / "elsewhere.parquet", "--no-page") == 1
    assert "right field?" in complaints(capsys)[0]
    values = summary_of(tmp_path, "epoch_0")
    assert values["failed_pass"] == "calibrate.astrometry"  # noqa: S105 - a pass is no password
    assert values["psf_fwhm"] > 1
    assert read_exposure(tmp_path / "epoch_0_image.fits").psf is not None
    assert not (tmp_path / "epoch_0_stars.parquet").exists()


def test_an_image_that_does_not_say_where_it_is_asks_for_it(field, tmp_path, capsys):
    blind = variant(field, tmp_path, "blind", fits.getdata(field / "epoch_0.fits"), header=fits.Header())

    assert process(blind, tmp_path, "--refcat", field / "refcat.parquet", "--no-page") == 1
    assert "--ra and --dec" in complaints(capsys)[0]


def test_a_bug_that_one_image_meets_does_not_stop_the_others(field, tmp_path, capsys, monkeypatch):
    from firstlight.cli.process_image import ImageProcessor

    real = ImageProcessor.process

    def sometimes(self, files):
        if files.stem == "first":
            raise ZeroDivisionError("division by zero")
        return real(self, files)

    monkeypatch.setattr(ImageProcessor, "process", sometimes)
    first = variant(field, tmp_path, "first", noise())
    arguments = ["process", first, field / "epoch_0.fits", "-o", tmp_path / "out", "--stop-after", "psf_pass_1"]

    assert run([str(argument) for argument in arguments]) == 70
    assert "ZeroDivisionError" in complaints(capsys)[0]
    assert summary_of(tmp_path / "out", "epoch_0")["status"] == "stopped"


def test_every_setting_that_cannot_be_read_is_told(field, tmp_path, capsys):
    code = process(field / "epoch_0.fits", tmp_path, "-C", "gone.yaml", "-c", "calibrate:psf.order", "-c", "x")

    assert code == 2
    assert len(complaints(capsys)) == 3
