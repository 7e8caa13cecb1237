"""Take images from their files through an `AlignTask` to files on the pixels of another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from firstlight.cli.exit_codes import DONE, FAILED_ON_DATA, exit_code_of
from firstlight.cli.image_job import ImageFiles
from firstlight.cli.messages import complain
from firstlight.cli.pipeline_options import layers_of
from firstlight.cli.products import prepare_folder
from firstlight.cli.report import COLORS, report_console
from firstlight.errors import AlgorithmError, ImageFileError, InputError, NoWorkFound
from firstlight.framework import Config, Gate, Subtask, build_config, subtask, worst
from firstlight.images.exposure import Exposure
from firstlight.images.fits import FORMAT_KEYWORD, read_exposure, read_image, write_exposure
from firstlight.images.hdu_files import open_hdus
from firstlight.instruments import find_instrument, get_instrument
from firstlight.tasks.align import AlignResult, AlignTask, LanczosAlignTask
from firstlight.tasks.align_pattern import PatternAlignTask

SUFFIX = "_aligned.fits"


class WcsAlignConfig(Config):
    """Settings for images that both have a WCS."""

    align: Subtask[AlignTask] = subtask(LanczosAlignTask)
    """Brings one onto the pixels of the other."""


class StarAlignConfig(Config):
    """Settings for images of which one has no WCS."""

    align: Subtask[AlignTask] = subtask(PatternAlignTask)
    """Brings one onto the pixels of the other."""


@dataclass(frozen=True)
class AlignJob:
    """What ``firstlight align`` is asked to do.

    Parameters
    ----------
    images
        Their files.
    reference
        The file whose pixels are wanted.
    output
        Folder for the results.
    instrument
        Name of an instrument or path of a file that describes one; None to recognise it from each header.
    ignore_wcs
        Whether to work as if no header had a WCS.
    config_files, settings
        Overrides in the order in which they were given: files, then ``align:path=value``.
    """

    images: tuple[Path, ...]
    reference: Path
    output: Path
    instrument: str | None = None
    ignore_wcs: bool = False
    config_files: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


def align_images(job: AlignJob) -> int:
    """Align the images, print one line for each on stdout, and return the exit code.

    An image that fails does not stop the others; the largest exit code counts.

    Raises
    ------
    UserError
        If a setting, the reference or the folder for the results cannot be used.
    """
    files = [ImageFiles(path) for path in job.images]
    stems = [each.stem for each in files]
    if len(set(stems)) < len(stems):
        raise InputError("Two images have the same name, so that one result would replace the other; call twice.")
    tasks = _Tasks(job)
    reference = _read(job.reference, job)
    prepare_folder(job.output)
    table, codes = _table(), []
    for each in files:
        try:
            exposure = _read(each.path, job)
            task = tasks.of(exposure, reference)
            result = task.run(exposure, onto=reference)
        except (AlgorithmError, NoWorkFound, ImageFileError) as error:
            codes.append(complain(f"{each.path.name}: {error}", exit_code_of(error)))
            continue
        path = job.output / f"{each.stem}{SUFFIX}"
        write_exposure(result.exposure, path)
        table.add_row(*_cells(each.path.name, task, result, path))
        codes.append(FAILED_ON_DATA if worst(result.gates) == "fail" else DONE)
    if table.row_count:
        report_console().print(table)
    return max(codes, default=DONE)


class _Tasks:
    """The task for images with a WCS, and that for images without one; settings are checked when one is needed."""

    def __init__(self, job: AlignJob) -> None:
        self._layers = layers_of(job.config_files, job.settings)
        self._made: dict[bool, AlignTask] = {}

    def of(self, exposure: Exposure, reference: Exposure) -> AlignTask:
        """Return the task for a pair."""
        by_wcs = exposure.wcs is not None and reference.wcs is not None
        if by_wcs not in self._made:
            self._made[by_wcs] = self._slot(by_wcs=by_wcs).make()
        return self._made[by_wcs]

    def _slot(self, *, by_wcs: bool) -> Subtask[AlignTask]:
        if by_wcs:
            return build_config(WcsAlignConfig, self._layers).align
        return build_config(StarAlignConfig, self._layers).align


def _read(path: Path, job: AlignJob) -> Exposure:
    with open_hdus(path) as hdus:
        ours = FORMAT_KEYWORD in hdus[0].header
    if ours:
        exposure = read_exposure(path)
    else:
        camera = find_instrument(read_image(path).header) if job.instrument is None else get_instrument(job.instrument)
        exposure = camera.read(path)
    return exposure.replace(wcs=None) if job.ignore_wcs else exposure


def _table() -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for heading in ("image", "aligned by", "covered", "stars", "rms px", "noise factor", "quality", "written"):
        table.add_column(heading, overflow="fold")
    return table


def _cells(name: str, task: AlignTask, result: AlignResult, path: Path) -> list[str]:
    gates = {gate.name: gate for gate in result.gates}
    stars, rms = gates.get("align_n_stars"), gates.get("align_rms")
    status = worst(result.gates)
    return [
        name,
        type(task).__name__,
        f"{100 * result.coverage:.1f} %",
        _number(stars, "{:.0f}"),
        _number(rms, "{:.3f}"),
        f"{result.noise_correlation:.2f}",
        f"[{COLORS[status]}]{status}[/]",
        str(path),
    ]


def _number(gate: Gate | None, form: str) -> str:
    return "" if gate is None or not math.isfinite(gate.value) else form.format(gate.value)
