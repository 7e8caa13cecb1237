"""A season: when it is observed, what changes, and that the truth tables say what the images hold."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pyarrow.parquet
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.time import Time
from click.testing import CliRunner

from firstlight.cli.simulate import simulate
from firstlight.errors import ConfigError
from firstlight.simulation import SeasonSettings, SimulationSettings, plan_season
from firstlight.simulation.season_objects import magnitudes_of, places_at
from firstlight.simulation.season_weather import schedule

IMAGE = SimulationSettings(shape=(160, 192)).varied(margin_arcmin=1.0, star_density=60_000.0)
SETTINGS = SeasonSettings(
    n_nights=9, n_fields=2, n_templates=2, n_supernovae=8, n_variables=8, n_movers=6, visits_per_night=2, image=IMAGE
)


@pytest.fixture(scope="module")
def plan():
    return plan_season(SETTINGS, seed=2)


def of_kind(plan, kind):
    return plan.objects[plan.objects["kind"] == kind]


def test_exposures_come_in_the_order_of_time_with_templates_long_before(plan):
    times = [visit.mjd_tai for visit in plan.visits]
    first_night = Time(IMAGE.date, format="jyear", scale="tt").tai.mjd
    observed = sorted({visit.night for visit in plan.visits if not visit.is_template})
    per_night = SETTINGS.n_fields * SETTINGS.visits_per_night

    assert all(earlier < later for earlier, later in pairwise(times))
    assert [visit.number for visit in plan.visits] == list(range(len(times)))
    assert sum(visit.is_template for visit in plan.visits) == SETTINGS.n_fields * SETTINGS.n_templates
    for visit in plan.visits:
        assert (visit.mjd_tai < first_night - SETTINGS.template_lead + 0.1) == visit.is_template
    assert len(plan.visits) == SETTINGS.n_fields * SETTINGS.n_templates + per_night * len(observed)
    assert set(observed) < set(range(SETTINGS.n_nights))


@pytest.mark.parametrize("fields", [5, 6, 41])
def test_no_two_exposures_are_taken_at_the_same_time(fields):
    settings = SeasonSettings(n_nights=3, n_fields=fields, n_templates=2, visits_per_night=3)
    visits = schedule(settings, centres=[(10.0, 0.0)] * fields, seed=1)
    times = np.array([visit.mjd_tai for visit in visits])

    # The shortest exposure of the simulator and its readout take a minute.
    assert np.diff(times).min() > 60 / 86400


def test_fields_lie_across_right_ascension_zero_and_at_declination_80(plan):
    assert plan.centres[0][0] == 0.0
    assert plan.centres[1][1] == 80.0
    in_first = plan.objects["ra"][plan.objects["field"] == 0]
    assert np.any(in_first < 1.0)
    assert np.any(in_first > 359.0)


def test_a_field_can_be_chosen():
    plan = plan_season(SeasonSettings(n_fields=2, centres=((150.0, 2.2),), image=IMAGE), seed=2)

    assert plan.centres[0] == (150.0, 2.2)
    assert plan.centres[1][1] == 80.0


def test_one_seed_makes_one_season(plan):
    again, other = plan_season(SETTINGS, seed=2), plan_season(SETTINGS, seed=3)

    assert again.visits == plan.visits
    np.testing.assert_array_equal(again.objects["ra"], plan.objects["ra"])
    assert other.centres != plan.centres


def test_numbers_of_sources_are_unique_in_the_season(plan):
    of_sky = np.concatenate([sky["id"].data for sky in plan.skies])
    of_objects = plan.objects["id"].data

    assert len(np.unique(of_sky)) == len(of_sky)
    assert len(np.unique(of_objects)) == len(of_objects)
    assert np.isin(of_objects, of_sky).sum() == SETTINGS.n_variables


def test_supernovae_are_dark_in_templates_brightest_once_and_fade(plan):
    objects = of_kind(plan, "supernova")
    days = np.linspace(-70.0, 60.0, 2601)
    magnitudes = np.array([magnitudes_of(objects, days=each) for each in days])
    brightest = np.argmin(magnitudes, axis=0)

    assert np.isinf(magnitudes[days < -50.0]).all()
    np.testing.assert_allclose(days[brightest], objects["peak_days"], atol=0.06)
    np.testing.assert_allclose(magnitudes.min(axis=0), objects["mag"], atol=1e-3)
    for curve, top in zip(magnitudes.T, brightest, strict=True):
        assert np.all(np.diff(curve[top:]) > 0)


def test_supernovae_lie_in_galaxies_of_their_field_one_in_each(plan):
    objects = of_kind(plan, "supernova")
    in_galaxies = objects[objects["host"] >= 0]

    assert 0 < len(in_galaxies) < len(objects)
    assert len(np.unique(in_galaxies["host"])) == len(in_galaxies)
    for row in in_galaxies:
        sky = plan.skies[row["field"]]
        host = sky[sky["id"] == row["host"]]
        away = SkyCoord(row["ra"], row["dec"], unit="deg").separation(SkyCoord(host["ra"], host["dec"], unit="deg"))
        assert host["kind"][0] == "galaxy"
        # One in a thousand of an exponential disk lies further out.
        assert away.arcsec[0] < 9.3 / 1.678 * host["half_light_radius"][0]


def test_variables_repeat_with_their_period_and_amplitude(plan):
    objects = of_kind(plan, "variable")
    for row in range(len(objects)):
        one = objects[row : row + 1]
        period = float(one["period"][0])
        curve = np.array([magnitudes_of(one, days=t)[0] for t in np.linspace(0.0, period, 301)])
        assert np.ptp(curve) == pytest.approx(float(one["amplitude"][0]), rel=0.01)
        assert magnitudes_of(one, days=3.0 + 7 * period)[0] == pytest.approx(magnitudes_of(one, days=3.0)[0], abs=1e-9)


def test_movers_keep_their_rate_and_are_in_their_field_at_the_time_they_are_meant_for(plan):
    objects = of_kind(plan, "mover")
    before, after = (
        SkyCoord(*places_at(objects, days=objects["ref_days"].data + each), unit="deg") for each in (-0.5, 0.5)
    )
    rate = before.separation(after).arcsec / 24.0
    low, high = SETTINGS.mover_rates
    times = {visit.conditions.days for visit in plan.visits}

    np.testing.assert_allclose(rate, np.hypot(objects["pmra"], objects["pmdec"]) / (365.25 * 24e3), rtol=1e-5)
    assert np.all((rate >= low * 0.999) & (rate <= high * 1.001))
    assert set(objects["ref_days"].tolist()) <= times


def test_the_truth_says_where_and_how_bright_objects_are_on_the_image(plan):
    quiet = SeasonSettings(**{**vars(SETTINGS), "image": IMAGE.varied(noise=False, cosmic_rays=0, hot_pixels=0)})
    changing = plan_season(quiet, seed=2)
    still = plan_season(SeasonSettings(**{**vars(quiet), "n_supernovae": 0, "n_movers": 0}), seed=2)
    n_checked = 0
    for visit in [each for each in plan.visits if not each.is_template][::3]:
        exposure = changing.expose(visit)
        added = exposure.light - still.expose(visit).light
        for row in _alone(changing.truth(visit, exposure), shape=added.shape, reach=12):
            x, y = round(row["x"]), round(row["y"])
            around = added[y - 12 : y + 13, x - 12 : x + 13]
            rows, columns = np.mgrid[y - 12 : y + 13, x - 12 : x + 13]
            counts = 10 ** (-0.4 * (row["mag"] - exposure.zero_point))
            # Half a per cent of the light lies outside; images are drawn in single precision over a sky of hundreds.
            assert around.sum() == pytest.approx(counts, rel=0.01)
            assert np.average(columns, weights=around) == pytest.approx(row["x"], abs=0.01)
            assert np.average(rows, weights=around) == pytest.approx(row["y"], abs=0.01)
            assert row["flux"] == pytest.approx(10 ** (-0.4 * (row["mag"] - 31.4)))
            n_checked += 1
    assert n_checked >= 5


def _alone(truth, *, shape, reach):
    """Return what shines with its stamp on the image, and nothing else, however faint, that would reach into it."""
    added = truth[truth["kind"] != "variable"]
    apart = np.hypot(*(np.subtract.outer(added[axis], added[axis]) for axis in "xy"))
    inside = [np.abs(2 * added[axis] + 1 - n) < n - 2 * reach - 2 for axis, n in zip("xy", shape[::-1], strict=True)]
    return added[((apart < 3 * reach).sum(axis=1) == 1) & np.logical_and(*inside) & (added["snr"] > 3)]


def test_the_command_writes_frames_and_the_tables_that_go_with_them(tmp_path):
    words = "--nights 3 --fields 1 --supernovae 2 --variables 2 --movers 2 --size 96 --density 90000 --seed 5"

    done = CliRunner().invoke(simulate, [*words.split(), "-o", str(tmp_path)], catch_exceptions=False)

    assert done.exit_code == 0
    curves = pyarrow.parquet.read_table(tmp_path / "truth_light_curves.parquet").to_pydict()
    visits = pyarrow.parquet.read_table(tmp_path / "visits.parquet").to_pydict()
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.fits"))
    assert f"wrote {len(found)} frames" in done.output
    assert sorted(visits["file"]) == found
    assert len(curves["id"]) == 6 * len(found)
    for name, mjd in zip(visits["file"], visits["mjd"], strict=True):
        header = fits.getheader(tmp_path / name)
        middle = Time(header["DATE-OBS"], scale="utc").tai.mjd + 0.5 * header["EXPTIME"] / 86400
        assert middle == pytest.approx(mjd, abs=1e-6)
    predicted = pyarrow.parquet.read_table(tmp_path / "minor_planets.parquet").to_pydict()
    assert set(predicted) == {"name", "ra", "dec", "mjd", "position_error"}
    assert json.loads((tmp_path / "season.json").read_text())["seed"] == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--fields 2", "go with --nights"),
        ("--nights 3 --epochs 2", "leave out one"),
        ("--nights 3 --ra 10", "both --ra and --dec"),
        ("--nights 3 --size 64 --density 1", "are to vary"),
    ],
)
def test_a_season_that_cannot_be_is_refused(tmp_path, arguments, said):
    with pytest.raises(ConfigError, match=said):
        CliRunner().invoke(simulate, [*arguments.split(), "-o", str(tmp_path)], catch_exceptions=False)


@pytest.mark.parametrize(
    "setting",
    [
        {"n_nights": 0},
        {"lost_nights": 1.5},
        {"variable_amplitudes": (0.0, 1.0)},
        {"mover_magnitudes": (20.0, 17.0)},
        {"n_fields": 1, "centres": ((0.0, 0.0), (1.0, 1.0))},
        {"centres": ((0.0, 95.0),)},
        {"n_fields": 63, "visits_per_night": 2},
    ],
)
def test_settings_that_make_no_sense_are_refused(setting):
    with pytest.raises(ConfigError, match="must be"):
        SeasonSettings(**setting)
