"""Take images from their files through `SingleFrameTask` to the files of their results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from firstlight.cli.exit_codes import DONE, FAILED_ON_DATA, USER_MISTAKE
from firstlight.cli.image_job import ImageFiles, ImageJob, ImageOutcome, Status, StepTime
from firstlight.cli.page_files import page_content
from firstlight.cli.pipeline_options import layers_of
from firstlight.cli.products import SUFFIXES, prepare_folder, write_products
from firstlight.cli.summary_file import summary_values, write_summary
from firstlight.errors import HeaderError, ImageFileError, PartialResult
from firstlight.framework import (
    ClassOverrides,
    Handle,
    Layer,
    PassEvent,
    Setting,
    Subtask,
    build_config,
    observe_passes,
    run_until,
)
from firstlight.framework.metadata import Stopwatch
from firstlight.images.exposure import Exposure
from firstlight.images.fits import read_header
from firstlight.images.instrument import Instrument
from firstlight.instruments import GENERIC, find_instrument, get_instrument
from firstlight.refcats.opening import open_reference_catalog
from firstlight.tasks.astrometry import Pointing
from firstlight.tasks.single_frame import SingleFrameConfig, SingleFrameTask


class ImageProcessor:
    """Processes the images of one call: what concerns all of them is checked and opened once.

    Parameters
    ----------
    job
        What the options say.

    Raises
    ------
    UserError
        If a setting, the name of a pass or of an instrument, a reference table or the folder for the results is wrong.
    """

    def __init__(self, job: ImageJob) -> None:
        self.job = job
        self._layers = layers_of(job.config_files, job.settings)
        self._instrument = None if job.instrument is None else get_instrument(job.instrument)
        self._prepared: dict[str, _Prepared] = {}
        self._prepare(self._instrument or get_instrument(GENERIC))
        refcat = None if job.refcat is None else open_reference_catalog(job.refcat)
        second = refcat if job.photometry_refcat is None else open_reference_catalog(job.photometry_refcat)
        self._astrometry_refcat = refcat
        self._photometry_refcat = second
        self._pointing = Pointing(**vars(job.area)) if job.area.is_given else None
        prepare_folder(job.output)

    def process(self, files: ImageFiles) -> ImageOutcome:
        """Process one image and write its results.

        An image that cannot be read and a pass that fails on its data are outcomes, not errors.

        Raises
        ------
        UserError
            If the results cannot be written, or the image does not fit the reference tables or the second snap.
        """
        clock = _StepClock()
        try:
            with clock.step("read"):
                instrument = self._instrument or find_instrument(read_header(files.path, hdu=files.hdu))
                image, snap = self._read(files, instrument)
        except (ImageFileError, HeaderError) as error:
            return ImageOutcome(files, "unreadable", exit_code=USER_MISTAKE, error=str(error))
        prepared = self._prepare(instrument)
        with observe_passes(clock.observe):
            end = self._run(prepared, image, snap)
        outcome = ImageOutcome(
            files,
            end.status,
            exit_code=FAILED_ON_DATA if end.status == "failed" else DONE,
            step=end.step,
            error=end.error,
            summary={**end.products.get("summary", {}), **_counts(end.products)},
            gates=tuple(end.products.get("gates", ())),
            funnels=tuple(end.products.get("funnels", ())),
            settings=prepared.settings,
        )
        return self._write(outcome, end.products, clock)

    def _prepare(self, instrument: Instrument) -> _Prepared:
        """Return the task with the settings of ``instrument``; made once."""
        if instrument.name not in self._prepared:
            overrides = instrument.overrides()
            task = SingleFrameTask(build_config(SingleFrameConfig, self._layers, settings_of_class=overrides))
            stop_after = None if self.job.stop_after is None else task.find_pass(self.job.stop_after)
            settings = {**_described(_instrument_layers(task, overrides)), **_described(self._layers)}
            self._prepared[instrument.name] = _Prepared(task, stop_after, settings)
        return self._prepared[instrument.name]

    def _read(self, files: ImageFiles, instrument: Instrument) -> tuple[Handle[Exposure], Handle[Exposure] | None]:
        """Read the image and its second snap, to be handed over."""
        exposure = instrument.read(files.path, hdu=files.hdu, mask=files.mask, variance=files.variance)
        snap = None if files.snap is None else Handle.giving(instrument.read(files.snap, hdu=files.hdu))
        return Handle.giving(exposure.replace(wcs=None) if self.job.ignore_wcs else exposure), snap

    def _run(self, prepared: _Prepared, image: Handle[Exposure], snap: Handle[Exposure] | None) -> _RunEnd:
        run = partial(
            prepared.task.run,
            snap=snap,
            astrometry_refcat=self._astrometry_refcat,
            photometry_refcat=self._photometry_refcat,
            pointing=self._pointing,
        )
        try:
            if prepared.stop_after is None:
                return _RunEnd("ok", run(image).to_mapping())
            stopped = run_until(prepared.stop_after, run, image)
            return _RunEnd("stopped", stopped.products, step=stopped.step)
        except PartialResult as end:
            return _RunEnd("failed", end.partial, step=end.step, error=str(end.cause))

    def _write(self, outcome: ImageOutcome, products: Mapping[str, Any], clock: _StepClock) -> ImageOutcome:
        folder, stem = self.job.output, outcome.files.stem
        with clock.step("write"):
            written = write_products(products, folder=folder, stem=stem)
        if self.job.with_page and "exposure" in products:
            page = folder / f"{stem}{SUFFIXES['page']}"
            from firstlight.qa.page import write_page  # matplotlib takes longer to import than a small image to process

            with clock.step("page"):
                timed = replace(outcome, timing=tuple(clock.times))
                write_page(page_content(summary_values(timed), products), page)
            written = (*written, page)
        summary = folder / f"{stem}{SUFFIXES['summary']}"
        outcome = replace(outcome, timing=tuple(clock.times), written=(*written, summary))
        write_summary(outcome, summary)
        return outcome


@dataclass(frozen=True)
class _Prepared:
    """The task for the images of one camera."""

    task: SingleFrameTask
    stop_after: str | None
    settings: Mapping[str, str]


@dataclass(frozen=True)
class _RunEnd:
    status: Status
    products: Mapping[str, Any]
    step: str | None = None
    error: str | None = None


@dataclass
class _StepClock:
    """Times of the steps of one image, in order."""

    times: list[StepTime] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        watch = Stopwatch()
        yield
        self.times.append(StepTime(name, round(watch.wall_s, 4), round(watch.cpu_s, 4)))

    def observe(self, event: PassEvent) -> None:
        if event.status != "started" and not event.nested:
            self.times.append(StepTime(event.path, round(event.wall_s, 4), round(event.cpu_s, 4)))


def _counts(products: Mapping[str, Any]) -> dict[str, float]:
    names = {"stars": "star_count", "psf_stars": "psf_star_candidate_count", "sources": "source_count"}
    return {count: float(len(products[name])) for name, count in names.items() if products.get(name) is not None}


def _instrument_layers(task: SingleFrameTask, overrides: ClassOverrides) -> list[Layer]:
    slots = {name: getattr(task.config, name) for name in type(task.config).model_fields}
    return [
        Layer(tuple(Setting((label, *s.path), s.value, s.origin) for s in overrides(slot.task)))
        for label, slot in slots.items()
        if isinstance(slot, Subtask)
    ]


def _described(layers: Sequence[Layer]) -> dict[str, str]:
    """Return dotted path -> value and origin of every setting that was given; the last one counts."""
    return {
        ".".join(setting.path): f"{setting.value} ({setting.origin})" for layer in layers for setting in layer.settings
    }
