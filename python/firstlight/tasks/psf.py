"""Select stars and model the point-spread function."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from typing_extensions import TypeVar

from firstlight.algorithms.detection import Detections
from firstlight.algorithms.psf_model import PsfFit, begin_fit, fit_gaussian_psf, fit_psf
from firstlight.algorithms.psf_neighbours import Neighbours
from firstlight.algorithms.psf_residuals import PsfResiduals, compare_with_stars
from firstlight.algorithms.psf_stars import brightest_everywhere, select_psf_stars
from firstlight.algorithms.psf_variants import fit_effective_psf, fit_moffat_psf
from firstlight.errors import NonFinitePsfError, NoPsfSourcesError, NoPsfStarsError, PsfError, TooFewPsfStarsError
from firstlight.framework import Config, Funnel, Gate, Struct, Task
from firstlight.images.exposure import Exposure
from firstlight.images.psf import FWHM_PER_SIGMA, Psf
from firstlight.kernels.arrays import BoolArray, IntArray
from firstlight.tasks.measurement_scene import psf_sigma

UNUSABLE = ("BAD", "NO_DATA", "SAT", "CR")
REJECTED = ("edge", "centroid_flag", "shape_flag", "saturated", "no_data", "bad", "cr", "interpolated", "streak")
MIN_TESTS = 10
SIGNIFICANT = 3.0


@dataclass(frozen=True)
class PsfResult(Struct):
    """What a `PsfTask` returns."""

    psf: Psf
    """The model."""

    candidate: BoolArray
    """(n_sources,) True for the stars that were chosen."""

    used: BoolArray
    """(n_sources,) True for the stars that define the model."""

    reserved: BoolArray
    """(n_sources,) True for the stars that were kept back, to test it."""

    residuals: PsfResiduals
    """How the reserved stars differ from the model, one entry per reserved star, in the order of the sources."""

    order: int
    """Total order of the variation of the model over the field."""

    fwhm: float
    """Full width at half maximum at the centre of the exposure [pixel]."""

    gates: tuple[Gate, ...]
    """How good the model is."""

    funnel: Funnel
    """How many stars each selection left."""


@dataclass(frozen=True)
class FittedPsf(Struct):
    """What `PsfTask.fit` returns."""

    psf: Psf
    """The model."""

    used: BoolArray
    """(n_stars,) True for the stars that define it."""

    order: int = 0
    """Total order of its variation over the field."""


class PsfConfig(Config):
    """What every PSF task can be told."""

    min_snr: PositiveFloat = 50.0
    """Smallest signal-to-noise ratio of a star; lowered where fewer than `min_stars` reach it."""

    min_stars: PositiveInt = 20
    """Number of stars below which fainter ones are taken."""

    max_stars: PositiveInt = 400
    """At most this many are modelled: the best, spread over the image."""

    reserve_fraction: float = Field(default=0.15, ge=0.0, lt=1.0)
    """Share of the best stars that is kept back, to test the model; less where fewer than `min_stars` would be left."""

    fail_n_stars: PositiveInt = 1
    """Fewer stars than this make no model."""

    warn_n_stars: PositiveInt = 20
    """Fewer stars than this are a warning."""

    warn_size_residual: PositiveFloat = 0.005
    """A larger median difference of reserved stars and model, in units of their size, warns if it is significant."""

    warn_ellipticity_residual: PositiveFloat = 0.005
    """A larger median difference in e1 or e2 of reserved stars and model is a warning if it is significant."""

    warn_chi2: PositiveFloat = 2.0
    """A larger median chi-square per degree of freedom of reserved stars is a warning."""


PsfConfigT = TypeVar("PsfConfigT", bound=PsfConfig, covariant=True, default=PsfConfig)


class PsfTask(Task[PsfConfigT], ABC):
    """Interface: anything that models the PSF from measured sources."""

    @abstractmethod
    def fit(self, exposure: Exposure, stars: Table, neighbours: Table) -> FittedPsf:
        """Fit the model to ``stars``; ``neighbours`` are all other sources.

        Raises
        ------
        PsfError
            If there is no usable star.
        """

    def run(self, exposure: Exposure, sources: Table, detections: Detections) -> PsfResult:
        """Select stars among ``sources`` (with moments, ``snr`` and flags) and model the PSF.

        Raises
        ------
        PsfError
            If no source is fit to be a PSF star.
        """
        chosen, funnel = self._choose(sources)
        rows, reserved = self._reserve(exposure, sources, np.flatnonzero(chosen))
        fit = self.fit(exposure, sources[rows], sources)
        used = _flags(rows[fit.used], len(sources))
        n_used = int(used.sum())
        if n_used < self.config.fail_n_stars:
            raise TooFewPsfStarsError(
                f"The PSF needs at least {self.config.fail_n_stars} stars; got {n_used} ({funnel}).",
                n_used=n_used,
                n_candidates=int(chosen.sum()),
                n_needed=self.config.fail_n_stars,
            )
        _require_finite(fit.psf, exposure.shape)
        residuals = self._test(exposure, fit.psf, sources[reserved], sources)
        ny, nx = exposure.shape
        fwhm = fit.psf.fwhm(x=(nx - 1) / 2, y=(ny - 1) / 2)
        size = residuals.median("size")
        self.metadata.count("psf_stars", n_used)
        self.log.info(
            "psf", stars=n_used, fwhm=fwhm, order=fit.order, held_out=size.n, size=size.value, size_error=size.error
        )
        return PsfResult(
            psf=fit.psf,
            candidate=chosen,
            used=used,
            reserved=_flags(reserved, len(sources)),
            residuals=residuals,
            order=fit.order,
            fwhm=fwhm,
            gates=self._gates(n_used, residuals),
            funnel=funnel.then("used", n_used),
        )

    def _choose(self, sources: Table) -> tuple[BoolArray, Funnel]:
        if len(sources) == 0:
            raise NoPsfSourcesError("There is no source to choose PSF stars from.", n_sources=0)
        ixx, iyy, ixy = (np.asarray(sources[name]) for name in ("ixx", "iyy", "ixy"))
        flagged = np.zeros(len(sources), dtype=bool)
        for name in REJECTED:
            flagged |= np.asarray(sources[name], dtype=bool)
        with np.errstate(invalid="ignore", divide="ignore"):
            stars = select_psf_stars(
                (ixx * iyy - ixy**2) ** 0.25,
                snr=np.asarray(sources["snr"]),
                flags=flagged,
                ellipticity=np.hypot(ixx - iyy, 2 * ixy) / (ixx + iyy),
                min_snr=self.config.min_snr,
                min_stars=self.config.min_stars,
            )
        funnel = Funnel("psf_stars", stars.funnel)
        if not stars.selected.any():
            raise NoPsfStarsError(
                f"No source is fit to model the PSF ({funnel}).",
                n_sources=len(sources),
                n_flagged=int(flagged.sum()),
                **{f"n_{name}": count for name, count in stars.funnel},
            )
        return stars.selected, funnel

    def _reserve(self, exposure: Exposure, sources: Table, chosen: IntArray) -> tuple[IntArray, IntArray]:
        """Return the stars to model and, drawn from the same best ones, the stars to test the model with."""
        ny, nx = exposure.shape
        u, v = (2 * np.asarray(sources["x"])[chosen] + 1) / nx - 1, (2 * np.asarray(sources["y"])[chosen] + 1) / ny - 1
        fraction = self.config.reserve_fraction
        best = brightest_everywhere(
            u, v, brightness=np.asarray(sources["snr"])[chosen], n=math.ceil(self.config.max_stars / (1.0 - fraction))
        )
        pool = np.sort(chosen[best])
        number = max(0, min(int(fraction * len(pool)), len(pool) - self.config.min_stars))
        rng = np.random.default_rng(abs(exposure.observation.exposure_id))
        kept_back = np.zeros(len(pool), dtype=bool)
        kept_back[rng.choice(len(pool), number, replace=False)] = True
        return pool[~kept_back], pool[kept_back]

    def _test(self, exposure: Exposure, psf: Psf, stars: Table, sources: Table) -> PsfResiduals:
        return compare_with_stars(
            exposure.image,
            variance=exposure.variance,
            bad=exposure.mask.any_of(*UNUSABLE),
            psf=psf,
            x=np.asarray(stars["x"]),
            y=np.asarray(stars["y"]),
            neighbours=_as_neighbours(sources),
        )

    def _gates(self, n_used: int, residuals: PsfResiduals) -> tuple[Gate, ...]:
        gates = [Gate("psf_n_stars", n_used, sense="min", warn=self.config.warn_n_stars, fail=self.config.fail_n_stars)]
        limits = {
            "size": self.config.warn_size_residual,
            "e1": self.config.warn_ellipticity_residual,
            "e2": self.config.warn_ellipticity_residual,
        }
        for name, limit in limits.items():
            found = residuals.median(name)
            if found.n >= MIN_TESTS:
                limit = max(limit, SIGNIFICANT * found.error)
                gates.append(Gate(f"psf_{name}_residual", abs(found.value), warn=limit, n=found.n))
        chi2 = residuals.median("chi2")
        if chi2.n >= MIN_TESTS:
            gates.append(Gate("psf_chi2", chi2.value, warn=self.config.warn_chi2, n=chi2.n))
        return tuple(gates)


class StampPsfConfig(PsfConfig):
    """What every PSF task can be told that fits stamps of stars."""

    order: NonNegativeInt = 2
    """Largest total order of the variation over the field; lowered when there are too few stars."""

    stamp_fwhm: PositiveFloat = 8.0
    """Side of the stamps in units of the full width at half maximum."""


class PixelPsfConfig(StampPsfConfig):
    """Settings of `PixelPsfTask`."""

    order: NonNegativeInt = 3
    """Largest total order of the variation over the field; lowered when there are too few stars."""


class PixelPsfTask(PsfTask[PixelPsfConfig]):
    """A Moffat core with a pixel grid for what it misses, both varying over the field."""

    def fit(self, exposure: Exposure, stars: Table, neighbours: Table) -> FittedPsf:
        """Fit the model to ``stars``."""
        return _fitted(fit_psf, exposure, stars, neighbours, self.config)


class MoffatPsfTask(PsfTask[StampPsfConfig]):
    """An elliptical Moffat profile that varies over the field; for few or faint stars, or a smooth model."""

    def fit(self, exposure: Exposure, stars: Table, neighbours: Table) -> FittedPsf:
        """Fit the model to ``stars``."""
        return _fitted(fit_moffat_psf, exposure, stars, neighbours, self.config)


class EffectivePsfTask(PsfTask[StampPsfConfig]):
    """The mean of what stars of all pixel phases show, on an oversampled grid (ePSF, Anderson & King 2000)."""

    def fit(self, exposure: Exposure, stars: Table, neighbours: Table) -> FittedPsf:
        """Fit the model to ``stars``."""
        return _fitted(fit_effective_psf, exposure, stars, neighbours, self.config)


class GaussianPsfTask(PsfTask):
    """One Gaussian for the whole field; for few or poor stars."""

    def fit(self, exposure: Exposure, stars: Table, neighbours: Table) -> FittedPsf:
        """Fit the model to ``stars``."""
        x, y = np.asarray(stars["x"]), np.asarray(stars["y"])
        psf = fit_gaussian_psf(exposure.image, bad=exposure.mask.any_of(*UNUSABLE), x=x, y=y)
        return FittedPsf(psf=psf, used=np.ones(len(stars), dtype=bool))


def _fitted(
    fit_model: Callable[..., PsfFit], exposure: Exposure, stars: Table, neighbours: Table, config: StampPsfConfig
) -> FittedPsf:
    """Fit a model to stamps of stars, whose size follows the seeing."""
    seeing = FWHM_PER_SIGMA * psf_sigma(exposure)
    start = begin_fit(
        exposure.image,
        variance=exposure.variance,
        bad=exposure.mask.any_of(*UNUSABLE),
        x=np.asarray(stars["x"]),
        y=np.asarray(stars["y"]),
        max_stars=config.max_stars,
        radius=max(6, int(config.stamp_fwhm * seeing / 2 + 0.5)),
        neighbours=_as_neighbours(neighbours),
    )
    fit = fit_model(start, order=config.order)
    return FittedPsf(psf=fit.psf, used=fit.used, order=max(fit.order, fit.residual_order))


def _flags(rows: IntArray, n: int) -> BoolArray:
    flags = np.zeros(n, dtype=bool)
    flags[rows] = True
    return flags


def _as_neighbours(sources: Table) -> Neighbours:
    return Neighbours(*(np.asarray(sources[name], dtype=np.float64) for name in ("x", "y", "psf_inst_flux")))


def _require_finite(psf: Psf, shape: tuple[int, int]) -> None:
    """Raise `NonFinitePsfError` where the model has no finite moments: in the middle or at a corner."""
    ny, nx = shape
    for x, y in ((0.5 * nx, 0.5 * ny), (0.0, 0.0), (nx - 1.0, 0.0), (0.0, ny - 1.0), (nx - 1.0, ny - 1.0)):
        try:
            sigma = psf.moments(x=x, y=y).sigma
        except PsfError:
            sigma = math.nan
        if not sigma > 0.0:
            raise NonFinitePsfError(f"The PSF at x={x:.0f}, y={y:.0f} has no finite size.", x=x, y=y)
