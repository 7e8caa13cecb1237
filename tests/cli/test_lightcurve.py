"""``firstlight lightcurve`` finds, prints, draws and writes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.table import Table

from firstlight.cli.main import run
from firstlight.execution.association import add_visit
from firstlight.images.catalog import read_catalog
from firstlight.repo.light_curves import find_object, light_curve, save_forced_fluxes
from firstlight.repo.objects import VisitKey
from firstlight.repo.repo import Repo
from firstlight.tasks.associate import AssociateTask

RA, DEC = 359.99999, -89.0
FLUXES = (5000.0, -900.0, 3000.0)


@pytest.fixture
def repo(tmp_path):
    with Repo.create(tmp_path / "repo") as made:
        for number, flux in enumerate(FLUXES):
            key = VisitKey(60000.25 + number, "camera", number, 0)
            table = Table({"id": [1], "ra": [RA], "dec": [DEC], "flux": [flux], "flux_err": [100.0], "score": [0.9]})
            add_visit(made, AssociateTask(), table, key=key, band="gr"[number % 2])
        forced = VisitKey(60003.25, "camera", 9, 0)
        save_forced_fluxes(
            made, forced, band="g", object_ids=_number(made), flux=np.array([120.0]), flux_err=np.array([100.0])
        )
        yield made


def _number(repo):
    from firstlight.repo.light_curves import find_objects

    return np.asarray(find_objects(repo, ra=RA, dec=DEC, radius=1.0)["id"])


def test_detections_and_limits_are_told_in_the_order_of_time(repo):
    curve = light_curve(repo, int(_number(repo)[0]))

    assert list(curve["kind"]) == ["detection"] * 3 + ["forced"]
    assert list(curve["flux"]) == [*FLUXES, 120.0]
    assert curve["mag"][0] == pytest.approx(31.4 - 2.5 * np.log10(5000.0))
    assert np.isnan(curve["mag"][[1, 3]]).all()
    assert curve["limit_mag"][3] == pytest.approx(31.4 - 2.5 * np.log10(500.0))


def test_a_late_image_renames_an_object_and_its_old_name_still_finds_it(repo):
    old = int(_number(repo)[0])
    earlier = VisitKey(59990.0, "camera", 77, 0)
    add_visit(repo, AssociateTask(), Table({"id": [1], "ra": [RA], "dec": [DEC]}), key=earlier, band="g")

    found = find_object(repo, old)

    assert found["id"][0] != old
    assert found["n_detections"][0] == 4
    assert list(light_curve(repo, int(found["id"][0]))["kind"]) == ["detection"] * 4 + ["forced"]


@pytest.mark.parametrize("by_place", [True, False])
def test_the_command_prints_draws_and_writes(repo, tmp_path, capsys, by_place):
    what = [f"{RA}", f"{DEC}"] if by_place else [str(_number(repo)[0])]
    table, plot = tmp_path / "curve.parquet", tmp_path / "curve.png"

    code = run(["lightcurve", *what, "-b", str(repo.root), "-o", str(table), "--plot", str(plot)])

    said = capsys.readouterr().out
    assert code == 0
    assert "3 detections from MJD 60000.25000 to 60002.25000" in said
    assert "22.1526" in said
    assert plot.read_bytes()[:4] == b"\x89PNG"
    assert read_catalog(table)["flux"].unit == "nJy"


def test_json_lines_say_what_is_not_known(repo, capsys):
    assert run(["lightcurve", str(_number(repo)[0]), "-b", str(repo.root), "--json"]) == 0

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["mag"] is None for row in rows] == [False, True, False, True]


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        (["12"], 2, "has no object 12"),
        (["10", "10"], 3, "No object lies within 3 arcsec"),
        (["400", "10"], 2, "RA is 0 to 360"),
        (["M31"], 2, "neither the number of an object nor RA DEC"),
        (["1", "2", "3"], 2, "neither the number of an object nor RA DEC"),
    ],
)
def test_a_mistake_is_one_line(repo, capsys, what, code, said):
    assert run(["lightcurve", *what, "-b", str(repo.root)]) == code
    assert said in capsys.readouterr().err


def test_a_repository_without_objects_says_how_to_make_them(tmp_path, capsys):
    Repo.create(tmp_path / "empty").close()

    assert run(["lightcurve", "1", "2", "-b", str(tmp_path / "empty")]) == 2
    assert "'firstlight associate" in capsys.readouterr().err
