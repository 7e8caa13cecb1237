"""``firstlight pages`` of differences that nothing followed: candidates show at once, objects when they are there."""

from __future__ import annotations

import re

import pytest

from firstlight.cli.main import run
from firstlight.repo.rows import QuantumRow

from .difference_nights import CAMERA, RUN, make_repo


@pytest.fixture
def root(tmp_path):
    """A repository in which a run made the differences of two nights."""
    with make_repo(tmp_path / "R") as repo:
        repo.chain("night", (RUN,))
        for visit in range(3):
            about = {"instrument": CAMERA, "visit": visit, "detector": 0}
            record = {"data_id": about, "wall_s": 2.0}
            repo.save_quanta(RUN, [QuantumRow("difference", f"{CAMERA},{visit},0", "done", str(visit), record)])
    return tmp_path / "R"


def pages(root):
    assert run(["pages", "night", "-b", str(root), "--night", "20260102"]) == 0
    folder = root / "night/pages/20260102"
    rows = re.findall(r"<tr data-score.*?</tr>", (folder / "candidates.html").read_text(), flags=re.DOTALL)
    return folder, rows


def test_candidates_are_shown_with_stamps_before_they_are_associated(root):
    folder, rows = pages(root)

    # Two candidates in the second image, three in the third one; none belongs to an object yet.
    assert len(rows) == 5
    assert all(row.count("<img") == 3 and row.count('class="marks"') == 1 for row in rows)
    assert not any("objects/" in row for row in rows)
    assert "<span>alerts</span>" not in (folder / "index.html").read_text()
    assert "'firstlight associate' does that" in (folder / "index.html").read_text().replace("&#39;", "'")


def test_objects_are_shown_once_they_are_made_and_what_was_not_kept_is_rejected(root):
    pages(root)
    drawn = {path: path.stat().st_mtime_ns for path in (root / "night/stamps").iterdir()}
    assert run(["associate", "-b", str(root), "-i", "night", "-c", "filter:checks.flags.bad_flags=[is_dipole]"]) == 0

    folder, rows = pages(root)

    kept = [row for row in rows if 'data-rejected="0"' in row]
    assert (len(kept), len(rows)) == (3, 4)
    assert "rejected by checks" in next(row for row in rows if row not in kept)
    numbers = {re.search(r"objects/(\d+)\.html", row)[1] for row in kept}
    assert numbers == {path.stem for path in (folder / "objects").iterdir()}
    assert "1 of 2" in "".join(kept)
    assert len(drawn) == 2
    assert all(path.stat().st_mtime_ns == when for path, when in drawn.items())
