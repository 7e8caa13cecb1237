"""The tables at the end."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from firstlight.cli.image_job import ImageFiles, ImageOutcome, StepTime
from firstlight.cli.report import print_report
from firstlight.cli.summary_file import summary_values, write_summary
from firstlight.framework import Funnel, Gate

OK = Gate("astrometry_rms", 0.2, "pixel", warn=0.5, fail=1.0, n=80)
WARN = Gate("photometry_n_calibrators", 7, sense="min", warn=10, fail=1)
FAIL = Gate("psf_residual", math.nan, warn=0.1)


def outcome(name="a.fits", status="ok", **changes) -> ImageOutcome:
    return ImageOutcome(ImageFiles(Path("in") / name), status, **changes)


def printed(*outcomes) -> str:
    text = io.StringIO()
    print_report(Console(file=text, width=160, color_system=None), outcomes)
    return text.getvalue()


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.fits", "a"),
        ("a.b.fit", "a.b"),
        ("a.fts.gz", "a"),
        ("a.FITS.fz", "a"),
        ("a.fits.bak", "a.fits.bak"),
        ("a.gz", "a.gz"),
        ("plain", "plain"),
    ],
)
def test_the_stem_is_the_name_without_the_endings_of_fits(name, stem):
    assert ImageFiles(Path("somewhere") / name).stem == stem


def test_every_image_has_a_line_with_its_numbers():
    shown = printed(
        outcome("one.fits", summary={"zero_point": 26.1234, "star_count": 12.0}, gates=(OK,)),
        outcome("two[1].fits", "unreadable", error="no"),
    )
    one = next(line for line in shown.splitlines() if "one.fits" in line)
    two = next(line for line in shown.splitlines() if "two[1].fits" in line)

    assert one.split() == ["one.fits", "ok", "12", "-", "-", "-", "-", "26.123", "-", "ok"]
    assert "unreadable" in two


def test_gates_that_are_not_ok_are_named_the_worst_first():
    shown = printed(outcome(gates=(OK, WARN, FAIL)), outcome("b.fits"))

    assert "fail: psf_residual; warn: photometry_n_calibrators" in shown


def test_a_single_image_shows_its_gates_and_limits():
    shown = printed(outcome(gates=(OK, WARN, FAIL)))
    rows = [line.split() for line in shown.splitlines()]

    assert ["astrometry_rms", "0.2", "pixel", "above", "0.5", "above", "1", "80", "ok"] in rows
    assert ["photometry_n_calibrators", "7", "below", "10", "below", "1", "warn"] in rows


def test_the_summary_is_strict_json_and_says_what_became_of_the_image(tmp_path):
    failed = outcome(
        status="failed",
        step="calibrate.astrometry",
        error="No match.",
        summary={"zero_point": math.nan, "psf_fwhm": 2.5},
        gates=(OK, FAIL),
        funnels=(Funnel("psf", (("all", 9), ("used", 3))),),
        timing=(StepTime("read", 0.1, 0.1),),
    )
    path = tmp_path / "a_summary.json"
    write_summary(failed, path)
    values = json.loads(path.read_text(), parse_constant=pytest.fail)

    assert values == json.loads(json.dumps(summary_values(failed)))
    assert (values["status"], values["failed_pass"], values["error"]) == ("failed", "calibrate.astrometry", "No match.")
    assert values["stopped_after"] is None
    assert values["gate_status"] == "fail"
    assert values["zero_point"] is None
    assert values["psf_fwhm"] == 2.5
    assert [gate["status"] for gate in values["gates"]] == ["ok", "fail"]
    assert values["timing"] == [{"step": "read", "wall_s": 0.1, "cpu_s": 0.1}]
    assert {"firstlight", "python", "numpy", "sep"} <= set(values["versions"])
