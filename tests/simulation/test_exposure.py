"""A whole exposure against its own truth."""

import ast
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.time import Time
from astropy.wcs import WCS

import firstlight.simulation
from firstlight.errors import ConfigError
from firstlight.simulation import SimulationSettings, simulate_exposure

QUIET = SimulationSettings.quiet().varied(shape=(256, 320))


@pytest.fixture(scope="module")
def exposure():
    return simulate_exposure(QUIET, seed=7)


def test_the_noise_is_that_of_the_variance(exposure):
    pull = (exposure.image - exposure.light) / np.sqrt(exposure.variance + 1 / 12)
    ordinary = exposure.mask == 0

    assert pull[ordinary].std() == pytest.approx(1, abs=4 / np.sqrt(2 * ordinary.sum()))
    assert pull[ordinary].mean() == pytest.approx(0, abs=4 / np.sqrt(ordinary.sum()))


def test_isolated_bright_stars_have_the_flux_and_place_of_the_truth(exposure):
    noiseless = exposure.light.astype(float) - exposure.sky
    sources = exposure.sources
    x, y = sources["x"].data, sources["y"].data
    distance = np.hypot(x[:, None] - x, y[:, None] - y) + 1e9 * np.eye(len(x))
    brighter_by = sources["mag"].data[None] - sources["mag"].data[:, None]
    lonely = np.where(brighter_by < 5, distance, 1e9).min(axis=1) > 14
    inside = (np.abs(x - 159.5) < 140) & (np.abs(y - 127.5) < 110)
    chosen = np.flatnonzero(lonely & inside & (sources["mag"] < 18))
    assert len(chosen) >= 3

    for k in chosen:
        column, row = round(x[k]), round(y[k])
        stamp = noiseless[row - 7 : row + 8, column - 7 : column + 8]
        offsets = np.arange(-7, 8)
        model = exposure.point_spread.image(x=x[k], y=y[k], radius=7)
        assert stamp.sum() / model.sum() == pytest.approx(sources["flux"][k], rel=0.03)
        weight = np.exp(-(offsets**2) / 3)
        core = stamp * weight[:, None] * weight
        expected = model * weight[:, None] * weight
        for axis in (0, 1):
            centroids = [(c.sum(axis=axis) * offsets).sum() / c.sum() for c in (core, expected)]
            assert centroids[0] == pytest.approx(centroids[1], abs=0.01)


def test_truth_positions_are_proper_motion_and_exact_wcs(exposure):
    sources = exposure.sources
    years = 2025.5 - 2016.0
    ra = sources["ra"].data + years * sources["pmra"].data / 3.6e6 / np.cos(np.deg2rad(sources["dec"].data))
    dec = sources["dec"].data + years * sources["pmdec"].data / 3.6e6
    ra_image, dec_image = exposure.wcs.all_pix2world(sources["x"], sources["y"], 0)

    separation = SkyCoord(ra, dec, unit="deg").separation(SkyCoord(ra_image, dec_image, unit="deg"))
    assert separation.mas.max() < 0.1


def test_the_header_knows_the_pointing_only_roughly(exposure):
    header = exposure.header
    assert header["INSTRUME"] == "firstlight simulated camera"
    assert (header["GAIN"], header["RDNOISE"], header["SATURATE"], header["EXPTIME"]) == (6.2, 10.0, 50_000.0, 30.0)
    assert Time(header["DATE-OBS"], scale="utc").jyear == pytest.approx(2025.5, abs=1e-4)
    written, exact = (SkyCoord(*wcs.all_pix2world(160, 128, 0), unit="deg") for wcs in (WCS(header), exposure.wcs))

    assert 3 < written.separation(exact).arcsec < 22
    assert "SIP" not in header["CTYPE1"]


@pytest.mark.parametrize(("choice", "has_wcs"), [("exact", True), ("none", False)])
def test_the_header_can_be_exact_or_blind(choice, has_wcs):
    exposure = simulate_exposure(QUIET.varied(header_wcs=choice, shape=(64, 64)), seed=1)

    assert ("CRVAL1" in exposure.header) is has_wcs
    if has_wcs:
        written, exact = (np.array(wcs.all_pix2world(9, 9, 0)) for wcs in (WCS(exposure.header), exposure.wcs))
        np.testing.assert_allclose(written, exact, rtol=1e-12)


def test_a_seed_gives_the_same_exposure_and_another_seed_another_one():
    first, again, other = (simulate_exposure(QUIET.varied(shape=(96, 96)), seed=seed) for seed in (1, 1, 2))

    np.testing.assert_array_equal(first.image, again.image)
    assert first.wcs_cards == again.wcs_cards
    assert str(first.header) == str(again.header)
    assert np.mean(first.image == other.image) < 0.2
    assert first.wcs_cards["CRVAL1"] != other.wcs_cards["CRVAL1"]
    assert first.point_spread != other.point_spread


