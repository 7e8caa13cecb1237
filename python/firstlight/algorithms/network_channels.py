"""Candidates as a network sees them: images in units of their noise, and what a point source leaves of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.candidate_features import STAMP_FWHM
from firstlight.algorithms.candidate_fits import CandidateFits
from firstlight.algorithms.stamps import CandidateStamps, middle_of, significance_of_points
from firstlight.images.psf import FWHM_PER_SIGMA
from firstlight.kernels.arrays import FloatArray

_MASKS = ("cosmic_ray", "defect")

CHANNELS = ("science", "template", "difference", "significance", "expected", "own_residual", *_MASKS)
"""What `network_channels` stacks, in order."""


def network_channels(stamps: CandidateStamps, fits: CandidateFits, *, fwhm: float) -> NDArray[np.float32]:
    """Return the (n, 8, s, s) input of a network: `CHANNELS`, as asinh of values in units of the noise.

    Each image is divided by its local noise, the square root of the median variance of the stamp, never by its peak: a
    faint source stays faint. Then come, in units of the noise of each pixel and 0 beyond the core that is fitted, the
    point source that fits the difference best and what one leaves of the image in which it is bright; and, 1 or 0,
    which pixels as far as the features look are repaired or defects.

    Parameters
    ----------
    stamps
        Upright, as large as the network looks.
    fits
        To the middles of these stamps, or of larger ones of the same candidates.
    fwhm : [pixel]
        Full width at half maximum of the PSF of the difference.
    """
    size = 2 * stamps.half + 1
    channels = np.zeros((len(stamps), len(CHANNELS), size, size), dtype=np.float32)
    plane = {name: channels[:, number] for number, name in enumerate(CHANNELS)}
    for name in CHANNELS[:3]:
        image, variance = getattr(stamps, name), getattr(stamps, f"{name}_variance")
        np.divide(image, local_noise(variance)[:, None, None], out=plane[name])
    plane["significance"][:] = significance_of_points(
        stamps.difference, stamps.difference_variance, sigma=fwhm / FWHM_PER_SIGMA
    )
    shared = min(stamps.half, fits.difference.core.shape[1] // 2)
    for name, fit, pixels in (
        ("expected", fits.difference, fits.difference.expected),
        ("own_residual", fits.own, fits.own.residual),
    ):
        middle_of(plane[name], shared)[:] = middle_of(np.where(fit.core, pixels, 0.0), shared)
    looked_at = stamps.radius <= STAMP_FWHM * fwhm
    for kind in _MASKS:
        plane[kind][:] = stamps.masks[kind] & looked_at
    return np.arcsinh(channels, out=channels)


def local_noise(variance: FloatArray) -> NDArray[np.float32]:
    """Return (n,) the noise of each stamp: the root of the median of its finite variances; infinite where none is.

    Parameters
    ----------
    variance : (n, s, s)
    """
    ordered = np.sort(np.asarray(variance).reshape(len(variance), variance.shape[1] ** 2), axis=1)
    count, which = np.isfinite(ordered).sum(axis=1), np.arange(len(ordered))
    # Infinite ones come last: where all are, so is the first.
    low, high = ordered[which, np.maximum(count - 1, 0) // 2], ordered[which, count // 2]
    return np.asarray(np.sqrt(0.5 * (low + high)), dtype=np.float32)
