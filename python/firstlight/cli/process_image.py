"""Take images from their files through `SingleFrameTask` to the files of their results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from firstlight.cli.exit_codes import DONE, FAILED_ON_DATA, USER_MISTAKE
from firstlight.cli.image_job import ImageFiles, ImageJob, ImageOutcome, Status, StepTime
from firstlight.cli.products import SUFFIXES, prepare_folder, write_page_of, write_products
from firstlight.cli.summary_file import write_summary
from firstlight.errors import AlgorithmError, HeaderError, ImageFileError, PartialResult
from firstlight.framework import Layer, PassEvent, build_config, observe_passes, run_until
from firstlight.framework.metadata import Stopwatch
from firstlight.images.exposure import Exposure
from firstlight.images.fits import read_image
from firstlight.instruments import find_instrument, get_instrument
from firstlight.refcats import read_reference_catalog
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
        layers = [*(Layer.from_file(path) for path in job.config_files), Layer.from_assignments(job.settings)]
        self.job = job
        self.task = SingleFrameTask(build_config(SingleFrameConfig, layers))
        self._settings = _described(layers)
        self._stop_after = None if job.stop_after is None else self.task.find_pass(job.stop_after)
        self._instrument = None if job.instrument is None else get_instrument(job.instrument)
        refcat = None if job.refcat is None else read_reference_catalog(job.refcat)
        second = refcat if job.photometry_refcat is None else read_reference_catalog(job.photometry_refcat)
        self._run_task = partial(
            self.task.run,
            astrometry_refcat=refcat,
            photometry_refcat=second,
            pointing=Pointing(**vars(job.area)) if job.area.is_given else None,
        )
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
                exposure, snap = self._read(files)
        except (ImageFileError, HeaderError) as error:
            return ImageOutcome(files, "unreadable", exit_code=USER_MISTAKE, error=str(error))
        with observe_passes(clock.observe):
            end = self._run(exposure, snap)
        outcome = ImageOutcome(
            files,
            end.status,
            exit_code=FAILED_ON_DATA if end.status == "failed" else DONE,
            step=end.step,
            error=end.error,
            summary={**end.products.get("summary", {}), **_counts(end.products)},
            gates=tuple(end.products.get("gates", ())),
            funnels=tuple(end.products.get("funnels", ())),
            settings=self._settings,
        )
        return self._write(outcome, end.products, clock)

    def _read(self, files: ImageFiles) -> tuple[Exposure, Exposure | None]:
        """Return the image and its second snap."""
        instrument = self._instrument or find_instrument(read_image(files.path, hdu=files.hdu).header)
        exposure = instrument.read(files.path, hdu=files.hdu, mask=files.mask, variance=files.variance)
        snap = None if files.snap is None else instrument.read(files.snap, hdu=files.hdu)
        return (exposure.replace(wcs=None) if self.job.ignore_wcs else exposure), snap

    def _run(self, exposure: Exposure, snap: Exposure | None) -> _RunEnd:
        try:
            if self._stop_after is None:
                return _RunEnd("ok", self._run_task(exposure, snap=snap).to_mapping())
            stopped = run_until(self._stop_after, self._run_task, exposure, snap=snap)
            return _RunEnd("stopped", stopped.products, step=stopped.step)
        except PartialResult as end:
            return _RunEnd("failed", {"exposure": exposure, **end.partial}, step=end.step, error=str(end.cause))
        except AlgorithmError as error:
            return _RunEnd("failed", {"exposure": exposure}, step="start", error=str(error))

    def _write(self, outcome: ImageOutcome, products: Mapping[str, Any], clock: _StepClock) -> ImageOutcome:
        folder, stem = self.job.output, outcome.files.stem
        with clock.step("write"):
            written = write_products(products, folder=folder, stem=stem)
        if self.job.with_page:
            page = folder / f"{stem}{SUFFIXES['page']}"
            with clock.step("page"):
                write_page_of(outcome, products, page)
            written = (*written, page)
        summary = folder / f"{stem}{SUFFIXES['summary']}"
        outcome = replace(outcome, timing=tuple(clock.times), written=(*written, summary))
        write_summary(outcome, summary)
        return outcome


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


def _described(layers: Sequence[Layer]) -> dict[str, str]:
    """Return dotted path -> value and origin of every setting that was given; the last one counts."""
    return {
        ".".join(setting.path): f"{setting.value} ({setting.origin})" for layer in layers for setting in layer.settings
    }
