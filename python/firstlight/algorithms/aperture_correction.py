"""The factor from one kind of flux to another as a smooth field over an image."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
_LEAST_FOR_OFFSET = 20


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
        Error of the mean ratio; with an offset, `crowding` included.
    used : (n,)
        True for the stars that made it.
    order
        Total degree of the field.
    offset : [count]
        Flux that every reference has too much of, as from neighbours and sky in a larger aperture; 0 where not fitted.
    crowding
        How much the offset changes the mean ratio; 0 without one.
    """

    field: ChebyshevField
    scatter: float
    error: float
    used: BoolArray
    order: int
    offset: float = 0.0
    crowding: float = 0.0


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
    with_offset: bool = False,
) -> FluxRatioField:
    """Fit reference over flux of stars with a Chebyshev field, clipped about the fit.

    Neighbours that are too faint to be told apart, and sky that is left, add light to the larger aperture of the
    reference that does not depend on how bright the star is: on average an offset, from star to star a scatter, both in
    counts. With ``with_offset`` the scatter is measured and added to the errors, which gives the brightest stars their
    due weight in crowded fields, and the offset is fitted. Brighter stars also hide brighter neighbours, which no
    offset takes up; what the offset changes is a measure of how much that may be, and is added to the error.

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
    with_offset
        Whether an offset may be fitted along; it needs ``error``, and is kept if the criterion prefers it.

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
    if error is None:
        return stars.fit(highest, box=box, clip=clip, rounds=rounds)
    offsets = (False, True) if with_offset and usable.sum() >= _LEAST_FOR_OFFSET else (False,)
    if len(offsets) > 1:
        stars = stars.with_scatter(flux, box=box, clip=clip, rounds=rounds)
    fits = [
        stars.fit(k, box=box, clip=clip, rounds=rounds, per_count=1.0 / np.where(usable, flux, 1.0) if fitted else None)
        for k in range(highest + 1)
        for fitted in offsets
    ]
    best = min(fits, key=lambda found: stars.criterion(found, flux, clip=clip))
    if best.offset == 0:
        return best
    plain = next(found for found in fits if found.order == best.order and found.offset == 0)
    crowding = abs(plain.field.mean() - best.field.mean())
    return replace(best, error=float(np.hypot(best.error, crowding)), crowding=crowding)


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

    def with_scatter(self, flux: FloatArray, *, box: Box, clip: float, rounds: int) -> _Ratios:
        """Return them with a scatter in counts added to the errors, so that the typical deviation is one error."""
        found, per_count = self, 1.0 / np.where(self.usable, flux, 1.0)
        for _ in range(rounds):
            fit = found.fit(0, box=box, clip=clip, rounds=rounds, per_count=per_count)
            residual = self.ratio - fit.field.evaluate(x=self.x, y=self.y) - fit.offset * per_count
            scatter = _scatter(residual[fit.used], self.errors[fit.used], per_count[fit.used])
            found = replace(self, error=np.hypot(self.errors, scatter * per_count))
        return found

    @property
    def errors(self) -> FloatArray:
        """Errors; zero where there are none."""
        return np.zeros(len(self.ratio)) if self.error is None else self.error

    def fit(
        self, order: int, *, box: Box, clip: float, rounds: int, per_count: FloatArray | None = None
    ) -> FluxRatioField:
        """Fit a field of a total degree, and an offset where what a count of it changes the ratios by is given."""
        error = self.errors
        weights = 1.0 / np.maximum(error, 1e-12) if self.weighted else np.ones(len(self.ratio))
        used, residual = self.usable, self.ratio - np.median(self.ratio[self.usable])
        for _ in range(rounds + 1):
            kept = self.usable & (np.abs(residual) <= clip * np.maximum(error, max(_spread(residual[used]), 1e-12)))
            used = kept if kept.any() else used
            order = _allowed(order, int(used.sum()))
            offset = 0.0
            shift: FloatArray = np.zeros_like(self.ratio)
            if per_count is not None:
                offset = self._offset(per_count, used, weights, box=box, order=order)
                shift = offset * per_count
            field = self._field(self.ratio - shift, used, weights, box=box, order=order)
            residual = self.ratio - shift - field.evaluate(x=self.x, y=self.y)
        coefficients = field.coefficients.copy()
        if not self.weighted:
            coefficients[0, 0] += np.median(residual[used])
        freedom = max(int(used.sum()) - (order + 1) * (order + 2) // 2 - int(per_count is not None), 1)
        scatter = _spread(residual[used])
        mean_error = scatter * np.sqrt(np.pi / 2.0 / freedom)
        if self.weighted:
            known = _information(
                np.maximum(error, np.abs(residual))[used], None if per_count is None else per_count[used]
            )
            mean_error = float(1.0 / np.sqrt(known * freedom / used.sum()))
        return FluxRatioField(
            field=ChebyshevField(box, coefficients),
            scatter=scatter,
            error=float(mean_error),
            used=used,
            order=order,
            offset=offset,
        )

    def _field(
        self, values: FloatArray, used: BoolArray, weights: FloatArray, *, box: Box, order: int
    ) -> ChebyshevField:
        return ChebyshevField.fit(
            values[used], x=self.x[used], y=self.y[used], box=box, order=order, weights=weights[used]
        )

    def _offset(self, per_count: FloatArray, used: BoolArray, weights: FloatArray, *, box: Box, order: int) -> float:
        """Return the offset of the joint fit: the slope of the ratios with what the field leaves of ``per_count``."""
        left = per_count - self._field(per_count, used, weights, box=box, order=order).evaluate(x=self.x, y=self.y)
        weighted = (left * weights**2)[used]
        return float(np.sum(weighted * self.ratio[used]) / np.sum(weighted * left[used]))

    def criterion(self, found: FluxRatioField, flux: FloatArray, *, clip: float) -> float:
        """Return the Bayesian information criterion of a fit, a clipped star counting as one at the limit."""
        model = found.field.evaluate(x=self.x, y=self.y) + found.offset / np.where(self.usable, flux, 1.0)
        residual = (self.ratio - model)[found.used] / self.errors[found.used]
        terms = (found.order + 1) * (found.order + 2) / 2 + (found.offset != 0)
        clipped = int((self.usable & ~found.used).sum())
        return float(np.sum(residual**2) + terms * np.log(found.used.sum()) + clip**2 * clipped)


def _information(error: FloatArray, per_count: FloatArray | None) -> float:
    """Return the information on the mean, that which goes to the offset taken off."""
    weight = 1.0 / error**2
    if per_count is None:
        return float(np.sum(weight))
    return float(np.sum(weight) - np.sum(weight * per_count) ** 2 / np.sum(weight * per_count**2))


def _scatter(residual: FloatArray, error: FloatArray, per_count: FloatArray) -> float:
    """Return the scatter in counts that brings the median deviation to that of a Gaussian; 0 if it is below."""

    def excess(scatter: float) -> float:
        return float(np.median(np.abs(residual) / np.hypot(error, scatter * per_count))) * _SIGMA_PER_MAD - 1.0

    low, high = 0.0, 2.0 * float(np.max(np.abs(residual) / per_count)) + 1e-12
    if excess(low) <= 0:
        return low
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high


def _allowed(order: int, n_stars: int) -> int:
    while order > 0 and n_stars < _STARS_PER_TERM * (order + 1) * (order + 2) // 2:
        order -= 1
    return order


def _spread(residual: NDArray[np.float64]) -> float:
    """Return the robust standard deviation about the median."""
    return float(_SIGMA_PER_MAD * np.median(np.abs(residual - np.median(residual))))
