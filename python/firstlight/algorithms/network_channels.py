"""Candidates as a network sees them: images in units of their noise, and what a point source leaves of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.candidate_features import STAMP_FWHM
from firstlight.algorithms.candidate_fits import fit_candidates
from firstlight.algorithms.stamps import CandidateStamps, StampPsfs, significance_of_points
from firstlight.images.psf import FWHM_PER_SIGMA
from firstlight.kernels.arrays import FloatArray

_MASKS = ("cosmic_ray", "defect")

CHANNELS = ("science", "template", "difference", "significance", "expected", "own_residual", *_MASKS)
"""What `network_channels` stacks, in order."""


def network_channels(stamps: CandidateStamps, *, psfs: StampPsfs, half: int, fwhm: float) -> NDArray[np.float32]:
    """Return the (n, 8, s, s) input of a network: `CHANNELS`, as asinh of values in units of the noise.

    Each image is divided by its local noise, the square root of the median variance of the stamp, never by its peak: a
    faint source stays faint. Then come, in units of the noise of each pixel and 0 beyond the core that is fitted, the
    point source that fits the difference best and what one leaves of the image in which it is bright; and, 1 or 0,
    which pixels as far as the features look are repaired or defects.

    Parameters
    ----------
    stamps
        Upright.
    psfs
    half : [pixel]
        Half size of what the network looks at, at most that of the stamps.
    fwhm : [pixel]
        Full width at half maximum of the PSF of the difference.
    """
    fits = fit_candidates(stamps, psfs=psfs, fwhm=fwhm)
    planes = []
    for name in CHANNELS[:3]:
        image, variance = getattr(stamps, name), getattr(stamps, f"{name}_variance")
        planes.append(image / local_noise(variance)[:, None, None])
    planes.append(significance_of_points(stamps.difference, stamps.difference_variance, sigma=fwhm / FWHM_PER_SIGMA))
    planes.append(np.where(fits.difference.core, fits.difference.expected, 0.0))
    planes.append(np.where(fits.own.core, fits.own.residual, 0.0))
    looked_at = stamps.radius <= STAMP_FWHM * fwhm
    planes += [stamps.masks[kind] & looked_at for kind in _MASKS]
    inner = slice(stamps.half - half, stamps.half + half + 1)
    return np.asarray(np.arcsinh(np.stack([plane[:, inner, inner] for plane in planes], axis=1)), dtype=np.float32)


def local_noise(variance: FloatArray) -> NDArray[np.float32]:
    """Return (n,) the noise of each stamp: the root of the median of its finite variances; infinite where none is.

    Parameters
    ----------
    variance : (n, s, s)
    """
    flat = np.where(np.isfinite(variance), variance, np.nan).reshape(
        len(variance), variance.shape[1] * variance.shape[2]
    )
    empty = np.isnan(flat).all(axis=1)
    flat[empty] = np.inf
    return np.asarray(np.sqrt(np.nanmedian(flat, axis=1)) if len(flat) else np.zeros(0), dtype=np.float32)
