"""Compare the stars of aligned exposures: whether they lie where they should, and as bright as they should be."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.psf_flux import measure_psf_flux
from firstlight.errors import NoSourcesError
from firstlight.images.exposure import Exposure
from firstlight.images.psf import Psf
from firstlight.tasks.detect import DetectTask

UNUSABLE = ("BAD", "SAT", "NO_DATA", "CR", "EDGE")
MIN_STARS = 3
MIN_SNR = 10.0
"""What is fainter in another input than this many standard deviations was a cosmic ray, or varies."""

NEAR_FWHM = 1.0
"""A star that its fit moves by more than this is another one, or none [FWHM]."""


@dataclass(frozen=True)
class Stars:
    """Stars with which inputs are compared."""

    x: NDArray[np.float64]
    """[pixel of the template]"""

    y: NDArray[np.float64]

    flux: NDArray[np.float64]
    """Total flux."""

    snr: NDArray[np.float64]
    """The same over its error."""


NO_STARS = Stars(*np.empty((4, 0)))


@dataclass(frozen=True)
class InputMatch:
    """How an aligned exposure compares with the first one."""

    n_stars: int
    ratio: float
    """Median of its fluxes over those of the first; NaN with fewer than three stars."""

    scatter: float
    """Robust standard deviation of the ratios of single stars, in units of their median."""

    offset: float
    """Distance between the positions of its stars and those of the first, the median along each axis [pixel]."""


def find_stars(exposure: Exposure, detection: DetectTask, *, max_stars: int) -> Stars:
    """Find the brightest unsaturated stars of the first aligned exposure, and measure them; none is no error."""
    if exposure.psf is None:
        return NO_STARS
    try:
        found = detection.run(exposure).detections
    except NoSourcesError:
        return NO_STARS
    column, row = (
        np.clip(np.rint(at).astype(int), 0, size - 1)
        for at, size in zip((found.x, found.y), exposure.shape[::-1], strict=True)
    )
    clean = ~found.edge & ~found.sky & ~exposure.mask.any_of(*UNUSABLE)[row, column]
    chosen = np.flatnonzero(clean & (found.peak_snr > 0))
    chosen = chosen[np.argsort(-found.peak_snr[chosen], kind="stable")][:max_stars]
    return _measured(exposure, exposure.psf, found.x[chosen], found.y[chosen])


def match_stars(exposure: Exposure, stars: Stars) -> InputMatch:
    """Compare an aligned exposure with the stars of the first one."""
    if exposure.psf is None or not len(stars.x):
        return InputMatch(0, math.nan, math.nan, math.nan)
    own = _measured(exposure, exposure.psf, stars.x, stars.y)
    moved = np.hypot(own.x - stars.x, own.y - stars.y)
    x, y = exposure.box.center
    good = (own.snr > MIN_SNR) & (stars.snr > MIN_SNR) & (moved < NEAR_FWHM * exposure.psf.fwhm(x=x, y=y))
    n = int(good.sum())
    if n < MIN_STARS:
        return InputMatch(n, math.nan, math.nan, math.nan)
    ratios = own.flux[good] / stars.flux[good]
    ratio = float(np.median(ratios))
    offset = math.hypot(float(np.median((own.x - stars.x)[good])), float(np.median((own.y - stars.y)[good])))
    return InputMatch(n, ratio, 1.4826 * float(np.median(np.abs(ratios / ratio - 1.0))), offset)


def _measured(exposure: Exposure, psf: Psf, x: NDArray[np.float64], y: NDArray[np.float64]) -> Stars:
    """Fit the PSF to the stars; those that cannot be fitted are left with the flux NaN."""
    in_use = [plane for plane in UNUSABLE if plane in exposure.mask.planes]
    fitted = measure_psf_flux(
        exposure.image,
        variance=exposure.variance,
        bad=exposure.mask.any_of(*in_use) | ~np.isfinite(exposure.image),
        psf=psf,
        x=x,
        y=y,
        refinements=2,
    )
    middle_x, middle_y = exposure.box.center
    total = fitted.flux / psf.stamp_fraction(x=middle_x, y=middle_y)
    total[fitted.flag | fitted.no_good_pixels] = np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        return Stars(fitted.x, fitted.y, total, total / fitted.flux_err)
