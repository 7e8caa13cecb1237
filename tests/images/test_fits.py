import gzip
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from firstlight.errors import ImageFileError, OutputError
from firstlight.images.exposure import Exposure
from firstlight.images.fits import read_exposure, read_header, read_image, write_exposure
from firstlight.images.mask import Mask
from firstlight.images.psf import GaussianPsf, MoffatPsf
from firstlight.images.psf_classes import psf_classes

DATA = Path(os.environ.get("FIRSTLIGHT_TEST_DATA", "nowhere"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="FIRSTLIGHT_TEST_DATA names no folder with real images")
IMAGE = np.arange(12, dtype=np.float32).reshape(3, 4)


class ForeignPsf(GaussianPsf):
    """A PSF of another package."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "exposure.fits"


@pytest.mark.parametrize("compression", ["none", "lossless"])
@pytest.mark.parametrize("name", ["exposure.fits", "exposure.fits.gz"])
def test_an_exposure_comes_back_bit_by_bit(tmp_path, name, compression, full_exposure, assert_equal_exposures):
    exposure = full_exposure()

    write_exposure(exposure, tmp_path / name, compression=compression)

    assert_equal_exposures(read_exposure(tmp_path / name), exposure)


def test_the_summary_is_in_the_primary_header_with_its_units(path, full_exposure):
    exposure = full_exposure()
    write_exposure(exposure, path)
    header = fits.getheader(path)

    assert header["FLSUM PSF_SIGMA"] == exposure.summary["psf_sigma"]
    assert header.comments["FLSUM PSF_SIGMA"] == "[pix]"
    assert "FLSUM ZERO_POINT" not in header  # it is not known
    assert not [keyword for keyword in read_header(path) if keyword.startswith("FLSUM")]


def test_an_exposure_with_nothing_but_pixels_comes_back(path, assert_equal_exposures):
    exposure = Exposure(image=IMAGE, mask=Mask.empty(IMAGE.shape), variance=IMAGE, unit="nJy")

    write_exposure(exposure, path)

    assert_equal_exposures(read_exposure(path), exposure)


def test_quantized_pixels_are_off_by_a_small_part_of_the_noise(path):
    rng = np.random.default_rng(1)
    noise = rng.normal(300, 10, (128, 100)).astype(np.float32)
    exposure = Exposure(image=noise, mask=Mask.empty(noise.shape), variance=noise)

    write_exposure(exposure, path, compression="quantized")

    off = read_exposure(path).image - noise
    step = 10 / 16
    assert 0 < np.max(np.abs(off)) < 2 * step
    assert abs(off.mean()) < 5 * step / np.sqrt(12 * off.size)


@pytest.mark.parametrize("compression", ["none", "lossless", "quantized"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_equal_exposures_make_equal_files_at_any_time(tmp_path, monkeypatch, compression, suffix, full_exposure):
    paths = [tmp_path / f"{name}.fits{suffix}" for name in ("one", "two")]
    for path, now in zip(paths, (1e9, 1.7e9), strict=True):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        write_exposure(full_exposure(), path, compression=compression)

    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_other_programs_find_pixels_wcs_units_and_planes(path, full_exposure):
    exposure = full_exposure()
    write_exposure(exposure, path)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(path) as hdus:
            hdus.verify("exception")
            assert [hdu.name for hdu in hdus] == ["PRIMARY", "IMAGE", "MASK", "VARIANCE", "ARCHIVE"]
            assert [hdus[name].header["BUNIT"] for name in ("IMAGE", "VARIANCE")] == ["adu", "adu2"]
            assert hdus["MASK"].header["MP_SAT"] == 1
            assert hdus["MASK"].header["MP_DETECTED"] == 5
            np.testing.assert_array_equal(hdus["IMAGE"].data, exposure.image)
            np.testing.assert_array_equal(hdus["MASK"].data, exposure.mask.array)
            for name in ("IMAGE", "MASK", "VARIANCE"):
                sky = WCS(hdus[name].header).all_pix2world(3.0, 4.0, 0)
                np.testing.assert_allclose(sky, exposure.wcs.pixel_to_sky(x=3.0, y=4.0), rtol=0, atol=1e-11)
            primary = hdus[0].header
    assert (primary["OBJECT"], primary["EXPTIME"], primary["LONGERKEYWORD"]) == ("it's a 'field'", 30.0, True)
    assert list(primary["HISTORY"]) == ["first", "second"]
    assert "CRVAL1" not in primary
    assert "NOTANUM" not in primary


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path, tmp_path, full_exposure):
    write_exposure(full_exposure(), path)
    before = path.read_bytes()

    with pytest.raises(TypeError, match=r"ForeignPsf.*firstlight.psfs"):
        write_exposure(full_exposure().replace(psf=ForeignPsf(sigma=2.0, radius=5)), path)

    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_folder_that_is_not_there_is_named(tmp_path, full_exposure):
    with pytest.raises(OutputError, match=r"nowhere.*No such file"):
        write_exposure(full_exposure(), tmp_path / "nowhere" / "a.fits")


def test_a_psf_of_another_package_is_kept_under_its_registered_name(path, monkeypatch, full_exposure):
    class Entry:
        name = "foreign"

        @staticmethod
        def load():
            return ForeignPsf

    psf_classes.cache_clear()
    monkeypatch.setattr(
        "firstlight.images.psf_classes.entry_points", lambda group: [Entry] if group == "firstlight.psfs" else []
    )
    try:
        write_exposure(full_exposure().replace(psf=ForeignPsf(sigma=2.0, radius=5)), path)
        assert type(read_exposure(path).psf) is ForeignPsf
    finally:
        psf_classes.cache_clear()
    monkeypatch.undo()
    with pytest.raises(ImageFileError, match="install the package"):
        read_exposure(path)


def test_every_psf_of_ours_can_be_kept(path, full_exposure):
    moffat = MoffatPsf(fwhm=3.0, beta=2.5, radius=9)

    write_exposure(full_exposure().replace(psf=moffat), path)

    assert read_exposure(path).psf == moffat
    assert {"GaussianPsf", "MoffatPsf", "PixelGridPsf"} <= set(psf_classes())


def write_hdus(path, *hdus):
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)


def test_the_first_image_is_read_over_the_primary_header(path):
    extension = fits.ImageHDU(IMAGE, name="SCI")
    extension.header["GAIN"] = 2.0
    primary = fits.PrimaryHDU()
    primary.header["GAIN"] = 1.0
    primary.header["FILTER"] = "r"
    fits.HDUList([primary, fits.BinTableHDU(name="T"), extension]).writeto(path)

    raw = read_image(path)

    np.testing.assert_array_equal(raw.image, IMAGE)
    assert (raw.hdu, raw.header["GAIN"], raw.header["FILTER"]) == (2, 2.0, "r")
    assert not {"SIMPLE", "XTENSION", "NAXIS1", "EXTNAME"} & set(raw.header)
    assert read_header(path) == raw.header


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_pixels_of_every_type_are_read_in_the_byte_order_of_the_machine(path, dtype):
    write_hdus(path, fits.ImageHDU(IMAGE.astype(dtype)))

    image = read_image(path).image

    np.testing.assert_array_equal(image, IMAGE)
    assert image.dtype.isnative


def test_tile_compressed_and_gzipped_images_are_unpacked(tmp_path):
    write_hdus(tmp_path / "a.fits.fz", fits.CompImageHDU(IMAGE.astype(np.int16), compression_type="RICE_1"))
    write_hdus(tmp_path / "b.fits", fits.ImageHDU(IMAGE))
    (tmp_path / "b.fits.gz").write_bytes(gzip.compress((tmp_path / "b.fits").read_bytes()))

    for name in ("a.fits.fz", "b.fits.gz"):
        np.testing.assert_array_equal(read_image(tmp_path / name).image, IMAGE)


def test_axes_of_length_one_do_no_harm(path):
    write_hdus(path, fits.ImageHDU(IMAGE[None]))

    assert read_image(path).image.shape == IMAGE.shape


@pytest.mark.parametrize("hdu", ["B", 2, "2", -1])
def test_an_hdu_is_chosen_by_name_or_number(path, hdu):
    write_hdus(path, fits.ImageHDU(IMAGE, name="A"), fits.ImageHDU(IMAGE + 1, name="B"))

    raw = read_image(path, hdu=hdu)

    assert raw.hdu == 2
    np.testing.assert_array_equal(raw.image, IMAGE + 1)


@pytest.mark.parametrize("hdu", ["C", 7])
def test_a_missing_hdu_is_answered_with_those_that_are_there(path, hdu):
    write_hdus(path, fits.ImageHDU(IMAGE, name="A"), fits.BinTableHDU(name="T"))

    with pytest.raises(ImageFileError, match=r"0 PRIMARY \(no data\), 1 A \(4 x 3\), 2 T \(table of 0 rows\)"):
        read_image(path, hdu=hdu)


def test_an_hdu_without_an_image_is_refused(path):
    write_hdus(path, fits.ImageHDU(np.zeros((3, 4, 5)), name="CUBE"))

    for hdu in (None, 0, "CUBE"):
        with pytest.raises(ImageFileError, match=r"no two-dimensional image.*1 CUBE \(5 x 4 x 3\)"):
            read_image(path, hdu=hdu)


@pytest.mark.parametrize("fraction", [0.001, 0.02, 0.3, 0.7, 0.85])
@pytest.mark.parametrize("packed", [False, True])
def test_an_exposure_that_is_cut_off_is_told_as_such(path, fraction, packed, full_exposure):
    write_exposure(full_exposure(), path)
    content = gzip.compress(path.read_bytes()) if packed else path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])

    with pytest.raises(ImageFileError, match=f"{path.name} is (cut off|not a FITS file)"):
        read_exposure(path)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("packed", [False, True])
def test_an_image_that_is_cut_off_is_told_as_such(path, fraction, packed):
    fits.PrimaryHDU(np.random.default_rng(1).normal(size=(100, 100))).writeto(path)
    content = gzip.compress(path.read_bytes()) if packed else path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])

    with pytest.raises(ImageFileError, match=f"{path.name} is cut off"):
        read_image(path)


def test_only_the_padding_of_the_last_block_may_be_missing(path):
    fits.PrimaryHDU(IMAGE).writeto(path)
    whole = path.read_bytes()
    end = 2880 + IMAGE.nbytes

    path.write_bytes(whole[:end])
    np.testing.assert_array_equal(read_image(path).image, IMAGE)

    path.write_bytes(whole[: end - 4])
    with pytest.raises(ImageFileError, match="cut off"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x1f\x8bnot gzip", b"PNG" * 2000])
def test_a_file_that_is_not_fits_is_told_as_such(path, content):
    path.write_bytes(content)

    with pytest.raises(ImageFileError, match="not a FITS file"):
        read_image(path)


def test_a_file_that_is_not_there_is_told_as_such(tmp_path):
    with pytest.raises(ImageFileError, match="not there"):
        read_image(tmp_path / "a.fits")
    with pytest.raises(ImageFileError, match="a folder"):
        read_image(tmp_path)


def test_a_plain_image_is_no_exposure(path):
    write_hdus(path, fits.ImageHDU(IMAGE, name="SCI"))

    with pytest.raises(ImageFileError, match=r"not an exposure.*1 SCI"):
        read_exposure(path)


def test_a_format_of_the_future_is_refused(path, full_exposure):
    write_exposure(full_exposure(), path)
    with fits.open(path, mode="update") as hdus:
        hdus[0].header["FLFORMAT"] = 99

    with pytest.raises(ImageFileError, match="format 99"):
        read_exposure(path)


def test_cards_that_break_the_standard_are_read_without_a_warning(path):
    write_hdus(path, fits.ImageHDU(IMAGE))
    content = path.read_bytes().replace(b"EXTEND  =                    T", b"BROKEN  = 'never ends         ", 1)
    path.write_bytes(content)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_image(path).image, IMAGE)


@needs_data
def test_the_real_images_are_read_without_a_warning():
    names = ["hatp32/HATP-32171220020912.fits.gz", "ztf/ztf_left_sci.fits.gz", "plates/gc_2mass_j.fits.gz"]
    names += ["decam_pairs/DEC-OBS04a.mini.fits.gz", "isis/infile0.fits.gz"]

    shapes = [read_image(DATA / name).image.shape for name in names]

    assert shapes == [(500, 650), (3080, 1536), (720, 721), (256, 256), (256, 256)]


@needs_data
def test_comments_are_kept_as_lines():
    header = read_image(DATA / "plates" / "gc_2mass_j.fits.gz").header

    assert "Montage v3.0" in header["COMMENT"].splitlines()[3]
