"""Select stars and model the point-spread function."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from typing_extensions import TypeVar

from firstlight.algorithms.detection import Detections
from firstlight.algorithms.psf_model import fit_gaussian_psf, fit_psf
from firstlight.algorithms.psf_neighbours import Neighbours
from firstlight.algorithms.psf_stars import select_psf_stars
from firstlight.errors import PsfError
from firstlight.framework import Config, Funnel, Gate, Struct, Task
from firstlight.images.exposure import Exposure
from firstlight.images.psf import FWHM_PER_SIGMA, Psf
from firstlight.kernels.arrays import BoolArray

UNUSABLE = ("BAD", "NO_DATA", "SAT", "CR")
REJECTED = ("edge", "centroid_flag", "shape_flag", "saturated", "no_data", "bad", "cr", "interpolated")


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

    reserve_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the chosen stars that is kept back, to test the model."""

    warn_n_stars: PositiveInt = 20
    """Fewer stars than this are a warning."""


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
        reserved = self._reserve(chosen, seed=exposure.observation.exposure_id)
        rows = np.flatnonzero(chosen & ~reserved)
        fit = self.fit(exposure, sources[rows], sources)
        used = np.zeros(len(sources), dtype=bool)
        used[rows[fit.used]] = True
        ny, nx = exposure.shape
        x, y = (nx - 1) / 2, (ny - 1) / 2
        fwhm = fit.psf.fwhm(x=x, y=y)
        self.metadata.count("psf_stars", int(used.sum()))
        self.log.info("psf", stars=int(used.sum()), fwhm=fwhm, order=fit.order)
        return PsfResult(
            psf=fit.psf,
            candidate=chosen,
            used=used,
            reserved=reserved,
            order=fit.order,
            fwhm=fwhm,
            gates=self._gates(fit, int(used.sum())),
            funnel=funnel.then("used", int(used.sum())),
        )

    def _choose(self, sources: Table) -> tuple[BoolArray, Funnel]:
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
            raise PsfError(
                f"No source is fit to model the PSF ({funnel}).",
                n_sources=len(sources),
                n_flagged=int(flagged.sum()),
            )
        return stars.selected, funnel

    def _reserve(self, chosen: BoolArray, *, seed: int) -> BoolArray:
        reserved = np.zeros(len(chosen), dtype=bool)
        rows = np.flatnonzero(chosen)
        number = int(self.config.reserve_fraction * len(rows))
        if number:
            reserved[np.random.default_rng(abs(seed)).choice(rows, number, replace=False)] = True
        return reserved

    def _gates(self, fit: FittedPsf, n_used: int) -> tuple[Gate, ...]:
        return (Gate("psf_n_stars", n_used, sense="min", warn=self.config.warn_n_stars, fail=1),)


class PixelPsfConfig(PsfConfig):
    """Settings of `PixelPsfTask`."""

    order: NonNegativeInt = 3
    """Total order of the variation over the field; lowered when there are too few stars."""

    stamp_fwhm: PositiveFloat = 8.0
    """Side of the stamps in units of the full width at half maximum."""


class PixelPsfTask(PsfTask[PixelPsfConfig]):
    """A Moffat core with a pixel grid for what it misses, both varying over the field."""

    def fit(self, exposure: Exposure, stars: Table, neighbours: Table) -> FittedPsf:
        """Fit the model to ``stars``."""
        seeing = FWHM_PER_SIGMA * _sigma(exposure)
        fit = fit_psf(
            exposure.image,
            variance=exposure.variance,
            bad=exposure.mask.any_of(*UNUSABLE),
            x=np.asarray(stars["x"]),
            y=np.asarray(stars["y"]),
            order=self.config.order,
            max_stars=self.config.max_stars,
            radius=max(6, int(self.config.stamp_fwhm * seeing / 2 + 0.5)),
            neighbours=Neighbours(
                np.asarray(neighbours["x"]), np.asarray(neighbours["y"]), np.asarray(neighbours["psf_inst_flux"])
            ),
        )
        return FittedPsf(psf=fit.psf, used=fit.used, order=fit.order)


class GaussianPsfTask(PsfTask):
    """One Gaussian for the whole field; for few or poor stars."""

    def fit(self, exposure: Exposure, stars: Table, neighbours: Table) -> FittedPsf:
        """Fit the model to ``stars``."""
        x, y = np.asarray(stars["x"]), np.asarray(stars["y"])
        psf = fit_gaussian_psf(exposure.image, bad=exposure.mask.any_of(*UNUSABLE), x=x, y=y)
        return FittedPsf(psf=psf, used=np.ones(len(stars), dtype=bool))


def _sigma(exposure: Exposure) -> float:
    ny, nx = exposure.shape
    return exposure.psf.moments(x=(nx - 1) / 2, y=(ny - 1) / 2).sigma if exposure.psf else 3.5 / FWHM_PER_SIGMA
