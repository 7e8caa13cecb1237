"""A mask that lies beside its image goes wherever the image goes, and is read with it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from firstlight.errors import NoImageError
from firstlight.instruments import find_instrument
from firstlight.instruments.raw_images import read_raw
from firstlight.instruments.translation import translate_file
from firstlight.repo.repo import Repo

from .test_ingest import frame, raws, take

DATA = Path(os.environ.get("FIRSTLIGHT_TEST_DATA", "nowhere"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="FIRSTLIGHT_TEST_DATA names no folder with real images")


def mask_of(image: Path, *, name: str = "{}_mask.fits", seed: int = 7, hdus: int = 0) -> Path:
    """Write a mask with about every tenth pixel beside an image; with ``hdus`` one for each of its detectors."""
    path = image.with_name(name.format(image.name.partition(".")[0]))
    rng = np.random.default_rng(seed)
    masks = [(rng.random((20, 30)) < 0.1).astype("i2") for _ in range(hdus or 1)]
    header = fits.Header({"DATE-OBS": "2026-01-02T03:04:05"})
    images = [fits.ImageHDU(each, name=f"S{number}") for number, each in enumerate(masks)]
    whole = [fits.PrimaryHDU(header=header), *images] if hdus else [fits.PrimaryHDU(masks[0], header=header)]
    fits.HDUList(whole).writeto(path)
    return path


def as_process_reads(path: Path):
    return find_instrument(fits.getheader(path)).read(path)


def assert_same(one, other):
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.variance, other.variance)
    assert one.mask == other.mask


@pytest.mark.parametrize("mode", ["copy", "link", "direct"])
@pytest.mark.parametrize("name", ["{}_mask.fits", "{}_mask.fits.gz"])
def test_an_image_is_read_from_the_repository_with_the_mask_that_lay_beside_it(repo, tmp_path, mode, name):
    image = frame(tmp_path / "a.fits")
    mask = mask_of(image, name=name)

    report = take(repo, *sorted(tmp_path.glob("*.fits*")), mode=mode)

    assert (report.added, report.masks) == ((image,), (mask,))
    assert (report.rejected, report.skipped) == ((), ())
    [row] = raws(repo)
    exposure = read_raw(row.path, row.data_id)
    np.testing.assert_array_equal(exposure.mask.any_of("BAD"), fits.getdata(mask) != 0)
    assert exposure.mask.any_of("BAD").any()
    assert_same(exposure, as_process_reads(image))
    [kept] = repo.datasets("raw_mask", collections="raw/generic")
    assert kept.data_id == row.data_id
    assert kept.path.is_relative_to(repo.root) == (mode != "direct")
    np.testing.assert_array_equal(repo.read(kept), fits.getdata(mask))
    assert repo.check() == []


def test_raw_images_are_pruned_with_their_masks(repo, tmp_path):
    mask_of(frame(tmp_path / "a.fits"))
    take(repo, *sorted(tmp_path.glob("*.fits")))

    gone = repo.prune("raw", collections="raw/generic")

    assert [row.type for row in gone] == ["raw", "raw_mask"]
    assert not any(row.path.exists() for row in gone)
    assert not repo.datasets("raw_mask", collections="raw/generic")
    assert repo.check() == []


def test_every_detector_of_a_file_has_its_own_part_of_the_mask(repo, tmp_path):
    image = frame(tmp_path / "a.fits", hdus=3)
    mask = mask_of(image, hdus=3)
    take(repo, image)

    for number, row in enumerate(raws(repo)):
        read = read_raw(row.path, row.data_id).mask.any_of("BAD")
        np.testing.assert_array_equal(read, fits.getdata(mask, number + 1) != 0)


@pytest.mark.parametrize("mode", ["copy", "direct"])
def test_an_image_and_its_mask_stay_together_in_an_export(repo, tmp_path, mode):
    image = frame(tmp_path / "a.fits")
    mask_of(image)
    take(repo, image, mode=mode)
    before = as_process_reads(image)
    repo.export(tmp_path / "export")
    with Repo.create(tmp_path / "other") as other:
        assert other.import_(tmp_path / "export") == 2
        image.unlink()
        shutil.rmtree(tmp_path / "export")
        [row] = raws(other)
        assert row.path.is_relative_to(other.root)
        assert_same(read_raw(row.path, row.data_id), before)
        assert other.check() == []


def test_a_mask_that_comes_after_its_image_is_told_and_changes_nothing(repo, tmp_path):
    image = frame(tmp_path / "a.fits")
    take(repo, image)
    mask = mask_of(image)
    [reject] = take(repo, image).rejected

    assert (
        reject.reason
        == "is there without a mask, and a_mask.fits lies beside it; take both into another run (--run NAME)."
    )
    [row] = raws(repo)
    assert not read_raw(row.path, row.data_id).mask.any_of("BAD").any()

    assert take(repo, image, run="masked").masks == (mask,)
    assert take(repo, image, run="masked").there_already == (image,)
    mask.unlink()
    mask_of(image, seed=8)
    [reject] = take(repo, image, run="masked").rejected
    assert reject.reason.startswith("is there with another mask")


def test_a_run_is_removed_with_its_masks(repo, tmp_path):
    image = frame(tmp_path / "a.fits")
    mask_of(image)
    take(repo, image)
    repo.remove_run("raw/generic")

    assert not list(repo.root.rglob("*.fits"))
    assert image.exists()


def test_what_is_no_image_is_skipped_with_its_reason_and_every_image_goes_in(repo, tmp_path):
    images = [frame(tmp_path / "a.fits"), frame(tmp_path / "RR_Lyr_var.fits", DATE_OBS="2026-01-03T03:04:05")]
    no_images = {
        frame(tmp_path / "a_weight.fits", seed=2): "is the weight map of a.fits, by its name.",
        frame(tmp_path / "a.rms.fits", seed=3): "is the noise map of a.fits, by its name.",
        frame(tmp_path / "truth_0_mask.fits", DATE_OBS=None): "is a mask by its name, and its header has no date.",
        tmp_path / "folder.fits": "is a folder.",
        tmp_path / "notes.txt": "is not a FITS file.",
        tmp_path
        / "table.fits": "holds no two-dimensional image; it has 0 PRIMARY (no data), 1 unnamed (table of 1 rows).",
    }
    (tmp_path / "folder.fits").mkdir()
    (tmp_path / "notes.txt").write_text("seeing was bad\n")
    fits.BinTableHDU.from_columns([fits.Column("x", "E", array=[1.0])]).writeto(tmp_path / "table.fits")

    report = take(repo, *no_images, *images)

    assert report.added == tuple(images)
    assert report.rejected == ()
    assert dict(report.skipped) == no_images
    assert len(raws(repo)) == 2


def test_each_file_is_told_before_it_is_worked_on(repo, tmp_path):
    files = [frame(tmp_path / f"{n}.fits", DATE_OBS=f"2026-01-02T03:0{n}:05", seed=n) for n in range(2)]
    told = []
    take(repo, *files, tell=lambda *what: told.append(what))

    assert told == [
        ("reading headers", 0, 2),
        ("reading headers", 1, 2),
        ("copying", 0, 2),
        ("copying", 1, 2),
    ]


@needs_data
@pytest.mark.parametrize("names", [("ztf_left_sci", "ztf_left_mask"), ("ztf_1_sciimg", "ztf_1_mskimg")])
def test_a_ztf_image_has_its_mask_in_the_repository_as_beside_its_file(tmp_path, names):
    for kind, name in zip(("sci", "mask"), names, strict=True):
        (tmp_path / f"{name}.fits.gz").symlink_to(DATA / "ztf" / f"ztf_left_{kind}.fits.gz")
    image, mask = (tmp_path / f"{name}.fits.gz" for name in names)

    with Repo.create(tmp_path / "repo") as repo:
        report = take(repo, mask, image)

        assert (report.added, report.masks, report.skipped, report.rejected) == ((image,), (mask,), (), ())
        [row] = raws(repo, "raw/ztf")
    assert_same(read_raw(row.path, row.data_id), as_process_reads(image))


@needs_data
def test_a_ztf_mask_without_its_image_is_no_image(tmp_path):
    (tmp_path / "ztf_1_mskimg.fits.gz").symlink_to(DATA / "ztf" / "ztf_left_mask.fits.gz")

    with pytest.raises(NoImageError) as caught:
        translate_file(tmp_path / "ztf_1_mskimg.fits.gz")

    reason = str(caught.value).partition(" ")[2]
    assert reason == "is a mask by its name; give its image too, and it goes in with it."
