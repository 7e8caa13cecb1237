"""A night from raw frames to alerts: ``firstlight watch`` and ``firstlight run`` with ``night.yaml``."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from firstlight.cli.main import run
from firstlight.images.alert_file import read_alerts
from firstlight.images.catalog import read_catalog
from firstlight.repo.object_schema import detection, forced_flux, sky_object
from firstlight.repo.objects import select_rows
from firstlight.repo.repo import Repo

pytest.importorskip("fastavro", reason="the extra 'alerts' is not installed")
SINCE = 20250601
"""The templates of a simulated season are older than this day, and its nights are not."""


def call(command: str) -> tuple[int, str]:
    with redirect_stderr(StringIO()) as errors:
        code = run(shlex.split(command))
    return code, errors.getvalue()


def kept(root: Path) -> dict[str, list[str]]:
    """Return all that is kept of objects, in an order that does not depend on how it came there."""
    with Repo.open(root) as repo, repo.database.read() as connection:
        tables = {each.name: select_rows(connection, each) for each in (sky_object, detection, forced_flux)}
    return {name: sorted(str(tuple(row)) for row in table) for name, table in tables.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A repository with a template, and two nights that were watched one after the other."""
    folder = tmp_path_factory.mktemp("night")
    simulate = "--seed 3 --size 256 --nights 2 --fields 1 --lost-nights 0 --supernovae 6 --variables 0 --movers 0"
    root, sim = folder / "R", folder / "sim"
    for command in (
        f"simulate -o {sim} {simulate}",
        f"repo create {root}",
        f"refcat ingest {folder}/stars {sim}/refcat.parquet",
        f"refcat register -b {root} {folder}/stars --name astrometry_refcat",
        f"refcat register -b {root} {folder}/stars --name photometry_refcat",
        f"ingest -b {root} {sim}/template/field_0_00.fits",
        f"run -b {root} -p single_frame.yaml -o first",
        f"skymap register -b {root} fields -i first",
        f"run -b {root} -p template.yaml -i first -i skymaps/fields -o templates",
    ):
        assert call(command)[0] == 0, command
    (folder / "incoming").mkdir()
    for night in range(2):
        shutil.copy(sim / f"night_0{night}/field_0_0.fits", folder / f"incoming/{night}.fits")
        code, said = call(watch(folder))
        assert code == 0, said
        assert f"{night}.fits  done" in said
        assert "alerts  after" in said
    return folder


def watch(folder: Path) -> str:
    inputs = f"-i templates -i raw/simulated -d 'day_obs > {SINCE}'"
    return f"watch {folder}/incoming -b {folder}/R -p night.yaml {inputs} -o night --once --settle 0"


def followed(folder: Path) -> list[dict]:
    return json.loads((folder / "R/night/objects.json").read_text())["images"]


def test_supernovae_that_are_bright_become_objects_with_alerts_in_both_nights(folder):
    truth = read_catalog(folder / "sim/truth_light_curves.parquet")
    bright = truth[np.asarray(truth["snr"]) > 15]
    packets = [each for path in sorted(folder.glob("R/night/alerts/*/*.avro")) for each in read_alerts(path)]

    assert len(bright) > 0
    for row in bright:
        apart = [
            np.hypot((each.ra - row["ra"]) * np.cos(np.radians(row["dec"])), each.dec - row["dec"]) for each in packets
        ]
        near = [packet for packet, distance in zip(packets, apart, strict=True) if distance * 3600 < 1.0]
        assert len({packet.object_id for packet in near}) == 1
        assert set(near[0].stamps) == {"science", "template", "difference"}
    assert sum(image["n_alerts"] for image in followed(folder)) == len(packets)
    assert any(packet.history for packet in packets)


def test_every_object_has_a_flux_in_every_image_that_shows_it(folder):
    objects, fluxes = (kept(folder / "R")[name] for name in ("sky_object", "forced_flux"))

    # Some of the objects lie outside of one of the two images, or on bad pixels.
    assert len(objects) < len(fluxes) <= 2 * len(objects)


def test_watching_leaves_the_pages_that_the_command_writes(folder, tmp_path, capsys):
    assert run(["pages", "night", "-b", str(folder / "R"), "-o", str(tmp_path / "again")]) == 0

    assert capsys.readouterr().out.strip() == str(tmp_path / "again/index.html")
    watched = folder / "R/night/pages/20250702"
    files = sorted(path.relative_to(watched) for path in watched.rglob("*.html"))
    assert {"index.html", "candidates.html"} < {str(path) for path in files}
    assert all((tmp_path / "again" / path).read_bytes() == (watched / path).read_bytes() for path in files)
    candidates = (watched / "candidates.html").read_text()
    links = set(re.findall(r'href="(objects/\d+\.html)"', candidates))
    assert links == {str(path) for path in files if path.parent.name == "objects"} != set()
    assert candidates.count("<img") == 3 * candidates.count("<tr data-score")
    assert "1.fits" in (watched / "index.html").read_text()


