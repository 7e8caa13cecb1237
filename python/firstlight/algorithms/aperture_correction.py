"""The factor from one kind of flux to another as a smooth field over an image."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.light_shares import quotient
from firstlight.errors import ApertureCorrectionError
from firstlight.images.box import Box
from firstlight.images.fields import ChebyshevField
from firstlight.kernels.arrays import BoolArray, FloatArray

_SIGMA_PER_MAD = 1.4826
_STARS_PER_TERM = 3
_LEAST_FOR_OFFSET = 20
_LEAST_SPAN = 4.0
_STRONG_EVIDENCE = 10.0


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
    slope : [1 / count]
        What the ratio grows by for each count of the flux, as of bright stars that are wider than the model; the field
        is the ratio without it. 0 where not fitted.
    """

    field: ChebyshevField
    scatter: float
    error: float
    used: BoolArray
    order: int
    offset: float = 0.0
    crowding: float = 0.0
    slope: float = 0.0

    def over(self, share: ChebyshevField) -> FluxRatioField:
        """Return the ratio of the whole to the flux, where this is that of a ``share`` of it, which changes little."""
        mean = share.mean()
        return replace(
            self,
            field=quotient(self.field, share),
            scatter=self.scatter / mean,
            error=self.error / mean,
            offset=self.offset / mean,
            crowding=self.crowding / mean,
            slope=self.slope / mean,
        )


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
    crowded: bool = False,
    with_slope: bool = False,
) -> FluxRatioField:
    """Fit reference over flux of stars with a Chebyshev field, clipped about the fit.

    Neighbours that are too faint to be told apart, and sky that is left, add light to the larger aperture of the
    reference that does not depend on how bright the star is: on average an offset, from star to star a scatter, both in
    counts. With ``with_offset`` the scatter is measured and added to the errors, and so is one of the ratios
    themselves, which gives the brightest stars their due weight, and the offset is fitted. Brighter stars also hide
    brighter neighbours, which no offset takes up; what the offset changes is a measure of how much that may be, and is
    added to the error.

    With ``with_slope`` the ratio may change in proportion to the flux. Charge that has gathered in a pixel pushes later
    charge into its neighbours, so that stars are the wider the brighter they are and a model of one width misses light
    in proportion to the flux (Antilogus et al. 2014, JINST 9, C03048; Guyonnet et al. 2015, A&A 575, A41).

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
        Whether an offset may be fitted along; it needs ``error`` and fluxes that span a factor of four, without the
        outermost tenth, and is kept if the criterion prefers it.
    crowded
        Neighbours are known to be there: an offset that may be fitted always is.
    with_slope
        The same for a slope, which the criterion must prefer by 10 (Kass & Raftery 1995, JASA 90, 773), also without
        the brightest star.

    Raises
    ------
    ApertureCorrectionError
        If no star has two positive fluxes.

    References
    ----------
    Bosch et al. 2018, PASJ 70, S5, section 4.9.2 (aperture corrections).
    """
    flux, reference = np.array(flux, dtype=np.float64), np.array(reference, dtype=np.float64)
    usable = np.isfinite(flux) & np.isfinite(reference) & (flux > 0) & (reference > 0) & np.isfinite(x) & np.isfinite(y)
    if not usable.any():
        raise ApertureCorrectionError(
            f"None of {len(flux)} stars has two positive fluxes to make an aperture correction of.", n_stars=len(flux)
        )
    ratio = np.ones(len(flux))
    ratio[usable] = reference[usable] / flux[usable]
    stars = _Ratios(ratio, flux.astype(np.float64), np.nan_to_num(x), np.nan_to_num(y), error, usable)
    highest = _allowed(order, int(usable.sum()))
    if error is None:
        return stars.fit(highest, box=box, clip=clip, rounds=rounds)
    enough = usable.sum() >= _LEAST_FOR_OFFSET and _span(flux[usable]) >= _LEAST_SPAN
    offsets, slopes = ((False, True) if wanted and enough else (False,) for wanted in (with_offset, with_slope))
    if len(offsets) > 1:
        offsets = (True,) if crowded else offsets
        stars = stars.with_scatter(box=box, clip=clip, rounds=rounds, slope=len(slopes) > 1)
    best = stars.best(highest, box=box, clip=clip, rounds=rounds, offsets=offsets, slopes=slopes)
    if best.slope != 0:
        rest = stars.without_brightest()
        again = rest.best(highest, box=box, clip=clip, rounds=rounds, offsets=offsets, slopes=slopes)
        if again.slope == 0:
            best = stars.best(highest, box=box, clip=clip, rounds=rounds, offsets=offsets, slopes=(False,))
    if best.offset == 0:
        return best
    plain = stars.fit(best.order, box=box, clip=clip, rounds=rounds, slope=best.slope != 0)
    crowding = abs(plain.field.mean() - best.field.mean())
    return replace(best, error=float(np.hypot(best.error, crowding)), crowding=crowding)


