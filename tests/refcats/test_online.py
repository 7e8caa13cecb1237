"""Catalogues by name: astroquery asks a server of this machine that answers as VizieR does; regions are kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
from astropy.coordinates import angular_separation
from astropy.io.votable import from_table
from astropy.table import Table

from firstlight.cli.main import run
from firstlight.errors import ReferenceCatalogError
from firstlight.refcats.formats import TableReferenceCatalog
from firstlight.refcats.online import CATALOGS, OnlineReferenceCatalog
from firstlight.refcats.opening import open_reference_catalog
from firstlight.refcats.store import StoredReferenceCatalog, write_store

from .services import OFFLINE, Service, serving

RA, DEC = 359.95, -10.0


def gaia_sky() -> Table:
    """Stars across right ascension 0 with the columns and units that VizieR gives Gaia DR3."""
    rng, n = np.random.default_rng(1), 400
    table = Table()
    table["RA_ICRS"], table["DE_ICRS"] = (RA + rng.uniform(-1, 1, n)) % 360, DEC + rng.uniform(-1, 1, n)
    table["e_RA_ICRS"], table["e_DE_ICRS"] = np.full(n, 0.03), np.full(n, 0.04)
    table["pmRA"], table["pmDE"] = rng.normal(0, 20, n), rng.normal(0, 20, n)
    for name in ("Gmag", "BPmag", "RPmag"):
        table[name], table[f"e_{name}"] = rng.uniform(10, 21, n), np.full(n, 0.003)
    for names, unit in (
        (("RA_ICRS", "DE_ICRS"), "deg"),
        (("e_RA_ICRS", "e_DE_ICRS"), "mas"),
        (("pmRA", "pmDE"), "mas/yr"),
    ):
        for name in names:
            table[name].unit = unit
    return table


class Vizier:
    """Answers a cone search of one table, magnitude limit included."""

    def __init__(self, sky: Table) -> None:
        self.sky = sky

    def __call__(self, asked: dict[str, str]) -> tuple[int, bytes]:
        ra, dec = (float(each) for each in re.fullmatch(r"([\d.]+) ?([+-]?[\d.]+)", asked["-c"]).groups())
        sky = self.sky[self.sky["Gmag"] < float(asked["Gmag"].removeprefix("<"))]
        apart = angular_separation(
            *np.radians([np.full(len(sky), ra), np.full(len(sky), dec), sky["RA_ICRS"], sky["DE_ICRS"]])
        )
        content = BytesIO()
        from_table(sky[np.degrees(apart) <= float(asked["-c.rd"])][asked["-out"].split(",")]).to_xml(content)
        return 200, content.getvalue()


@pytest.fixture
def vizier(monkeypatch) -> Iterator[Service]:
    from astroquery.vizier import VizierClass

    with serving(Vizier(gaia_sky())) as service:
        monkeypatch.setattr(VizierClass, "_server_to_url", lambda _, return_type="votable": service.url + return_type)
        yield service


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "firstlight" / "refcats"


def test_the_stars_of_a_circle_are_those_of_the_table_moved_to_the_epoch(vizier, cache):
    found = open_reference_catalog("gaia_dr3").stars(ra=RA, dec=DEC, radius=0.4, epoch=2026.0)

    sky = gaia_sky()
    sky["epoch"] = 2016.0
    whole = TableReferenceCatalog(sky[sky["Gmag"] < 20], name="sky").stars(ra=RA, dec=DEC, radius=0.4, epoch=2026.0)
    assert len(found) == len(whole) > 20
    one, other = np.argsort(found.dec), np.argsort(whole.dec)
    np.testing.assert_allclose(found.ra[one], whole.ra[other], atol=1e-10)
    np.testing.assert_allclose(found.dec[one], whole.dec[other], atol=1e-10)
    np.testing.assert_allclose(found.magnitudes["BP"][one], whole.magnitudes["BP"][other], rtol=1e-6)
    np.testing.assert_allclose(found.position_error, np.hypot(0.03, 0.04) / np.sqrt(2), rtol=1e-5)
    [asked] = vizier.asked
    assert (asked["-source"], asked["-out.max"], asked["Gmag"]) == ("I/355/gaiadr3", "unlimited", "<20")


def test_a_second_image_of_the_field_needs_no_network(vizier, cache):
    open_reference_catalog("gaia_dr3").stars(ra=RA, dec=DEC, radius=0.4)
    vizier.answer = lambda _: (500, b"")

    dithered = open_reference_catalog("gaia_dr3").stars(ra=RA + 0.05, dec=DEC, radius=0.4)

    assert len(dithered) > 20
    assert len(vizier.asked) == 1
    with pytest.raises(ReferenceCatalogError, match=r"gaia_dr3 cannot be had from VizieR \(500 .*bring a table"):
        open_reference_catalog("gaia_dr3").stars(ra=RA + 0.5, dec=DEC, radius=0.4)
    assert [each.name for each in (cache / "gaia_dr3").iterdir()] == ["359.9500-10.0000_0.4800"]


def test_a_wide_circle_has_bright_stars_only_and_the_widest_are_refused(vizier, cache):
    assert OnlineReferenceCatalog("gaia_dr3").stars(ra=RA, dec=DEC, radius=0.9).magnitudes["G"].max() < 18.2
    with pytest.raises(ReferenceCatalogError, match=r"within 12 deg are too many to download \(5 deg at most\)"):
        OnlineReferenceCatalog("gaia_dr3").stars(ra=RA, dec=DEC, radius=12.0)


def test_what_is_kept_of_a_wide_circle_does_not_hide_the_faint_stars_of_a_narrow_one(vizier, cache):
    wide = OnlineReferenceCatalog("gaia_dr3").stars(ra=RA, dec=DEC, radius=0.9)
    narrow = OnlineReferenceCatalog("gaia_dr3").stars(ra=RA, dec=DEC, radius=0.55)

    assert wide.magnitudes["G"].max() < 18.2
    assert narrow.magnitudes["G"].max() > 19.0
    assert [(each["Gmag"], float(each["-c.rd"])) for each in vizier.asked] == [("<18", 1.08), ("<20", 0.6)]


def test_a_place_without_stars_and_a_service_out_of_reach_are_told_in_one_line(vizier, cache, monkeypatch):
    from astroquery.vizier import VizierClass

    with pytest.raises(ReferenceCatalogError, match=r"gaia_dr3 has no star within 0\.12 deg of ra 100\.0000, dec -10"):
        OnlineReferenceCatalog("gaia_dr3").stars(ra=100.0, dec=DEC, radius=0.1)
    monkeypatch.setattr(VizierClass, "_server_to_url", lambda _, return_type="votable": OFFLINE + return_type)
    with pytest.raises(ReferenceCatalogError, match="gaia_dr3 cannot be had from VizieR") as caught:
        OnlineReferenceCatalog("gaia_dr3").stars(ra=RA, dec=DEC, radius=0.1)
    assert "\n" not in str(caught.value)


def test_the_command_writes_a_store(vizier, tmp_path, capsys):
    words = [
        "refcat",
        "fetch",
        "gaia_dr3",
        str(tmp_path / "field"),
        "--ra",
        str(RA),
        "--dec",
        str(DEC),
        "--radius",
        "0.3",
    ]

    assert run(words) == 0

    made = StoredReferenceCatalog(tmp_path / "field")
    assert f"{len(made)} stars with G, BP, RP in" in capsys.readouterr().out
    assert made.name == "gaia_dr3"
    assert run(words) == 2
    assert "is not empty; give a new folder" in capsys.readouterr().err
    assert len(vizier.asked) == 1
    assert run(["refcat", "fetch", "gaia_dr9", str(tmp_path / "other"), "--ra", "1", "--dec", "1"]) == 2
    assert "No catalogue 'gaia_dr9' can be downloaded; those that can: gaia_dr3" in capsys.readouterr().err


def test_a_place_is_opened_as_what_lies_there(tmp_path, monkeypatch):
    table = TableReferenceCatalog(Table({"ra": [1.0], "dec": [2.0], "r": [15.0]}), name="one star")
    write_store(table, tmp_path / "store")
    table.table.write(tmp_path / "table.csv")
    (tmp_path / "folder").mkdir()

    assert isinstance(open_reference_catalog(tmp_path / "store"), StoredReferenceCatalog)
    assert isinstance(open_reference_catalog(tmp_path / "table.csv"), TableReferenceCatalog)
    with pytest.raises(ReferenceCatalogError, match="is no store of reference stars: it has no"):
        open_reference_catalog(tmp_path / "folder")
    with pytest.raises(ReferenceCatalogError, match=r"No reference table .*nothing.parquet; check the path, or name"):
        open_reference_catalog(tmp_path / "nothing.parquet")
    monkeypatch.chdir(tmp_path)
    write_store(table, tmp_path / "gaia_dr3")
    assert isinstance(open_reference_catalog("gaia_dr3"), StoredReferenceCatalog)


def test_every_catalogue_asks_for_columns_that_are_understood():
    for wanted in CATALOGS.values():
        assert wanted.limited in wanted.columns
        row = Table({name: [12.0] for name in wanted.columns})
        stars = TableReferenceCatalog(row, name="row").stars(ra=12.0, dec=12.0, radius=1.0)
        assert len(stars) == 1
        assert len(stars.magnitudes) == sum(
            name.endswith("mag") and not name.startswith("e_") for name in wanted.columns
        )
        assert all(np.isfinite(error).all() for error in stars.magnitude_errors.values())
