"""Whether sources are larger than stars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firstlight.kernels.arrays import FloatArray


def size_extendedness(
    size: FloatArray, *, size_err: FloatArray, psf_size: FloatArray, least_excess: float, n_sigma: float
) -> NDArray[np.float64]:
    """Return 0 for sources of the size of the PSF, towards 1 for larger ones, 1/2 on the border.

    With the relative excess e = size / psf_size - 1 and the border b = sqrt(least_excess^2 + (n_sigma err)^2) it is
    1 - 2^(-(e / b)^2) where e is positive. LSST's ``ClassificationSizeExtendedness`` is the same function of
    (size - psf_size) / sqrt(psf_size), which has a unit and knows nothing of the noise.

    Parameters
    ----------
    size, size_err, psf_size : (n,) [pixel^2]
        Traces of the second moments and the error of that of the sources.
    least_excess
        Border of sources without noise: what the model of the PSF may be wrong by.
    n_sigma
        Border in standard errors.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        excess = np.maximum(size / psf_size - 1.0, 0.0)
        border = np.hypot(least_excess, n_sigma * size_err / psf_size)
        return np.asarray(1.0 - 0.5 ** ((excess / border) ** 2))


def flux_extendedness(
    model_flux: FloatArray,
    *,
    model_flux_err: FloatArray,
    psf_flux: FloatArray,
    of_star: float,
    least_excess: float,
    n_sigma: float,
) -> NDArray[np.float64]:
    """Return 1 for sources in which a free model holds more light than the PSF, else 0; NaN without both fluxes.

    The errors of the two fluxes have the noise of the core in common; the error of the model alone stands for that of
    their ratio.

    Parameters
    ----------
    model_flux, model_flux_err, psf_flux : (n,) [count]
    of_star
        Flux of the model over that of the PSF for a star without noise.
    least_excess, n_sigma
        As in `size_extendedness`, for the ratio of the fluxes.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        excess = model_flux / (of_star * psf_flux) - 1.0
        border = np.hypot(least_excess, n_sigma * model_flux_err / np.abs(of_star * psf_flux))
        known = np.isfinite(excess) & np.isfinite(border)
        return np.where(known, (excess > border) & (psf_flux > 0) | (psf_flux <= 0) & (model_flux > 0), np.nan)
