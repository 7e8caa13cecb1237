"""``firstlight watch`` on real small frames: order, damage, and being killed change nothing."""

import json
import shlex
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr
from io import StringIO

import numpy as np
import pytest
from astropy.io import fits

from firstlight.cli.main import run
from firstlight.repo.repo import Repo

WATCH = "watch incoming -b R -p single_frame.yaml#isr -o night --settle 0"
START = f"import sys; from firstlight.cli.main import main; sys.argv = {['firstlight', *shlex.split(WATCH)]!r}; main()"
OWN_PROCESS = (sys.executable, "-c", START)


def call(command):
    with redirect_stderr(StringIO()) as errors:
        code = run(shlex.split(command))
    return code, errors.getvalue()


def frame(path, minute):
    header = fits.Header({"DATE-OBS": f"2026-01-02T03:{minute:02}:00", "EXPTIME": 30.0, "FILTER": "r"})
    header.update({"RA": 10.0, "DEC": 20.0, "PIXSCALE": 3.6, "OBSTYPE": "OBJECT"})
    pixels = np.random.default_rng(minute).normal(100, 10, (40, 50)).astype("f4")
    fits.PrimaryHDU(pixels, header=header).writeto(path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "incoming").mkdir()
    assert run(["repo", "create", "R"]) == 0
    return tmp_path


def night(folder):
    rows = json.loads((folder / "R/night/night.json").read_text())["files"]
    return {row["file"]: (row["status"], row["reason"]) for row in rows}


def results(folder, output="night"):
    with Repo.open(folder / "R") as repo:
        found = repo.datasets("post_isr_image", collections=output)
        return {each.data_id["exposure"]: repo.read(each).image.tobytes() for each in found}


def test_what_is_there_is_processed_and_once_more_does_nothing(folder):
    for minute in (1, 2, 3):
        frame(folder / f"incoming/{minute}.fits", minute)

    code, errors = call(f"{WATCH} --once")

    assert code == 0
    assert errors.count("  done  ") == 3
    assert "3 done; from arrival to results" in errors
    assert call(f"{WATCH} --once")[1].count("  done  ") == 0


def test_images_are_found_where_they_were_taken_in_when_other_inputs_are_named(folder):
    with Repo.open(folder / "R") as repo:
        repo.make_calibration("certified")
    frame(folder / "incoming/1.fits", 1)

    assert call(f"{WATCH} -i certified --once")[1].count("  done  ") == 1


def test_the_order_of_arrival_changes_nothing(folder):
    for minute in (3, 1, 2):
        frame(folder / f"incoming/{minute}.fits", minute)
        assert call(f"{WATCH} --once")[0] == 0
    one_by_one = results(folder)

    assert call(f"{WATCH} --once".replace("-o night", "-o other"))[0] == 0

    together = results(folder, "other")
    assert len(one_by_one) == 3
    assert together == one_by_one


@pytest.mark.parametrize("name", ["2.fits", "2.fits.gz"])
def test_a_damaged_file_is_set_aside_with_its_reason_and_taken_when_it_is_replaced(folder, name):
    frame(folder / "incoming/1.fits", 1)
    whole = frame(folder / name, 2).read_bytes()
    (folder / "incoming" / name).write_bytes(whole[:6000])

    code, errors = call(f"{WATCH} --once")

    assert code == 1
    assert f"{name}  set aside" in errors
    assert "is cut off: " in errors
    assert night(folder)["1.fits"][0] == "done"
    (folder / "incoming" / name).write_bytes(whole)
    assert call(f"{WATCH} --once")[0] == 0
    assert night(folder)[name] == ("done", "")


@pytest.mark.parametrize(
    ("signals", "code", "asked"),
    [((signal.SIGKILL,), -9, 0), ((signal.SIGINT,), 0, 1), ((signal.SIGINT, signal.SIGTERM), 130, 1)],
)
def test_stopped_in_the_middle_it_goes_on_and_loses_nothing(folder, signals, code, asked):
    for minute in range(1, 17):
        frame(folder / f"incoming/{minute}.fits", minute)
    with subprocess.Popen(OWN_PROCESS, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while not list((folder / "R").glob("night/1/.quanta/*/*.json")) and time.monotonic() < until:
            time.sleep(0.01)
        for each in signals:
            process.send_signal(each)  # at once: sixteen small frames are done in no time
        said = process.stderr.read()

    assert process.returncode == code
    assert said.count("finishing the exposure in work; Ctrl-C again to stop now\n") == asked
    assert said.count("  done  ") < 16
    assert call(f"{WATCH} --once")[0] == 0
    assert len(results(folder)) == 16
    assert [status for status, _ in night(folder).values()] == ["done"] * 16
    assert call("repo check R")[0] == 0


def test_nothing_to_run_on_is_told_and_is_no_success(folder):
    code, errors = call(f"{WATCH} --once")
    assert (code, errors.count("nothing to run on\n")) == (3, 1)

    frame(folder / "incoming/1.fits", 1)
    code, errors = call(f"{WATCH} --once -d 'exposure < 0'")

    assert code == 3
    assert "1.fits  waiting: nothing is done for it with -d 'exposure < 0'" in errors
    assert "isr: 0 found -> 0 quanta" in errors
    assert call(f"{WATCH} --once")[0] == 0
    assert night(folder)["1.fits"] == ("done", "")


def test_an_interrupt_ends_the_night(folder):
    frame(folder / "incoming/1.fits", 1)
    with subprocess.Popen(OWN_PROCESS, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "  done  " in line:
                process.send_signal(signal.SIGINT)
            if "1 done; from arrival" in line:
                break
        assert process.wait(30) == 0


def test_an_image_that_failed_is_told_as_done_once_what_was_wrong_is_put_right(folder):
    frame(folder / "incoming/1.fits", 1)
    assert call("ingest -b R incoming/1.fits")[0] == 0
    [raw] = (folder / "R/raw").rglob("*.fits")
    raw.rename(folder / "away.fits")
    code, errors = call(f"{WATCH} --once")
    assert (code, night(folder)["1.fits"][0], errors.count("1.fits  failed")) == (1, "failed", 1)

    (folder / "away.fits").rename(raw)
    code, errors = call(f"{WATCH} --once")

    assert (code, night(folder)["1.fits"], errors.count("1.fits  done")) == (0, ("done", ""), 1)
