"""Subtract a template from a science exposure on the same pixels."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt
from typing_extensions import TypeVar

from firstlight.algorithms.decorrelation import filtered_variance
from firstlight.algorithms.difference_quality import measure_sky, residual_ratios
from firstlight.algorithms.line_noise import line_levels
from firstlight.algorithms.noise import measure_significance_scale, typical_value
from firstlight.algorithms.psf_convolution import convolved_psf
from firstlight.algorithms.significance import matched_significance
from firstlight.framework import Config, Funnel, Gate, Struct, Subtask, Task, subtask
from firstlight.images.background import BackgroundList, MeshBackground
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.psf import Psf
from firstlight.images.spatial_kernel import MatchingKernel, SpatialKernel
from firstlight.tasks.background import BackgroundTask, MeshBackgroundTask
from firstlight.tasks.subtract_pair import SubtractPair, difference_mask, prepare_pair
from firstlight.tasks.subtract_stars import KernelStars, find_kernel_stars, require_stars

UNUSABLE = ("BAD", "SAT", "NO_DATA", "CR", "SAT_TEMPLATE", "EDGE")

MAX_SKY_VARIANCE = 1.5
"""Pixels with more than so many times the median variance have stars on them and say nothing about lines."""

MIN_LINE_PIXELS = 50
"""Lines with fewer pixels of sky are left as they are."""


@dataclass(frozen=True)
class SubtractResult(Struct):
    """What a `SubtractTask` returns."""

    difference: Exposure
    """Science minus matched template, in the unit and with the calibration of the science exposure, and its own PSF;
    its ``background`` is what was left of the sky and taken off."""

    matched_template: Exposure
    """The template as it was subtracted, before the noise was whitened, with the PSF that it has so: its own, or as the
    kernel made it."""

    kernel: MatchingKernel
    """What one image was convolved with to match the other."""

    kernel_sources: Table
    """The stars: ``x``, ``y`` [pixel], ``snr``, fluxes in both exposures, ``used``, and what is left of each."""

    score: NDArray[np.float32] | None
    """Significance of a point source centred on each pixel [y, x]; None where it is not asked for."""

    gates: tuple[Gate, ...]
    """How good the subtraction is."""

    funnel: Funnel
    """How many sources each selection left."""


@dataclass(frozen=True)
class MatchedPair(Struct):
    """What `SubtractTask.match` returns: two images that are alike, and how they were made so."""

    difference: NDArray[np.float32]
    """Science minus template, white noise, in the unit of the science exposure [y, x]."""

    matched_template: NDArray[np.float32]
    """The template as it was subtracted, background included, in the unit of the science exposure [y, x]."""

    kernel: MatchingKernel
    """What one image was convolved with."""

    science_filter: SpatialKernel
    """What the science image has been convolved with in ``difference``."""

    template_filter: SpatialKernel
    """What the template has been convolved with in ``difference``."""

    used: NDArray[np.bool_]
    """(n_stars,) True for the stars that decided."""

    flux_ratio: NDArray[np.float64]
    """(n_stars,) Flux in the science image over that in the matched template."""

    gates: tuple[Gate, ...]
    """What is special to the method."""

    position_noise: tuple[float, float] = (0.0, 0.0)
    """Error of the registration along x and y [pixel] that the score allows for."""


class SubtractConfig(Config):
    """What every subtraction can be told."""

    min_snr: PositiveFloat = 20.0
    """Smallest signal-to-noise ratio of the stars by which the images are matched."""

    max_snr: PositiveFloat = 500.0
    """Brighter stars are taken only in cells that have no other."""

    cell_size: PositiveInt = 128
    """Side of the cells from which stars are taken evenly [pixel]."""

    stars_per_cell: PositiveInt = 5
    """Largest number of stars from a cell."""

    max_stars: PositiveInt = 1000
    """Largest number of stars in all."""

    min_stars: PositiveInt = 3
    """Fewer stars than this are an error."""

    warn_n_stars: PositiveInt = 10
    """Fewer stars than this are a warning."""

    stamp_fwhm: PositiveFloat = 5.0
    """Half size of the square about a star that is compared, in units of the FWHM of the wider PSF."""

    bad_planes: tuple[str, ...] = ("BAD", "SAT", "NO_DATA", "CR", "EDGE", "SUSPECT", "HIGH_VARIANCE", "STREAK", "SPIKE")
    """Mask planes that no stamp of a star may touch."""

    min_overlap: float = Field(default=0.1, ge=0.0, le=1.0)
    """Smallest fraction of the pixels that must be known in both exposures."""

    noise: Literal["stated", "measured"] = "measured"
    """``measured`` multiplies the variance, and divides the score, by the true scatter of the sky."""

    score: bool = True
    """Whether the significance of a point source is computed at each pixel."""

    background: Subtask[BackgroundTask] | None = subtask(MeshBackgroundTask, bin_size=64, order=4)
    """Takes off what is left of the sky in the difference; empty to leave it to the kernel, which sees it at stars."""

    min_line_excess: PositiveFloat | None = 5.0
    """Rows, then columns, are levelled where their medians scatter by so much more than noise lets them
    [standard deviation of that scatter]; null to leave them."""

    max_lost_weight: float = Field(default=0.01, gt=0.0, lt=1.0)
    """A pixel is masked where more than this share of the kernel falls on pixels that are bad or not there."""

    max_doubtful_weight: float = Field(default=0.1, gt=0.0, lt=1.0)
    """A pixel keeps a mark of the template (CR, BAD, HIGH_VARIANCE, INEXACT_PSF) where more than this share of the
    kernel falls on it: the values there, such as repaired ones, are nearly right."""

    warn_residual_ratio: PositiveFloat = 0.1
    """A mean share of the light of stars that is left beyond this is a warning."""

    fail_residual_ratio: PositiveFloat = 0.2
    """A mean share of the light of stars that is left beyond this is a failure."""

    warn_shift: PositiveFloat = 0.1
    """A kernel that moves stars by more than this tells of a wrong registration [pixel]."""

    fail_shift: PositiveFloat = 1.0
    """A kernel that moves stars by more than this is a failure [pixel]."""


SubtractConfigT = TypeVar("SubtractConfigT", bound=SubtractConfig, covariant=True, default=SubtractConfig)


class SubtractTask(Task[SubtractConfigT], ABC):
    """Interface: anything that subtracts a template from a science exposure on the same pixels."""

    def __init__(self, config: SubtractConfigT | None = None) -> None:
        super().__init__(config)
        self.background = self.config.background and self.config.background.make()

    @abstractmethod
    def reach(self, pair: SubtractPair) -> int:
        """Return the half size of the kernel [pixel]: how far from a star the images must be known."""

    @abstractmethod
    def match(self, pair: SubtractPair, stars: KernelStars) -> MatchedPair:
        """Make the two images of a pair alike and subtract them.

        Raises
        ------
        KernelError
            If the stars do not determine how.
        """

    def run(self, science: Exposure, template: Exposure, sources: Table | None = None) -> SubtractResult:
        """Subtract ``template`` from ``science``; both without sky, with PSFs, on the same pixels.

        Parameters
        ----------
        science, template
        sources
            Stars of the science exposure with ``x``, ``y``, and ``snr`` and flags where known; found when left out.

        Raises
        ------
        KernelError
            If the exposures do not belong together, or too few stars are in both.
        TooManyMaskedPixelsError
            If the exposures have too few known pixels in common.
        ConstantImageError
            If one of them has neither noise nor signal.
        PsfError
            If one has no PSF.
        """
        pair = prepare_pair(
            science,
            template,
            bad_planes=self.config.bad_planes,
            min_overlap=self.config.min_overlap,
            stamp_fwhm=self.config.stamp_fwhm,
        )
        stars = find_kernel_stars(
            pair,
            sources,
            reach=self.reach(pair),
            min_snr=self.config.min_snr,
            max_snr=self.config.max_snr,
            cell_size=self.config.cell_size,
            per_cell=self.config.stars_per_cell,
            max_sources=self.config.max_stars,
        )
        require_stars(stars, self.config.min_stars)
        # No name here keeps the images as they were matched, so that they are freed when they have been levelled.
        result = self._finish(pair, stars, self.match(pair, stars))
        n_used, kernel = int(result.kernel_sources["used"].sum()), result.kernel
        self.metadata.count("kernel_stars", n_used)
        self.log.info(
            "subtracted",
            stars=n_used,
            convolved=kernel.convolved,
            flux_scale=kernel.flux_scale,
            order=kernel.kernel.order,
        )
        return result

    def _finish(self, pair: SubtractPair, stars: KernelStars, matched: MatchedPair) -> SubtractResult:
        filters = matched.science_filter, matched.template_filter
        variance = filtered_variance([(pair.science_variance, filters[0]), (pair.template_variance, filters[1])])
        psf = convolved_psf(pair.science_psf, filters[0])
        limits = self.config.max_lost_weight, self.config.max_doubtful_weight
        mask = difference_mask(pair, filters, max_lost_weight=limits[0], max_doubtful_weight=limits[1])
        unusable = mask.any_of(*UNUSABLE)
        matched, left_sky, line_noise = self._levelled(pair, matched, variance, unusable)
        sky = measure_sky(matched.difference, variance, bad=unusable)
        measured = self.config.noise == "measured" and sky.noise_ratio > 0.0
        score = self._score(pair, matched, psf, unusable, measured=measured) if self.config.score else None
        # The mean of absolute values of a normal law. That of the pixels would count cosmic rays and stars.
        level = math.sqrt(2.0 / math.pi) * sky.noise_ratio * math.sqrt(typical_value(variance, bad=unusable))
        if measured:
            variance = variance * np.float32(sky.noise_ratio**2)
        empty = mask.any_of("NO_DATA")
        difference = np.where(empty, np.float32(np.nan), matched.difference)
        left = residual_ratios(
            np.where(unusable, np.nan, difference),
            pair.science,
            x=stars.x,
            y=stars.y,
            radius=pair.core_radius,
            sky=level,
        )
        table = stars.to_table()
        table["used"], table["flux_ratio"], table["residual_ratio"] = matched.used, matched.flux_ratio, left
        common = pair.science_exposure
        return SubtractResult(
            difference=common.replace(
                image=difference,
                variance=variance,
                mask=mask,
                psf=psf,
                background=BackgroundList(() if left_sky is None else (left_sky,)),
            ),
            matched_template=pair.template_exposure.replace(
                image=np.where(empty, np.float32(np.nan), matched.matched_template),
                psf=self._matched_psf(pair, matched.kernel),
                unit=common.unit,
                photo_calib=common.photo_calib,
                mask=mask,
            ),
            kernel=matched.kernel,
            kernel_sources=table,
            score=score,
            gates=(
                Gate("unshared_peaks", stars.unshared_share, warn=0.5, n=dict(stars.steps)["good_pixels"]),
                *self._kernel_gates(matched),
                *matched.gates,
                self._residual_gate(left[matched.used]),
                Gate("difference_noise", abs(sky.noise_ratio - 1.0), warn=0.1, n=sky.n_pixels),
                Gate("difference_correlation", abs(sky.correlation), warn=0.05, n=sky.n_pixels),
                Gate("difference_line_noise", line_noise, warn=0.5, n=sum(pair.shape)),
            ),
            funnel=Funnel("kernel_stars", (*stars.steps, ("used", int(matched.used.sum())))),
        )

    def _levelled(
        self, pair: SubtractPair, matched: MatchedPair, variance: NDArray[np.float32], unusable: NDArray[np.bool_]
    ) -> tuple[MatchedPair, MeshBackground | None, float]:
        """Return the pair without what is left of the sky, this sky, and the scatter of lines over the noise."""
        left_sky = self._left_sky(pair, matched, variance, unusable)
        if left_sky is not None:
            matched = _without(matched, left_sky.evaluate())
        lines = self._left_lines(matched, variance, unusable)
        if lines is None:
            return matched, left_sky, 0.0
        line_noise = float(np.std(lines[~unusable]) / np.sqrt(typical_value(variance, bad=unusable)))
        return _without(matched, lines), left_sky, line_noise

    def _left_sky(
        self, pair: SubtractPair, matched: MatchedPair, variance: NDArray[np.float32], unusable: NDArray[np.bool_]
    ) -> MeshBackground | None:
        """Return the sky that is left in the difference; None where nothing looks for it or there is no noise."""
        if self.background is None or not np.ptp(matched.difference[~unusable]) > 0.0:
            return None
        mask = Mask.empty(pair.shape).with_plane("BAD", unusable)
        return self.background.run(Exposure(image=matched.difference, mask=mask, variance=variance)).background

    def _left_lines(
        self, matched: MatchedPair, variance: NDArray[np.float32], unusable: NDArray[np.bool_]
    ) -> NDArray[np.float32] | None:
        """Return by how much rows and columns lie off (ny, nx); None where none does or nothing looks for it."""
        limit = self.config.min_line_excess
        if limit is None or unusable.all():
            return None
        bad = unusable | (variance > MAX_SKY_VARIANCE * typical_value(variance, bad=unusable))
        left, levels = matched.difference, []
        for axis in (1, 0):
            found = line_levels(left, variance, bad=bad, axis=axis, min_pixels=MIN_LINE_PIXELS, min_excess=limit)
            levels.append(np.expand_dims(found.astype(np.float32), axis))
            if found.any():
                left = left - levels[-1]
        return levels[0] + levels[1] if any(found.any() for found in levels) else None

    def _matched_psf(self, pair: SubtractPair, kernel: MatchingKernel) -> Psf:
        if kernel.convolved == "science":
            return pair.template_psf
        return convolved_psf(pair.template_psf, kernel.kernel)

    def _score(
        self, pair: SubtractPair, matched: MatchedPair, psf: Psf, unusable: NDArray[np.bool_], *, measured: bool
    ) -> NDArray[np.float32]:
        score = matched_significance(
            matched.difference,
            psf=psf,
            science=pair.science,
            template=pair.template,
            science_variance=pair.science_variance,
            template_variance=pair.template_variance,
            science_filter=matched.science_filter,
            template_filter=matched.template_filter,
            position_noise=matched.position_noise,
        )
        if measured:
            score = score / np.float32(measure_significance_scale(score, bad=unusable))
        return score

    def _kernel_gates(self, matched: MatchedPair) -> tuple[Gate, ...]:
        ny, nx = matched.kernel.kernel.shape
        inner = np.linspace(0.1, 0.9, 5)
        x, y = (axis.ravel() for axis in np.meshgrid(inner * (nx - 1), inner * (ny - 1)))
        shift = np.hypot(*matched.kernel.kernel.centroid(x=x, y=y))
        ratio = matched.flux_ratio[matched.used]
        scatter = 1.4826 * float(np.median(np.abs(ratio - np.median(ratio)))) if len(ratio) else np.nan
        used = int(matched.used.sum())
        return (
            Gate("kernel_stars", used, sense="min", warn=self.config.warn_n_stars, fail=self.config.min_stars),
            Gate("kernel_flux_scale", matched.kernel.flux_scale, n=used),
            Gate("kernel_flux_scatter", scatter, warn=0.1, n=used),
            Gate(
                "kernel_shift", float(np.max(shift)), "pixel", warn=self.config.warn_shift, fail=self.config.fail_shift
            ),
        )

    def _residual_gate(self, left: NDArray[np.float64]) -> Gate:
        known = left[np.isfinite(left)]
        return Gate(
            "residual_ratio",
            float(known.mean()) if len(known) else np.nan,
            warn=self.config.warn_residual_ratio,
            fail=self.config.fail_residual_ratio,
            n=len(known),
        )


def _without(matched: MatchedPair, left: NDArray[np.float32]) -> MatchedPair:
    """Return the pair with what is left of the sky taken off the difference and given to the template."""
    return replace(matched, difference=matched.difference - left, matched_template=matched.matched_template + left)