@dataclass(frozen=True)
class _Ratios:
    """Ratios of stars, the fluxes that they correct, and their errors."""

    ratio: NDArray[np.float64]
    flux: NDArray[np.float64]
    x: FloatArray
    y: FloatArray
    error: FloatArray | None
    usable: BoolArray

    @property
    def weighted(self) -> bool:
        return self.error is not None

    @property
    def errors(self) -> FloatArray:
        """Errors; zero where there are none."""
        return np.zeros(len(self.ratio)) if self.error is None else np.asarray(self.error, dtype=np.float64)

    @property
    def positive(self) -> NDArray[np.float64]:
        """The fluxes [count]; 1 where a star is not usable."""
        return np.where(self.usable, self.flux, 1.0)

    def columns(self, *, offset: bool, slope: bool) -> NDArray[np.float64]:
        """Return what a count of offset and a unit of slope change the ratios by, (columns, n)."""
        wanted = [1.0 / self.positive] * offset + [self.positive] * slope
        return np.array(wanted).reshape(len(wanted), len(self.ratio))

    def with_scatter(self, *, box: Box, clip: float, rounds: int, slope: bool) -> _Ratios:
        """Return them with what makes the typical deviation one error added to the errors.

        That is a scatter in counts, as the faint half of the stars shows it, and one of the ratios, of the bright half.
        """
        found, per_count = self, 1.0 / self.positive
        bright = self.flux >= np.median(self.flux[self.usable])
        counts = relative = 0.0
        for _ in range(rounds):
            fit = found.fit(0, box=box, clip=clip, rounds=rounds, offset=True, slope=slope)
            residual, left = self.ratio - self.model(fit), fit.used & ~bright
            known = np.hypot(self.errors, relative)
            counts = _scatter(residual[left], known[left], per_count[left])
            right = fit.used & bright
            known = np.hypot(self.errors, counts * per_count)
            relative = _scatter(residual[right], known[right], np.ones(int(right.sum())))
            found = replace(self, error=np.hypot(known, relative))
        return found

    def without_brightest(self) -> _Ratios:
        """Return them with one star less in use."""
        usable = self.usable.copy()
        usable[np.argmax(np.where(usable, self.flux, -np.inf))] = False
        return replace(self, usable=usable)

    def best(
        self, highest: int, *, box: Box, clip: float, rounds: int, offsets: tuple[bool, ...], slopes: tuple[bool, ...]
    ) -> FluxRatioField:
        """Return the fit of the least criterion: of orders up to the highest, with and without offset and slope."""
        fits = [
            self.fit(order, box=box, clip=clip, rounds=rounds, offset=offset, slope=slope)
            for order, offset, slope in itertools.product(range(highest + 1), offsets, slopes)
        ]
        return min(fits, key=lambda found: self.criterion(found, clip=clip))

    def model(self, found: FluxRatioField) -> NDArray[np.float64]:
        """Return the ratios by a fit."""
        by_flux = found.offset / self.positive + found.slope * self.positive
        return np.asarray(found.field.evaluate(x=self.x, y=self.y) + by_flux)

    def fit(
        self, order: int, *, box: Box, clip: float, rounds: int, offset: bool = False, slope: bool = False
    ) -> FluxRatioField:
        """Fit a field of a total degree, and an offset and a slope where they are wanted."""
        error = self.errors
        weights = 1.0 / np.maximum(error, 1e-12) if self.weighted else np.ones(len(self.ratio))
        columns = self.columns(offset=offset, slope=slope)
        by_flux = np.zeros(len(columns))
        used, residual = self.usable, self.ratio - np.median(self.ratio[self.usable])
        for _ in range(rounds + 1):
            kept = self.usable & (np.abs(residual) <= clip * np.maximum(error, max(_spread(residual[used]), 1e-12)))
            used = kept if kept.any() else used
            order = _allowed(order, int(used.sum()))
            by_flux = self._by_flux(columns, used, weights, box=box, order=order)
            rest = self.ratio - by_flux @ columns
            field = self._field(rest, used, weights, box=box, order=order)
            residual = rest - field.evaluate(x=self.x, y=self.y)
        coefficients = field.coefficients.copy()
        if not self.weighted:
            coefficients[0, 0] += np.median(residual[used])
        freedom = max(int(used.sum()) - (order + 1) * (order + 2) // 2 - len(columns), 1)
        scatter = _spread(residual[used])
        mean_error = scatter * np.sqrt(np.pi / 2.0 / freedom)
        if self.weighted:
            known = _information(np.maximum(error, np.abs(residual))[used], columns[:, used])
            mean_error = float(1.0 / np.sqrt(known * freedom / used.sum()))
        return FluxRatioField(
            field=ChebyshevField(box, coefficients),
            scatter=scatter,
            error=float(mean_error),
            used=used,
            order=order,
            offset=float(by_flux[0]) if offset else 0.0,
            slope=float(by_flux[-1]) if slope else 0.0,
        )

    def _field(
        self, values: FloatArray, used: BoolArray, weights: FloatArray, *, box: Box, order: int
    ) -> ChebyshevField:
        return ChebyshevField.fit(
            values[used], x=self.x[used], y=self.y[used], box=box, order=order, weights=weights[used]
        )

    def _by_flux(
        self, columns: NDArray[np.float64], used: BoolArray, weights: FloatArray, *, box: Box, order: int
    ) -> NDArray[np.float64]:
        """Return offset and slope of the joint fit: by what the field leaves of their columns."""
        if len(columns) == 0:
            return np.zeros(0)
        at = {"x": self.x, "y": self.y}
        left = np.array(
            [each - self._field(each, used, weights, box=box, order=order).evaluate(**at) for each in columns]
        )
        size = np.sqrt(np.mean(left[:, used] ** 2, axis=1))
        design = (left * weights)[:, used] / size[:, None]
        solution = np.linalg.lstsq(design.T, (self.ratio * weights)[used], rcond=None)[0]
        return np.asarray(solution / size)

    def criterion(self, found: FluxRatioField, *, clip: float) -> float:
        """Return the Bayesian information criterion of a fit, a clipped star counting as one at the limit."""
        residual = ((self.ratio - self.model(found)) / self.errors)[found.used]
        terms = (found.order + 1) * (found.order + 2) / 2 + (found.offset != 0) + (found.slope != 0)
        clipped = int((self.usable & ~found.used).sum())
        doubt = _STRONG_EVIDENCE * (found.slope != 0)
        return float(np.sum(residual**2) + terms * np.log(found.used.sum()) + clip**2 * clipped + doubt)


def _information(error: FloatArray, columns: NDArray[np.float64]) -> float:
    """Return the information on the mean, that which goes to the columns taken off."""
    weight = 1.0 / error**2
    if len(columns) == 0:
        return float(np.sum(weight))
    scaled = columns / np.sqrt(np.mean(columns**2, axis=1))[:, None]
    shared = scaled @ weight
    lost = shared @ np.linalg.pinv((scaled * weight) @ scaled.T) @ shared
    return max(float(np.sum(weight) - lost), 1e-12)


def _scatter(residual: FloatArray, error: FloatArray, arm: FloatArray) -> float:
    """Return the scatter, times ``arm``, that brings the median deviation to that of a Gaussian; 0 if it is below."""
    if len(residual) == 0:
        return 0.0

    def excess(scatter: float) -> float:
        return float(np.median(np.abs(residual) / np.hypot(error, scatter * arm))) * _SIGMA_PER_MAD - 1.0

    low, high = 0.0, 2.0 * float(np.max(np.abs(residual) / arm)) + 1e-12
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


def _span(flux: FloatArray) -> float:
    """Return the ratio of bright to faint fluxes, the outermost tenth left out."""
    faint, bright = np.percentile(flux, [5.0, 95.0])
    return float(bright / faint)


def _spread(residual: NDArray[np.float64]) -> float:
    """Return the robust standard deviation about the median."""
    return float(_SIGMA_PER_MAD * np.median(np.abs(residual - np.median(residual))))
