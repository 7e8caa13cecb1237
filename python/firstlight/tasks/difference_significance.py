"""How significant a point source is on a difference, with what the subtraction leaves behind added to the noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.detection import SmoothedImage, smooth_for_detection
from firstlight.algorithms.difference_sources import (
    bright_centres,
    halo_floor,
    lost_light,
    noise_with_floor,
    significance_about,
)
from firstlight.algorithms.star_residuals import ResidualShare, residual_floor, residual_share
from firstlight.images.exposure import Exposure
from firstlight.images.psf import FWHM_PER_SIGMA
from firstlight.images.spatial_kernel import MatchingKernel
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.matched_filter import grow_mask
from firstlight.tasks.difference_plugins import psf_of
from firstlight.tasks.measurement_scene import psf_sigma

SCORE_REACH = 3.5
"""The score sees pixels this near, in units of the sigma of the PSF."""

RING_WIDTH = 2
"""Width of the rings about bright stars [pixel]."""

RINGS_FROM = 1.0
"""Where the first ring about a bright star begins, in units of the full width at half maximum."""

FULL_HALO_SNR = 1e4
"""Stars more significant than this have halos of full size [standard deviation]."""


@dataclass(frozen=True)
class FloorSettings:
    """What may be left of constant sources.

    Parameters
    ----------
    share
        Share of the light of a source; measured on bright stars when it is None, and 0 for none.
    share_snr
        Stars more significant than this tell the share.
    min_stars
        Fewer of them than this tell none.
    threshold
        Stars more significant than this have changed, and tell no share either.
    halo_snr
        Stars more significant than this have halos; None for no halos.
    halo_fwhm
        How far halos reach at most, in units of the full width at half maximum.
    """

    share: float | None
    share_snr: float
    min_stars: int
    threshold: float
    halo_snr: float | None
    halo_fwhm: float


def difference_significance(
    difference: Exposure,
    *,
    science: Exposure,
    template: Exposure,
    kernel: MatchingKernel,
    score: FloatArray | None,
    unusable: BoolArray,
    cores: BoolArray,
    settings: FloorSettings,
) -> tuple[SmoothedImage, ResidualShare]:
    """Return the significance of a point source centred on each pixel, 0 where unusable, and what is left of stars.

    Its noise is 1 and what the subtraction leaves behind.

    Parameters
    ----------
    difference
        With its PSF, finite everywhere.
    science, template
        What it was made of, on its pixels.
    kernel
        How one was matched to the other.
    score : (ny, nx)
        From the subtraction; made with the PSF of the difference when it is None.
    unusable, cores : (ny, nx)
        Where nothing is looked for, and which part of it are saturated cores.
    settings
    """
    sigma = psf_sigma(difference)

    def smoothed(image: FloatArray) -> NDArray[np.float32]:
        made = smooth_for_detection(image, variance=difference.variance, bad=unusable, psf_sigma=sigma)
        return np.divide(made.flux, made.sigma, out=made.flux)

    found = smoothed(difference.image)
    if score is not None:
        # Near masked pixels the score has in it what they hold; the other filter leaves them out.
        clean = ~grow_mask(unusable, math.ceil(SCORE_REACH * sigma)) & np.isfinite(score)
        found = np.where(clean, score, found).astype(np.float32)
    found = np.where(unusable | ~np.isfinite(found), np.float32(0.0), found)
    light = smoothed(np.maximum(_light(science), _light(template, kernel.flux_scale)))
    radius = max(1, round(FWHM_PER_SIGMA * sigma))
    inexact = grow_mask(difference.mask.any_of("INEXACT_PSF"), radius)
    left = _left_of_stars(found, light, unusable, inexact, radius, settings)
    convolved = template if kernel.convolved == "template" else science
    lost = ~np.isfinite(convolved.image) | convolved.mask.any_of("NO_DATA")
    floor = residual_floor(light, left, inexact=inexact, radius=radius)
    if lost.any():
        other = _light(template, kernel.flux_scale) if convolved is science else _light(science)
        floor = floor + smoothed(lost_light(other, lost=lost, kernel=kernel.kernel))
    if settings.halo_snr is not None:
        floor = np.hypot(floor, _halos(difference, found, light, unusable, cores, settings))
    return SmoothedImage(flux=found, sigma=noise_with_floor(floor), reach=1), left


def _light(exposure: Exposure, scale: float = 1.0) -> NDArray[np.float32]:
    return np.asarray(np.nan_to_num(exposure.image) * np.float32(scale))


def _left_of_stars(
    found: FloatArray,
    light: FloatArray,
    unusable: BoolArray,
    inexact: BoolArray,
    radius: int,
    settings: FloorSettings,
) -> ResidualShare:
    if settings.share is not None:
        return ResidualShare(settings.share, settings.share, 0, 0)
    return residual_share(
        found,
        light,
        bad=unusable,
        inexact=inexact,
        radius=radius,
        min_light=settings.share_snr,
        min_stars=settings.min_stars,
        threshold=settings.threshold,
    )


def _halos(
    difference: Exposure,
    found: FloatArray,
    light: FloatArray,
    unusable: BoolArray,
    cores: BoolArray,
    settings: FloorSettings,
) -> NDArray[np.float32]:
    fwhm = FWHM_PER_SIGMA * psf_sigma(difference)
    x, y, height = bright_centres(light, min_light=settings.halo_snr or 0.0, cores=cores)
    inner = max(round(RINGS_FROM * fwhm), RING_WIDTH)
    # Wings fall about with the fourth power of the distance.
    reach = settings.halo_fwhm * fwhm * np.minimum(height / FULL_HALO_SNR, 1.0) ** 0.25
    radius = np.maximum(np.rint(reach).astype(int), inner + RING_WIDTH)
    ny, nx = light.shape
    about = significance_about(psf_of(difference).kernel_image(x=(nx - 1) / 2, y=(ny - 1) / 2))
    return halo_floor(found, x=x, y=y, radius=radius, bad=unusable, inner=inner, width=RING_WIDTH, about=about)
