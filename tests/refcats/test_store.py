"""A store gives the same stars as the table that it was made from, and reads no more of it than it must."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.errors import OutputError, ReferenceCatalogError
from firstlight.images.catalog import read_catalog
from firstlight.refcats import read_reference_catalog, store
from firstlight.refcats.formats import TableReferenceCatalog
from firstlight.refcats.store import (
    StoredReferenceCatalog,
    manifest_checksum,
    write_store,
)

DATA = Path(os.environ.get("FIRSTLIGHT_TEST_DATA", "nowhere"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="FIRSTLIGHT_TEST_DATA names no folder with real images")


def sky(n: int = 3000, *, seed: int = 1) -> TableReferenceCatalog:
    """Stars all over the sky, crowded at the poles and at the zero of right ascension."""
    rng = np.random.default_rng(seed)
    dec = np.rad2deg(np.arcsin(rng.uniform(-1, 1, n)))
    dec[: n // 10] = 90 - rng.uniform(0, 1, n // 10) ** 2
    ra = rng.uniform(0, 360, n)
    ra[n // 10 : n // 5] = rng.normal(0, 1, n // 5 - n // 10)
    columns = {"ra": ra, "dec": dec, "g": rng.uniform(5, 20, n), "r": rng.uniform(5, 20, n)}
    columns |= {"r_error": rng.uniform(0, 1, n), "pmra": rng.normal(0, 100, n), "pmdec": rng.normal(0, 100, n)}
    columns |= {"ra_error": np.full(n, 3.0), "dec_error": np.full(n, 4.0), "ref_epoch": np.full(n, 2016.0)}
    columns["pmra"][::7] = np.nan
    columns["ra"][5] = np.nan
    return TableReferenceCatalog(Table(columns), name="sky")


@pytest.fixture(scope="module")
def table():
    return sky()


@pytest.fixture(scope="module", params=[20, 200, 100_000], ids=["small cells", "cells", "base tiles"])
def stored(request, table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores") / "sky"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "STARS_OF_A_SHARD", request.param)
        write_store(table, folder)
    return StoredReferenceCatalog(folder)


def assert_same(found, expected):
    for name in ("ra", "dec", "position_error", "row"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for name in ("magnitudes", "magnitude_errors"):
        assert getattr(found, name).keys() == getattr(expected, name).keys()
        for band, values in getattr(expected, name).items():
            np.testing.assert_array_equal(getattr(found, name)[band], values)
    np.testing.assert_equal(found.epoch, expected.epoch)
    assert found.n_without_proper_motion == expected.n_without_proper_motion


@given(
    ra=st.floats(0, 360),
    dec=st.floats(-90, 90) | st.sampled_from([90.0, 89.7, 0.0]),
    radius=st.floats(0.01, 5) | st.sampled_from([40.0, 180.0]),
    epoch=st.none() | st.floats(1950, 2050),
)
@settings(deadline=None, max_examples=60)
def test_the_stars_of_a_region_are_those_of_the_table(stored, table, ra, dec, radius, epoch):
    region = {"ra": ra, "dec": dec, "radius": radius, "epoch": epoch}

    assert_same(stored.stars(**region), table.stars(**region))


def test_a_region_without_stars_has_none(table, tmp_path):
    one = TableReferenceCatalog(Table({"ra": [10.0], "dec": [5.0], "r": [12.0]}), name="one star")
    write_store(one, tmp_path / "one")
    found = StoredReferenceCatalog(tmp_path / "one").stars(ra=200, dec=-5, radius=1)

    assert len(found) == 0
    assert set(found.magnitudes) == {"r"}


def test_only_the_shards_that_a_region_touches_are_read(table, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "STARS_OF_A_SHARD", 20)
    write_store(table, tmp_path / "sky")
    expected = StoredReferenceCatalog(tmp_path / "sky").stars(ra=120.0, dec=-30.0, radius=3.0)
    shards = list((tmp_path / "sky").glob("*.parquet"))
    far = [path for path in shards if read_catalog(path)["dec"].min() > 0.0]
    for path in far:
        path.unlink()

    assert len(expected) > 0
    assert len(far) > len(shards) / 4
    assert_same(StoredReferenceCatalog(tmp_path / "sky").stars(ra=120.0, dec=-30.0, radius=3.0), expected)


def test_equal_tables_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_store(sky(), tmp_path / name)
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b")]

    assert files[0] == files[1]
    assert manifest_checksum(tmp_path / "a") == manifest_checksum(tmp_path / "b")


def test_another_table_gives_another_checksum(tmp_path):
    write_store(sky(), tmp_path / "a")
    write_store(sky(seed=2), tmp_path / "b")

    assert manifest_checksum(tmp_path / "a") != manifest_checksum(tmp_path / "b")


def test_a_band_can_be_called_by_another_name(stored, table):
    region = {"ra": 0.0, "dec": 0.0, "radius": 5.0}
    found = stored.stars(**region, columns={"mag_clear": "mag_g"})

    np.testing.assert_array_equal(found.magnitudes["clear"], table.stars(**region).magnitudes["g"])
    assert stored.bands == ("g", "r")
    with pytest.raises(ReferenceCatalogError, match="it has mag_g, mag_r, mag_error_r"):
        stored.stars(**region, columns={"mag_clear": "VT"})


def test_a_shard_that_was_cut_off_is_told(table, tmp_path):
    write_store(table, tmp_path / "sky")
    for path in (tmp_path / "sky").glob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(ReferenceCatalogError, match="was changed or cut off"):
        StoredReferenceCatalog(tmp_path / "sky").stars(ra=0, dec=0, radius=1)


def test_a_shard_that_is_gone_is_told(table, tmp_path):
    write_store(table, tmp_path / "sky")
    for path in (tmp_path / "sky").glob("*.parquet"):
        path.unlink()

    with pytest.raises(ReferenceCatalogError, match="lacks"):
        StoredReferenceCatalog(tmp_path / "sky").stars(ra=0, dec=0, radius=1)


@pytest.mark.parametrize("content", [None, "", "{}", '{"format": 1}', '{"format": 2}', "[1]"])
def test_a_folder_that_is_no_store_is_told_in_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / store.MANIFEST).write_text(content)

    with pytest.raises(ReferenceCatalogError) as caught:
        StoredReferenceCatalog(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_store_is_never_written_over_anything(table, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(OutputError, match="is not empty"):
        write_store(table, tmp_path)


def test_a_table_without_any_position_makes_no_store(tmp_path):
    lost = TableReferenceCatalog(Table({"ra": [np.nan], "dec": [1.0], "r": [12.0]}), name="lost")

    with pytest.raises(ReferenceCatalogError, match="No row of lost has a position"):
        write_store(lost, tmp_path / "lost")
    assert not (tmp_path / "lost").exists()


@needs_data
def test_tycho_2_is_stored_in_shards_and_found_again(tmp_path):
    table = read_reference_catalog(DATA / "refcats" / "tycho2_vt_j2000.parquet")
    manifest = json.loads(write_store(table, tmp_path / "tycho2").read_text())
    region = {"ra": 30.977, "dec": 46.826, "radius": 1.3}
    found = StoredReferenceCatalog(tmp_path / "tycho2").stars(**region)

    assert manifest["n_stars"] == 1_871_011
    assert 12 < len(manifest["shards"]) < 200
    assert len(found) > 100
    assert_same(found, table.stars(**region))
