"""The page shows what is there, and says what is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table

from firstlight.framework import Gate
from firstlight.images.background import BackgroundList
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.qa.page import PageContent, draw_page, main_numbers, write_page

from .fields import make_content

NOT_THERE = {
    "stars": (dict.fromkeys(("stars", "psf_stars")), "no stars"),
    "detections": (dict.fromkeys(("stars", "psf_stars", "sources", "astrometry_matches")), "no detections"),
    "psf stars": ({"psf_stars": None}, "no\nPSF stars"),
    "astrometry": ({"astrometry_matches": None}, "the WCS is that of the header"),
    "photometry": ({"photometry_matches": None}, "no photometry"),
}


@pytest.fixture(scope="module")
def content() -> PageContent:
    return make_content()


def words(figure) -> str:
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [text.get_text() for text in axes.texts] + [axes.get_title(loc="left")]
        found += [text.get_text() for text in axes.get_legend().get_texts()] if axes.get_legend() else []
    return "\n".join(found)


def test_a_page_shows_everything_there_is(content):
    shown = words(draw_page(content))

    for expected in (
        "field.fits",
        "detections (120)",
        "PSF stars",
        "zero point 26.200",
        "2.60 px",
        "FAIL",
        "WARN",
        "ok",
    ):
        assert expected in shown
    for reason in (reason for _, reason in NOT_THERE.values()):
        assert reason not in shown


@pytest.mark.parametrize("missing", NOT_THERE)
def test_what_is_missing_is_said_in_its_place(content, missing):
    changes, reason = NOT_THERE[missing]

    assert reason in words(draw_page(replace(content, **changes)))


def test_a_bare_image_has_a_page():
    empty = np.full((40, 30), np.nan)
    bare = Exposure(image=empty, mask=Mask.empty(empty.shape), variance=empty)
    shown = words(draw_page(PageContent(bare, title="nothing.fits", note="FAILED at psf_pass_1: no signal")))

    for expected in ("no PSF", "no background", "no WCS", "no photometry", "no stars", "FAILED at psf_pass_1"):
        assert expected in shown


def test_an_image_without_sky_has_a_page(content):
    covered = content.exposure.replace(
        mask=Mask.empty(content.exposure.shape).with_plane("BAD", content.exposure.image > -1e9)
    )

    assert "no free sky" in words(draw_page(replace(content, exposure=covered)))


def test_empty_tables_are_as_good_as_none(content):
    table = Table(
        {name: np.zeros(0) for name in ("x", "y", "src_x", "src_y", "dx", "dy", "ref_mag", "residual", "ixx", "iyy")}
    )
    empty = dict.fromkeys(("stars", "psf_stars", "sources", "astrometry_matches", "photometry_matches"), table)

    assert "no photometry" in words(draw_page(replace(content, **empty)))


def test_a_background_that_was_not_subtracted_is_said(content):
    exposure = content.exposure.replace(background=BackgroundList())

    assert "no background" in words(draw_page(replace(content, exposure=exposure)))


def test_many_gates_stay_on_the_page(content):
    figure = draw_page(replace(content, gates=tuple(Gate(f"gate_{i}", i, "px", warn=3) for i in range(40))))
    figure.canvas.draw()
    [axes] = [axes for axes in figure.axes if "gate 39" in [text.get_text() for text in axes.texts]]
    lowest = min(text.get_window_extent().y0 for text in axes.texts)

    assert lowest > axes.get_window_extent().y0 - 5


def test_the_file_is_a_png_of_the_promised_size_and_the_same_every_time(content, tmp_path):
    for name in ("one.png", "two.png"):
        write_page(content, tmp_path / name)
    data = (tmp_path / "one.png").read_bytes()

    assert data.startswith(b"\x89PNG")
    assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (1600, 1100)
    assert data == (tmp_path / "two.png").read_bytes()


def test_numbers_that_are_not_known_are_left_out():
    assert main_numbers({"psf_fwhm": 2.5, "zero_point": float("nan")}) == {"FWHM": "2.50 px"}
