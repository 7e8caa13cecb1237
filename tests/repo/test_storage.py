"""Objects of every class come back from their files exactly, and never through pickle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from firstlight.errors import OutputError, RepoError, UserError
from firstlight.images.aperture_correction import ApertureCorrection, ApertureCorrectionMap
from firstlight.images.background import BackgroundList, MeshBackground
from firstlight.images.box import Box
from firstlight.images.exposure import Exposure
from firstlight.images.fields import ChebyshevField
from firstlight.images.footprint import Footprints
from firstlight.images.mask import Mask
from firstlight.images.photo_calib import PhotoCalib
from firstlight.images.psf import GaussianPsf, MoffatPsf, Psf
from firstlight.images.wcs import SkyWcs, TanSip
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.storage import find_storage, known_storages, storage_of

FIELD = ChebyshevField(Box(0, 0, 32, 24), np.array([[1.0, 0.1 / 3], [-0.0, 1e-300]]))
GRID = np.array([[1.0, math.nan], [math.inf, 1 / 3]])
MESH = MeshBackground((24, 32), values=GRID, variance=GRID, method="spline", coefficients=np.eye(2) / 7)
ZEROS = np.zeros((3, 3))
MODELS: dict[str, list[Any]] = {
    "background": [BackgroundList(), BackgroundList([MESH, MESH.scaled(1 / 3)])],
    "photo_calib": [PhotoCalib(1 / 3), PhotoCalib(1e-3, 1e-5, FIELD)],
    "wcs": [SkyWcs.from_tan_sip(TanSip((10.1, -20.2), (24.5, 30.0), np.eye(2) * 1e-4 / 3, ZEROS, ZEROS))],
    "psf": [GaussianPsf(sigma=5 / 3, radius=8), MoffatPsf(fwhm=2.2, beta=3.0, radius=9, e1=0.06, e2=-0.04)],
    "aperture_corrections": [ApertureCorrectionMap({"psf_inst_flux": ApertureCorrection(FIELD, 0.1)})],
    "mask": [Mask(np.arange(12, dtype=np.int32).reshape(3, 4)), Mask(np.ones((9, 70), np.int32), planes={"ODD": 0})],
    "json": [1 / 3, -math.inf, 2**70, "ж\n", True, None, (1, (2.5, "a")), {"a": {"b": (1, None)}}, {}, ()],
}


@pytest.mark.parametrize(
    ("storage", "value"), [(name, value) for name, values in MODELS.items() for value in values], ids=str
)
def test_a_model_comes_back_exactly_and_equal_ones_make_equal_files(tmp_path, storage, value):
    kept = find_storage(storage)
    one, two = tmp_path / f"1{kept.suffix}", tmp_path / f"2{kept.suffix}"
    kept.write(value, one)
    back = kept.read(one)
    kept.write(back, two)

    assert back == value
    assert type(back) is type(value)
    assert one.read_bytes() == two.read_bytes()
    assert storage_of(type(value)) is kept


def test_footprints_come_back_with_their_peaks(tmp_path):
    labels = np.zeros((6, 7), dtype=np.int32)
    labels[1:3, 2:5], labels[4, 4] = 1, 2
    peaks = Table({"id": [2**60 + 1, 2**60 + 2], "footprint": [1, 2], "x": [3, 4], "y": [1, 4], "value": [9.5, 8.0]})
    kept = storage_of(Footprints)
    kept.write(Footprints(labels, peaks), tmp_path / f"one{kept.suffix}")
    back = kept.read(tmp_path / f"one{kept.suffix}")

    assert kept.name == "footprints"
    np.testing.assert_array_equal(back.labels, labels)
    for name in peaks.colnames:
        np.testing.assert_array_equal(back.peaks[name], peaks[name])


def test_an_exposure_and_a_table_come_back(repo):
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    exposure = Exposure(image=image, mask=Mask(np.ones((3, 4), dtype=np.int32)), variance=image + 1, unit="nJy")
    table = Table({"ra": [1.0, 2.0] * u.deg, "name": ["a", "bc"]}, meta={"n": 2})
    repo.register_type(DatasetType("visit_image", ("instrument", "visit"), storage_of(Exposure).name))
    repo.make_run("run")
    repo.put(exposure, "visit_image", run="run", instrument="cam", visit=1)
    repo.put(table, "catalog", run="run", instrument="cam", visit=1)

    back = repo.get("visit_image", collections="run", instrument="cam", visit=1)
    assert isinstance(back, Exposure)
    np.testing.assert_array_equal(back.image, image)
    np.testing.assert_array_equal(back.mask.array, 1)
    assert back.unit == "nJy"
    rows = repo.get("catalog", collections="run", instrument="cam", visit=1)
    assert isinstance(rows, Table)
    assert rows["ra"].unit == u.deg
    assert list(rows["name"]) == ["a", "bc"]
    assert rows.meta == {"n": 2}
    assert not repo.check()


def test_an_annotation_leads_to_its_storage():
    found = {each: storage_of(each).name for each in (float, tuple[int, ...], Mapping[str, float], Table, Psf)}

    assert list(found.values()) == ["json", "json", "json", "table", "psf"]
    for unknown in (object, Any, set):
        with pytest.raises(RepoError, match=r"a package adds one in the entry-point group 'firstlight\.storages'"):
            storage_of(unknown)


@pytest.mark.parametrize("value", [{1: 2}, (1j,), {"a": {1}}, {"float": "nan"}, ([object()],)])
def test_what_would_not_come_back_is_refused_and_leaves_no_file(repo, value):
    repo.make_run("run")

    with pytest.raises(RepoError, match="Storage 'json' cannot keep this"):
        repo.put(value, "note", run="run")
    assert [path.name for path in repo.root.rglob("*.json")] == []
    assert repo.datasets("note", collections="run") == []


class OwnPsf(GaussianPsf):
    """A class that no package registers."""


def test_a_psf_that_no_package_registers_is_refused(tmp_path):
    with pytest.raises(RepoError, match="no package registers its class"):
        find_storage("psf").write(OwnPsf(sigma=1.0, radius=5), tmp_path / "psf.json")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"format":1}', '{"format":9,"models":[]}', '{"format":1,"models":[{"class":"X"}]}', "\0", "1"],
)
@pytest.mark.parametrize("storage", ["background", "photo_calib", "wcs", "psf", "aperture_corrections"])
def test_a_file_of_something_else_is_one_line(tmp_path, storage, content):
    path = tmp_path / "model.json"
    path.write_text(content)

    with pytest.raises(RepoError) as caught:
        find_storage(storage).read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("storage", ["photo_calib", "wcs", "psf", "aperture_corrections"])
def test_a_file_without_its_model_is_one_line(tmp_path, storage):
    path = tmp_path / "model.json"
    path.write_text('{"format":1,"models":[]}')

    with pytest.raises(RepoError, match="holds 0 models where one should be"):
        find_storage(storage).read(path)


@pytest.mark.parametrize("storage", known_storages())
def test_a_file_that_is_not_there_is_one_line(tmp_path, storage):
    with pytest.raises(RepoError, match="is not there any more"):
        find_storage(storage).read(tmp_path / "nothing")


@pytest.mark.parametrize("storage", [name for name in known_storages() if name != "raw"])
def test_nothing_is_unpickled(tmp_path, storage):
    path = tmp_path / f"evil{find_storage(storage).suffix}"
    path.write_bytes(b"cos\nsystem\n(S'echo no > " + str(tmp_path / "ran").encode() + b"'\ntR.")

    with pytest.raises(UserError):
        find_storage(storage).read(path)
    assert not (tmp_path / "ran").exists()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(OutputError, match="Cannot write"):
        find_storage("json").write(1, tmp_path / "no folder" / "x.json")
