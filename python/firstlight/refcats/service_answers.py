"""What services of the network answer: a table, an empty sky, or why they refuse."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import Any

from astropy.io import votable
from astropy.table import Table
from astropy.utils.exceptions import AstropyWarning

EMPTY_SKY = "No solar system object was found"
"""How SkyBoT says that it knows of none."""

LONGEST_REASON = 200
"""Letters that are repeated of what a service or the network says."""


def table_of(answer: Any) -> Table:
    """Return the table in the answer of a service; an empty one where nothing was found.

    Raises
    ------
    OSError
        If the service was asked in vain, and says so by the status of the answer or inside of it: VizieR by lines that
        begin with ``****``, SkyBoT by a ``QUERY_STATUS`` that it also uses for an empty sky.
    ValueError
        If the answer is no VOTable.
    """
    answer.raise_for_status()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        document = votable.parse(BytesIO(answer.content), verify="ignore")
        for info in document.iter_info():
            said = " ".join(f"{info.content or ''}".split())
            if EMPTY_SKY in said:
                return Table()
            if info.name == "QUERY_STATUS" and info.value == "ERROR":
                raise OSError(said or "it gave no reason")
            if info.ID == "Errors" and "****" in said:
                raise OSError(said.replace("****", "").strip())
        tables = list(document.iter_tables())
        return tables[0].to_table() if tables else Table()


def why_in_vain(error: BaseException) -> str:
    """Return why a service was asked in vain, in a few words: of a chain of errors, what the first one says."""
    while error.__context__ is not None:
        error = error.__context__
    said = " ".join(str(error).split()) or type(error).__name__
    return said[:LONGEST_REASON]
