"""Which images of which survey are asked for."""

from __future__ import annotations

import pytest

from firstlight.errors import InputError
from firstlight.refcats.surveys import SURVEYS, require_own_band, survey_bands


def names(survey, band, dec=10.0):
    return [each.name for each in survey_bands(survey, band=band, dec=dec)]


@pytest.mark.parametrize(
    ("band", "dec", "expected"),
    [
        ("r", 20.0, ["LS/r", "SDSS/r", "PS1/r"]),
        ("r", 88.0, ["PS1/r"]),
        ("r", -60.0, ["LS/r", "DES/r", "SkyMapper/r"]),
        ("u", 20.0, ["SDSS/u"]),
        ("y", -50.0, ["DES/y"]),
        ("Ks", -80.0, ["2MASS/K"]),
    ],
)
def test_auto_asks_the_surveys_that_have_the_band_and_may_have_the_sky(band, dec, expected):
    assert names("auto", band, dec) == expected


def test_a_survey_is_found_by_its_name_its_band_or_the_id_of_a_hips():
    assert names("sdss", "i") == ["SDSS/i"]
    assert names("SDSS/g", "V") == ["SDSS/g"]
    [named] = survey_bands("CDS/P/ZTF/DR7/r", band="r", dec=0.0)
    assert (named.hips, named.pixel_scale, named.is_asinh) == ("CDS/P/ZTF/DR7/r", 0.0, False)


@pytest.mark.parametrize("survey", SURVEYS, ids=lambda survey: survey.name)
def test_what_is_known_of_a_survey_is_known_by_the_id_of_its_hips_too(survey):
    for band, hips in survey.hips.items():
        assert survey_bands(hips, band="r", dec=0.0) == survey_bands(f"{survey.name}/{band}", band="r", dec=0.0)


@pytest.mark.parametrize(
    ("hips", "band"),
    [("CDS/P/ZTF/DR7/g", "g"), ("CDS/P/DSS2/blue", "B"), ("CDS/P/GALEXGR6/AIS/NUV", None), ("CDS/P/r/color", None)],
)
def test_the_band_of_another_hips_is_the_one_it_is_named_after_not_that_of_the_image(hips, band):
    [named] = survey_bands(hips, band="r", dec=0.0)

    assert named.band == band


def test_pixels_of_pan_starrs_are_asinh_in_all_bands_but_g():
    assert [survey_bands("PS1", band=band, dec=0.0)[0].is_asinh for band in "grizy"] == [False, True, True, True, True]


@pytest.mark.parametrize(
    ("survey", "band", "words"),
    [
        ("auto", "V", "the image is in V; no survey has it .* --survey SDSS/r"),
        ("auto", None, "the band of the image is not known"),
        ("SDSS", "V", "SDSS has the bands u, g, r, i, z, not V; .*--survey SDSS/u"),
        ("SDSS/q", "r", "not q"),
        ("SDSS", None, "the band of the image is not known"),
        ("DSS3", "r", "No survey is called 'DSS3'; there are LS, SDSS"),
    ],
)
def test_what_cannot_be_asked_for_is_said_with_what_can(survey, band, words):
    with pytest.raises(InputError, match=words) as caught:
        survey_bands(survey, band=band, dec=10.0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("survey", "band", "is_own"),
    [
        ("auto", "r", True),
        ("2MASS", "Ks", True),
        ("CDS/P/ZTF/DR7/r", "r", True),
        ("CDS/P/ZTF/DR7/r", "g", False),
        ("SkyMapper/r", "z", False),
        ("SDSS/g", "V", False),
        ("SDSS/g", None, False),
    ],
)
def test_another_band_stands_in_where_the_survey_has_not_that_of_the_image(survey, band, is_own):
    choices = survey_bands(survey, band=band, dec=10.0)

    require_own_band(choices, band=band)
    assert {each.is_of(band) for each in choices} == {is_own}


def test_another_band_of_a_survey_that_has_that_of_the_image_is_refused():
    with pytest.raises(InputError, match=r"SDSS/r is no template for images in g, .*; say SDSS,"):
        require_own_band(survey_bands("SDSS/r", band="g", dec=10.0), band="g")
