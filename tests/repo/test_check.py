"""Whatever happened to the files of a repository is found, and nothing else is complained about."""

from __future__ import annotations

import pytest

from firstlight.repo.rows import Problem

from .test_repo import ONE


@pytest.fixture
def rows(repo):
    repo.make_run("u/jane/1")
    return [repo.put(detector, "number", run="u/jane/1", **ONE | {"detector": detector}) for detector in range(4)]


def test_a_whole_repository_has_no_problems(repo, rows):
    notes = repo.root / "u/jane/1" / "records"
    notes.mkdir()
    (notes / "isr_instrument-cam.json").write_text("{}")
    (repo.root / "u/jane/1" / "pipeline.yaml").write_text("")

    assert repo.check() == []


def test_every_kind_of_damage_is_found_and_named(repo, rows):
    rows[0].path.unlink()
    rows[1].path.write_text("7\n")
    rows[2].path.write_text("a longer text\n")
    orphan = rows[3].path.with_name("number_cam_1_9.json")
    orphan.write_text("1\n")
    unfinished = rows[3].path.with_name(".0123456789ab.part.json")
    unfinished.write_text("")

    found = repo.check()
    assert [(each.kind, each.path) for each in found] == [
        ("missing", rows[0].path),
        ("checksum", rows[1].path),
        ("checksum", rows[2].path),
        ("temporary", unfinished),
        ("orphaned", orphan),
    ]
    assert all(each.advice.endswith(".") for each in found)
    assert str(found[0]) == (
        f"missing: {rows[0].path}: the file is gone; put it back, or prune the dataset and make it again."
    )
    quick = repo.check(checksums=False)
    assert [each for each in found if each.path != rows[1].path] == quick


def test_what_the_advice_says_helps(repo, rows):
    rows[0].path.unlink()
    repo.prune("number", collections="u/jane/1", where="detector = 0")
    repo.put(0, "number", run="u/jane/1", **ONE | {"detector": 0})

    assert repo.check() == []


def test_a_file_left_by_a_crash_does_not_stop_the_next_try(repo, rows):
    left = repo.path_for("u/jane/1", "number", ONE | {"detector": 8})
    left.write_text("half")
    assert repo.check() == [Problem("orphaned", left, repo.check()[0].advice)]
    repo.put(8, "number", run="u/jane/1", **ONE | {"detector": 8})

    assert repo.get("number", collections="u/jane/1", **ONE | {"detector": 8}) == 8
    assert repo.check() == []
