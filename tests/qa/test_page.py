"""The page shows what is there, and says what is not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table

from firstlight.framework import Gate
from firstlight.images.background import BackgroundList
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.qa.content import PageContent
from firstlight.qa.page import SECTIONS, main_numbers, page_of, write_page
from firstlight.qa.sections_flux import astrometry_section, depth_section, flux_section, photometry_section
from firstlight.qa.sections_pixels import image_section, sky_section
from firstlight.qa.sections_psf import aperture_section, psf_section

from .fields import make_content

TABLES = ("stars", "psf_stars", "sources", "astrometry_matches", "photometry_matches")
NOT_THERE = {
    "detections": (image_section, dict.fromkeys(TABLES), "no detections"),
    "psf stars": (psf_section, {"psf_stars": None}, "no PSF stars with a shape to compare with the model"),
    "fluxes": (flux_section, {"stars": None, "psf_stars": None}, "no stars with a PSF flux and an aperture flux"),
    "astrometry": (astrometry_section, {"astrometry_matches": None}, "no astrometric solution"),
    "photometry": (photometry_section, {"photometry_matches": None}, "no photometry"),
    "sources": (depth_section, {"stars": None, "psf_stars": None, "sources": None}, "no sources"),
}
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
EXAMINE = """<script>addEventListener("load", () => {
  const images = [...document.images];
  document.body.textContent = "FACTS" + JSON.stringify({
    images: images.length, drawn: images.filter(each => each.naturalWidth > 100).length,
    requests: performance.getEntriesByType("resource").filter(each => !each.name.startsWith("data:")).length,
    overflow: document.documentElement.scrollWidth - innerWidth}) + "END";
});</script>"""


@pytest.fixture(scope="module")
def content() -> PageContent:
    return make_content()


@pytest.fixture(scope="module")
def page(content) -> str:
    return page_of(content)


def words(html: str) -> str:
    """Return what a reader sees as text."""
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)).split())


def test_a_page_shows_everything_there_is(page):
    shown = words(page)

    for expected in (
        "FAIL field.fits",
        "psf size residual 0.2 px (warns above 0.05, fails above 0.1)",
        "photometry n calibrators 7 (warns below 10, fails below 1). Stars that define the zero point.",
        "zero point 26.200 mag",
        "seeing 2.60 arcsec",
        "rms, stars held out in turn 0.0451 px",
        "model 2 4 x 3 bins, chebyshev 0.5",
        "bright 45 (-75)",
        "calibrate.psf_pass_1 1.25 s (1.00 CPU s)",
        "calibrate.psf.order 1 (from -c)",
        "numpy 2.0",
    ):
        assert expected in shown
    assert 'class="missing"' not in page
    assert page.count("<img") == 10


@pytest.mark.parametrize("missing", NOT_THERE)
def test_what_is_missing_is_said_in_its_place(content, missing):
    section, changes, reason = NOT_THERE[missing]

    assert reason in " ".join(section(replace(content, **changes)).missing)


def test_a_bare_image_has_a_page():
    empty = np.full((40, 30), np.nan)
    bare = Exposure(image=empty, mask=Mask.empty(empty.shape), variance=empty)
    shown = words(page_of(PageContent(bare, title="nothing.fits", note="FAILED at psf_pass_1: no signal")))

    for expected in (
        "FAIL nothing.fits",
        "FAILED at psf_pass_1: no signal",
        "no PSF",
        "no background was subtracted",
        "no WCS",
        "no photometry",
        "no detections",
        "no aperture corrections",
        "no sources",
        "no selection was made",
        "no gates",
    ):
        assert expected in shown


def test_an_image_without_sky_says_so(content):
    covered = content.exposure.replace(
        mask=Mask.empty(content.exposure.shape).with_plane("BAD", content.exposure.image > -1e9)
    )

    assert "no free sky to measure what is left" in sky_section(replace(content, exposure=covered)).missing


def test_a_background_that_was_not_subtracted_is_said(content):
    exposure = content.exposure.replace(background=BackgroundList())

    assert "no background was subtracted" in sky_section(replace(content, exposure=exposure)).missing


def without_rows(table: Table) -> Table:
    return table[:0]


def without_values(table: Table) -> Table:
    return Table(
        {
            name: np.full(len(table), np.nan) if table[name].dtype.kind == "f" else table[name]
            for name in table.colnames
        },
        masked=True,
    )


def with_positions_only(table: Table) -> Table:
    return table[[name for name in table.colnames if name.removeprefix("src_") in ("x", "y")] or table.colnames[:1]]


def with_one_row(table: Table) -> Table:
    return table[:1]


@pytest.mark.parametrize("spoil", [without_rows, without_values, with_positions_only, with_one_row])
def test_poor_tables_make_a_page(content, spoil):
    poor = replace(content, **{name: spoil(getattr(content, name)) for name in TABLES})

    assert len([section(poor) for section in SECTIONS]) == len(SECTIONS)


def test_every_sky_model_and_their_sum_have_level_and_slope(content):
    [facts] = sky_section(content).facts
    rows = {row[0]: row for row in facts.rows}

    assert list(rows) == ["model 1", "model 2", "sum"]
    assert float(rows["sum"][2]) == pytest.approx(300.5, rel=1e-4)
    # The ends of the sampled plane are the centres of the outer pixels.
    assert float(rows["model 1"][3]) == pytest.approx(20.0 * 399 / 400, rel=1e-3)
    assert float(rows["sum"][4]) == pytest.approx(0.0, abs=1e-3)


def test_aperture_corrections_are_listed_with_their_error(content):
    [facts] = aperture_section(content).facts

    assert facts.rows == (("psf", "1.01000", "1.01000", "1.01000", "0.00100"),)


def test_fluxes_are_compared_after_their_corrections(content):
    [facts] = flux_section(content).facts
    name, number, median, error, _ = facts.rows[0]

    assert name == "psf - aper"
    # 1 % scatter of each of the stars, and a correction of 1 % to the PSF flux alone.
    sigma = 1000 * 1.0857 * 0.01 * 1.2533 / np.sqrt(int(number))
    assert abs(float(median) + 2500 * np.log10(1.01)) < 4 * sigma
    assert 0.4 * sigma < float(error) < 2.5 * sigma


def test_numbers_that_are_not_known_are_left_out(content):
    numbers = main_numbers(replace(content, summary={"psf_fwhm": 2.5, "zero_point": float("nan"), "ra": None}))

    assert numbers == {"FWHM": "2.50 px"}


def test_a_gate_that_nobody_knows_is_shown_too(content):
    shown = words(page_of(replace(content, gates=(Gate("strange", float("nan")),), **dict.fromkeys(TABLES))))

    assert "strange nan (not a number)" in shown


def test_words_from_outside_cannot_become_part_of_the_page(content):
    page = page_of(replace(content, title="<script>alert(1)</script>", **dict.fromkeys(TABLES)))

    assert "<script>" not in page


def test_the_file_needs_nothing_else_and_is_the_same_every_time(content, page, tmp_path):
    write_page(content, tmp_path / "page.html")

    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert "url(" not in page
    assert "@import" not in page


@pytest.mark.skipif(CHROMIUM is None, reason="there is no browser")
def test_a_browser_shows_every_picture_without_asking_for_more(page, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page.replace("</body>", EXAMINE + "</body>"), encoding="utf-8")
    call = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    call += ["--window-size=1300,900", "--dump-dom", path.as_uri()]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=True)
    facts = json.loads(re.search("FACTS(.*)END", done.stdout)[1].replace("&quot;", '"'))

    assert facts["images"] == facts["drawn"] == page.count("<img")
    assert facts["requests"] == 0
    assert facts["overflow"] <= 0
