"""A template of each field of a repository."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from firstlight.errors import PipelineError, RepoError
from firstlight.execution.planner import make_plan
from firstlight.framework import Pipeline
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.pixel_grid import PixelGrid
from firstlight.images.psf import GaussianPsf
from firstlight.images.wcs import SkyWcs
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.repo import Repo
from firstlight.repo.skymaps import register_fields
from firstlight.simulation import SimulationSettings, write_night

from .test_images import firstlight

EPOCHS = 3


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a repository in which calibrated images of one field are."""
    folder = tmp_path_factory.mktemp("tracts")
    settings = SimulationSettings().varied(shape=(200, 220), header_wcs="exact")
    paths = write_night(folder / "raw", settings, seed=5, n_epochs=EPOCHS)[:EPOCHS]
    firstlight(folder, "repo", "create", "repo")
    firstlight(folder, "ingest", "-b", "repo", *paths)
    with Repo.open(folder / "repo") as repo:
        kind = DatasetType("preliminary_visit_image", ("instrument", "visit", "detector"), "exposure")
        repo.register_type(kind)
        repo.make_run("night")
        for row in repo.datasets("raw", collections=[each.name for each in repo.collections() if each.kind == "RUN"]):
            with fits.open(row.path) as file:
                image, header = file[0].data.astype(np.float32), file[0].header
            level = float(np.median(image))
            exposure = Exposure(
                image=image - level,
                mask=Mask.empty(image.shape),
                variance=np.full(image.shape, 1.4826**2 * np.median(np.abs(image - level)) ** 2),
                unit="nJy",
                wcs=SkyWcs.from_header(header),
                psf=GaussianPsf(sigma=1.0, radius=9),
            )
            repo.put(
                exposure,
                "preliminary_visit_image",
                run="night",
                instrument=row.data_id["instrument"],
                visit=row.data_id["exposure"],
                detector=0,
            )
    return folder


def plan(repo, *collections):
    return make_plan(Pipeline.load("template.yaml").build(), repo, collections=collections)


def test_images_of_a_field_become_one_template_on_its_tract(place):
    firstlight(place, "skymap", "register", "-b", "repo", "fields", "-i", "night", "--scale", "1.0")
    firstlight(place, "run", "-b", "repo", "-p", "template.yaml", "-i", "night", "-i", "skymaps/fields", "-o", "t")

    with Repo.open(place / "repo") as repo:
        (row,) = repo.datasets("template", collections="t")
        assert dict(row.data_id) == {"skymap": "fields", "tract": 0, "band": "r"}
        template = repo.read(row)
        inputs = repo.get("template_inputs", collections="t", skymap="fields", tract=0, band="r")
        grid = repo.get("tract_grid", collections="skymaps/fields", skymap="fields", tract=0)
    assert isinstance(template, Exposure)
    assert isinstance(grid, PixelGrid)
    assert template.shape == grid.shape
    assert template.wcs == grid.wcs
    assert grid.pixel_scale == pytest.approx(1.0, rel=1e-4)
    assert len(inputs) == EPOCHS
    assert template.header["NINPUT"] == sum(inputs["used"]) >= 2


def test_an_image_is_part_of_the_work_of_every_tract_that_it_touches_and_of_no_other(place):
    with Repo.open(place / "repo") as repo:
        (made,) = register_fields(repo, "many", images="preliminary_visit_image", collections=["night"])
        _, grid, count = made
        assert count == EPOCHS
        for tract, shift in ((1, 30.0), (2, 5000.0)):
            moved = PixelGrid(grid.shape, grid.wcs.shifted(x=shift, y=0.0))
            repo.put(moved, "tract_grid", run="skymaps/many", skymap="many", tract=tract)

        planned = plan(repo, "night", "skymaps/many")

        assert [each.data_id["tract"] for each in planned.quanta] == [0, 1]
        assert [len(each.inputs[0]) for each in planned.quanta] == [EPOCHS, EPOCHS]
        with pytest.raises(RepoError, match="'many' is there already"):
            register_fields(repo, "many", images="preliminary_visit_image", collections=["night"])


def test_without_tracts_the_plan_says_how_to_make_them(place):
    with Repo.open(place / "repo") as repo, pytest.raises(PipelineError, match="firstlight skymap register"):
        plan(repo, "night")
