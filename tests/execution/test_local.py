"""Worker processes of this machine: limits hold from their start on, and nothing of them is left behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from firstlight.execution.local import LocalExecutor

IMPORTABLE = str(Path(__file__).parent / "importable")


def batch(folder, task, *, number=1, memory_bytes=None, config="{}"):
    """Return a batch that copies numbers."""
    raw = {"type": "raw_number", "storage": "json", "path": str(folder / "raw.json"), "data_id": {}}
    Path(raw["path"]).write_text("1.0")
    quanta = [
        {
            "index": each,
            "data_id": {"instrument": "x", "visit": each, "detector": 0},
            "data_key": f"visit={each}",
            "key": "k",
            "inputs": {"raw": [raw]},
            "outputs": {"corrected": {**raw, "type": "corrected_number", "path": str(folder / f"out{each}.json")}},
            "record_path": str(folder / f"record{each}.json"),
        }
        for each in range(number)
    ]
    return {
        "label": "correct",
        "task": f"trouble:{task}",
        "config": config,
        "several": [],
        "deferred": [],
        "readers": {},
        "resources": {"cores": 1, "memory_bytes": None},
        "limits": {"timeout_s": None, "memory_bytes": memory_bytes},
        "quanta": quanta,
    }


@pytest.fixture
def importable(monkeypatch):
    monkeypatch.syspath_prepend(IMPORTABLE)


def test_a_task_that_hangs_while_it_is_made_is_stopped(tmp_path, importable):
    told: list[object] = []
    with LocalExecutor(1, start_s=2.0) as executor:
        since = time.monotonic()
        [record] = executor.submit(batch(tmp_path, "HangingTask"), told.append).result(timeout=60)
        [after] = executor.submit(batch(tmp_path, "TroubleTask"), told.append).result(timeout=60)

    assert (record["status"], after["status"]) == ("timeout", "done")
    assert "its task was not made within 2 s" in record["error"]["message"]
    assert time.monotonic() - since < 60
    assert told == [record, after]


def test_an_interruption_ends_a_task_that_hangs_while_it_is_made(tmp_path, importable):
    since = time.monotonic()
    with pytest.raises(KeyboardInterrupt), LocalExecutor(1) as executor:  # noqa: PT012 - it is raised inside the block
        future = executor.submit(batch(tmp_path, "HangingTask"), lambda _: None)
        time.sleep(1.0)
        raise KeyboardInterrupt

    assert time.monotonic() - since < 60
    assert [record["status"] for record in future.result(timeout=0)] == ["lost"]


def test_a_worker_does_many_pieces_of_work_and_ends_with_its_executor(tmp_path, importable):
    with LocalExecutor(2) as executor:
        folders = [tmp_path / "a", tmp_path / "b"]
        for folder in folders:
            folder.mkdir()
        futures = [executor.submit(batch(each, "TroubleTask", number=30), lambda _: None) for each in folders]
        records = [record for future in futures for record in future.result(timeout=60)]
        pids = {record["pid"] for record in records}

    assert [record["status"] for record in records] == ["done"] * 60
    assert len(pids) <= 2
    assert os.getpid() not in pids
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
