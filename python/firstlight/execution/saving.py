"""Records of finished work into the database, and taking over what an interrupted driver left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from firstlight.execution.run_folder import RunFolder
from firstlight.execution.work import SETTLED, Record
from firstlight.framework import DataId
from firstlight.repo.repo import Repo
from firstlight.repo.rows import NewDataset, QuantumRow

CALIBRATED = "preliminary_visit_image"
"""The dataset type whose solution tells where an image lies."""


def save_records(repo: Repo, run: str, records: Sequence[Record]) -> None:
    """Write datasets and quanta of ``records`` into the database, and where images really lie."""
    repo.insert(run, [row for record in records for row in _datasets(repo, record)])
    _solve_regions(repo, records)
    repo.save_quanta(run, [_quantum(record) for record in records])


def _solve_regions(repo: Repo, records: Sequence[Record]) -> None:
    outputs = [output for record in records for output in record["outputs"]]
    solved = [each for each in outputs if each["type"] == CALIBRATED and "region" in each]
    if not solved:
        return
    from firstlight.repo.regions import solve_region

    for output in solved:
        data_id = output["data_id"]
        solve_region(
            repo,
            instrument=data_id["instrument"],
            visit=data_id["visit"],
            detector=data_id["detector"],
            **output["region"],
            summary=output.get("summary"),
        )


def adopt(repo: Repo, run: str) -> int:
    """Take over what is finished in an unfinished RUN and not in the database yet, and delete the rest.

    Returns
    -------
    Number of pieces of work that were taken over.
    """
    folder = RunFolder(repo.root, run)
    known = {(row.label, row.data_key): row.status for row in repo.quanta(run)}
    whole = [record for record in folder.records() if record["status"] in SETTLED and _is_whole(record)]
    new = [record for record in whole if known.get((record["label"], record["data_key"])) not in SETTLED]
    there = _paths(repo, run)
    rows = [row for record in new for row in _datasets(repo, record) if str(row.path) not in there]
    repo.insert(run, rows)
    _solve_regions(repo, new)
    repo.save_quanta(run, [_quantum(record) for record in new])
    keep = _paths(repo, run)
    keep |= {folder.record_path(record["label"], record["data_key"]) for record in whole}
    keep |= {folder.record_path(label, data_key) for label, data_key in known}
    folder.clear(keep)
    return len(new)


def _paths(repo: Repo, run: str) -> set[str]:
    """Return the files of all datasets that the database has in a RUN."""
    return {
        row.location for name in repo.type_names() for row in repo.datasets(name, collections=run) if row.run == run
    }


def _is_whole(record: Record) -> bool:
    """Return whether every file that a record names is there in its full size."""
    return all(_size(Path(output["path"])) == output["size"] for output in record["outputs"])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _datasets(repo: Repo, record: Record) -> Iterable[NewDataset]:
    for output in record["outputs"]:
        yield NewDataset(
            type=output["type"],
            data_id=DataId(output["data_id"]).only(repo.dataset_type(output["type"]).known_dimensions),
            path=Path(output["path"]),
            size=output["size"],
            checksum=output["checksum"],
            partial=output["partial"],
            producer=f"{record['label']}:{record['data_key']}",
        )


def _quantum(record: Record) -> QuantumRow:
    kept: dict[str, Any] = {name: value for name, value in record.items() if name != "log"}
    return QuantumRow(
        label=record["label"],
        data_key=record["data_key"],
        status=record["status"],
        input_key=record["input_key"],
        record=kept,
    )
