"""Tell real changes from artefacts of a difference image: the interface, and what every judge of stamps shares."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from pydantic import Field, PositiveInt
from scipy.special import expit, logit
from typing_extensions import TypeVar

from firstlight.algorithms.candidate_features import MASK_KINDS
from firstlight.algorithms.candidate_fits import CandidateFits, fit_candidates
from firstlight.algorithms.stamps import CandidateStamps, StampPsfs, cut_candidates, significance_of_points
from firstlight.errors import InputError, PsfError
from firstlight.framework import Config, Funnel, Gate, Struct, Task
from firstlight.images.exposure import Exposure
from firstlight.images.psf import FWHM_PER_SIGMA
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.tasks.measurement_scene import psf_sigma

PLANES_OF = dict(
    zip(
        MASK_KINDS,
        (("SAT", "SAT_TEMPLATE"), ("CR", "INTRP"), ("BAD", "HIGH_VARIANCE"), ("STREAK",), ("EDGE", "SUSPECT")),
        strict=True,
    )
)
"""Kind of trouble -> mask planes of the difference that tell of it."""


@dataclass(frozen=True)
class VetResult(Struct):
    """What a `VetTask` returns."""

    candidates: Table
    """The candidates with ``real_score`` (NaN where undefined), ``vet_undefined`` and ``is_real``."""

    scores: NDArray[np.float64]
    """(n,) Probability that each is a real change; NaN where it is not defined."""

    undefined: NDArray[np.bool_]
    """(n,) Too much of the stamp lies beyond the edge or is masked, or the position is not known."""

    real: NDArray[np.bool_]
    """(n,) Score above the threshold; False where undefined."""

    gates: tuple[Gate, ...]
    """How many could not be judged, and whether the seeing is one that the model knows."""

    funnel: Funnel
    """How many candidates each step left."""


class VetConfig(Config):
    """What every judge of candidates can be told."""

    prior: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Share of the candidates that is expected to be real; scores are probabilities for this share."""

    threshold: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Probability, at equal shares of real and false, from which a candidate counts as real; the one of the model when
    left out."""

    unusable_planes: tuple[str, ...] = ("BAD", "NO_DATA", "CR", "INTRP")
    """Mask planes of the difference whose pixels say nothing: defects, and values that were made up in a repair."""

    max_unknown: float = Field(default=0.25, ge=0.0, le=1.0)
    """A larger share of unusable pixels on the stamp, those beyond the edge included, leaves the score undefined."""

    max_unknown_core: float = Field(default=0.25, ge=0.0, le=1.0)
    """The same within one full width at half maximum of the candidate."""

    warn_undefined: float = Field(default=0.2, ge=0.0, le=1.0)
    """A larger share of undefined scores is a warning."""

    batch: PositiveInt = 256
    """Stamps that are fitted and judged at once."""


VetConfigT = TypeVar("VetConfigT", bound=VetConfig, covariant=True, default=VetConfig)


class VetTask(Task[VetConfigT], ABC):
    """Interface: anything that gives candidates of a difference image the probability of being real."""

    @property
    @abstractmethod
    def model_threshold(self) -> float:
        """Probability at equal shares from which the model calls a candidate real."""

    @property
    @abstractmethod
    def fwhm_range(self) -> tuple[float, float]:
        """Full widths at half maximum that the model was made for [pixel]."""

    @abstractmethod
    def half(self, fwhm: float) -> int:
        """Return the half size of the stamps that are judged [pixel]."""

    @abstractmethod
    def judge(self, stamps: CandidateStamps, fits: CandidateFits, *, fwhm: float) -> NDArray[np.float64]:
        """Return (n,) probabilities of being real, where real and false are equally many.

        Parameters
        ----------
        stamps
            Upright: what vanished looks like what appeared.
        fits
            Of point sources to the same candidates.
        fwhm : [pixel]
            Full width at half maximum of the PSF of the difference.
        """

    def run(self, science: Exposure, template: Exposure, difference: Exposure, candidates: Table) -> VetResult:
        """Judge ``candidates``.

        Parameters
        ----------
        science
        template
            On the pixels of the science exposure.
        difference
            With its mask. All three have their PSF.
        candidates
            With ``x`` and ``y`` [pixel] and, where known, ``is_negative``; those that vanished are judged with the
            images in each other's place.

        Raises
        ------
        PsfError
            If one of the exposures has no PSF.
        InputError
            If the exposures have different shapes, or the candidates no positions.
        """
        psfs = psfs_of(science, template, difference)
        _require_same_shape(science, template, difference)
        missing = [name for name in ("x", "y") if name not in candidates.colnames]
        if missing:
            raise InputError(f"The candidates have no column {missing[0]!r}; they need x and y [pixel].")
        fwhm = FWHM_PER_SIGMA * psf_sigma(difference)
        x, y = (np.asarray(candidates[name], dtype=np.float64) for name in ("x", "y"))
        placed = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        stamps = _stamps_of(
            science,
            template,
            difference,
            x=x[placed],
            y=y[placed],
            half=self.half(fwhm),
            unusable_planes=self.config.unusable_planes,
        )
        enough = known_enough(stamps, fwhm=fwhm, config=self.config)
        rows, stamps = placed[enough], stamps[enough]
        stamps = stamps.upright(_negative(candidates, rows, stamps, fwhm))
        scores = np.full(len(x), np.nan)
        for start in range(0, len(rows), self.config.batch):
            batch = slice(start, start + self.config.batch)
            some = stamps[batch]
            scores[rows[batch]] = self.judge(some, fit_candidates(some, psfs=psfs, fwhm=fwhm), fwhm=fwhm)
        return self._result(candidates, scores, fwhm)

    def _result(self, candidates: Table, scores: NDArray[np.float64], fwhm: float) -> VetResult:
        undefined = ~np.isfinite(scores)
        threshold = self.model_threshold if self.config.threshold is None else self.config.threshold
        real = ~undefined & (np.nan_to_num(scores) >= threshold)
        with np.errstate(divide="ignore"):
            scores = expit(logit(scores) + logit(self.config.prior))
        judged = candidates.copy()
        judged["real_score"], judged["vet_undefined"], judged["is_real"] = scores, undefined, real
        low, high = self.fwhm_range
        n, left = len(scores), int((~undefined).sum())
        self.metadata.count("real", int(real.sum()))
        self.log.info("vetted", candidates=n, undefined=n - left, real=int(real.sum()), threshold=threshold)
        return VetResult(
            candidates=judged,
            scores=scores,
            undefined=undefined,
            real=real,
            gates=(
                Gate("vet_undefined_fraction", (n - left) / max(n, 1), warn=self.config.warn_undefined, n=n),
                # Beyond 1 the seeing is finer or coarser than any that the model has seen.
                Gate("vet_seeing", max(low / fwhm, fwhm / high), warn=1.0),
            ),
            funnel=Funnel("vetting", (("candidates", n), ("defined", left), ("real", int(real.sum())))),
        )


def psfs_of(science: Exposure, template: Exposure, difference: Exposure) -> StampPsfs:
    """Return the PSFs of the three exposures.

    Parameters
    ----------
    science, template, difference

    Raises
    ------
    PsfError
        If one has none.
    """
    psfs = []
    for name, exposure in (("science exposure", science), ("template", template), ("difference", difference)):
        if exposure.psf is None:
            raise PsfError(f"Candidates are judged by the PSFs of the images, and the {name} has none.")
        psfs.append(exposure.psf)
    return StampPsfs(*psfs)


def candidate_stamps(
    science: Exposure, template: Exposure, difference: Exposure, *, x: FloatArray, y: FloatArray, half: int
) -> CandidateStamps:
    """Return the stamps of positions [pixel] as a `VetTask` with its defaults cuts them, before they are upright.

    Parameters
    ----------
    science, template, difference
    x, y : (n,) [pixel]
        Finite.
    half : [pixel]
        Half size of the stamps.
    """
    planes = VetConfig().unusable_planes
    return _stamps_of(science, template, difference, x=x, y=y, half=half, unusable_planes=planes)


def _stamps_of(
    science: Exposure,
    template: Exposure,
    difference: Exposure,
    *,
    x: FloatArray,
    y: FloatArray,
    half: int,
    unusable_planes: tuple[str, ...],
) -> CandidateStamps:
    exposures = {"science": science, "template": template, "difference": difference}
    mask = difference.mask
    return cut_candidates(
        {name: exposure.image for name, exposure in exposures.items()},
        {name: exposure.variance for name, exposure in exposures.items()},
        {kind: mask.any_of(*(each for each in planes if each in mask.planes)) for kind, planes in PLANES_OF.items()},
        unusable=mask.any_of(*(each for each in unusable_planes if each in mask.planes)),
        x=x,
        y=y,
        half=half,
    )


def known_enough(stamps: CandidateStamps, *, fwhm: float, config: VetConfig) -> BoolArray:
    """Return (n,) whether enough of each stamp, and of the candidate itself, is known for a score.

    Parameters
    ----------
    stamps
    fwhm : [pixel]
    config
        With the largest shares that may be unknown.
    """
    unknown = ~stamps.known
    core = stamps.radius <= fwhm
    of_core = (unknown & core).sum(axis=(1, 2)) / np.maximum(core.sum(axis=(1, 2)), 1)
    return np.asarray((unknown.mean(axis=(1, 2)) <= config.max_unknown) & (of_core <= config.max_unknown_core))


def stamp_half(fwhm: float, *, in_fwhm: float, at_least: int) -> int:
    """Return the half size of a stamp that reaches ``in_fwhm`` times the seeing [pixel]."""
    return max(at_least, math.ceil(in_fwhm * fwhm))


def negative_at_middle(stamps: CandidateStamps, *, fwhm: float) -> BoolArray:
    """Return (n,) whether a point source in the middle of the difference would have a negative flux."""
    smooth = significance_of_points(stamps.difference, stamps.difference_variance, sigma=fwhm / FWHM_PER_SIGMA)
    return np.asarray(smooth[:, stamps.half, stamps.half] < 0)


def _negative(candidates: Table, rows: NDArray[np.intp], stamps: CandidateStamps, fwhm: float) -> BoolArray:
    if "is_negative" in candidates.colnames:
        return np.asarray(candidates["is_negative"], dtype=bool)[rows]
    return negative_at_middle(stamps, fwhm=fwhm)


def _require_same_shape(science: Exposure, template: Exposure, difference: Exposure) -> None:
    for name, other in (("template", template), ("difference", difference)):
        if other.shape != science.shape:
            (ny, nx), (wide_y, wide_x) = other.shape, science.shape
            raise InputError(
                f"The {name} has {ny} x {nx} pixels, the science exposure {wide_y} x {wide_x}; align it first."
            )
