"""The factor from one kind of flux to another as a smooth field over an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import ApertureCorrectionError
from firstlight.images.box import Box
from firstlight.images.fields import ChebyshevField
from firstlight.kernels.arrays import BoolArray, FloatArray

_SIGMA_PER_MAD = 1.4826
_STARS_PER_TERM = 3


@dataclass(frozen=True)
class FluxRatioField:
    """A fitted ratio of fluxes.

    Parameters
    ----------
    field
        The ratio over the image.
    scatter
        Robust standard deviation of the ratios of single stars about the field.
    error
        Error of the mean ratio.
    used : (n,)
        True for the stars that made it.
    order
        Total degree of the field.
    """

    field: ChebyshevField
    scatter: float
    error: float
    used: BoolArray
    order: int


def fit_flux_ratio(
    flux: FloatArray,
    *,
    reference: FloatArray,
    x: FloatArray,
    y: FloatArray,
    box: Box,
    order: int = 2,
    clip: float = 4.0,
    rounds: int = 4,
) -> FluxRatioField:
    """Fit reference over flux of stars with a Chebyshev field, clipped about the fit, its median residual taken out.

    Parameters
    ----------
    flux, reference : (n,) [count]
        Flux to be corrected, and the flux it should become.
    x, y : (n,) [pixel]
    box
        The image, which the field covers.
    order
        Total degree; lowered when there are fewer than three stars per term.
    clip : [robust standard deviation]
        Stars further from the fit are left out.
    rounds
        How often the stars are clipped.

    Raises
    ------
    ApertureCorrectionError
        If no star has two positive fluxes.

    References
    ----------
    Bosch et al. 2018, PASJ 70, S5, section 4.9.2 (aperture corrections).
    """
    flux, reference = np.asarray(flux, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    used = np.isfinite(flux) & np.isfinite(reference) & (flux > 0) & (reference > 0) & np.isfinite(x) & np.isfinite(y)
    if not used.any():
        raise ApertureCorrectionError(
            f"None of {len(flux)} stars has two positive fluxes to make an aperture correction of.", n_stars=len(flux)
        )
    ratio = np.ones(len(flux))
    ratio[used] = reference[used] / flux[used]
    residual = ratio - np.median(ratio[used])
    for _ in range(rounds):
        kept = used & (np.abs(residual) <= clip * max(_spread(residual[used]), 1e-12))
        used = kept if kept.any() else used
        order = _allowed(order, int(used.sum()))
        field = ChebyshevField.fit(ratio[used], x=x[used], y=y[used], box=box, order=order)
        residual = ratio - field.evaluate(x=np.nan_to_num(x), y=np.nan_to_num(y))
    coefficients = field.coefficients.copy()
    coefficients[0, 0] += np.median(residual[used])
    scatter = _spread(residual[used])
    freedom = int(used.sum()) - (order + 1) * (order + 2) // 2
    error = scatter * np.sqrt(np.pi / 2.0 / max(freedom, 1))
    return FluxRatioField(
        field=ChebyshevField(box, coefficients), scatter=scatter, error=float(error), used=used, order=order
    )


def _allowed(order: int, n_stars: int) -> int:
    while order > 0 and n_stars < _STARS_PER_TERM * (order + 1) * (order + 2) // 2:
        order -= 1
    return order


def _spread(residual: NDArray[np.float64]) -> float:
    """Return the robust standard deviation about the median."""
    return float(_SIGMA_PER_MAD * np.median(np.abs(residual - np.median(residual))))
