"""``firstlight pages`` of differences that nothing followed: candidates show at once, objects when they are there."""

from __future__ import annotations

import re

import pytest

from firstlight.cli.main import run
from firstlight.cli.night_images import FollowedImages
from firstlight.execution.follow import CANDIDATES
from firstlight.execution.follow_log import FollowedImage
from firstlight.repo.repo import Repo
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


@pytest.mark.parametrize("damage", ["cut off", "deleted"])
def test_an_image_that_cannot_be_read_is_shown_without_stamps_and_the_others_with_theirs(root, damage, capsys):
    spoil(root, "difference_image", damage)

    _, rows = pages(root)

    assert [row.count("<img") for row in rows].count(0) == 3
    assert [row.count("<img") for row in rows].count(3) == 2
    assert "no_stamps" in capsys.readouterr().err
    assert not list((root / "night/stamps").glob("camera_2_*"))


def test_candidates_that_cannot_be_read_fail_their_exposure_and_not_the_page(root):
    spoil(root, "dia_source", "cut off")

    folder, rows = pages(root)

    assert len(rows) == 2
    assert "cannot be read as a catalogue" in (folder / "index.html").read_text()


def test_followed_candidates_that_cannot_be_read_are_none(tmp_path):
    (tmp_path / CANDIDATES).mkdir()
    (tmp_path / CANDIDATES / "camera_2_0.parquet").write_bytes(b"PAR1 and no more")

    found = FollowedImages(tmp_path).table(FollowedImage("camera_2_0", CAMERA, 2, 0, RUN, "checksum"))

    assert len(found) == 0


def spoil(root, kind, damage):
    """Damage the file of the last visit, which has three candidates."""
    with Repo.open(root) as repo:
        path = repo.find(kind, collections=RUN, instrument=CAMERA, visit=2, detector=0).path
    path.chmod(0o644)
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


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
