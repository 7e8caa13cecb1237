"""Regions of a reference catalogue: the stars in it, at the epoch asked for, in the band asked for."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.errors import ReferenceCatalogError
from firstlight.refcats import read_reference_catalog
from firstlight.refcats.catalog import FALLBACK_BANDS
from firstlight.refcats.formats import TableReferenceCatalog


def catalog_of(**columns) -> TableReferenceCatalog:
    return TableReferenceCatalog(Table(columns), name="made by hand")


def distance(ra, dec, other_ra, other_dec):
    """Return the angle [deg] by vectors."""
    a, d = np.deg2rad([ra, other_ra]), np.deg2rad([dec, other_dec])
    v = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    return np.rad2deg(2 * np.arcsin(np.linalg.norm(v[:, 0] - v[:, 1]) / 2))


@settings(max_examples=40, deadline=None)
@given(
    ra=st.floats(0, 359.999),
    dec=st.floats(-89.9, 89.9),
    pm=st.tuples(st.floats(-5000, 5000), st.floats(-5000, 5000)),
    years=st.floats(-50, 50),
)
def test_a_star_moves_by_its_proper_motion_everywhere_on_the_sky(ra, dec, pm, years):
    catalog = catalog_of(ra=[ra], dec=[dec], r=[12.0], pmra=[pm[0]], pmdec=[pm[1]], ref_epoch=[2000.0])
    stars = catalog.stars(ra=ra, dec=dec, radius=1.0, epoch=2000.0 + years)
    expected = np.hypot(*pm) * abs(years) / 3.6e6

    assert distance(ra, dec, stars.ra[0], stars.dec[0]) == pytest.approx(expected, abs=1e-7)
    assert 0 <= stars.ra[0] <= 360


def test_without_an_epoch_positions_stay_as_they_are():
    catalog = catalog_of(ra=[10.0], dec=[5.0], r=[12.0], pmra=[900.0], pmdec=[900.0], ref_epoch=[2000.0])
    stars = catalog.stars(ra=10, dec=5, radius=1)

    assert (stars.ra[0], stars.dec[0], np.isnan(stars.epoch)) == (10.0, 5.0, True)


def test_a_region_across_the_zero_of_right_ascension_is_whole():
    catalog = catalog_of(ra=[359.9, 0.1, 1.5], dec=[0.0, 0.0, 0.0], r=[12.0, 13.0, 14.0])

    assert catalog.stars(ra=0.0, dec=0.0, radius=0.5).row.tolist() == [0, 1]
    assert catalog.stars(ra=360.0, dec=0.0, radius=0.5).row.tolist() == [0, 1]


def test_a_region_at_the_pole_holds_every_right_ascension():
    ra = np.arange(0.0, 360.0, 30.0)
    catalog = catalog_of(ra=ra, dec=np.full(12, 89.95), r=np.full(12, 12.0))

    assert len(catalog.stars(ra=17.0, dec=90.0, radius=0.06)) == 12


def test_rows_without_a_position_are_left_out():
    catalog = catalog_of(ra=[10.0, np.nan, 10.0], dec=[5.0, 5.0, np.nan], r=[12.0, 12.0, 12.0])

    assert catalog.stars(ra=10, dec=5, radius=1).row.tolist() == [0]


def test_masked_values_are_unknown():
    magnitude = MaskedColumn([12.0, 13.0], mask=[False, True])
    catalog = catalog_of(ra=[10.0, 10.0], dec=[5.0, 5.0], r=magnitude)

    np.testing.assert_array_equal(catalog.stars(ra=10, dec=5, radius=1).magnitudes["r"], [12.0, np.nan])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"ra_error": [3.0], "dec_error": [4.0]}, np.sqrt(12.5)),
        ({"ra_error": [0.003] * u.arcsec, "dec_error": [0.004] * u.arcsec}, np.sqrt(12.5)),
        ({"e_RAJ2000": [3.0], "e_DEJ2000": [4.0]}, np.sqrt(12.5)),
        ({}, np.nan),
    ],
)
def test_position_errors_are_in_milliarcseconds(columns, expected):
    stars = catalog_of(ra=[10.0], dec=[5.0], r=[12.0], **columns).stars(ra=10, dec=5, radius=1)

    assert stars.position_error[0] == pytest.approx(expected, nan_ok=True)


def test_the_epoch_of_a_name_counts_where_no_column_states_it():
    catalog = catalog_of(RAJ2000=[10.0], DEJ2000=[0.0], rmag=[12.0], pmra=[1000.0], pmdec=[0.0])

    assert catalog.stars(ra=10, dec=0, radius=1, epoch=2010.0).ra[0] == pytest.approx(10.0 + 10 / 3600, abs=1e-9)


def test_an_epoch_as_a_modified_julian_date_is_understood():
    catalog = catalog_of(ra=[10.0], dec=[0.0], r=[12.0], pmra=[1000.0], pmdec=[0.0], epoch=[51544.5])

    assert catalog.stars(ra=10, dec=0, radius=1, epoch=2010.0).ra[0] == pytest.approx(10.0 + 10 / 3600, abs=1e-9)


@pytest.mark.parametrize(
    ("bands", "wanted", "chosen"),
    [("gri", "i", "i"), ("gri", "z", "r"), ("gi", None, "g"), ("yz", "r", "z")],
)
def test_the_wanted_band_is_taken_or_the_nearest_stand_in(bands, wanted, chosen):
    stars = catalog_of(ra=[1.0], dec=[1.0], **{band: [12.0] for band in bands}).stars(ra=1, dec=1, radius=1)

    assert stars.choose_band(wanted) == chosen
    assert len(set(FALLBACK_BANDS)) == len(FALLBACK_BANDS)


def test_a_cut_keeps_every_column_in_step():
    catalog = catalog_of(ra=[1.0, 1.1, 1.2], dec=[0.0, 0.0, 0.0], r=[12.0, 13.0, 14.0], g=[15.0, 16.0, 17.0])
    stars = catalog.stars(ra=1.1, dec=0, radius=1)[np.array([True, False, True])]

    assert len(stars) == 2
    assert (stars.row.tolist(), stars.magnitudes["g"].tolist()) == ([0, 2], [15.0, 17.0])


def test_names_given_for_one_call_count_for_it_alone():
    catalog = catalog_of(ra=[1.0], dec=[0.0], r=[12.0], brightness=[9.0])

    assert catalog.stars(ra=1, dec=0, radius=1, columns={"mag_X": "brightness"}).magnitudes["X"][0] == 9.0
    assert "X" not in catalog.stars(ra=1, dec=0, radius=1).magnitudes


def test_a_name_that_is_not_there_is_said():
    with pytest.raises(ReferenceCatalogError, match="'brightnes'"):
        catalog_of(ra=[1.0], dec=[0.0], r=[12.0]).stars(ra=1, dec=0, radius=1, columns={"mag_r": "brightnes"})


def test_a_column_of_words_is_said():
    with pytest.raises(ReferenceCatalogError, match="not numeric"):
        catalog_of(ra=["here"], dec=[0.0], r=[12.0]).stars(ra=1, dec=0, radius=1)


@pytest.mark.parametrize("name", ["none.fits", "."])
def test_a_place_without_a_table_is_said(tmp_path, name):
    with pytest.raises(ReferenceCatalogError):
        read_reference_catalog(tmp_path / name)


def test_a_votable_is_read(tmp_path):
    table = Table({"ra": [10.0], "dec": [5.0], "phot_g_mean_mag": [12.0], "pmra": [1.0], "pmdec": [1.0]})
    table.write(tmp_path / "gaia.vot", format="votable")

    assert read_reference_catalog(tmp_path / "gaia.vot").stars(ra=10, dec=5, radius=1).magnitudes["G"][0] > 12
