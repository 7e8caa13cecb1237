"""The factor from one kind of flux to another as a smooth field over an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import ApertureCorrectionError
from firstlight.images.box import Box
from firstlight.images.fields import ChebyshevField
from firstlight.images.psf import Psf
from firstlight.kernels.arrays import BoolArray, FloatArray

_SIGMA_PER_MAD = 1.4826
_STARS_PER_TERM = 3
_SHARE_NODES = 5


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
    error: FloatArray | None = None,
    order: int = 2,
    clip: float = 4.0,
    rounds: int = 4,
) -> FluxRatioField:
    """Fit reference over flux of stars with a Chebyshev field, clipped about the fit.

    Parameters
    ----------
    flux, reference : (n,) [count]
        Flux to be corrected, and the flux it should become.
    x, y : (n,) [pixel]
    box
        The image, which the field covers.
    error : (n,)
        Errors of the ratios. With them the stars are weighted, and the order is the one of least Bayesian information
        criterion (Schwarz 1978); without, all stars count alike, and the median residual is taken out.
    order
        Largest total degree; lowered when there are fewer than three stars per term.
    clip : [standard deviation]
        Stars further from the fit, by their own error or the robust scatter, whichever is larger, are left out.
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
    usable = np.isfinite(flux) & np.isfinite(reference) & (flux > 0) & (reference > 0) & np.isfinite(x) & np.isfinite(y)
    if not usable.any():
        raise ApertureCorrectionError(
            f"None of {len(flux)} stars has two positive fluxes to make an aperture correction of.", n_stars=len(flux)
        )
    ratio = np.ones(len(flux))
    ratio[usable] = reference[usable] / flux[usable]
    stars = _Ratios(ratio, np.nan_to_num(x), np.nan_to_num(y), None if error is None else np.asarray(error), usable)
    highest = _allowed(order, int(usable.sum()))
    fits = [
        stars.fit(k, box=box, clip=clip, rounds=rounds) for k in (range(highest + 1) if stars.weighted else [highest])
    ]
    return min(fits, key=lambda found: stars.criterion(found, clip=clip))


def aperture_share(psf: Psf, radius: float, *, box: Box) -> ChebyshevField:
    """Return the share of the total flux of a star inside an aperture, as a field of second order over an image.

    Parameters
    ----------
    psf
        With its wings.
    radius : [pixel]
        Of the aperture.
    box
        The image.
    """
    steps = np.linspace(0.0, 1.0, _SHARE_NODES)
    y, x = (
        axis.ravel()
        for axis in np.meshgrid(box.y0 + steps * (box.height - 1), box.x0 + steps * (box.width - 1), indexing="ij")
    )
    share = [psf.aperture_flux(radius, x=a, y=b) for a, b in zip(x, y, strict=True)]
    return ChebyshevField.fit(np.array(share), x=x, y=y, box=box, order=2)


def inverse_field(field: ChebyshevField) -> ChebyshevField:
    """Return one over a field that changes little, as a field of second order."""
    box, steps = field.box, np.linspace(0.0, 1.0, _SHARE_NODES)
    y, x = (
        axis.ravel()
        for axis in np.meshgrid(box.y0 + steps * (box.height - 1), box.x0 + steps * (box.width - 1), indexing="ij")
    )
    return ChebyshevField.fit(1.0 / field.evaluate(x=x, y=y), x=x, y=y, box=box, order=2)


@dataclass(frozen=True)
class _Ratios:
    """Ratios of stars and their errors."""

    ratio: NDArray[np.float64]
    x: FloatArray
    y: FloatArray
    error: FloatArray | None
    usable: BoolArray

    @property
    def weighted(self) -> bool:
        return self.error is not None

    def fit(self, order: int, *, box: Box, clip: float, rounds: int) -> FluxRatioField:
        error = np.zeros(len(self.ratio)) if self.error is None else np.asarray(self.error)
        weights = 1.0 / np.maximum(error, 1e-12) if self.weighted else np.ones(len(self.ratio))
        used, residual = self.usable, self.ratio - np.median(self.ratio[self.usable])
        for _ in range(rounds + 1):
            kept = self.usable & (np.abs(residual) <= clip * np.maximum(error, max(_spread(residual[used]), 1e-12)))
            used = kept if kept.any() else used
            order = _allowed(order, int(used.sum()))
            field = ChebyshevField.fit(
                self.ratio[used], x=self.x[used], y=self.y[used], box=box, order=order, weights=weights[used]
            )
            residual = self.ratio - field.evaluate(x=self.x, y=self.y)
        coefficients = field.coefficients.copy()
        if not self.weighted:
            coefficients[0, 0] += np.median(residual[used])
        freedom = max(int(used.sum()) - (order + 1) * (order + 2) // 2, 1)
        scatter = _spread(residual[used])
        mean_error = scatter * np.sqrt(np.pi / 2.0 / freedom)
        if self.weighted:
            total = np.maximum(error, np.abs(residual))[used]
            mean_error = float(1.0 / np.sqrt(np.sum(1.0 / total**2) * freedom / used.sum()))
        return FluxRatioField(
            field=ChebyshevField(box, coefficients), scatter=scatter, error=float(mean_error), used=used, order=order
        )

    def criterion(self, found: FluxRatioField, *, clip: float) -> float:
        """Return the Bayesian information criterion of a fit, a clipped star counting as one at the limit."""
        if self.error is None:
            return 0.0
        residual = (self.ratio - found.field.evaluate(x=self.x, y=self.y))[found.used] / self.error[found.used]
        terms = (found.order + 1) * (found.order + 2) / 2
        clipped = int((self.usable & ~found.used).sum())
        return float(np.sum(residual**2) + terms * np.log(found.used.sum()) + clip**2 * clipped)


def _allowed(order: int, n_stars: int) -> int:
    while order > 0 and n_stars < _STARS_PER_TERM * (order + 1) * (order + 2) // 2:
        order -= 1
    return order


def _spread(residual: NDArray[np.float64]) -> float:
    """Return the robust standard deviation about the median."""
    return float(_SIGMA_PER_MAD * np.median(np.abs(residual - np.median(residual))))
