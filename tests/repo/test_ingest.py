"""What a telescope writes becomes known once, whole, and with a reason for every file that does not."""

from __future__ import annotations

import gzip
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits

from firstlight.errors import RepoError
from firstlight.images.instrument import Instrument
from firstlight.images.instrument_config import InstrumentConfig
from firstlight.instruments.raw_images import read_raw
from firstlight.instruments.translation import UNKNOWN_HALF_DIAGONAL, translate_file
from firstlight.repo import ingest as ingestion
from firstlight.repo.ingest import ingest
from firstlight.repo.records import exposures, visits
from firstlight.repo.regions import find_regions, visits_at

DATA = Path(os.environ.get("FIRSTLIGHT_TEST_DATA", "nowhere"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="FIRSTLIGHT_TEST_DATA names no folder with real images")
HATP32 = {"ra": 30.977, "dec": 46.826}


def frame(path: Path, *, hdus: int = 0, seed: int = 1, shape=(20, 30), **cards) -> Path:
    """Write a small image of a camera that nobody knows; with ``hdus`` that many detectors in extensions."""
    header = fits.Header({"DATE-OBS": "2026-01-02T03:04:05", "EXPTIME": 30.0, "FILTER": "r", "OBJECT": "M 31"})
    header.update({"RA": 10.0, "DEC": 20.0, "PIXSCALE": 3.6, "OBSTYPE": "OBJECT"})
    for name, value in cards.items():
        name = name.replace("_", "-")
        if value is None:
            del header[name]
        else:
            header[name] = value
    rng = np.random.default_rng(seed)
    images = [fits.ImageHDU(rng.normal(100, 10, shape).astype("f4"), name=f"S{number}") for number in range(hdus)]
    for number, image in enumerate(images):
        image.header["CCDNUM"] = number + 1
    pixels = None if hdus else rng.normal(100, 10, shape).astype("f4")
    fits.HDUList([fits.PrimaryHDU(pixels, header=header), *images]).writeto(path)
    return path


def take(repo, *files, **options):
    return ingest(repo, files, translate=translate_file, **options)


def raws(repo, run="raw/generic"):
    return repo.datasets("raw", collections=run)


def test_an_image_becomes_a_dataset_an_exposure_a_visit_and_a_region(repo, tmp_path):
    report = take(repo, frame(tmp_path / "a.fits"))

    [row], [exposure], [visit] = raws(repo), exposures(repo), visits(repo)
    assert [path.name for path in report.added] == ["a.fits"]
    assert row.data_id == {
        "instrument": "generic",
        "day_obs": 20260101,
        "exposure": exposure.exposure,
        "detector": 0,
        "physical_filter": "r",
        "band": "r",
    }
    assert row.path.is_relative_to(repo.root)
    assert row.path.read_bytes() == (tmp_path / "a.fits").read_bytes()
    assert (exposure.exposure_time, exposure.object_name, exposure.observation_type) == (30.0, "M 31", "science")
    assert (visit.visit, visit.mjd_tai, visit.band) == (exposure.exposure, exposure.mjd_tai, "r")
    [region] = find_regions(repo, ra=10.0, dec=20.0)
    half_diagonal = np.hypot(20, 30) / 2 * 3.6 / 3600
    assert region.radius == pytest.approx(half_diagonal + exposure.pointing_error / 60)
    assert not region.solved
    assert repo.check() == []


def test_ingesting_again_changes_nothing(repo, tmp_path):
    files = [frame(tmp_path / f"{n}.fits", DATE_OBS=f"2026-01-02T03:0{n}:05", seed=n) for n in range(3)]
    take(repo, *files)
    before = raws(repo), exposures(repo), visits(repo)
    shutil.copy(files[0], tmp_path / "copy.fits")

    report = take(repo, *files, tmp_path / "copy.fits")

    assert (len(report.added), len(report.there_already), report.rejected) == (0, 4, ())
    assert (raws(repo), exposures(repo), visits(repo)) == before


def test_a_dry_run_tells_the_same_and_leaves_everything(repo, tmp_path):
    files = [frame(tmp_path / "a.fits"), frame(tmp_path / "b.fits", DATE_OBS=None)]
    tried = take(repo, *files, dry_run=True)

    assert repo.collections() == []
    assert "raw" not in repo.type_names()
    assert exposures(repo) == []
    assert tried == take(repo, *files)


@pytest.mark.parametrize("mode", ["copy", "link", "direct"])
def test_a_file_is_copied_linked_or_left_where_it_is(repo, tmp_path, mode):
    path = frame(tmp_path / "a.fits")
    take(repo, path, mode=mode)
    [row] = raws(repo)

    assert row.path.is_relative_to(repo.root) == (mode != "direct")
    assert row.path.samefile(path) == (mode != "copy")
    assert repo.check() == []


REJECTS = {
    "text": "is not a FITS file.",
    "cut": "is cut off",
    "missing": "is not there",
    "undated": "has no date that can be read",
    "long": "should be 1 to 100 printable characters",
    "taken": "which a file of another content has",
}


def make_reject(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.fits"
    if kind == "text":
        path.write_text("seeing was bad\n")
    elif kind == "cut":
        whole = frame(folder / "whole.fits", shape=(100, 100)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "undated":
        frame(path, DATE_OBS=None)
    elif kind == "long":
        frame(path, DATE_OBS="2026-02-02T00:00:00", FILTER="long " * 30)
    elif kind == "taken":
        frame(path, seed=99)
    return path


@pytest.mark.parametrize("kind", REJECTS)
def test_a_file_that_cannot_be_used_is_told_and_the_others_go_in(repo, tmp_path, kind):
    good = frame(tmp_path / "good.fits")
    bad = make_reject(kind, tmp_path)

    report = take(repo, good, bad)

    assert report.added == (good,)
    [(path, reason)] = report.rejected
    assert path == bad
    assert REJECTS[kind] in reason
    assert "\n" not in reason
    assert len(raws(repo)) == 1


def test_biases_darks_and_flats_make_no_visits_and_no_regions(repo, tmp_path):
    for number, kind in enumerate(["BIAS", "Dark Frame", "FLAT"]):
        take(repo, frame(tmp_path / f"{kind}.fits", OBSTYPE=kind, DATE_OBS=f"2026-01-02T03:0{number}:05"))

    assert [each.observation_type for each in exposures(repo)] == ["bias", "dark", "flat"]
    assert visits(repo) == []
    assert find_regions(repo, ra=10.0, dec=20.0, radius=180.0) == []
    assert len(raws(repo)) == 3


def test_an_image_without_a_position_has_no_region_but_a_visit(repo, tmp_path):
    take(repo, frame(tmp_path / "a.fits", RA=None, DEC=None))

    assert len(visits(repo)) == 1
    assert find_regions(repo, ra=10.0, dec=20.0, radius=180.0) == []


def test_snaps_make_one_visit_also_when_they_come_later(repo, tmp_path):
    files = [frame(tmp_path / f"{n}.fits", DATE_OBS=f"2026-01-02T03:0{n}:00", AIRMASS=1.0 + n / 10) for n in range(3)]
    together = {"visit_of": lambda observation: 7}
    take(repo, *files[:2], **together)
    take(repo, files[2], **together)

    [visit], whole = visits(repo), exposures(repo)
    assert (visit.visit, visit.exposure_time, visit.airmass) == (7, 90.0, pytest.approx(1.1))
    assert visit.mjd_tai == pytest.approx(np.mean([each.mjd_tai for each in whole]), abs=1e-9)
    assert [each.exposure for each in exposures(repo, "visit = 7")] == [each.exposure for each in whole]
    assert len(repo.datasets("raw", collections="raw/generic", where="visit in (7)")) == 3


def test_every_detector_of_a_file_is_a_dataset_and_can_be_read(repo, tmp_path):
    take(repo, frame(tmp_path / "mosaic.fits", hdus=3))
    rows = raws(repo)

    assert [row.data_id["detector"] for row in rows] == [1, 2, 3]
    assert len({row.path for row in rows}) == len(exposures(repo)) == len(visits(repo)) == 1
    assert len(find_regions(repo, ra=10.0, dec=20.0)) == 3
    with fits.open(tmp_path / "mosaic.fits") as hdus:
        for row in rows:
            np.testing.assert_array_equal(read_raw(row.path, row.data_id).image, hdus[row.data_id["detector"]].data)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"FILTER": "g"}, "has filter g, and another detector has r"),
        ({"DATE_OBS": "2026-01-02T04:00:00"}, "is of MJD 61042.1672"),
    ],
)
def test_detectors_that_contradict_each_other_are_not_of_one_exposure(repo, tmp_path, other, said):
    first = frame(tmp_path / "1.fits", CCDNUM=1, OBSID=5)
    second = frame(tmp_path / "2.fits", CCDNUM=2, OBSID=5, **other)

    config = InstrumentConfig(name="camera", keywords={"exposure_id": ("OBSID",)})
    translate = partial(translate_file, instrument=Instrument(config))

    [reject] = ingest(repo, [first, second], translate=translate).rejected

    assert said in reject.reason
    assert ingest(repo, [second], translate=translate).rejected == (reject,)


