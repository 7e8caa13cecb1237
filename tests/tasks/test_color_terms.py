"""Colour terms are looked up by catalogue and filter, applied where they can be, and fitted where none is known."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u

from firstlight.errors import ConfigError
from firstlight.framework.config_folder import config_folder
from firstlight.images.observation import Filter
from firstlight.refcats.formats import TableReferenceCatalog
from firstlight.tasks.color_terms import ColorTerm, ColorTermLibrary, read_color_terms
from firstlight.tasks.photo_cal import ZeroPointPhotoCalConfig, ZeroPointPhotoCalTask

from .test_calibration import ZERO_POINT, blank, made_field, wcs

TERM = 0.12
LIBRARY = """\
description: For tests.
terms:
  - {catalog: "other*", filter: "*", primary: r, secondary: g, c1: 9.0}
  - {catalog: "*sim*", filter: "r*", primary: r, secondary: g, c0: 0.03, c1: 0.12}
"""


def colored_field(*, term, n=300, name="deep_SIM.parquet"):
    """Return sources of a camera that sees ``r + term (r - g)``, and a catalogue with both magnitudes."""
    sources, reference = made_field(wcs(), n=n)
    table, rng = reference.table, np.random.default_rng(8)
    table["g_mag"] = table["r_mag"] + np.clip(rng.normal(0.7, 0.35, len(table)), -0.2, 1.6)
    table["g_mag_error"] = table["r_mag_error"]
    color = table["r_mag"] - table["g_mag"]
    number = {float(ra): row for row, ra in enumerate(table["ra"])}
    rows = [number.get(float(ra), -1) for ra in sources["ra"]]
    shift = np.where(np.array(rows) >= 0, term * np.asarray(color)[rows], 0.0)
    for column in ("calib_inst_flux", "calib_inst_flux_err"):
        sources[column] = np.asarray(sources[column]) * 10 ** (-0.4 * shift) * u.ct
    return sources, TableReferenceCatalog(table, name=name)


def calibrated(sources, reference, **settings):
    exposure = blank(wcs()).replace(filter=Filter("r2", "r"))
    return ZeroPointPhotoCalTask(ZeroPointPhotoCalConfig(**settings)).run(exposure, sources, reference=reference)


def slope(result):
    """Return the slope of the residuals with the colour, and its error."""
    used = result.matches[result.matches["used"]]
    color, residual = (np.asarray(used[name]) for name in ("ref_color", "residual"))
    return np.polyfit(color, residual, 1)[0], residual.std() / color.std() / np.sqrt(len(used))


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(LIBRARY)
    return str(path)


def test_a_known_term_takes_the_colour_out_of_the_zero_point(library):
    result = calibrated(*colored_field(term=TERM), color_terms=library)
    left, error = slope(result)

    assert abs(result.zero_point.value - ZERO_POINT - 0.03) < 3 * result.zero_point.error
    assert abs(left) < 3 * error
    assert result.zero_point.color_term == TERM
    assert result.matches.meta["color"] == "r - g"


def test_an_unknown_term_is_fitted_and_stated():
    result = calibrated(*colored_field(term=TERM))
    left, error = slope(result)
    gate = {gate.name: gate for gate in result.gates}["color_term_error"]

    assert abs(result.zero_point.color_term - TERM) < 3 * result.zero_point.color_term_error
    assert abs(result.zero_point.value - ZERO_POINT) < 3 * result.zero_point.error < 0.02
    assert abs(left) < 3 * error
    assert gate.value == result.zero_point.color_term_error == result.matches.meta["c1_error"]


def test_reserved_calibrators_are_judged_with_the_fitted_term():
    result = calibrated(*colored_field(term=TERM), reserve_fraction=0.4)
    reserved = result.matches[result.matches["reserved"]]

    assert np.std(reserved["residual"]) == pytest.approx(0.012, rel=0.4)
    assert abs(np.corrcoef(reserved["ref_color"], reserved["residual"])[0, 1]) < 3 / np.sqrt(len(reserved))


@pytest.mark.parametrize(
    ("term", "settings"),
    [
        pytest.param(0.0, {}, id="nothing to see"),
        pytest.param(TERM, {"min_stars_for_color": None}, id="not wanted"),
        pytest.param(TERM, {"min_stars_for_color": 5000}, id="too few stars"),
        pytest.param(TERM, {"max_color_error": 1e-4}, id="too uncertain"),
        pytest.param(TERM, {"max_color_noise": 1e-5}, id="colours too noisy"),
        pytest.param(TERM, {"second_band": "z"}, id="no such magnitude"),
    ],
)
def test_no_term_is_fitted_without_need_or_ground(term, settings):
    result = calibrated(*colored_field(term=term), **settings)

    assert (result.zero_point.color_term, result.zero_point.color_term_error) == (0.0, 0.0)
    assert "color" not in result.matches.meta
    assert "color_term_error" not in {gate.name for gate in result.gates}


@pytest.mark.parametrize("change", ["catalogue", "filter", "magnitude"])
def test_a_term_that_does_not_apply_is_left_out(library, change):
    sources, reference = colored_field(term=TERM, name="x" if change == "catalogue" else "sim")
    if change == "magnitude":
        reference.table.remove_columns(["g_mag", "g_mag_error"])
    exposure = blank(wcs()).replace(filter=Filter("i" if change == "filter" else "r", "r"))
    config = ZeroPointPhotoCalConfig(color_terms=library, min_stars_for_color=None)
    result = ZeroPointPhotoCalTask(config).run(exposure, sources, reference=reference)

    assert result.zero_point.color_term == 0.0


def test_the_name_of_the_catalogue_can_be_given(library):
    result = calibrated(*colored_field(term=TERM, name="x"), color_terms=library, catalog="sim")

    assert result.zero_point.color_term == TERM


def test_an_unknown_library_lists_those_there_are():
    with pytest.raises(ConfigError, match="decam"):
        ZeroPointPhotoCalTask(ZeroPointPhotoCalConfig(color_terms="decamm"))


@pytest.mark.parametrize("path", sorted((config_folder() / "colorterms").glob("*.yaml")), ids=lambda path: path.stem)
def test_libraries_that_come_along_can_be_read(path):
    library = read_color_terms(path.stem)

    assert library.description
    assert all(term.primary != term.secondary for term in library.terms)


def test_the_first_term_that_fits_is_taken():
    terms = tuple(ColorTerm(catalog="ps1*", filter="g*", primary="g", secondary="r", c1=c1) for c1 in (0.1, 0.2))
    library = ColorTermLibrary(description="two", terms=terms)

    assert library.find(catalog="PS1_DR2", physical_filter="g2").c1 == 0.1
    assert library.find(catalog="gaia", physical_filter="g2") is None
