"""The page of the summary statistics tells the same as the code."""

from __future__ import annotations

import re

import pytest

from firstlight.images.summary_columns import SUMMARY

from .pages import ROOT

PAGE = (ROOT / "doc" / "reference" / "summary.md").read_text()
ROWS = {name: (unit, meaning) for name, unit, meaning in re.findall(r"^\| `(\w+)` \| (.*?) ?\| (.*) \|$", PAGE, re.M)}
TOGETHER = re.compile(r"\w+_corner_\d|\w+_mask_fraction")


@pytest.mark.parametrize("name", [name for name in SUMMARY if not TOGETHER.fullmatch(name)])
def test_every_statistic_is_on_the_page_with_its_unit(name):
    assert ROWS[name] == (SUMMARY[name].unit.replace("pix", "px"), SUMMARY[name].meaning)


def test_the_page_has_no_statistic_that_there_is_not():
    assert {name for name in ROWS if not TOGETHER.fullmatch(name)} <= set(SUMMARY)
