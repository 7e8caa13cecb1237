"""What a repository knows of its files goes with it to another folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Table

from firstlight.execution.provenance import place_now, provenance_of, text_of
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.repo import Repo
from firstlight.repo.rows import QuantumRow


def test_a_repository_that_was_moved_still_tells_what_made_its_files(tmp_path):
    table = Table({"x": np.zeros(2)})
    with Repo.create(tmp_path / "before") as repo:
        for name in ("first", "second"):
            repo.register_type(DatasetType(name, ("instrument",), "table"))
        repo.make_run("night/1")
        paths = {name: repo.put(table, name, run="night/1", instrument="c").path for name in ("first", "second")}
        record = {
            "status": "done",
            "inputs": {"first": [{"type": "first", "path": str(paths["first"])}]},
            "outputs": [{"type": "second", "path": str(paths["second"]), "data_id": {"instrument": "c"}}],
        }
        repo.save_quanta("night/1", [QuantumRow("double", "c", "done", "", record)])
    (tmp_path / "before").rename(tmp_path / "after")

    with Repo.open(tmp_path / "after") as repo:
        now = {name: tmp_path / "after" / path.relative_to(tmp_path / "before") for name, path in paths.items()}
        found = provenance_of(repo, now["second"])
        assert found.label == "double"
        assert any(line.endswith(f"read first: {now['first']}") for line in text_of(repo, found))


def test_a_file_outside_of_the_repository_stays_where_it_was(tmp_path):
    (tmp_path / "repo").mkdir()

    assert place_now("/data/raw/a.fits", root=tmp_path / "repo") == Path("/data/raw/a.fits")
