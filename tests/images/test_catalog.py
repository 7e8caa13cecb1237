import string

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from firstlight.errors import InputError, OutputError
from firstlight.images.catalog import (
    calibrate_fluxes,
    from_arrow,
    read_catalog,
    to_arrow,
    with_sky_positions,
    write_catalog,
)
from firstlight.images.catalog_columns import COLUMNS, FLAGS, meaning_of
from firstlight.images.photo_calib import PhotoCalib
from firstlight.images.wcs import SkyWcs

DTYPES = st.sampled_from(["f8", "f4", "i8", "i4", "i2", "u1", "?", "U6", ">f8"])
UNITS = st.sampled_from([None, u.pix, u.deg, u.nJy, u.mag, u.ct, u.pix**2, u.arcsec / u.pix, u.electron / u.adu])
TEXT = st.text(string.printable, max_size=12)
META = st.dictionaries(
    TEXT, st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | TEXT, st.lists), max_size=3
)


@st.composite
def tables(draw):
    n = draw(st.integers(0, 5))
    table = Table(meta=draw(META))
    for i in range(draw(st.integers(1, 5))):
        dtype = np.dtype(draw(DTYPES))
        shape = (n,) if dtype.kind in "U?" else (n, *draw(st.sampled_from([(), (2,), (2, 3)])))
        elements = st.text("abc é", max_size=6) if dtype.kind == "U" else None
        table[f"c{i}"] = draw(hnp.arrays(dtype, shape, elements=elements))
        table[f"c{i}"].unit = draw(UNITS)
    return table


def assert_same(one, two):
    assert one.colnames == two.colnames
    for name in one.colnames:
        assert one[name].unit == two[name].unit
        assert one[name].dtype == two[name].dtype.newbyteorder("=")
        np.testing.assert_array_equal(one[name], two[name])
    assert repr(dict(one.meta)) == repr(dict(two.meta))


def sources(n=3):
    table = Table({"id": np.arange(n), "x": np.linspace(0, 9, n) * u.pix, "y": np.linspace(0, 9, n) * u.pix})
    table["psf_inst_flux"] = np.linspace(-10, 1000, n) * u.ct
    table["psf_inst_flux_err"] = np.full(n, 5.0) * u.ct
    table["psf_flux_flag"] = np.zeros(n, dtype=bool)
    return table


@settings(max_examples=60, deadline=None)
@given(table=tables())
def test_tables_go_to_arrow_and_back_without_loss(table):
    assert_same(from_arrow(to_arrow(table)), table)


def test_tables_go_through_a_parquet_file_without_loss(tmp_path):
    table = sources()
    table.meta = {"psf_sigma": 1.5, "nothing": float("nan"), "steps": [["detected", 900]]}

    write_catalog(table, tmp_path / "stars.parquet")

    assert_same(read_catalog(tmp_path / "stars.parquet"), table)
    schema = pq.read_schema(tmp_path / "stars.parquet")
    assert schema.field("psf_inst_flux").metadata[b"unit"] == b"ct"
    assert schema.field("psf_flux_flag").metadata[b"description"].startswith(b"The flux could not")


def test_tables_go_through_a_fits_file(tmp_path):
    table = sources()
    table["name"] = ["a", "bb", "it's"]
    table.meta = {"note": "it's & 'quoted' \n" + "long " * 40, "number": 0.1}

    write_catalog(table, tmp_path / "stars.fits")

    assert_same(read_catalog(tmp_path / "stars.fits"), table)


@pytest.mark.parametrize("name", ["stars.parquet", "stars.fits", "stars.fits.gz"])
def test_equal_tables_make_equal_files(tmp_path, name):
    contents = []
    for _ in range(2):
        write_catalog(sources(), tmp_path / name)
        contents.append((tmp_path / name).read_bytes())

    assert contents[0] == contents[1]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_masked_values_come_back_masked():
    table = Table(
        {"a": MaskedColumn([1.0, 2.0], mask=[True, False]), "t": MaskedColumn(["x", "y"], mask=[False, True])}
    )

    back = from_arrow(to_arrow(table))

    np.testing.assert_array_equal(back["a"].mask, [True, False])
    np.testing.assert_array_equal(back["t"].mask, [False, True])


def test_quantities_are_kept_as_columns_with_units():
    back = from_arrow(to_arrow(QTable({"flux": [1.0, 2.0] * u.nJy})))

    assert back["flux"].unit == u.nJy


def test_what_cannot_be_stored_is_named(tmp_path):
    with pytest.raises(TypeError, match="'odd'"):
        to_arrow(Table({"odd": np.array([object()])}))
    with pytest.raises(TypeError, match="set"):
        to_arrow(Table(meta={"a": {1}}))
    with pytest.raises(OutputError, match="Cannot write"):
        write_catalog(sources(), tmp_path / "no" / "stars.parquet")


@pytest.mark.parametrize("name", ["a.parquet", "a.fits"])
def test_a_file_that_is_no_table_is_told_as_such(tmp_path, name):
    with pytest.raises(InputError, match=name):
        read_catalog(tmp_path / name)
    (tmp_path / name).write_text("no table")
    with pytest.raises(InputError, match=name):
        read_catalog(tmp_path / name)


@pytest.mark.parametrize("n", [0, 3])
def test_every_instrumental_flux_gains_calibrated_columns(n):
    table = sources(n)
    calib = PhotoCalib.from_zero_point(25.0)

    calibrated = calibrate_fluxes(table, calib)

    new = ["psf_flux", "psf_mag", "psf_flux_err", "psf_mag_err"]
    assert calibrated.colnames == table.colnames + new
    assert [str(calibrated[name].unit) for name in new] == ["nJy", "mag", "nJy", "mag"]
    assert len(calibrated) == n
    if n:
        assert calibrated["psf_mag"][-1] == pytest.approx(25 - 7.5)
        assert calibrated["psf_mag_err"][-1] == pytest.approx(2.5 / np.log(10) * 5 / 1000)
        assert np.isnan(calibrated["psf_mag"][0])
        assert calibrated["psf_flux"][0] < 0


def test_positions_on_the_sky_are_added_and_nan_without_a_wcs():
    header = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 1.0, "CRPIX2": 1.0, "CRVAL1": 10.0, "CRVAL2": 20.0}
    wcs = SkyWcs.from_header(header | {"CD1_1": -1e-4, "CD2_2": 1e-4})
    table = sources()

    placed, unplaced = with_sky_positions(table, wcs), with_sky_positions(table, None)

    assert (placed["ra"][0], placed["dec"][0]) == (pytest.approx(10.0), pytest.approx(20.0))
    assert placed["ra"].unit == placed["dec"].unit == u.deg
    assert np.isnan(unplaced["ra"]).all()
    assert "ra" not in table.colnames


def test_every_column_and_flag_has_a_sentence_and_a_unit_that_astropy_knows():
    assert all(meaning.endswith(".") for meaning in FLAGS.values())
    assert all(column.meaning.endswith(".") for column in COLUMNS.values())
    assert all(u.Unit(column.unit) is not None for column in COLUMNS.values())
    assert not set(FLAGS) & set(COLUMNS)
    assert meaning_of("aper_12_flux_flag").endswith(".")
    assert meaning_of("my_own_column") == ""
