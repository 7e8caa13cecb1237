"""The commands of a repository: what they print, what they answer to mistakes, and that their help is light."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from astropy.io import fits

from firstlight.cli.main import run

GROUPS = ("repo", "refcat", "query", "collections")
HELP_OF_ALL = """
import importlib, json, sys
from firstlight.cli.main import run
codes = []
for group in sys.argv[1:]:
    for name in importlib.import_module(f"firstlight.cli.{group}").COMMANDS:
        codes.append(run([group, name, "--help"]))
print(json.dumps([codes, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


class Answer(NamedTuple):
    code: int
    out: list[str]
    errors: list[str]


def call(command: str) -> Answer:
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as errors:
        code = run(shlex.split(command))
    return Answer(code, out.getvalue().splitlines(), errors.getvalue().splitlines())


def frame(path: Path, minute: int, **cards: object) -> Path:
    header = fits.Header({"DATE-OBS": f"2026-01-02T03:{minute:02}:00", "EXPTIME": 10.0 * minute, "FILTER": "r"})
    header.update({"RA": 10.0, "DEC": 20.0, "PIXSCALE": 3.6, "OBSTYPE": "OBJECT", "OBJECT": "M 31", **cards})
    pixels = np.random.default_rng(minute).normal(100, 10, (20, 30)).astype("f4")
    fits.PrimaryHDU(pixels, header=header).writeto(path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with images, and a repository R of four of them."""
    monkeypatch.chdir(tmp_path)
    for minute in range(1, 4):
        frame(tmp_path / f"{minute}.fits", minute)
    frame(tmp_path / "flat.fits", 9, OBSTYPE="FLAT", FILTER="g")
    (tmp_path / "notes.txt").write_text("seeing was bad\n")
    assert call("repo create R").code == 0
    assert call("ingest -b R 1.fits 2.fits 3.fits flat.fits").out == ["4 added, 0 there already, 0 rejected"]
    return tmp_path


def test_ingest_tells_each_file_that_cannot_be_used_and_the_rest_goes_in(folder):
    frame(folder / "4.fits", 4)
    (folder / "page.fits").write_text("<html>Not found</html>")
    answer = call("ingest -b R 1.fits 4.fits page.fits")

    assert answer == (
        1,
        ["1 added, 1 there already, 1 rejected"],
        [f"firstlight: {folder}/page.fits is not a FITS file."],
    )


def test_ingest_of_a_whole_folder_takes_masks_with_their_images_and_tells_what_it_leaves_out(folder):
    frame(folder / "4.fits", 4)
    fits.PrimaryHDU(np.ones((20, 30), "i2")).writeto(folder / "4_mask.fits")
    for number in range(8):
        (folder / f"log_{number}.txt").write_text("")
    code, out, errors = call(f"ingest -b R {' '.join(sorted(path.name for path in folder.iterdir()))}")

    assert (code, out) == (0, ["1 added (1 with a mask), 4 there already, 0 rejected, 10 skipped"])
    assert errors[0] == f"firstlight: skipped: {folder}/R is a folder."
    assert errors[-1] == "firstlight: skipped: 4 more files *.txt for the same reason."
    assert len(errors) == 1 + 5 + 1
    assert len(call("query datasets raw_mask -b R --json").out) == 1


def test_ingest_of_nothing_but_other_files_says_so(folder):
    answer = call("ingest -b R notes.txt")

    assert answer == (
        3,
        ["0 added, 0 there already, 0 rejected, 1 skipped"],
        [f"firstlight: skipped: {folder}/notes.txt is not a FITS file."],
    )


def test_a_dry_run_adds_nothing(folder):
    frame(folder / "4.fits", 4)

    assert call("ingest -b R --dry-run 4.fits").out == ["1 would be added, 0 there already, 0 rejected"]
    assert len(call("query exposures -b R --json").out) == 4


def test_exposures_are_listed_for_people_and_for_programs(folder):
    table = call("query exposures -b R -d \"observation_type = 'science' and exposure_time > 15\"")
    lines = call("query exposures -b R -d \"observation_type = 'science' and exposure_time > 15\" --json")

    assert table.out[0].split()[:4] == ["instrument", "exposure", "day_obs", "physical_filter"]
    assert len(table.out) == 3
    assert len({line.index("science") for line in table.out[1:]}) == 1
    assert [json.loads(line)["exposure_time"] for line in lines.out] == [20.0, 30.0]


def test_visits_are_found_by_place(folder):
    assert len(call("query visits -b R --ra 10 --dec 20 --json").out) == 3
    assert len(call("query visits -b R --ra 10 --dec 20 -d 'exposure_time in (10, 20)' --json").out) == 2
    away = call("query visits -b R --ra 100 --dec 20")
    assert (away.code, away.errors) == (3, ["firstlight: No visit may show ra 100, dec 20; there are 3 others."])
    assert "belong together" in call("query visits -b R --ra 100").errors[0]


def test_datasets_are_listed_with_their_files(folder):
    rows = [json.loads(line) for line in call("query datasets raw -b R -d \"band = 'g'\" --json").out]

    assert [(row["type"], row["band"], row["run"]) for row in rows] == [("raw", "g", "raw/generic")]
    assert Path(rows[0]["path"]).read_bytes() == (folder / "flat.fits").read_bytes()
    assert len(call("query datasets -b R").out) == 5


MISTAKES = {
    "query datasets -b R -d 'vist = 3'": (2, "datasets have no 'vist'; did you mean 'visit'?"),
    "query datasets -b R -i raw/genric": (2, "There is no collection 'raw/genric'; did you mean 'raw/generic'?"),
    "query datasets rew -b R": (2, "There is no dataset type 'rew'; did you mean 'raw'?"),
    "query datasets raw -b R -d 'detector = 7'": (3, "there are datasets in raw/generic (4)."),
    "query exposures -b R -d 'detector = 7'": (2, "exposures have no 'detector'"),
    "query exposures -b R -d 'airmass > 7'": (3, "No exposure meets 'airmass > 7'; there are 4 others."),
    "query collections night* -b R": (3, "No collection matches 'night*'; there are raw/generic."),
    "query exposures -b nowhere": (2, "'firstlight repo create "),
    "query exposres -b R": (2, "did you mean 'exposures'?"),
    "ingest -b R --instrument zft 1.fits": (2, "no instrument is named 'zft'; did you mean 'ztf'?"),
    "repo create R": (2, "is not empty"),
    "collections remove raw/generic -b R": (2, "would delete raw/generic with 4 datasets and their files; add --yes"),
    "collections prune raw -b R -i raw/generic": (2, "This would delete 4 raw (0.0 MB); add --yes to do it."),
    "collections chain all raw/genric -b R": (2, "did you mean 'raw/generic'?"),
    "certify bias -b R --run raw/generic --into calib": (2, "There is no dataset type 'bias'"),
    "certify raw -b R --run raw/generic --into calib -d 'visit = 1'": (3, "has no raw that meets 'visit = 1'"),
    "certify raw -b R --run raw/generic --into calib --end 2026-13-01": (2, "--end: '2026-13-01' is no date"),
    "decertify raw -b R --from raw/generic": (2, "raw/generic is a run"),
    "import -b R nowhere": (2, "is not an export"),
    "refcat register -b R nowhere --name stars": (2, "is no store of reference stars"),
    "refcat ingest S notes.txt --column ra": (2, "is not of the form MEANING=NAME"),
    "refcat list -b R": (3, "No reference catalogue is registered"),
}


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_gets_one_line_that_helps(folder, command):
    code, said = MISTAKES[command]
    answer = call(command)

    assert (answer.code, answer.out) == (code, [])
    [line] = answer.errors
    assert said in line
    assert line.endswith((".", "?", "--help'."))


def test_calibrations_are_certified_and_taken_back(folder):
    of_flats = "-d \"exposure.observation_type = 'flat'\""
    certify = f"certify raw -b R --run raw/generic --into calib --begin 2026-01-01 {of_flats}"

    assert call(certify).out == ["1 raw certified in calib"]
    assert "overlaps" in call(certify).errors[0]
    assert "certified in calib" in call("collections remove raw/generic -b R --yes").errors[0]
    assert call("decertify raw -b R --from calib").out == ["1 raw changed in calib"]
    assert call("decertify raw -b R --from calib").code == 3


def test_collections_are_chained_listed_and_removed(folder):
    assert call("collections chain night raw/generic -b R").out == ["night searches raw/generic"]
    listed = [json.loads(line) for line in call("collections list -b R --json").out]
    assert [(row["collection"], row["kind"], row["members"]) for row in listed] == [
        ("night", "CHAINED", ["raw/generic"]),
        ("raw/generic", "RUN", []),
    ]
    assert call("collections list -b R").out == call("query collections -b R").out
    assert call("collections prune raw -b R -i night -d \"band = 'g'\" --yes").code == 0
    assert call("collections remove night -b R --yes").out == ["deleted night (CHAINED)"]
    assert call("collections remove raw/generic -b R --yes").out[0].startswith("deleted raw/generic with 3 datasets")
    assert not list(Path("R").rglob("*.fits"))


def test_a_part_goes_to_another_repository(folder):
    call("repo create other")

    assert call("export -b R -d 'visit.exposure_time >= 20' to_go").out == ["2 datasets exported to to_go"]
    assert call("import -b other to_go").out == ["2 datasets imported"]
    assert call("import -b other to_go").out == ["0 datasets imported"]
    assert len(call("query visits -b other --ra 10 --dec 20 --json").out) == 2


def test_a_changed_file_is_found_by_a_check(folder):
    assert call("repo check R").code == 0
    path = next(Path("R").rglob("*.fits"))
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    answer = call("repo check R")

    assert answer.code == 1
    assert str(path) in answer.out[0]
    assert call("repo check R --quick").code == 0


def test_a_reference_catalogue_is_stored_registered_and_listed(folder):
    Path("stars.csv").write_text("alpha,dec,r\n10.0,20.0,12.5\n10.1,20.1,13.5\n")

    assert call("refcat ingest S stars.csv --column ra=alpha --column dec=dec").out == ["2 stars with r in S"]
    assert call("refcat register -b R S --name stars").out == [f"stars is {folder}/S"]
    assert call("refcat list -b R").out[1].split() == ["stars", f"{folder}/S"]
    assert f"reference catalogues  stars ({folder}/S)" in call("repo info R").out


def test_what_is_in_a_repository_is_told(folder):
    out = call("repo info R").out

    assert "instruments           generic: 4 exposures, 3 visits" in out
    assert "dataset types         raw (instrument, exposure, detector; raw)" in out
    assert "collections           1 RUN, 0 CHAINED, 0 CALIBRATION" in out


def test_help_of_every_command_below_is_light():
    done = subprocess.run([sys.executable, "-c", HELP_OF_ALL, *GROUPS], capture_output=True, text=True, check=True)
    codes, loaded = json.loads(done.stdout.splitlines()[-1])

    assert len(codes) == 15
    assert set(codes) == {0}
    assert not {"numpy", "astropy", "sqlalchemy", "pydantic", "yaml", "structlog", "rich"} & set(loaded)
