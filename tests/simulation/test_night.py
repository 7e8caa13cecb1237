"""Several exposures, their files, the reference catalogue and the command."""

import json

import numpy as np
import pyarrow.parquet
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS
from click.testing import CliRunner

from firstlight.cli.simulate import simulate
from firstlight.errors import ConfigError, OutputError
from firstlight.simulation import SimulationSettings, simulate_night, simulate_reference, write_night

SMALL = SimulationSettings(shape=(128, 160))


@pytest.fixture(scope="module")
def night():
    return simulate_night(SMALL.varied(transient_density=20_000.0), seed=3, n_epochs=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("night")
    write_night(path, SMALL, seed=5, n_epochs=2)
    return path


def read(path):
    return pyarrow.parquet.read_table(path).to_pydict()


def test_epochs_differ_in_pointing_seeing_and_sky(night):
    first, second, third = (exposure.conditions for exposure in night.exposures)

    assert (first.fwhm, first.sky_level, first.transparency) == (2.2, 300.0, 1.0)
    for later in (second, third):
        assert (
            SkyCoord(first.ra, first.dec, unit="deg").separation(SkyCoord(later.ra, later.dec, unit="deg")).arcsec > 1
        )
        assert later.rotation != first.rotation
        assert later.fwhm != first.fwhm
        assert later.sky_level != first.sky_level
        assert later.transparency < 1
    assert second.days < third.days
    for exposure in night.exposures:
        start = Time(exposure.header["DATE-OBS"], scale="utc")
        assert (start - Time(2025.5, format="jyear", scale="tt")).jd == pytest.approx(
            exposure.conditions.days - 15 / 86400, abs=1e-6
        )
        assert exposure.conditions.middle == pytest.approx(2025.5 + exposure.conditions.days / 365.25)


def test_zero_points_follow_the_transparency(night):
    for exposure in night.exposures:
        assert exposure.zero_point == pytest.approx(26.2 + 2.5 * np.log10(exposure.conditions.transparency))
        sources = exposure.sources
        np.testing.assert_allclose(sources["mag"], exposure.zero_point - 2.5 * np.log10(sources["flux"]), atol=1e-9)


def test_transients_appear_after_the_first_epoch(night):
    transients = night.truth[night.truth["kind"] == "transient"]

    assert np.all(np.isnan(transients["x_0"]))
    assert np.isfinite(transients["flux_1"]).sum() > 3
    assert all("transient" not in exposure.sources["kind"] for exposure in night.exposures[:1])


def test_the_sky_far_from_sources_is_the_sky(night):
    for exposure in night.exposures:
        empty = (exposure.light - exposure.sky < 0.01) & (exposure.mask == 0)
        error = np.sqrt(np.mean(exposure.variance[empty]) / empty.sum())
        assert np.mean((exposure.image - exposure.sky)[empty]) == pytest.approx(0, abs=4 * error)
        ny, nx = exposure.image.shape
        assert exposure.sky[ny // 2, nx // 2] == pytest.approx(exposure.conditions.sky_level, rel=1e-3)


def test_reference_errors_have_the_stated_size():
    settings = SimulationSettings.quiet().varied(shape=(512, 512), dec=65.0)
    table, truth = simulate_reference(settings, seed=9), simulate_night(settings, seed=9).truth
    both, rows, truth_rows = np.intersect1d(table["id"], truth["id"], return_indices=True)
    assert len(both) > 200
    star, true = table[rows], truth[truth_rows]

    pulls = {
        "ra": (star["ra"] - true["ra"]) * np.cos(np.deg2rad(true["dec"])) * 3.6e6 / star["ra_error"],
        "dec": (star["dec"] - true["dec"]) * 3.6e6 / star["dec_error"],
        "pmra": (star["pmra"] - true["pmra"]) / star["pmra_error"],
        "r_mag": (star["r_mag"] - true["r_mag"]) / star["r_mag_error"],
    }
    for name, pull in pulls.items():
        values = np.asarray(pull)
        assert values.std() == pytest.approx(1, abs=4 / np.sqrt(2 * len(both))), name
        assert values.mean() == pytest.approx(0, abs=4 / np.sqrt(len(both))), name
    assert 1 <= star["ra_error"].min() <= star["ra_error"].max() <= 2


def test_the_reference_is_complete_to_its_limit_and_reaches_beyond_the_frame():
    settings = SMALL.varied(complete_to=19.0)
    reference, truth = simulate_reference(settings, seed=4), simulate_night(settings, seed=4).truth
    expected = truth["id"][(truth["kind"] == "star") & (truth["r_mag"] < 19)]
    centre = SkyCoord(*simulate_night(settings, seed=4).exposures[0].wcs.all_pix2world(80, 64, 0), unit="deg")
    separation = centre.separation(SkyCoord(reference["ra"], reference["dec"])).arcmin
    corner = np.hypot(64, 80) * 1.012 / 60

    assert set(expected) <= set(reference["id"])
    assert separation.max() > corner + 20
    assert set(np.unique(reference["ref_epoch"])) == {2016.0}


def test_files_agree_with_each_other(folder):
    truth, values = read(folder / "truth.parquet"), json.loads((folder / "truth_1.json").read_text())
    image, header = fits.getdata(folder / "epoch_1.fits", header=True)
    mask = fits.getdata(folder / "truth_1_mask.fits")
    assert image.shape == mask.shape == (128, 160)
    assert (image.dtype.kind, image.dtype.itemsize, header["FILTER"]) == ("f", 4, "r")

    seen = np.isfinite(truth["x_1"])
    years = values["conditions"]["middle"] - 2016.0
    ra, dec, pmra, pmdec = (np.array(truth[name])[seen] for name in ("ra", "dec", "pmra", "pmdec"))
    x, y = WCS(values["wcs"]).all_world2pix(
        ra + years * pmra / 3.6e6 / np.cos(np.deg2rad(dec)), dec + years * pmdec / 3.6e6, 0
    )
    np.testing.assert_allclose(x, np.array(truth["x_1"])[seen], atol=1e-3)
    np.testing.assert_allclose(y, np.array(truth["y_1"])[seen], atol=1e-3)
    flux = np.array(truth["flux_1"])[seen]
    np.testing.assert_allclose(values["zero_point"] - 2.5 * np.log10(flux), np.array(truth["mag_1"])[seen], atol=1e-9)


def test_the_truth_file_states_the_size_of_a_star(folder):
    values = json.loads((folder / "truth_0.json").read_text())

    assert values["sky_noise"] == pytest.approx(np.sqrt(300 / 6.2 + (10 / 6.2) ** 2))
    assert values["psf"]["fwhm_centre"] == 2.2
    assert 2.2 < values["psf_fwhm"] < 2.5
    assert 0.9 < values["psf_sigma"] * 2.3548 / values["psf_fwhm"] < 1.15
    assert values["mask_pixels"]["COSMIC_RAY"] >= 0


def test_writing_twice_gives_the_same_bytes(folder, tmp_path):
    for path in write_night(tmp_path / "again", SMALL, seed=5, n_epochs=2):
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_a_folder_that_cannot_be_written_is_the_users_to_mend(tmp_path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(OutputError, match="Cannot write into"):
        write_night(tmp_path / "file" / "night", SMALL, seed=1)


def test_the_command_says_what_it_wrote_and_what_to_do_next(tmp_path):
    result = CliRunner().invoke(simulate, ["-o", str(tmp_path / "night"), "--seed", "2", "--size", "96x64"])

    assert result.exit_code == 0, result.output
    assert fits.getdata(tmp_path / "night" / "epoch_0.fits").shape == (64, 96)
    assert f"next: firstlight process {tmp_path}/night/epoch_0.fits --refcat" in result.output
    for name in ("truth.parquet", "refcat.parquet", "truth_0.json", "truth_0_mask.fits"):
        assert (tmp_path / "night" / name).exists()
        assert name in result.output


def test_options_of_the_command_reach_the_simulation(tmp_path):
    arguments = [
        "-o",
        str(tmp_path),
        "--size",
        "64",
        "--density",
        "9000",
        "--scale",
        "0.5",
        "--fwhm",
        "1.6",
        "--epochs",
        "2",
    ]
    result = CliRunner().invoke(simulate, arguments)
    values = json.loads((tmp_path / "truth_1.json").read_text())

    assert result.exit_code == 0, result.output
    assert values["settings"]["sky"]["star_density"] == 9000
    assert values["settings"]["optics"]["pixel_scale"] == 0.5
    assert values["settings"]["optics"]["fwhm"] == 1.6


@pytest.mark.parametrize("size", ["axb", "10x20x30", "-5", ""])
def test_a_size_that_makes_no_sense_is_refused(tmp_path, size):
    result = CliRunner().invoke(simulate, ["-o", str(tmp_path), "--size", size])

    assert result.exit_code == 2
    assert "1024 or WIDTHxHEIGHT" in result.output


def test_crowded_and_density_exclude_each_other(tmp_path):
    result = CliRunner().invoke(simulate, ["-o", str(tmp_path), "--crowded", "--density", "5"])

    assert isinstance(result.exception, ConfigError)