def test_the_sky_stays_when_only_the_camera_changes():
    plain = simulate_exposure(QUIET.varied(shape=(96, 96)), seed=1)
    blurred = simulate_exposure(QUIET.varied(shape=(96, 96), fwhm=3.0, gain=2.0), seed=1)

    np.testing.assert_array_equal(plain.sources["ra"], blurred.sources["ra"])
    np.testing.assert_array_equal(plain.sources["x"], blurred.sources["x"])


def test_the_wings_of_bright_stars_end_below_a_twentieth_of_the_noise():
    settings = QUIET.varied(shape=(128, 128), bright_limit=9.0, faint_limit=12.0, star_density=2000.0)
    exposure = simulate_exposure(settings, seed=1)
    expected = np.zeros((128, 128))
    for x, y, flux in exposure.sources["x", "y", "flux"]:
        stamp = flux * exposure.point_spread.image(x=x, y=y, radius=200)
        row, column = 200 - round(y), 200 - round(x)
        expected += stamp[row : row + 128, column : column + 128]

    assert expected.max() > 1e4
    assert np.abs(exposure.light - exposure.sky - expected).max() < np.sqrt(exposure.variance.min()) / 20


def test_galaxies_lie_on_the_image_as_their_position_angle_says():
    settings = SimulationSettings().varied(
        shape=(400, 400), star_density=150.0, galaxy_fraction=40.0, bright_limit=16.0, faint_limit=16.8, rotation=50.0
    )
    exposure = simulate_exposure(settings, seed=6)
    galaxies = exposure.sources[exposure.sources["kind"] == "galaxy"]
    x, y = galaxies["x"].data, galaxies["y"].data
    distance = np.hypot(x[:, None] - x, y[:, None] - y) + 1e9 * np.eye(len(x))
    inside = (np.abs(x - 199.5) < 185) & (np.abs(y - 199.5) < 185)
    chosen = np.flatnonzero(inside & (distance.min(axis=1) > 28) & (galaxies["axis_ratio"].data < 0.6))
    assert len(chosen) >= 4

    offsets = np.arange(-10, 11.0)
    for k in chosen:
        column, row = round(x[k]), round(y[k])
        stamp = (exposure.light - exposure.sky)[row - 10 : row + 11, column - 10 : column + 11]
        dx, dy = np.meshgrid(offsets - (x[k] - column), offsets - (y[k] - row))
        weight = stamp * np.exp(-(dx**2 + dy**2) / 32)
        angle = 0.5 * np.arctan2(2 * (weight * dx * dy).sum(), (weight * (dx**2 - dy**2)).sum())
        along = SkyCoord(
            *exposure.wcs.all_pix2world(x[k] + [0, np.cos(angle)], y[k] + [0, np.sin(angle)], 0), unit="deg"
        )
        error = along[0].position_angle(along[1]).deg - galaxies["position_angle"][k]
        assert abs((error + 90) % 180 - 90) < 4


def test_saturated_stars_are_flagged():
    exposure = simulate_exposure(QUIET.varied(bright_limit=8.0, faint_limit=12.0, star_density=4000.0), seed=2)
    inside = (np.abs(exposure.sources["x"] - 159.5) < 155) & (np.abs(exposure.sources["y"] - 127.5) < 120)
    bright = inside & (exposure.sources["mag"] < 11.5)

    assert bright.sum() > 3
    assert np.all(exposure.sources["saturated"][bright])


def test_the_crowded_field_has_13600_stars():
    settings = SimulationSettings.crowded()
    assert settings.sky.star_density * (1024 * settings.optics.pixel_scale / 3600) ** 2 == pytest.approx(13_600)


def test_settings_reach_the_part_they_belong_to():
    settings = SimulationSettings().varied(fwhm=1.6, star_density=2500.0, complete_to=19.0, gain=2.0, sky_level=50.0)

    assert settings.optics.fwhm == 1.6
    assert settings.sky.star_density == 2500
    assert settings.reference.complete_to == 19
    assert settings.detector.gain == 2
    assert settings.sky_level == 50


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fwhn": 2}, "no setting 'fwhn'"),
        ({"fwhm": 0.1}, "at least 0.8"),
        ({"shape": (4, 4)}, "4x4"),
        ({"gain": 0}, "gain"),
    ],
)
def test_a_mistaken_setting_is_named(changes, words):
    with pytest.raises(ConfigError, match=words):
        SimulationSettings().varied(**changes)


def test_the_simulation_imports_nothing_of_what_it_tests():
    allowed = ("firstlight.simulation", "firstlight.errors")
    for path in Path(firstlight.simulation.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert all(name.startswith(allowed) for name in names if name.startswith("firstlight")), path
