"""Take a pair of images from their files through `DifferencePairTask` to the files of its results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from firstlight.cli.difference_products import PRODUCT_SUFFIXES, write_difference_products, write_difference_summary
from firstlight.cli.exit_codes import DONE, FAILED_ON_DATA
from firstlight.cli.image_job import ImageFiles, ImageOutcome, Status, StepTime
from firstlight.cli.messages import complain
from firstlight.cli.pipeline_options import layers_of
from firstlight.cli.products import prepare_folder
from firstlight.cli.progress import pass_lines
from firstlight.cli.report import gate_table, gates_text, report_console
from firstlight.errors import AlgorithmError, InputError, PartialResult
from firstlight.framework import Handle, Layer, PassEvent, build_config, observe_passes, run_until
from firstlight.framework.metadata import Stopwatch
from firstlight.images.exposure import Exposure
from firstlight.images.fits import FORMAT_KEYWORD, read_exposure, read_image
from firstlight.images.hdu_files import open_hdus
from firstlight.images.instrument import Instrument
from firstlight.images.pixel_grid import PixelGrid
from firstlight.instruments import find_instrument, get_instrument
from firstlight.qa.difference_page import DifferenceContent, write_difference_page
from firstlight.refcats.cutouts import fetch_cutout, kept_cutout, write_cutout
from firstlight.refcats.surveys import survey_bands
from firstlight.tasks.difference_pair import DifferencePairConfig, DifferencePairTask


@dataclass(frozen=True)
class DifferenceJob:
    """What ``firstlight difference`` is asked to do.

    Parameters
    ----------
    science, template
        Their files.
    output
        Folder for the results.
    survey
        What is cut out to be the template, under the name of its file; None if that is there.
    instrument
        Name of an instrument or path of a file that describes one; None to recognise it from each header.
    stop_after
        Name of the pass to end after; None to do everything.
    config_files, settings
        Overrides in the order in which they were given: files, then ``label:path=value``.
    with_page
        Whether to draw a page.
    """

    science: ImageFiles
    template: ImageFiles
    output: Path
    survey: str | None = None
    instrument: str | None = None
    stop_after: str | None = None
    config_files: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    with_page: bool = True


@dataclass
class _Run:
    """What one run has made so far."""

    status: Status = "ok"
    products: Mapping[str, Any] = field(default_factory=dict)
    step: str | None = None
    error: str | None = None
    times: list[StepTime] = field(default_factory=list)

    def observe(self, event: PassEvent) -> None:
        """Keep the time of a pass that ended."""
        if event.status != "started" and not event.nested:
            self.times.append(StepTime(event.path, round(event.wall_s, 4), round(event.cpu_s, 4)))


def run_difference(job: DifferenceJob) -> int:
    """Subtract, print progress on stderr and the result on stdout, and return the exit code.

    Raises
    ------
    UserError
        If a setting, a file or the folder for the results cannot be used.
    NoWorkFound
        If the two images do not overlap.
    """
    layers = layers_of(job.config_files, job.settings)
    instrument = None if job.instrument is None else get_instrument(job.instrument)
    task, stop_after = _task(layers, instrument, job.stop_after)
    prepare_folder(job.output)
    console = Console(stderr=True)
    console.print(
        f"[bold]{escape(job.science.path.name)}[/] - {escape(job.template.path.name)}", highlight=False, soft_wrap=True
    )
    run = _Run()
    with pass_lines(console):
        watch = Stopwatch()
        science, camera = _read(job.science, instrument)
        if job.survey is not None:
            _provide_cutout(job, science, job.survey, console)
        template = Handle.giving(_read(job.template, instrument if job.survey is None else None)[0])
        run.times.append(StepTime("read", round(watch.wall_s, 4), round(watch.cpu_s, 4)))
        if instrument is None and camera is not None:
            task, stop_after = _task(layers, camera, job.stop_after)
        with observe_passes(run.observe):
            _subtract(task, stop_after, science, template, run)
    outcome = _write(job, run, layers)
    if outcome.error is not None:
        complain(f"{job.science.path.name}: {outcome.step} failed: {outcome.error}", outcome.exit_code)
    _report(outcome, run.products)
    return outcome.exit_code


def _task(
    layers: list[Layer], instrument: Instrument | None, stop_after: str | None
) -> tuple[DifferencePairTask, str | None]:
    """Return the task with the settings of the camera below those that were given."""
    overrides = None if instrument is None else instrument.overrides()
    task = DifferencePairTask(build_config(DifferencePairConfig, layers, settings_of_class=overrides))
    return task, None if stop_after is None else task.find_pass(stop_after)


def _read(files: ImageFiles, instrument: Instrument | None) -> tuple[Exposure, Instrument | None]:
    """Return the exposure, and the camera that it is of, where its settings are needed to calibrate it."""
    if _is_exposure(files.path):
        return read_exposure(files.path), None
    camera = instrument or find_instrument(read_image(files.path, hdu=files.hdu).header)
    return camera.read(files.path, hdu=files.hdu, mask=files.mask, variance=files.variance), camera


def survey_path(folder: Path, science: ImageFiles) -> Path:
    """Return where the cutout of a survey is kept; a second call with the same science image finds it there."""
    return folder / f"{science.stem}_survey.fits"


def _provide_cutout(job: DifferenceJob, science: Exposure, survey: str, console: Console) -> None:
    """Leave the cutout of a survey in the file of the template."""
    if science.wcs is None:
        raise InputError(f"{job.science.path} has no WCS to cut a survey out for; solve it with 'firstlight process'.")
    grid = PixelGrid.of(science)
    choices = survey_bands(survey, band=science.observation.band, dec=grid.sky_circle()[1])
    if not kept_cutout(job.template.path, grid, choices):
        names = " or ".join(each.name for each in choices)
        console.print(f"  asking for a cutout of {escape(names)}", highlight=False, soft_wrap=True)
        write_cutout(fetch_cutout(grid, choices), job.template.path)


def _is_exposure(path: Path) -> bool:
    with open_hdus(path) as hdus:
        return FORMAT_KEYWORD in hdus[0].header


def _subtract(
    task: DifferencePairTask, stop_after: str | None, science: Exposure, template: Handle[Exposure], run: _Run
) -> None:
    """Run the task and keep what it made, whole or in part."""
    work = partial(task.run, science, template)
    try:
        if stop_after is None:
            run.products = work().to_mapping()
        else:
            stopped = run_until(stop_after, work)
            run.status, run.products, run.step = "stopped", stopped.products, stopped.step
    except PartialResult as end:
        run.status, run.products, run.step, run.error = "failed", end.partial, end.step, str(end.cause)
    except AlgorithmError as error:
        run.status, run.step, run.error = "failed", "start", str(error)


def _write(job: DifferenceJob, run: _Run, layers: list[Layer]) -> ImageOutcome:
    """Write what there is, and return what became of the pair."""
    products, stem = run.products, job.science.stem
    written = write_difference_products(products, folder=job.output, stem=stem)
    page = job.output / f"{stem}{PRODUCT_SUFFIXES['page']}"
    complete = all(name in products for name in ("difference", "matched_template", "kernel", "candidates", "science"))
    if job.with_page and complete:
        write_difference_page(
            DifferenceContent(
                title=f"{job.science.path.name} - {job.template.path.name}",
                science=products["science"],
                matched_template=products["matched_template"],
                difference=products["difference"],
                kernel=products["kernel"],
                candidates=products["candidates"],
                gates=tuple(products["gates"]),
            ),
            page,
        )
        written = (*written, page)
    else:
        page.unlink(missing_ok=True)
    outcome = ImageOutcome(
        job.science,
        run.status,
        exit_code=FAILED_ON_DATA if run.status == "failed" else DONE,
        step=run.step,
        error=run.error,
        summary=_counts(products),
        gates=tuple(products.get("gates", ())),
        funnels=tuple(products.get("funnels", ())),
        timing=tuple(run.times),
        settings={".".join(s.path): f"{s.value} ({s.origin})" for layer in layers for s in layer.settings},
    )
    summary = job.output / f"{stem}{PRODUCT_SUFFIXES['summary']}"
    outcome = replace(outcome, written=(*written, summary))
    write_difference_summary(outcome, job.template, summary)
    return outcome


def _counts(products: Mapping[str, Any]) -> dict[str, float]:
    table = products.get("candidates")
    if table is None:
        return {}
    counts = {"candidate_count": float(len(table))}
    for name, column in (
        ("negative_count", "is_negative"),
        ("dipole_count", "is_dipole"),
        ("trail_count", "is_trail"),
        ("real_count", "is_real"),
    ):
        if column in table.colnames:
            counts[name] = float(np.sum(table[column]))
    return counts


def _report(outcome: ImageOutcome, products: Mapping[str, Any]) -> None:
    console = report_console()
    counts = {name.removesuffix("_count"): f"{value:.0f}" for name, value in outcome.summary.items()}
    words = "  ".join(f"{name} {value}" for name, value in counts.items())
    console.print()
    console.print(f"{outcome.status}  {words}  gates {gates_text(outcome.gates)}".rstrip(), highlight=False)
    if outcome.gates:
        console.print(gate_table(outcome.gates))
    if "kernel" in products:
        console.print(f"results: {escape(str(outcome.written[-1].parent))}", highlight=False, soft_wrap=True)
