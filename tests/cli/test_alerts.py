"""From difference images to objects, light curves and alerts, through the command line."""

from __future__ import annotations

import gzip
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from firstlight.cli.main import run
from firstlight.images.alert_file import alert_schema, read_alerts, read_packets, write_alerts
from firstlight.images.catalog import write_catalog
from firstlight.repo.light_curves import find_objects, light_curve
from firstlight.repo.repo import Repo

from .difference_nights import DAYS, ERROR_NJY, FLUXES, MJD, SHAPE, X, Y, make_repo, wcs

fastavro = pytest.importorskip("fastavro", reason="the extra 'alerts' is not installed")
REAL = Path(os.environ.get("FIRSTLIGHT_TEST_DATA", "absent")) / "alerts"
with_real_alerts = pytest.mark.skipif(not REAL.is_dir(), reason="FIRSTLIGHT_TEST_DATA has no folder 'alerts'")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("alerts") / "repo"
    make_repo(folder).close()
    assert run(["associate", "-b", str(folder), "-i", "night/1", "--forced", "difference_image"]) == 0
    return folder


@pytest.fixture(scope="module")
def packets(root, tmp_path_factory) -> list[dict]:
    path = tmp_path_factory.mktemp("night") / "alerts.avro"
    assert run(["alerts", "make", "-b", str(root), "--night", str(DAYS[2]), "-o", str(path), "--size", "31"]) == 0
    with path.open("rb") as file:
        return list(fastavro.reader(file))


def curve_of(root, star):
    ra, dec = wcs().pixel_to_sky(x=X[star], y=Y[star])
    with Repo.open(root) as repo:
        found = find_objects(repo, ra=float(ra), dec=float(dec), radius=1.0)
        assert len(found) == 1
        return light_curve(repo, int(found["id"][0]))


@pytest.mark.parametrize("star", range(3))
def test_each_star_is_one_object_with_a_flux_in_every_image(root, star):
    curve = curve_of(root, star)

    forced = curve[curve["kind"] == "forced"]
    pulls = (np.asarray(forced["flux"]) - FLUXES[:, star]) / np.asarray(forced["flux_err"])
    assert list(forced["mjd"]) == list(MJD)
    assert np.all(np.abs(pulls) < 4.0)
    # Near the edge a part of the light is missing.
    assert np.asarray(forced["flux_err"])[0] == pytest.approx(ERROR_NJY, rel=0.01 if star < 2 else 0.5)
    assert np.sum(curve["kind"] == "detection") == np.count_nonzero(FLUXES[:, star])


def test_associating_again_changes_nothing_and_says_so(root, capsys):
    before = curve_of(root, 1)

    assert run(["associate", "-b", str(root), "--json"]) == 0

    said = capsys.readouterr()
    assert [json.loads(line)["state"] for line in said.out.splitlines()] == ["was there"] * 3
    assert "stars not checked: No table of stars was given" in said.err
    after = curve_of(root, 1)
    for name in before.colnames:
        np.testing.assert_array_equal(after[name], before[name])


def test_known_stars_are_left_out_with_their_reason(tmp_path, capsys):
    with make_repo(tmp_path / "repo") as repo:
        folder = repo.root
    ra, dec = wcs().pixel_to_sky(x=X[1], y=Y[1])
    write_catalog(Table({"name": ["Gaia 1"], "ra": [float(ra)], "dec": [float(dec)]}), tmp_path / "stars.parquet")

    code = run(["associate", "-b", str(folder), "--known", f"stars={tmp_path / 'stars.parquet'}", "--json"])

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert [(row["candidates"], row["kept"], row["rejected_by"]) for row in rows] == [
        (1, 0, "stars=1"),
        (2, 1, "stars=1"),
        (3, 2, "stars=1"),
    ]


def test_bodies_of_the_solar_system_are_named_in_alerts(tmp_path):
    with make_repo(tmp_path / "repo") as repo:
        folder = repo.root
    ra, dec = wcs().pixel_to_sky(x=X[2], y=Y[2])
    planets = Table({"name": ["Ceres"], "ra": [float(ra)], "dec": [float(dec)], "mjd": [MJD[2]]})
    write_catalog(planets, tmp_path / "planets.parquet")
    night = tmp_path / "night.avro"

    assert run(["associate", "-b", str(folder), "--known", f"minor_planets={tmp_path / 'planets.parquet'}"]) == 0
    assert run(["alerts", "make", "-b", str(folder), "--night", str(DAYS[2]), "-o", str(night)]) == 0

    named = [packet for packet in read_packets(night) if packet["candidate"]["ssnamenr"] == "Ceres"]
    assert len(named) == 1
    assert named[0]["prv_candidates"] == []


def test_alerts_tell_what_the_images_held(packets):
    first, *_, last = packets
    assert len(packets) == 5
    assert [round(packet["candidate"]["psfFlux"]) for packet in packets] == [1500, -700, 2200, 800, 1200]
    assert [len(packet["prv_candidates"]) for packet in packets] == [0, 1, 1, 2, 0]
    assert [len(packet["fp_hists"]) for packet in packets] == [1, 1, 2, 2, 2]
    candidate = packets[1]["candidate"]
    assert (candidate["isdiffpos"], candidate["fid"], candidate["flags"]) == ("f", 1, ["is_dipole"])
    assert candidate["magpsf"] == pytest.approx(31.4 - 2.5 * np.log10(700.0))
    # TAI was 37 s ahead of UTC.
    assert candidate["jd"] == pytest.approx(MJD[1] + 2400000.5 - 37 / 86400, abs=1e-8)
    assert packets[1]["objectId"] == packets[3]["objectId"] != first["objectId"] == packets[2]["objectId"]
    assert last["provenance"]["runs"] == ["night/1"]
    assert last["provenance"]["day_obs"] == DAYS[2]


