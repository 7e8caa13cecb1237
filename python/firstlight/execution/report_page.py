"""The report of a run as one HTML file that needs nothing else."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import jinja2

from firstlight.execution.report import Report
from firstlight.execution.report_exposures import COLUMNS, cells_of
from firstlight.images.atomic import write_text_atomically

TEMPLATE = "report_page.html"


def write_report_page(report: Report, path: Path) -> None:
    """Write ``report`` as a page.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    text = files("firstlight.execution").joinpath(TEMPLATE).read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    write_text_atomically(path, environment.from_string(text).render(report=report, columns=COLUMNS, cells_of=cells_of))
