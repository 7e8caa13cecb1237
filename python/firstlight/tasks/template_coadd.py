"""Combine the best exposures of a field into a template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from scipy.ndimage import maximum_filter

from firstlight.algorithms.coadd import coadd_images, coadd_weights, high_variance, seeing_contrast
from firstlight.errors import AlgorithmError, InputError, NoWorkFound, TemplateError
from firstlight.framework import Funnel, Handle, Subtask, subtask
from firstlight.images.coadd_psf import CoaddPsf
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.photo_calib import PhotoCalib
from firstlight.images.pixel_grid import PixelGrid
from firstlight.kernels.arrays import BoolArray
from firstlight.tasks.align import AlignTask, LanczosAlignTask
from firstlight.tasks.aligned_stack import AlignedStack
from firstlight.tasks.detect import DetectTask, MatchedFilterDetectTask
from firstlight.tasks.input_facts import CELL, InputFacts, bands_of, in_njy, measure_facts
from firstlight.tasks.match_inputs import NO_STARS, InputMatch, find_stars, match_stars
from firstlight.tasks.select_inputs import BestInputSelectTask, InputSelectTask
from firstlight.tasks.template import TemplateConfig, TemplateResult, TemplateTask
from firstlight.tasks.template_gaps import Expected, Gaps, psf_stamps
from firstlight.tasks.template_quality import (
    Combined,
    Member,
    input_table,
    provenance,
    template_gates,
    template_summary,
)

MEGABYTE = 1 << 20
FORGOTTEN = ("DETECTED_NEGATIVE", "NOT_DEBLENDED")
"""Planes that are about what was found on an input, and not true of the template."""


class CoaddTemplateConfig(TemplateConfig):
    """Settings of `CoaddTemplateTask`."""

    min_inputs: PositiveInt = 1
    """Fewer exposures than this make no template."""

    select: Subtask[InputSelectTask] = subtask(BestInputSelectTask)
    """Chooses the exposures."""

    align: Subtask[AlignTask] = subtask(LanczosAlignTask)
    """Brings them onto one grid; `PatternAlignTask` for those without a WCS."""

    detection: Subtask[DetectTask] = subtask(MatchedFilterDetectTask, threshold=20.0)
    """Finds the stars with which the inputs are compared."""

    scaling: Literal["calibration", "stars"] = "calibration"
    """``calibration``: the template is in nJy, by the zero points of the inputs. ``stars``: it is in the unit of the
    best input, and the others are brought to its scale by their stars."""

    weighting: Literal["noise", "equal"] = "noise"
    """``noise`` weighs each input by the inverse variance of its sky."""

    noise: Literal["stated", "measured"] = "measured"
    """``measured`` multiplies the variance of each input by the true scatter of its sky."""

    n_sigma: PositiveFloat = 5.0
    """Pixels that differ from the others by more than this are left out [standard deviation]; besides what the seeing
    explains, and where three or more inputs are there."""

    neighbour_share: float = Field(default=0.5, gt=0.0, le=1.0)
    """Beside a pixel that is left out, this share of the difference is enough."""

    seeing_margin: PositiveFloat = 1.5
    """Factor for what the PSFs of the inputs explain of a difference."""

    registration_margin: NonNegativeFloat = 0.2
    """What is forgiven besides, for errors of the registration, in units of the range of the pixels near by."""

    lost_planes: tuple[str, ...] = ("BAD", "NO_DATA")
    """Mask planes whose pixels are never used."""

    poor_planes: tuple[str, ...] = ("SAT", "SUSPECT", "CR", "STREAK", "EDGE", "CROSSTALK", "UNMASKEDNAN")
    """Mask planes whose pixels are used only where no input is good."""

    saturation_margin: NonNegativeInt = 3
    """So near to saturated pixels, where the resampling rings, an input is used only where none is good [pixel]."""

    max_stars: PositiveInt = 100
    """So many of the brightest stars are compared."""

    max_offset: PositiveFloat = 0.5
    """An input whose stars lie further from those of the best one is left out [pixel]."""

    max_scale_error: PositiveFloat = 0.1
    """An input whose stars are brighter or fainter than those of the best one by more than this share is left out;
    with ``scaling: stars``, one whose stars scatter by more."""

    variance_threshold: float = Field(default=4.0, gt=1.0)
    """HIGH_VARIANCE is set where the variance exceeds this many times its median."""

    max_memory: PositiveInt = 1024
    """Memory for the planes of the inputs [MB]; those that do not fit wait on disk, and nothing
    else depends on it."""


@dataclass(frozen=True)
class _Aligned:
    """The inputs after the alignment; a stack keeps their planes in the same order."""

    members: tuple[Member, ...]
    first: Exposure
    """The first input, as it was given."""


class CoaddTemplateTask(TemplateTask[CoaddTemplateConfig]):
    """Weighted mean of the best exposures on one grid, without what moves (as LSST's coadds and `GetTemplateTask`)."""

    def __init__(self, config: CoaddTemplateConfig | None = None) -> None:
        super().__init__(config)
        self.select = self.config.select.make()
        self.align = self.config.align.make()
        self.detection = self.config.detection.make()

    def run(self, exposures: tuple[Handle[Exposure], ...], grid: PixelGrid | None = None) -> TemplateResult:
        """Make a template of the best of the exposures."""
        facts = self._facts(exposures, grid)
        selected = self.select.run(facts)
        refused = dict(selected.refused)
        self._require(len(selected.chosen), refused, selected.funnel)
        onto: Exposure | PixelGrid = exposures[selected.chosen[0].number].get() if grid is None else grid
        with self._stack(onto.shape, len(selected.chosen)) as stack:
            aligned = self._aligned(exposures, selected.chosen, onto, stack, refused)
            funnel = selected.funnel.then("matched", len(aligned.members))
            self._require(len(aligned.members), refused, funnel)
            combined = self._combined(stack, aligned.members)
        template = self._exposure(aligned, combined, onto)
        self.metadata.count("inputs", len(aligned.members))
        self.log.info("template", inputs=len(aligned.members), given=len(exposures), coverage=combined.coverage)
        return TemplateResult(
            template=template,
            inputs=input_table(facts, aligned.members, refused, combined),
            gates=template_gates(template, aligned.members, combined, min_inputs=self.config.min_inputs),
            funnels=(funnel,),
        )

    def _facts(self, exposures: Sequence[Handle[Exposure]], grid: PixelGrid | None) -> list[InputFacts]:
        if not exposures:
            raise NoWorkFound("No exposure was given to make a template of.")
        calibrated = self.config.scaling == "calibration"
        facts = [
            measure_facts(
                handle.get(), number=number, label=str(handle.data_id) or str(number), grid=grid, calibrated=calibrated
            )
            for number, handle in enumerate(exposures)
        ]
        if len({each.unit for each in facts if each.unit}) > 1:
            facts = [replace(each, depth=math.nan) for each in facts]
        if len(bands := bands_of(facts)) > 1:
            raise InputError(f"A template is of one band; the exposures are of {', '.join(sorted(bands))}.")
        if all(each.lacking == "no calibration" for each in facts):
            raise InputError(
                f"None of {len(facts)} exposures is calibrated in nJy; calibrate them, or set 'scaling: stars'."
            )
        return facts

    def _require(self, n: int, refused: dict[int, str], funnel: Funnel) -> None:
        if n >= self.config.min_inputs:
            return
        reasons = "; ".join(f"{number}: {why}" for number, why in list(refused.items())[:5])
        raise TemplateError(
            f"A template needs at least {self.config.min_inputs} inputs; got {n} of {funnel.steps[0][1]} ({reasons}).",
            n_inputs=n,
            n_given=funnel.steps[0][1],
        )

    def _stack(self, shape: tuple[int, int], expected: int) -> AlignedStack:
        allowed, given = self.config.max_memory * MEGABYTE, self.resources.memory_bytes
        return AlignedStack(shape, max_bytes=allowed if given is None else min(allowed, given // 2), expected=expected)

    def _aligned(
        self,
        exposures: Sequence[Handle[Exposure]],
        chosen: Sequence[InputFacts],
        onto: Exposure | PixelGrid,
        stack: AlignedStack,
        refused: dict[int, str],
    ) -> _Aligned:
        """Align one exposure after the other and keep those that agree with the first."""
        members: list[Member] = []
        first: Exposure | None = None
        stars = NO_STARS
        for facts in chosen:
            given = exposures[facts.number].get()
            try:
                moved, correlation = self._moved(given, onto, itself=facts is chosen[0] and isinstance(onto, Exposure))
            except (NoWorkFound, AlgorithmError) as error:
                refused[facts.number] = str(error)
                continue
            assert moved.psf is not None  # noqa: S101 - inputs without PSF are refused before
            if first is None:
                first, stars = given, find_stars(moved, self.detection, max_stars=self.config.max_stars)
            match = match_stars(moved, stars)
            if members and (why := self._mismatch(match)):
                refused[facts.number] = why
                continue
            factor = 1.0 / match.ratio if self.config.scaling == "stars" and members else 1.0
            spread = facts.variance_ratio if self.config.noise == "measured" else 1.0
            variance = moved.variance * np.float32(factor**2 * spread)
            stack.add(moved.image * np.float32(factor), variance=variance, mask=moved.mask)
            members.append(
                Member(
                    facts=facts,
                    observation=given.observation,
                    psf=moved.psf,
                    cells=_cells(np.isfinite(moved.image)),
                    match=match,
                    factor=factor,
                    sky_variance=float(np.nanmedian(variance)),
                    noise_correlation=correlation,
                )
            )
        if first is None:
            raise NoWorkFound(f"None of {len(chosen)} exposures overlaps the template.")
        return _Aligned(tuple(members), first)

    def _moved(self, given: Exposure, onto: Exposure | PixelGrid, *, itself: bool) -> tuple[Exposure, float]:
        """Return an exposure on the pixels of the template, and the correlation of its noise."""
        scaled = self._scaled(given)
        if itself:
            return scaled, float((given.summary or {}).get("noise_correlation", 1.0))
        result = self.align.run(scaled, onto=onto)
        if failed := [gate for gate in result.gates if gate.status == "fail"]:
            raise TemplateError(f"{failed[0]}.")
        return result.exposure, result.noise_correlation

    def _scaled(self, exposure: Exposure) -> Exposure:
        if self.config.scaling == "stars":
            return exposure
        image, variance = in_njy(exposure)
        return exposure.replace(image=image, variance=variance, unit="nJy")

    def _mismatch(self, match: InputMatch) -> str:
        """Return why an aligned exposure cannot be used; empty if it can."""
        by_stars = self.config.scaling == "stars"
        if not math.isfinite(match.ratio):
            return f"{match.n_stars} stars to scale it by" if by_stars else ""
        if match.offset > self.config.max_offset:
            return f"stars off by {match.offset:.2f} pixel"
        error = match.scatter if by_stars else abs(match.ratio - 1.0)
        if error > self.config.max_scale_error:
            return f"fluxes off by {error:.1%}"
        return ""

    def _combined(self, stack: AlignedStack, members: Sequence[Member]) -> Combined:
        config, shape, n = self.config, stack.shape, len(members)
        weights = np.full(n, 1.0 / n)
        if config.weighting == "noise":
            weights = coadd_weights(
                np.array([each.sky_variance for each in members]),
                scatter=np.array([each.noise_correlation for each in members]),
            )
        reach, contrast = self._seeing(members, shape)
        lost, poor, saturated = (
            Mask.empty((1, 1), planes=stack.planes).bits(*_known(planes, stack))
            for planes in (config.lost_planes, config.poor_planes, ("SAT",))
        )
        image, variance = np.empty(shape, np.float32), np.empty(shape, np.float32)
        mask, n_used = np.empty(shape, np.int32), np.empty(shape, np.int16)
        clipped, gaps = np.zeros(n, np.int64), list[Gaps]()
        cells = np.stack([each.cells for each in members])
        expected = Expected.near(cells, weights)
        for band in stack.bands(margin=2 * reach + 2 + config.saturation_margin):
            part = coadd_images(
                band.image,
                variances=band.variance,
                poor=_grown(band.mask, saturated, config.saturation_margin) | ((band.mask & np.int32(poor)) != 0),
                lost=(band.mask & np.int32(lost)) != 0,
                weights=weights,
                contrast=contrast,
                reach=reach,
                n_sigma=config.n_sigma,
                neighbour_share=config.neighbour_share,
            )
            rows, own = band.rows, band.own
            used = part.used[:, own]
            image[rows], variance[rows], n_used[rows] = part.image[own], part.variance[own], part.n_used[own]
            mask[rows] = np.bitwise_or.reduce(np.where(used, band.mask[:, own], 0), axis=0)
            gaps.append(expected.gaps(used, rows))
            clipped += part.clipped[:, own].sum(axis=(1, 2))
            for where, plane in ((part.clipped[:, own].any(axis=0), "CLIPPED"), (part.poor[own], "SUSPECT")):
                mask[rows] |= np.where(where, np.int32(1 << stack.planes[plane]), 0)
        planes = Mask(mask, planes=stack.planes).without(*_known(FORGOTTEN, stack)).replaced("NO_DATA", n_used == 0)
        psfs = [each.psf for each in members]
        filled = Gaps.joined(gaps).filled(image, variance, psfs, saturated=planes.any_of("SAT"), reach=reach)
        planes = planes.with_plane("INEXACT_PSF", filled.inexact)
        noisy = high_variance(filled.variance, threshold=config.variance_threshold, cell=CELL)
        correlation = np.array([each.noise_correlation for each in members])
        power = weights**2 * np.array([each.sky_variance for each in members])
        return Combined(
            image=filled.image,
            variance=filled.variance,
            mask=planes.with_plane("HIGH_VARIANCE", noisy),
            n_used=n_used,
            weights=weights,
            clipped=clipped / max(1, mask.size),
            noise_correlation=float(np.sqrt(np.sum(power * correlation**2) / np.sum(power))),
            psf=CoaddPsf(psfs, weights=weights, coverage=expected.cells, step=CELL),
        )

    def _seeing(self, members: Sequence[Member], shape: tuple[int, int]) -> tuple[int, NDArray[np.float64]]:
        """Return half the largest width of stars [pixel], and how much those of each input may differ from it."""
        psfs = [each.psf for each in members]
        rows, columns = np.nonzero(np.logical_and.reduce([each.cells for each in members]))
        place = len(rows) // 2
        y, x = (
            ((rows[place] + 0.5) * CELL, (columns[place] + 0.5) * CELL) if len(rows) else (shape[0] / 2, shape[1] / 2)
        )
        fwhm = max(psf.fwhm(x=x, y=y) for psf in psfs)
        reach = max(1, math.ceil(fwhm / 2))
        contrast = seeing_contrast(
            psf_stamps(psfs, x=np.rint(x) + np.array([0.0, 0.5, 0.25]), y=np.rint(y) + np.array([0.0, 0.5, -0.25])),
            reach=reach,
            margin=self.config.seeing_margin,
            floor=self.config.registration_margin,
        )
        return reach, contrast

    def _exposure(self, aligned: _Aligned, combined: Combined, onto: Exposure | PixelGrid) -> Exposure:
        first, members = aligned.first, aligned.members
        in_counts = self.config.scaling == "stars"
        calib = first.photo_calib if in_counts or first.photo_calib is None else PhotoCalib.identity()
        exposure = first.replace(
            image=combined.image,
            variance=combined.variance,
            mask=combined.mask,
            unit=first.unit if in_counts else "nJy",
            wcs=onto.wcs,
            psf=combined.psf,
            photo_calib=calib if in_counts else PhotoCalib.identity(),
            aperture_corrections=None,
            background=type(first.background)(),
            detector=replace(first.detector, gain=None, read_noise=None, saturation=None),
            summary=None,
            header={},
        )
        observation, header = provenance(first.observation, members, combined)
        exposure = exposure.replace(observation=observation, header=header)
        return exposure.replace(summary=template_summary(exposure, combined))


def _known(planes: Sequence[str], stack: AlignedStack) -> list[str]:
    return [plane for plane in planes if plane in stack.planes]


def _cells(known: BoolArray) -> BoolArray:
    """Return which cells have a value in at least half of their pixels [row, column]."""
    ny, nx = known.shape
    rows, columns = np.arange(0, ny, CELL), np.arange(0, nx, CELL)
    count = np.add.reduceat(np.add.reduceat(known.astype(np.int64), rows, axis=0), columns, axis=1)
    size = np.minimum(CELL, ny - rows)[:, None] * np.minimum(CELL, nx - columns)[None, :]
    return np.asarray(2 * count >= size)


def _grown(mask: NDArray[np.int32], bits: int, margin: int) -> BoolArray:
    """Return where one of the bits is set in a pixel or near it, in each input [input, y, x]."""
    where = np.asarray((mask & np.int32(bits)) != 0)
    if not margin or not where.any():
        return where
    return np.asarray(maximum_filter(where, size=(1, 2 * margin + 1, 2 * margin + 1), mode="constant"))
