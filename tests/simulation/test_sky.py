"""The sources of the sky have the statistics that the settings promise."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from firstlight.simulation.settings import SimulationSettings
from firstlight.simulation.sky import apply_proper_motion, draw_sky, field_centre, magnitudes_at

SETTINGS = SimulationSettings()
RADIUS = 0.8
AREA = np.pi * RADIUS**2


@pytest.fixture(scope="module")
def sky():
    return draw_sky(SETTINGS, seed=11, radius=RADIUS, n_epochs=4)


def test_densities_are_those_of_the_settings(sky):
    for kind, density in (("star", 24_000), ("galaxy", 0.12 * 24_000), ("transient", 600)):
        expected = density * AREA
        assert abs(np.sum(sky["kind"] == kind) - expected) < 4.5 * np.sqrt(expected), kind


def test_star_counts_rise_by_a_fifth_to_a_third_of_a_dex_per_magnitude(sky):
    r_mag = sky["r_mag"][sky["kind"] == "star"]
    counts, _ = np.histogram(r_mag, bins=np.arange(12, 23))
    slopes = np.diff(np.log10(counts))

    assert 0.15 < slopes[-1] < 0.25
    assert np.all((slopes[3:] > 0.15) & (slopes[3:] < 0.40))
    assert slopes[3:6].mean() > slopes[-3:].mean()
    assert r_mag.min() > 10
    assert r_mag.max() < 22


def test_galaxies_get_smaller_and_more_numerous_with_magnitude(sky):
    galaxies = sky[sky["kind"] == "galaxy"]
    bright, faint = galaxies[galaxies["r_mag"] < 19], galaxies[galaxies["r_mag"] > 21]

    assert len(faint) > 5 * len(bright)
    assert np.median(bright["half_light_radius"]) > 1.5 * np.median(faint["half_light_radius"])
    assert set(np.unique(galaxies["sersic_index"])) == {1.0, 4.0}
    assert galaxies["axis_ratio"].min() >= 0.2


def test_star_colours_follow_two_humps(sky):
    stars = sky[sky["kind"] == "star"]
    color = stars["g_mag"] - stars["r_mag"]
    counts, edges = np.histogram(color, bins=np.arange(0, 2.0, 0.1))
    at = dict(zip(np.round(edges[:-1], 1), counts, strict=True))

    assert at[0.5] > 1.5 * at[1.0]
    assert at[1.3] > 1.5 * at[1.0]
    assert np.corrcoef(color, stars["r_mag"] - stars["i_mag"])[0, 1] > 0.7


def test_proper_motions_have_the_stated_median_and_a_tail(sky):
    stars = sky[sky["kind"] == "star"]
    total = np.hypot(stars["pmra"], stars["pmdec"])

    assert np.median(total) == pytest.approx(6, rel=0.15)
    assert np.percentile(total, 99) > 40


def test_sources_fill_the_circle_evenly(sky):
    centre = SkyCoord(*field_centre(SETTINGS.sky, seed=11), unit="deg")
    stars = sky[sky["kind"] == "star"]
    separation = centre.separation(SkyCoord(stars["ra"], stars["dec"])).deg
    inner = np.mean(separation < RADIUS / 2)

    assert separation.max() <= RADIUS
    assert inner == pytest.approx(0.25, abs=4.5 * np.sqrt(0.25 * 0.75 / len(stars)))


@pytest.mark.parametrize("dec", [0.0, 60.0, 89.9])
def test_proper_motion_agrees_with_astropy(dec):
    start = SkyCoord(359.99999 * u.deg, dec * u.deg)
    direction = np.arctan2(900, -1200) * u.rad
    moved = start.directional_offset_by(direction, 9.5 * 1500 * u.mas)
    ra, dec_moved = apply_proper_motion(
        np.array([359.99999]), np.array([dec]), pmra=np.array([900.0]), pmdec=np.array([-1200.0]), years=9.5
    )

    assert SkyCoord(ra * u.deg, dec_moved * u.deg).separation(moved)[0].mas < 0.01


def test_variables_change_and_other_stars_do_not(sky):
    first, later = (magnitudes_at(sky, band="r", days=days, epoch=0) for days in (0.0, 3.3))
    stars = np.asarray(sky["kind"] == "star")
    varies = sky["amplitude"].data > 0

    assert varies[stars].mean() == pytest.approx(0.02, abs=0.003)
    np.testing.assert_array_equal(first[stars & ~varies], later[stars & ~varies])
    assert np.median(np.abs(first[stars & varies] - later[stars & varies])) > 0.02
    assert np.all(np.abs(first[stars] - sky["r_mag"].data[stars]) <= sky["amplitude"].data[stars] / 2 + 1e-12)


def test_transients_shine_only_after_the_first_epoch(sky):
    transients = np.asarray(sky["kind"] == "transient")
    shining = [np.isfinite(magnitudes_at(sky, band="r", days=3.0 * k, epoch=k))[transients].sum() for k in range(4)]

    assert shining[0] == 0
    assert min(shining[1:]) > 100


def test_a_color_term_shifts_red_stars_more(sky):
    plain, colored = (magnitudes_at(sky, band="r", days=0, epoch=0, color_term=term) for term in (0.0, 0.1))
    shines = np.isfinite(plain)
    color = (sky["g_mag"].data - sky["r_mag"].data)[shines]

    np.testing.assert_allclose(colored[shines] - plain[shines], 0.1 * color, atol=1e-12)
