"""``firstlight demo`` compares with the truth and says so."""

from __future__ import annotations

import pytest

from firstlight.cli.main import run


@pytest.mark.slow
def test_the_demo_keeps_its_limits_and_names_its_page(tmp_path, capsys):
    assert run(["demo", "-o", str(tmp_path), "--seed", "1"]) == 0
    shown = capsys.readouterr().out
    compared = shown.partition("compared with the truth")[2]

    for what in ("astrometry", "photometry", "PSF", "completeness"):
        assert what in compared
    assert f"page: {tmp_path / 'epoch_0.html'}" in shown
    assert (tmp_path / "epoch_0.html").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "taken").touch()

    assert run(["demo", "-o", str(tmp_path / "taken")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
