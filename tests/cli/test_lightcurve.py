"""``firstlight lightcurve`` finds, prints, draws and writes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import sqlalchemy as sa
from astropy.table import Table

from firstlight.cli.main import run
from firstlight.execution.association import add_visit
from firstlight.images.box import Box
from firstlight.images.catalog import read_catalog
from firstlight.images.exposure import Exposure
from firstlight.images.fields import ChebyshevField
from firstlight.images.mask import Mask
from firstlight.images.psf import GaussianPsf
from firstlight.images.spatial_kernel import MatchingKernel, SpatialKernel
from firstlight.images.wcs import SkyWcs, TanSip
from firstlight.repo import schema
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.light_curves import find_object, light_curve, save_forced_fluxes
from firstlight.repo.objects import VisitKey
from firstlight.repo.regions import Region, add_regions
from firstlight.repo.repo import Repo
from firstlight.repo.rows import QuantumRow
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
        (["1", "2", "-i", "night"], 2, "-i chooses images to measure: give --forced TYPE too"),
        (["1", "2", "-d", "visit = 1"], 2, "-d chooses images to measure: give --forced TYPE too"),
        (["1", "2", "--forced", "difference_image", "--radius", "2"], 2, "--radius looks for an object"),
        (["12", "--forced", "difference_image"], 2, "has no object 12"),
        (["12", "--radius", "5"], 2, "a number says which one it is"),
    ],
)
def test_a_mistake_is_one_line(repo, capsys, what, code, said):
    assert run(["lightcurve", *what, "-b", str(repo.root)]) == code
    assert said in capsys.readouterr().err


def test_a_repository_without_objects_says_how_to_make_them(tmp_path, capsys):
    Repo.create(tmp_path / "empty").close()

    assert run(["lightcurve", "1", "2", "-b", str(tmp_path / "empty")]) == 2
    assert "'firstlight associate" in capsys.readouterr().err


@pytest.fixture
def differences(tmp_path):
    """Three visits of a star of 10,000 nJy; differences of 0, -500 and 2000 nJy, twice as bright as the template."""
    psf, side, kernel = GaussianPsf(sigma=1.5, radius=12), 61, np.zeros((3, 3))
    kernel[1, 1] = 2.0
    wcs = SkyWcs.from_tan_sip(
        TanSip((RA, DEC), (30.0, 30.0), np.diag([-1e-4, 1e-4]), np.zeros((1, 1)), np.zeros((1, 1)))
    )

    def image(flux):
        pixels = np.zeros((side, side), np.float32)
        pixels[18:43, 18:43] = flux * psf.kernel_image(x=30.0, y=30.0)
        return Exposure(
            image=pixels, mask=Mask(np.zeros((side, side), np.int32)), variance=np.full((side, side), 4.0, np.float32),
            unit="nJy", wcs=wcs, psf=psf,
        )  # fmt: skip

    matching = MatchingKernel(
        SpatialKernel.constant(kernel, shape=(side, side)),
        ChebyshevField(Box.of_shape((side, side)), np.zeros((1, 1))),
        "template",
    )
    stars = Table({"flux_ratio": [0.999, 1.0, 1.001, 5.0], "used": [True, True, True, False]})
    with Repo.create(tmp_path / "repo") as made:
        place = ("instrument", "visit", "detector")
        for name, storage in (("difference_image", "exposure"), ("difference_kernel", "matching_kernel"),
                              ("difference_kernel_sources", "table")):  # fmt: skip
            made.register_type(DatasetType(name, place, storage))
        made.register_type(DatasetType("template", ("skymap", "tract", "band"), "exposure"))
        made.make_run("night")
        with made.database.write() as connection:
            rows = [
                {"instrument": "camera", "visit": visit, "day_obs": 20260101, "band": "r", "mjd_tai": 61041.3 + visit}
                for visit in range(3)
            ]
            connection.execute(sa.insert(schema.visit), rows)
            add_regions(connection, [Region("camera", visit, 0, RA, DEC, 0.01) for visit in range(3)])
        for visit, flux in enumerate((0.0, -500.0, 2000.0)):
            own = {"run": "night", "instrument": "camera", "visit": visit, "detector": 0}
            made.put(image(flux), "difference_image", producer=f"difference:{visit}", **own)
            made.put(matching, "difference_kernel", **own)
            made.put(stars, "difference_kernel_sources", **own)
        for run, flux in (("earlier", 7000.0), ("used", 10_000.0)):
            made.make_run(run)
            template = made.put(image(flux), "template", run=run, skymap="s", tract=0, band="r")
        read = {"inputs": {"template": [{"type": "template", "path": str(template.path)}]}}
        made.save_quanta("night", [QuantumRow("difference", str(visit), "done", "", read) for visit in range(3)])
        yield made


def test_every_image_is_measured_at_a_place_on_the_scale_of_the_template(differences, tmp_path, capsys):
    table, plot = tmp_path / "curve.parquet", tmp_path / "curve.png"
    options = ["--forced", "difference_image", "-o", str(table), "--plot", str(plot)]

    assert run(["lightcurve", str(RA), str(DEC), "-b", str(differences.root), *options]) == 0

    curve = read_catalog(table)
    assert "3 images" in capsys.readouterr().out
    assert list(curve["mjd"]) == pytest.approx([61041.3, 61042.3, 61043.3])
    assert list(curve["flux"]) == pytest.approx([0.0, -250.0, 1000.0], abs=0.1)
    assert list(curve["total_flux"]) == pytest.approx([10_000.0, 9750.0, 11_000.0], rel=1e-4)
    assert curve["mag"][2] == pytest.approx(31.4 - 2.5 * np.log10(11_000.0), abs=1e-3)
    # Noise of the pixels on half the scale, and the error of the scale of three stars times the flux of the template.
    pixels = 2.0 / np.sqrt(np.sum(GaussianPsf(sigma=1.5, radius=12).kernel_image(x=0.0, y=0.0) ** 2)) / 2.0
    scale = 1.2533 * 1.4826 * 0.001 / np.sqrt(3) * 10_000.0
    assert list(curve["flux_err"]) == pytest.approx([np.hypot(pixels, scale)] * 3, rel=1e-3)
    assert not curve["flag"].any()
    assert plot.read_bytes()[:4] == b"\x89PNG"


def test_a_repository_that_was_moved_still_knows_its_templates(differences, tmp_path, capsys):
    differences.close()
    differences.root.rename(tmp_path / "elsewhere")

    assert (
        run(["lightcurve", str(RA), str(DEC), "-b", str(tmp_path / "elsewhere"), "--forced", "difference_image"]) == 0
    )
    assert "no total flux" not in capsys.readouterr().out


def test_the_place_of_an_object_is_measured_by_its_number(differences, capsys):
    key = VisitKey(61041.3, "camera", 0, 0)
    add_visit(differences, AssociateTask(), Table({"id": [1], "ra": [RA], "dec": [DEC]}), key=key, band="r")

    number = str(_number(differences)[0])
    assert run(["lightcurve", number, "-b", str(differences.root), "--forced", "difference_image"]) == 0
    assert f"3 images at ra {RA:.6f}, dec {DEC:+.6f}, 0 flagged" in capsys.readouterr().out


def test_without_the_template_that_was_used_there_is_no_total_flux(differences, capsys):
    differences.remove_run("used")

    assert run(["lightcurve", str(RA), str(DEC), "-b", str(differences.root), "--forced", "difference_image"]) == 0

    said = capsys.readouterr().out
    assert "3 whose template is not known, gone, or has no good pixels there: no total flux" in said


def test_a_place_that_no_image_shows_is_told(differences, capsys):
    options = ["--forced", "difference_image", "-b", str(differences.root)]

    assert run(["lightcurve", "10", "10", *options]) == 3
    assert "None of 3 difference_image shows ra 10, dec 10" in capsys.readouterr().err
