"""Reference tables of the known surveys are understood, and others by naming their columns."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from firstlight.errors import ReferenceCatalogError
from firstlight.refcats import read_reference_catalog

RA, DEC = np.array([10.0, 10.1, 10.2]), np.array([-5.0, -5.1, -5.2])
MAG = np.array([14.0, 15.0, 16.0])

TABLES = {
    "gaia archive": ({"ra": RA, "dec": DEC, "phot_g_mean_mag": MAG, "pmra": MAG, "pmdec": MAG}, "G", 0.1136),
    "gaia short": ({"ra_ep2016": RA, "dec_ep2016": DEC, "g_mag": MAG, "bp_mag": MAG, "rp_mag": MAG}, "G", 0.1136),
    "ps1 vizier": ({"RAJ2000": RA, "DEJ2000": DEC, "rmag": MAG, "e_rmag": 0.01 * MAG}, "r", 0.0),
    "ps1 mast": ({"raMean": RA, "decMean": DEC, "rMeanPSFMag": MAG}, "r", 0.0),
    "tycho2 vizier": ({"_RAJ2000": RA, "_DEJ2000": DEC, "VTmag": MAG, "BTmag": MAG}, "VT", 0.0),
    "tycho2 short": ({"ra_j2000": RA, "dec_j2000": DEC, "vt": MAG}, "VT", 0.0),
    "atlas refcat2": ({"RA": RA, "Dec": DEC, "r": MAG, "dr": 0.01 * MAG}, "r", 0.0),
    "lsst": (
        {"coord_ra": np.deg2rad(RA), "coord_dec": np.deg2rad(DEC), "r_flux": 10 ** ((31.4 - MAG) / 2.5)},
        "r",
        0.0,
    ),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("suffix", ["parquet", "fits", "csv"])
def test_columns_of_known_surveys_are_understood(name, suffix, tmp_path):
    columns, band, to_ab = TABLES[name]
    path = tmp_path / f"ref.{suffix}"
    Table(columns).write(path)

    stars = read_reference_catalog(path).stars(ra=10.1, dec=-5.1, radius=1.0)

    np.testing.assert_allclose(stars.ra, RA, atol=1e-9)
    np.testing.assert_allclose(stars.dec, DEC, atol=1e-9)
    np.testing.assert_allclose(stars.magnitudes[band], MAG + to_ab, atol=1e-9)


def test_proper_motion_moves_a_star_to_the_epoch(tmp_path):
    table = Table(
        {"ra": [10.0], "dec": [60.0], "r": [15.0], "pmra": [1000.0], "pmdec": [-500.0], "ref_epoch": [2016.0]}
    )
    table.write(tmp_path / "ref.fits")

    stars = read_reference_catalog(tmp_path / "ref.fits").stars(ra=10, dec=60, radius=1, epoch=2026.0)

    assert (stars.ra[0] - 10.0) * np.cos(np.deg2rad(60.0)) * 3600 == pytest.approx(10.0, abs=1e-3)
    assert (stars.dec[0] - 60.0) * 3600 == pytest.approx(-5.0, abs=1e-3)


def test_a_star_without_proper_motion_stays_and_is_counted(tmp_path):
    table = Table(
        {"ra": [10.0], "dec": [60.0], "r": [15.0], "pmra": [np.nan], "pmdec": [np.nan], "ref_epoch": [2016.0]}
    )
    table.write(tmp_path / "ref.fits")

    stars = read_reference_catalog(tmp_path / "ref.fits").stars(ra=10, dec=60, radius=1, epoch=2026.0)

    assert stars.ra[0] == pytest.approx(10.0, abs=1e-12)
    assert stars.n_without_proper_motion == 1


def test_units_of_columns_are_honoured(tmp_path):
    table = Table({"ra": RA * u.deg.to(u.hourangle) * u.hourangle, "dec": DEC * u.deg, "r": MAG})
    table.write(tmp_path / "ref.ecsv")

    stars = read_reference_catalog(tmp_path / "ref.ecsv").stars(ra=10.1, dec=-5.1, radius=1)

    np.testing.assert_allclose(stars.ra, RA, atol=1e-9)


def test_unknown_names_are_given_by_columns(tmp_path):
    Table({"alpha": RA, "delta": DEC, "brightness": MAG}).write(tmp_path / "ref.csv")
    names = {"ra": "alpha", "dec": "delta", "mag_r": "brightness"}

    stars = read_reference_catalog(tmp_path / "ref.csv", columns=names).stars(ra=10.1, dec=-5.1, radius=1)

    np.testing.assert_allclose(stars.magnitudes["r"], MAG)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"ra": RA[:0], "dec": DEC[:0], "r": MAG[:0]}, "no rows"),
        ({"alpha": RA, "delta": DEC, "r": MAG}, "position"),
        ({"ra": RA, "dec": DEC, "colour": MAG}, "magnitude"),
    ],
)
def test_a_table_that_cannot_serve_says_why(columns, said, tmp_path):
    Table(columns).write(tmp_path / "ref.fits")

    with pytest.raises(ReferenceCatalogError, match=said):
        read_reference_catalog(tmp_path / "ref.fits")


@pytest.mark.parametrize("content", [b"", b"not a table\x00\x01", b"SIMPLE  =                    T"])
@pytest.mark.parametrize("suffix", ["parquet", "fits", "csv", "xyz"])
def test_a_file_that_is_no_table_is_one_clear_error(content, suffix, tmp_path):
    path = tmp_path / f"ref.{suffix}"
    path.write_bytes(content)

    with pytest.raises(ReferenceCatalogError):
        read_reference_catalog(path)


@pytest.mark.parametrize("ra", [0.0, 359.95, 120.0])
@pytest.mark.parametrize("dec", [-89.9, -30.0, 0.0, 89.95])
def test_a_region_holds_exactly_the_stars_within_its_radius(ra, dec, tmp_path):
    rng = np.random.default_rng(1)
    table = Table({"ra": rng.uniform(0, 360, 20000), "dec": np.rad2deg(np.arcsin(rng.uniform(-1, 1, 20000)))})
    table["r"] = 15.0
    table.write(tmp_path / "ref.fits")
    a, d = np.deg2rad(table["ra"]), np.deg2rad(table["dec"])
    vectors = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    centre = [
        np.cos(np.deg2rad(dec)) * np.cos(np.deg2rad(ra)),
        np.cos(np.deg2rad(dec)) * np.sin(np.deg2rad(ra)),
        np.sin(np.deg2rad(dec)),
    ]
    expected = np.flatnonzero(
        np.linalg.norm(vectors - np.array(centre)[:, None], axis=0) <= 2 * np.sin(np.deg2rad(4.0) / 2)
    )

    stars = read_reference_catalog(tmp_path / "ref.fits").stars(ra=ra, dec=dec, radius=4.0)

    np.testing.assert_array_equal(np.sort(stars.row), expected)
