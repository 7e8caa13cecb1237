"""To which visit each exposure belongs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from firstlight.repo.schema import visit_exposure

if TYPE_CHECKING:
    from firstlight.repo.repo import Repo


def visits_of_exposures(repo: Repo) -> dict[tuple[str, int], int]:
    """Return instrument and exposure -> visit, for every exposure that is part of one."""
    query = sa.select(visit_exposure.c.instrument, visit_exposure.c.exposure, visit_exposure.c.visit)
    with repo.database.read() as connection:
        return {(row.instrument, row.exposure): row.visit for row in connection.execute(query)}
