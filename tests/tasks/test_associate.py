import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from firstlight.errors import InputError
from firstlight.tasks.associate import AssociateConfig, AssociateTask, empty_objects

ARCSEC = 1 / 3600


def candidates(ra, dec, *, first_id=1, error=0.1):
    n = len(ra)
    error = np.full(n, error * ARCSEC)
    return Table({"id": np.arange(first_id, first_id + n), "ra": ra, "dec": dec, "ra_err": error, "dec_err": error})


def test_what_belongs_to_no_object_becomes_one_with_its_number():
    result = AssociateTask().run(candidates([10.0, 10.1], [80.0, 80.0], first_id=7), empty_objects(), mjd=60000.0)

    assert result.object_ids.tolist() == [7, 8] == list(result.objects["id"])
    assert list(result.objects["n_detections"]) == [1, 1]
    assert result.objects["ra"].unit == u.deg
    # 0.1 arcsec and the floor of 0.05 arcsec, in quadrature.
    assert result.objects["ra_err"][0] == pytest.approx(np.hypot(0.1, 0.05) * ARCSEC)


def test_what_is_seen_again_moves_its_object_by_its_weight():
    task = AssociateTask()
    first = task.run(candidates([10.0], [0.0], first_id=7), empty_objects(), mjd=60000.0).objects
    again = task.run(candidates([10.0], [0.4 * ARCSEC], first_id=9), first, mjd=60001.0)

    assert again.object_ids.tolist() == [7]
    assert again.objects["dec"][0] == pytest.approx(0.2 * ARCSEC)
    assert (again.objects["n_detections"][0], again.objects["first_mjd"][0], again.objects["last_mjd"][0]) == (
        2,
        60000.0,
        60001.0,
    )
    assert again.separation[0] == pytest.approx(0.4)


def test_bodies_of_the_solar_system_come_first_and_make_no_objects():
    task = AssociateTask()
    known = task.run(candidates([10.0, 20.0], [0.0, 0.0]), empty_objects(), mjd=60000.0).objects
    bodies = Table({"name": ["Ceres"], "ra": [10.0], "dec": [0.5 * ARCSEC]})

    result = task.run(candidates([10.0, 20.0], [0.0, 0.0], first_id=5), known, mjd=60001.0, solar_system=bodies)

    assert result.solar_system.tolist() == ["Ceres", ""]
    assert result.object_ids.tolist() == [0, 2]
    assert list(result.objects["id"]) == [2]
    assert dict(result.funnel.steps) == {
        "candidates": 2,
        "with a position": 2,
        "not of the solar system": 1,
        "new": 0,
    }


def test_faint_candidates_on_coarse_pixels_find_their_objects():
    # 0.4 arcsec: signal-to-noise ratio 5 on pixels of 1 arcsec, in a seeing of 3.
    n, error, rng = 2000, 0.4, np.random.default_rng(1)
    east, north = error * ARCSEC * rng.normal(size=(2, 2, n))
    ra, task = 60 * ARCSEC * np.arange(n), AssociateTask()
    known = task.run(candidates((ra + east[0]) % 360, north[0], error=error), empty_objects(), mjd=60000.0).objects

    again = task.run(candidates((ra + east[1]) % 360, north[1], error=error, first_id=n + 1), known, mjd=60001.0)

    # Offsets beyond 2.5 arcsec have a probability of exp(-2.5**2 / 2 / 0.325) = 7e-5.
    assert np.sum(again.object_ids != np.arange(1, n + 1)) <= 2


def test_candidates_without_a_position_stay_alone():
    result = AssociateTask().run(candidates([np.nan, 5.0], [0.0, np.inf]), empty_objects(), mjd=60000.0)

    assert result.object_ids.tolist() == [0, 0]
    assert len(result.objects) == 0


def test_no_candidates_are_no_mistake():
    result = AssociateTask().run(candidates([], []), empty_objects(), mjd=60000.0)

    assert len(result.object_ids) == len(result.objects) == len(result.solar_system) == 0


def test_units_of_columns_are_kept_in_mind():
    table = candidates([10.0], [0.0])
    table["ra_err"] = [100.0] * u.mas

    result = AssociateTask().run(table, empty_objects(), mjd=60000.0)

    assert result.objects["ra_err"][0] == pytest.approx(result.objects["dec_err"][0])


def test_a_table_without_positions_is_refused_in_one_line():
    with pytest.raises(InputError, match="has no column 'dec'; it has id, ra"):
        AssociateTask().run(Table({"id": [1], "ra": [2.0]}), empty_objects(), mjd=60000.0)


def test_so_many_new_objects_that_they_must_be_artefacts_are_a_warning():
    task = AssociateTask(AssociateConfig(warn_new=10))

    gate = task.run(candidates(np.arange(20.0), np.zeros(20)), empty_objects(), mjd=60000.0).gates[0]

    assert (gate.name, gate.value, gate.status) == ("new_objects", 20.0, "warn")


def test_a_number_that_an_object_has_already_is_refused():
    known = AssociateTask().run(candidates([10.0], [0.0]), empty_objects(), mjd=60000.0).objects

    with pytest.raises(InputError, match="object 1 is there already"):
        AssociateTask().run(candidates([50.0], [0.0]), known, mjd=60001.0)