def test_a_run_that_nobody_watched_has_a_page_too(folder, tmp_path):
    assert run(["pages", "first", "-b", str(folder / "R"), "-o", str(tmp_path)]) == 0

    page = (tmp_path / "index.html").read_text()
    assert page.index("<td>isr</td>") < page.index("<td>calibrate</td>") < page.index("<td>measure</td>")
    assert "no candidates yet" in page
    assert not (tmp_path / "candidates.html").exists()


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [("night --night 19990101", 3, "Nothing of night is of the night 19990101."), ("absent", 2, "absent")],
)
def test_a_night_that_is_not_there_is_one_line(folder, more, code, words):
    found, said = call(f"pages {more} -b {folder}/R")

    assert (found, said.count("\n")) == (code, 1)
    assert words in said


def test_an_image_whose_objects_are_not_noted_is_done_again_by_a_saved_plan_with_the_same_result(folder):
    before, [first] = kept(folder / "R"), folder.glob("R/night/alerts/20250701/*.avro")
    alerts = first.read_bytes()
    (folder / "R/night/objects.json").unlink()
    command = watch(folder).replace("watch", "run", 1).replace(f"{folder}/incoming ", "").partition(" --once")[0]
    assert call(f"{command} --dry-run --save-plan {folder}/night.plan")[0] == 0

    code, said = call(f"run -b {folder}/R -o night --load-plan {folder}/night.plan")

    assert code == 0
    assert "everything is done" in said
    assert "candidates of 2 images are kept, 0 new objects" in said
    assert kept(folder / "R") == before
    # That of the second night may tell now what the first one had at the places of its new objects.
    assert first.read_bytes() == alerts
    assert len(followed(folder)) == 2


def test_nothing_is_done_twice(folder):
    before = (folder / "R/night/objects.json").stat().st_mtime_ns

    assert call(watch(folder))[0] == 0
    assert (folder / "R/night/objects.json").stat().st_mtime_ns == before


def test_an_old_difference_that_cannot_be_read_fails_its_image_and_not_the_night(folder):
    log = folder / "R/night/objects.json"
    log.write_text(log.read_text().replace('"objects": "', '"objects": "other'))
    first, _ = sorted(folder.glob("R/night/*/difference_image/**/*.fits"))
    whole = first.read_bytes()
    first.write_bytes(whole[:5000])
    code, said = call(watch(folder))
    [told] = [line for line in said.splitlines() if "failed" in line and "files" not in line and ".fits  " in line]

    assert (code, said.count("is cut off")) == (1, 1)
    assert "0.fits  failed" in told
    assert [bool(image["late_error"]) for image in followed(folder)] == [True, False]
    assert "is cut off" in (folder / "R/night/pages/20250701/index.html").read_text()

    first.write_bytes(whole)
    assert "0.fits  done" in call(watch(folder))[1]
    assert {row["status"] for row in json.loads((folder / "R/night/night.json").read_text())["files"]} == {"done"}


def test_a_night_without_a_template_says_what_was_left_out(folder):
    command = watch(folder).replace("-i templates", "-i first").replace("night.yaml", "night.yaml#isr,difference")

    code, said = call(command.replace("-o night", "-o bare"))

    assert code == 0
    assert said.count("difference left out: no ") == 2


def test_what_follows_is_shown_and_can_be_given_back(tmp_path, capsys):
    assert run(["config", "show", "-p", "night.yaml", "-c", "associate:max_sigma=4", "-c", "alerts=null"]) == 0
    (tmp_path / "all.yaml").write_text(capsys.readouterr().out)

    for path, shown in (("associate:max_sigma", "4.0"), ("alerts", "null"), ("filter:checks.flags.rejects", "true")):
        assert run(["config", "show", path, "-p", "night.yaml", "-C", str(tmp_path / "all.yaml")]) == 0
        assert capsys.readouterr().out.strip() == shown
    assert run(["pipeline", "check", "night.yaml", "-C", str(tmp_path / "all.yaml")]) == 0
    assert "Objects and alerts follow." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("associate:radius=3", "found with other settings of association"),
        ("alerts.size=30", "alerts.size: must be odd; got 30"),
        ("known.stars=absent.parquet", "absent.parquet"),
        ("forced_days=-1", "forced_days"),
        ("filter:cheks=1", "did you mean 'checks'"),
        ("forced=diference_image", "makes no image 'diference_image'; did you mean 'difference_image'? (from -c"),
        ("forced=dia_source", "makes no image 'dia_source'; it makes preliminary_visit_image, "),
    ],
)
def test_a_mistake_in_what_follows_is_told_before_anything_is_done(folder, setting, words):
    code, said = call(f"{watch(folder)} -c {setting}".replace("-o night", "-o other"))

    assert code == 2
    assert words in said
    assert said.count("\n") == 1
    assert not (folder / "R/other/1").exists()