def test_stamps_have_the_candidate_in_the_middle_and_a_true_wcs(packets):
    candidate, data = packets[2]["candidate"], packets[2]["cutoutDifference"]["stampData"]
    with fits.open(io.BytesIO(gzip.decompress(data))) as hdus:
        image, header, psf = hdus[0].data, hdus[0].header, hdus["PSF"].data
    assert image.shape == (31, 31)
    assert np.unravel_index(np.argmax(image), image.shape) == (15, 15)
    x, y = WCS(header).all_world2pix(candidate["ra"], candidate["dec"], 0)
    assert (float(x), float(y)) == pytest.approx((15.0, 15.0), abs=0.6)
    assert psf.sum() == pytest.approx(1.0, abs=0.01)


def test_stamps_at_the_edge_are_whole_and_empty_where_there_is_no_image(packets):
    data = packets[4]["cutoutScience"]["stampData"]
    with fits.open(io.BytesIO(gzip.decompress(data))) as hdus:
        image = np.array(hdus[0].data)
    column = SHAPE[1] - (round(X[2]) - 15)

    assert image.shape == (31, 31)
    assert np.isnan(image[:, column:]).all()
    assert np.isfinite(image[7:, :column]).all()
    assert np.isnan(image[:7]).all()


def test_equal_nights_give_equal_bytes(root, tmp_path):
    made = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.avro"
        assert run(["alerts", "make", "-b", str(root), "--night", str(DAYS[0]), "-o", str(path)]) == 0
        made.append(path.read_bytes())

    assert made[0] == made[1]


def test_alerts_of_ours_are_listed_and_drawn(root, tmp_path, capsys):
    night, picture = tmp_path / "night.avro", tmp_path / "alerts.png"
    run(["alerts", "make", "-b", str(root), "--night", str(DAYS[1]), "-o", str(night)])
    capsys.readouterr()

    assert run(["alerts", "show", str(night), "-o", str(picture), "--json", "--first", "1"]) == 0

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 4
    assert [row["stamps"] for row in rows] == [3] * 4
    assert picture.read_bytes()[:4] == b"\x89PNG"


@with_real_alerts
@pytest.mark.parametrize(("pattern", "n"), [("ztf/*.avro", 36), ("pgir/*.avro", 17), ("wntr/*.avro", 11)])
def test_alerts_of_surveys_are_understood(pattern, n):
    alerts = [alert for path in sorted(REAL.glob(pattern)) for alert in read_alerts(path)]

    assert len(alerts) == n
    assert all(set(alert.stamps) == {"science", "template", "difference"} for alert in alerts)
    assert all(0 <= alert.ra < 360 and abs(alert.dec) <= 90 for alert in alerts)
    assert all(np.isfinite(alert.now.magnitude) and alert.now.jd > 2458000 for alert in alerts)
    assert any(len(alert.history) > 1 for alert in alerts)


@with_real_alerts
def test_alerts_in_a_parquet_file_are_understood():
    alerts = list(read_alerts(REAL / "ztf_67_alerts.parquet"))

    assert len(alerts) == 67
    assert alerts[0].stamps["difference"].shape == (63, 63)
    assert {"rb", "drb"} <= set(alerts[0].scores)


def test_every_field_of_the_schema_is_explained():
    def fields(part):
        if isinstance(part, list):
            return [each for one in part for each in fields(one)]
        if not isinstance(part, dict):
            return []
        own = list(part.get("fields", ()))
        return own + [each for field in own for each in fields(field["type"])] + fields(part.get("items"))

    found = fields(alert_schema())
    assert len(found) > 50
    assert all(field["doc"].endswith(".") for field in found)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["alerts", "show", "absent.avro"], 2, "Cannot read absent.avro"),
        (["alerts", "show", "text.avro"], 2, "holds no alerts"),
        (["alerts", "show", "numbers.avro"], 2, "are no alerts like ZTF's"),
        (["alerts", "make", "-b", "{root}", "--night", "19990101", "-o", "a.avro"], 2, "No detections of the night"),
        (["alerts", "make", "-b", "{root}", "--night", "1", "-o", "a.avro", "--size", "30"], 2, "--size must be odd"),
        (["associate", "-b", "{root}", "--type", "number"], 2, "number"),
        (["associate", "-b", "{root}", "--known", "stars"], 2, "--known takes KIND=FILE"),
        (["associate", "-b", "{root}", "-c", "associate:radius=2"], 2, "found with other settings"),
        (["associate", "-b", "{root}", "-c", "associate:radio=2"], 2, "did you mean 'radius'"),
    ],
)
def test_a_mistake_is_one_line(root, tmp_path, monkeypatch, capsys, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    Path("text.avro").write_text("nothing")
    with Path("numbers.avro").open("wb") as file:
        schema = {"type": "record", "name": "number", "fields": [{"name": "n", "type": "int"}]}
        fastavro.writer(file, schema, [{"n": 1}])

    assert run([each.format(root=root) for each in arguments]) == code

    complaint = capsys.readouterr().err
    assert said in complaint
    assert complaint.count("\n") == 1


def test_no_alerts_make_a_whole_file(tmp_path):
    write_alerts([], tmp_path / "none.avro")

    assert list(read_packets(tmp_path / "none.avro")) == []


def test_a_file_that_is_cut_is_told(packets, tmp_path):
    write_alerts(packets, tmp_path / "night.avro")
    whole = (tmp_path / "night.avro").read_bytes()
    (tmp_path / "cut.avro").write_bytes(whole[: len(whole) // 2])

    assert run(["alerts", "show", str(tmp_path / "cut.avro")]) == 2