def test_what_is_compressed_stays_so_under_its_own_ending(repo, tmp_path):
    packed = tmp_path / "a.FITS.gz"
    packed.write_bytes(gzip.compress(frame(tmp_path / "a.fits").read_bytes()))
    take(repo, packed)
    [row] = raws(repo)

    assert row.path.name.endswith(".fits.gz")
    assert read_raw(row.path, row.data_id).image.shape == (20, 30)


def test_a_failure_leaves_neither_rows_nor_files(repo, tmp_path, monkeypatch):
    def fail(*_):
        raise RepoError("The disk is full.")

    monkeypatch.setattr(ingestion, "add_regions", fail)
    with pytest.raises(RepoError, match="The disk is full"):
        take(repo, frame(tmp_path / "a.fits"))

    assert (raws(repo), exposures(repo), visits(repo)) == ([], [], [])
    assert not [path for path in repo.root.rglob("*") if path.suffix == ".fits"]


def test_what_another_process_ingested_meanwhile_stays(repo, tmp_path, monkeypatch):
    path = frame(tmp_path / "a.fits")
    sort_out = ingestion.sort_out

    def late(*arguments):
        answer = sort_out(*arguments)
        monkeypatch.setattr(ingestion, "sort_out", sort_out)
        take(repo, path)
        return answer

    monkeypatch.setattr(ingestion, "sort_out", late)
    with pytest.raises(RepoError, match="ingest them again"):
        take(repo, path)

    assert len(raws(repo)) == 1
    assert repo.check() == []
    assert take(repo, path).there_already == (path,)


