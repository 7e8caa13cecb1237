"""The page on PostgreSQL does what it shows, on a real server."""

from __future__ import annotations

import pytest
from tests.repo.server import postgresql_server, server_folder

from .pages import DOC
from .running import run_page


@pytest.mark.slow
def test_the_page_on_postgresql_does_what_it_shows(tmp_path, monkeypatch):
    page = DOC / "how_to" / "use_postgresql.md"
    programs = server_folder()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed ('apt-get install postgresql')")
    with postgresql_server(programs) as address:
        monkeypatch.setenv("FIRSTLIGHT_POSTGRESQL", address)
        run_page(page.read_text(), name=str(page), folder=tmp_path)

    assert f"database: {address}" in (tmp_path / "survey" / "repo.yaml").read_text()
