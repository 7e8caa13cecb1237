"""The steps of ``firstlight demo``."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console

from firstlight.cli.exit_codes import DONE, FAILED_ON_DATA
from firstlight.cli.image_job import ImageFiles, ImageJob
from firstlight.cli.report import gate_table, report_console
from firstlight.cli.run_images import run_images
from firstlight.framework import worst
from firstlight.images.catalog import read_catalog
from firstlight.images.fits import read_exposure, read_image
from firstlight.qa.truth import TruthComparison, compare_with_truth, read_truth
from firstlight.simulation import write_night


def run_demo(output: Path, *, seed: int) -> int:
    """Simulate, process, compare and print; return the exit code.

    Raises
    ------
    UserError
        If the folder cannot be written.
    """
    field = output / "field"
    progress, report = Console(stderr=True), report_console()
    with progress.status("simulating"):
        image, *_ = write_night(field, seed=seed)
    progress.print(f"simulated {image}", highlight=False, soft_wrap=True)
    code = run_images([ImageFiles(image)], job=ImageJob(output, refcat=field / "refcat.parquet"))
    if code != DONE:
        return code
    comparison = compare_files(field=field, results=output, image=image)
    report.print(f"compared with the truth of {comparison.n_stars} stars:", highlight=False)
    report.print(gate_table(comparison.gates()))
    report.print(f"page: {output / 'epoch_0.html'}", highlight=False, soft_wrap=True)
    return FAILED_ON_DATA if worst(comparison.gates()) == "fail" else DONE


def compare_files(*, field: Path, results: Path, image: Path) -> TruthComparison:
    """Compare the files that processing left with the truth in the folder of the simulation."""
    exposure = read_exposure(results / "epoch_0_image.fits")
    return compare_with_truth(
        exposure,
        read_catalog(results / "epoch_0_sources.parquet"),
        raw=read_image(image).image,
        zero_point=(exposure.summary or {}).get("zero_point", math.nan),
        truth=read_truth(field),
    )
