"""Files that arrive in a folder, slowly, late, in pieces."""

import os

import pytest

from firstlight.execution.inbox import Inbox
from firstlight.execution.night_log import NightLog

NOW = 1_000_000.0


def put(path, text="x", *, age=100.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (NOW - age, NOW - age))
    return path


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path, settle_s=5.0)


def test_files_at_rest_are_offered_once_the_oldest_first(inbox, tmp_path):
    late, early = put(tmp_path / "a.fits", age=10), put(tmp_path / "below" / "b.fits.gz", age=20)

    assert inbox.finished(NOW) == [early, late]
    assert inbox.finished(NOW) == []


def test_a_file_that_still_grows_is_not_finished(inbox, tmp_path):
    path = put(tmp_path / "a.fits", "x", age=1)
    assert inbox.has_new()
    assert inbox.finished(NOW) == []
    assert inbox.n_waiting == 1
    assert inbox.has_new()

    put(path, "xx", age=-10)
    assert inbox.finished(NOW + 14) == []  # changed since the last look
    assert inbox.finished(NOW + 16) == [path]
    assert inbox.n_waiting == 0
    assert not inbox.has_new()


def test_a_file_that_is_replaced_is_offered_again(inbox, tmp_path):
    path = put(tmp_path / "a.fits")
    inbox.finished(NOW)
    put(path, "longer", age=50)

    assert inbox.finished(NOW) == []  # just changed
    assert inbox.finished(NOW) == [path]


def test_other_files_and_hidden_ones_are_passed_over(inbox, tmp_path):
    for name in ("notes.txt", ".a.fits", ".tmp/b.fits", "c.fits.part"):
        put(tmp_path / name)

    assert inbox.finished(NOW) == []


def test_a_folder_that_is_gone_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Inbox(tmp_path / "nowhere").finished(NOW)


def test_the_log_of_a_night_comes_back_and_a_damaged_one_is_begun_anew(tmp_path):
    log = NightLog.open(tmp_path / "night" / "night.json")
    entry = log.entry("a.fits", arrived=NOW)
    entry.status, entry.ended = "done", NOW + 12
    log.save()

    assert NightLog.open(log.path).entries == log.entries
    assert log.latencies() == (12.0, 12.0)
    log.path.write_text("{")
    assert NightLog.open(log.path).entries == {}