def test_a_run_of_its_own_can_hold_the_same_files(repo, tmp_path):
    path = frame(tmp_path / "a.fits")
    take(repo, path)

    assert take(repo, path, run="other/raw").added == (path,)
    assert len(exposures(repo)) == 1
    with pytest.raises(RepoError, match="There is no collection"):
        raws(repo, "other")


def test_without_a_pixel_scale_the_region_is_wide(tmp_path):
    [translated] = translate_file(frame(tmp_path / "a.fits", PIXSCALE=None))

    assert translated.radius == pytest.approx(UNKNOWN_HALF_DIAGONAL + translated.observation.pointing_error / 60)


@needs_data
def test_a_night_of_microobservatory_goes_in_and_its_lying_headers_do_not_lose_the_target(repo):
    files = sorted((DATA / "hatp32").glob("*.fits.gz"))
    report = take(repo, *files)

    assert (len(report.added), report.rejected) == (36, ())
    assert len(visits(repo, "day_obs = 20171219 and exposure_time = 60 and band = 'clear'")) == 36
    stated = {(each.ra, each.dec) for each in visits(repo)}
    target = SkyCoord(**HATP32, unit="deg")
    assert min(float(target.separation(SkyCoord(*each, unit="deg")).arcmin) for each in stated) > 10
    assert len(visits_at(repo, **HATP32)) == 36
    assert visits_at(repo, ra=HATP32["ra"] + 10, dec=HATP32["dec"]) == []
    row = raws(repo, "raw/microobservatory")[0]
    assert read_raw(row.path, row.data_id).observation.exposure_id == row.data_id["exposure"]


@needs_data
def test_the_region_of_an_image_with_a_wcs_holds_its_corners(tmp_path):
    path = next((DATA / "ztf").glob("*sci*.fits*"))
    [translated] = translate_file(path)
    exposure = read_raw(path, {"instrument": "ztf", "exposure": 1, "detector": translated.detector.id})
    ny, nx = exposure.image.shape
    ra, dec = exposure.wcs.pixel_to_sky(x=np.array([0, nx - 1, 0, nx - 1]), y=np.array([0, 0, ny - 1, ny - 1]))
    apart = SkyCoord(translated.ra, translated.dec, unit="deg").separation(SkyCoord(ra, dec, unit="deg")).deg

    assert 0 < translated.radius - translated.observation.pointing_error / 60 - apart.max() < 0.001
