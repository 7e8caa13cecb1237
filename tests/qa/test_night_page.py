"""The pages of a night show what is there, sort by a click, and need nothing else."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from matplotlib.image import imread

from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.psf import GaussianPsf
from firstlight.images.wcs import SkyWcs, TanSip
from firstlight.qa.night import CurvePoint, NightCandidate, NightContent, NightExposure, ObjectContent
from firstlight.qa.night_page import candidates_page, night_page, object_page, step_times
from firstlight.qa.sky_links import sky_links
from firstlight.qa.stamp_marks import Compass, compasses, stamp_marks
from firstlight.qa.stamps import LARGEST_HALF, encode_stamp, triplet
from firstlight.qa.svg import PlotPoint, light_curve_plot, nice_ticks, scatter_plot, spark_line

OUTER = re.compile(r'<a class="outer" href="https://[^"]*" target="_blank" rel="noreferrer">')
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SHAPE, NOISE = (90, 100), 3.0
COMPASS = Compass(east=(-2.4, 0.6), north=(0.6, 2.4))
DONE = NightExposure(
    "a.fits", 60858.4, "r", "M 67", 2.1, 26.1, 20.5, n_candidates=5, n_kept=3, n_new=1, n_alerts=3, latency=31.0,
    seconds={"calibrate": 3.0, "difference": 5.0},
)  # fmt: skip
FAILED = NightExposure("b.fits", 60858.5, "r", status="failed", reason="calibrate: No source exceeds 10 sigma.")
ASIDE = NightExposure("c.fits", status="set aside", reason="is cut off: it has 5 bytes of 9.")


def image(flux: float) -> Exposure:
    pixels = np.random.default_rng(1).normal(0, NOISE, SHAPE)
    pixels[30:51, 40:61] += flux * GaussianPsf(sigma=1.6, radius=10).kernel_image(x=50.0, y=40.0)
    return Exposure(
        image=pixels.astype(np.float32),
        mask=Mask.empty(SHAPE),
        variance=np.full(SHAPE, NOISE**2, np.float32),
        psf=GaussianPsf(sigma=1.6, radius=10),
    )


def candidate(number: int, snr: float, score: float, **more: object) -> NightCandidate:
    one = NightCandidate(
        number, image=f"cam_{number}_0", mjd=60858.4, band="r", ra=10.0 + number / 100, dec=-5.0, flux=100.0 * snr,
        flux_err=100.0, mag=31.4 - 2.5 * np.log10(abs(100.0 * snr)), snr=snr, score=score, is_new=number == 3,
        n_detections=2, stamps=triplet((image(900.0), image(500.0), image(400.0)), x=50.0, y=40.0, compass=COMPASS),
    )  # fmt: skip
    return replace(one, **more)


@pytest.fixture(scope="module")
def content() -> NightContent:
    curve = [CurvePoint(60857.4, 20.0, 100.0, "r", False), CurvePoint(60858.4, 900.0, 100.0, "r", True)]
    listed = [
        candidate(1, 9.0, 0.9),
        candidate(1, 12.0, 0.8),
        candidate(3, 30.0, 0.5, notes="stars: Gaia 7"),
        candidate(2, -8.0, float("nan"), flags=("dipole",)),
        candidate(0, 7.0, 0.4, body="Ceres", ra=11.0),
        candidate(0, 99.0, 1.0, rejected_by="flags", ra=12.0),
    ]
    return NightContent(
        "night", 20260102, exposures=[DONE, FAILED, ASIDE], candidates=sorted(listed, key=lambda each: each.rank),
        curves={1: curve, 2: curve, 3: curve}, is_followed=True, not_done={"galaxies": "No table of galaxies."},
    )  # fmt: skip


@pytest.fixture(scope="module")
def pages(content) -> dict[str, str]:
    one = ObjectContent(
        1, 10.01, -5.0, 1e-5, 2, 60857.4, 60858.4, curve=content.curves[1], detections=content.candidates[:1]
    )
    return {"index": night_page(content), "candidates": candidates_page(content), "object": object_page(one)}


def words(html: str) -> str:
    bare = re.sub(r"<(style|script|svg).*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", bare).split())


def greys(data: str) -> np.ndarray:
    return imread(io.BytesIO(base64.b64decode(data)))[..., :3]


def test_what_went_wrong_comes_first_with_its_reason(pages):
    shown = words(pages["index"])

    assert shown.index("No source exceeds 10 sigma.") < shown.index("Where the time goes")
    for expected in (
        "Night 2026-01-02, night",
        "exposures 3 failed 1 set aside 1 done 1 seeing, median 2.10",
        "set aside c.fits is cut off: it has 5 bytes of 9.",
        "Not checked: galaxies (No table of galaxies).",
        "calibrate 3.00 s difference 5.00 s",
        "A file waits 23 s in the median",
        "4 candidate objects",
    ):
        assert expected in shown


def test_each_object_has_one_row_with_its_most_significant_detection(pages):
    rows = re.findall(r"<tr data-score.*?</tr>", pages["candidates"], flags=re.DOTALL)
    shown = [words(row) for row in rows]

    assert len(rows) == 5
    assert "objects/1.html" in rows[0]
    assert "0.80 12.0" in shown[0]
    assert "Gaia 7" in shown[1]
    assert "new" in shown[1]
    assert "Ceres (solar system)" in shown[2]
    assert "- -8.0" in shown[3]
    assert "fainter" in shown[3]
    assert "Not checked: galaxies" in words(pages["candidates"])
    assert [" hidden" in row.partition(">")[0] for row in rows] == [False, False, False, False, True]


def test_an_object_is_named_by_its_place(pages):
    shown = words(pages["object"])

    assert "00:40:02.40 -05:00:00.0" in shown
    assert "10.010000" in shown
    assert "detections 2" in shown
    assert "60858.40000 r detected 900 100 9.0" in shown


@pytest.mark.parametrize("name", ["index", "candidates", "object"])
def test_a_page_asks_for_nothing_from_elsewhere(pages, name):
    own = OUTER.sub("", pages[name])

    assert not re.findall(r"(?:src|href)=\"(?!data:|#|index|candidates|objects/|\.\./)", own)
    assert not re.findall(r"url\(|@import|https?:", own)


@pytest.mark.parametrize(("ra", "dec"), [(10.01, -5.0), (359.999999, 0.0000012), (0.0, 89.9)])
def test_links_ask_services_for_the_place(ra, dec):
    asked = {}
    for name, address in sky_links(ra=ra, dec=dec):
        parts = urlsplit(address)
        words = dict(parse_qsl(parts.query, strict_parsing=True))
        place = words.get("Coord") or words.get("target") or f"{words['ra']} {words.get('decl') or words['dec']}"
        asked[name] = tuple(float(each.rstrip("d")) for each in place.split())
        assert parts.scheme == "https"

    assert asked == dict.fromkeys(
        ("SIMBAD", "NED", "Aladin", "TNS"), (pytest.approx(ra, abs=1e-6), pytest.approx(dec, abs=1e-6))
    )


def test_every_candidate_and_object_has_its_links(pages):
    for name, n in (("index", 0), ("candidates", 5), ("object", 1)):
        assert len(OUTER.findall(pages[name])) == 4 * n
    assert "Coord=10.010000+-5.000000" in pages["object"]


@pytest.mark.parametrize("turn", [0.0, 35.0, 200.0])
@pytest.mark.parametrize("flip", [1, -1])
def test_arrows_point_where_the_sky_goes_and_the_bar_has_its_length(turn, flip):
    angle, scale = np.radians(turn), 0.4
    cd = scale / 3600 * np.array([[-flip * np.cos(angle), np.sin(angle)], [flip * np.sin(angle), np.cos(angle)]])
    wcs = SkyWcs.from_tan_sip(TanSip((40.0, 70.0), (49.0, 44.0), cd, np.zeros((1, 1)), np.zeros((1, 1))))
    x, y = 60.0, 40.0
    [compass] = compasses(wcs.local_jacobian(x=np.array([x]), y=np.array([y])))
    marks = stamp_marks(compass, size=41)
    begin = re.findall(r"M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)", marks)
    (ra,), (dec,) = wcs.pixel_to_sky(x=np.array([x]), y=np.array([y]))

    for drawn, step in zip(begin, ((0.0, 1.0), (1.0, 0.0)), strict=True):
        x0, y0, x1, y1 = map(float, drawn)
        ahead = wcs.sky_to_pixel(ra=ra + step[0] / 3600 / np.cos(np.radians(dec)), dec=dec + step[1] / 3600)
        expected = np.array([ahead[0] - x, y - ahead[1]])
        shown = np.array([x1 - x0, y1 - y0])
        # Numbers are written with one decimal, and an arrow is 14 long.
        np.testing.assert_allclose(shown / np.hypot(*shown), expected / np.hypot(*expected), atol=0.02)
    [(width, label)] = re.findall(r"h([\d.]+)\"/><text[^>]*>([\d.]+)&quot;", marks)
    assert float(width) == pytest.approx(float(label) / scale * 128 / 41, abs=0.06)
    assert 15 < float(width) <= 44


def test_a_stamp_without_a_sky_has_no_marks():
    assert compasses(np.array([[[np.nan, 0], [0, 1]], [[0, 0], [0, 0]]])) == [None, None]
    assert triplet((image(9.0), None, image(9.0)), x=50.0, y=40.0).marks == ""


def test_words_from_outside_cannot_become_part_of_a_page(content):
    bad = "</td><script>alert(1)</script>"
    spoiled = replace(
        content,
        exposures=[replace(FAILED, name=bad, reason=bad, band=bad, target=bad, mjd=60858.4, seeing=1.0)],
        candidates=[candidate(1, 9.0, 0.9, notes=bad, body=bad, image=bad, rejected_by=bad, flags=(bad,), band=bad)],
        curves={1: [CurvePoint(60858.4, 1.0, 1.0, bad, True)]},
    )

    assert bad not in night_page(spoiled) + candidates_page(spoiled)


def test_a_night_of_which_nothing_is_known_has_pages():
    empty = NightContent("night", 20260102, exposures=[NightExposure("1", status="waiting")])

    assert "no candidates yet" in words(night_page(empty))
    assert "no times are known" in words(night_page(empty))
    assert "No candidates." in words(candidates_page(replace(empty, is_followed=True)))
    assert "no fluxes" in object_page(ObjectContent(1, 0.0, 0.0, 0.0, 1, 60858.4, 60858.4))


def test_times_are_means_over_what_was_done():
    twice = replace(DONE, seconds={"calibrate": 5.0})

    times, n = step_times([DONE, twice, FAILED])

    assert n == 2
    assert [(each.name, each.seconds, each.share) for each in times] == [
        ("calibrate", 4.0, 100.0),
        ("difference", 2.5, 62.5),
    ]


def test_equal_pixels_are_equally_dark_in_all_three_stamps():
    science, template = image(900.0), image(900.0)
    stamps = triplet((science, template, image(0.0)), x=50.0, y=40.0)

    assert stamps.science == stamps.template != stamps.difference
    drawn = greys(stamps.difference)
    assert drawn.shape[:2] == (stamps.size, stamps.size)
    assert stamps.size == 2 * round(6 * 2.3548 * 1.6) + 1 <= 2 * LARGEST_HALF + 1


def test_brighter_is_darker_and_no_data_has_a_colour():
    drawn = greys(encode_stamp(np.array([[np.nan, -50.0, 0.0, 5.0, 100.0]]), high=50.0))[0]

    assert drawn[0, 0] != drawn[0, 2]
    assert np.all(drawn[1:, 0] == drawn[1:, 2])
    assert np.all(np.diff(drawn[1:, 0]) < 0)
    assert drawn[-1, 0] == pytest.approx(1 / 255)


def test_a_stamp_has_north_of_the_image_at_the_top():
    drawn = greys(encode_stamp(np.array([[0.0, 0.0], [9.0, 0.0]]), high=10.0))[..., 0]

    assert drawn[0, 0] < drawn[1, 0]


@pytest.mark.parametrize(("x", "y"), [(np.nan, 4.0), (0.0, 0.0), (-500.0, 3.0)])
def test_stamps_of_places_without_pixels_are_none_or_empty(x, y):
    hole = replace(image(0.0), image=np.full(SHAPE, np.nan, np.float32), variance=np.zeros(SHAPE, np.float32))
    stamps = triplet((hole, None, hole), x=x, y=y)

    assert stamps is None if np.isnan(x) else stamps.template == ""


def test_a_flux_below_its_noise_is_a_limit_and_a_detection_takes_the_place_of_the_flux():
    curve = [
        CurvePoint(1.0, 20.0, 100.0, "r", False),
        CurvePoint(2.0, 900.0, 100.0, "r", False),
        CurvePoint(2.0, 910.0, 100.0, "r", True),
        CurvePoint(3.0, np.nan, 100.0, "r", False),
    ]
    for plot in (light_curve_plot(curve), spark_line(curve, now=2.0)):
        assert plot.count("<polygon") == 1
        assert plot.count("nJy</title></circle>") == 1


def test_a_plot_leaves_out_what_is_not_known():
    points = [PlotPoint(1.0, 2.0, "r", "a"), PlotPoint(2.0, np.nan, "r", "b")]

    assert scatter_plot(points, title="seeing", unit="arcsec", x_label="h").count("<circle") == 1
    assert "seeing: not known" in scatter_plot(points[1:], title="seeing", unit="arcsec", x_label="h")


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (26.15, 26.19), (-3e5, 2e6), (60858.2, 60860.9)])
def test_ticks_are_few_round_numbers_within_the_limits(low, high):
    ticks = nice_ticks(low, high)

    assert 3 <= len(ticks) <= 9
    assert low <= min(ticks)
    assert max(ticks) <= high
    assert np.ptp(np.diff(ticks)) < 1e-9 * (high - low)


WORK = """<script>addEventListener("load", () => {
  const head = name => [...document.querySelectorAll("th")].find(each => each.textContent.trim() === name);
  const shown = () => [...document.querySelectorAll("#candidates tbody tr")].filter(row => !row.hidden);
  const places = () => shown().map(row => row.cells[1].querySelector("code").textContent.split(" ")[0]);
  const click = name => { head(name).click(); return places(); };
  const set = (name, value) => {
    const input = document.getElementById(name);
    if (input.type === "checkbox") input.checked = value; else input.value = value;
    input.dispatchEvent(new Event("input"));
    return shown().length;
  };
  const facts = {begin: places(), down: click("S/N"), up: click("S/N"), score: click("score")};
  facts.least = set("score", 0.45); set("score", 0); facts.all = set("rejected", true); facts.fresh = set("new", true);
  const images = [...document.images];
  facts.images = images.length;
  facts.links = document.querySelectorAll("a.outer").length;
  const first = shown()[0], stamp = first.querySelector("img").getBoundingClientRect();
  const marks = first.querySelector("svg.marks").getBoundingClientRect();
  facts.over = ["x", "y", "width", "height"].map(side => Math.round(marks[side] - stamp[side]));
  facts.drawn = images.filter(each => each.naturalWidth > 20).length;
  facts.requests = performance.getEntriesByType("resource").filter(each => !each.name.startsWith("data:")).length;
  facts.overflow = document.documentElement.scrollWidth - innerWidth;
  document.body.textContent = "FACTS" + JSON.stringify(facts) + "END";
});</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="there is no browser")
def test_a_browser_sorts_by_a_click_and_hides_what_is_not_asked_for(pages, tmp_path):
    path = tmp_path / "candidates.html"
    path.write_text(pages["candidates"].replace("</body>", WORK + "</body>"), encoding="utf-8")
    call = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    call += ["--enable-logging=stderr", "--window-size=1400,900", "--dump-dom"]
    done = subprocess.run([*call, path.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    facts = json.loads(re.search("FACTS(.*)END", done.stdout)[1].replace("&quot;", '"'))

    assert "CONSOLE" not in done.stderr
    assert facts["begin"] == ["10.01000", "10.03000", "11.00000", "10.02000"]
    assert facts["down"] == ["10.03000", "10.01000", "11.00000", "10.02000"]
    assert facts["up"] == facts["down"][::-1]
    assert facts["score"] == ["10.01000", "10.03000", "11.00000", "10.02000"]
    assert (facts["least"], facts["all"], facts["fresh"]) == (2, 5, 1)
    assert facts["images"] == facts["drawn"] == 15
    assert facts["links"] == 20
    assert facts["over"] == [0, 0, 0, 0]
    assert facts["requests"] == 0
    assert facts["overflow"] <= 0
