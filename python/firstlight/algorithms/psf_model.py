"""Fit a point-spread function that varies over the image to the stars on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.psf_compose import compose_psf
from firstlight.algorithms.psf_moffat import Domain, FitWeights, start_field
from firstlight.algorithms.psf_neighbours import Neighbours
from firstlight.algorithms.psf_rounds import (
    PsfRound,
    first_round,
    fit_profile,
    fit_remainder,
    fit_roughly,
    unit_residuals,
)
from firstlight.algorithms.psf_stamps import cut_stamps
from firstlight.errors import PsfError
from firstlight.images.psf import FWHM_PER_SIGMA, GaussianPsf, Psf
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.moments import adaptive_moments_stamp

_STAMP_FWHM = 4.0
_MIN_RADIUS = 5
_PIXEL_VARIANCE = 1.0 / 12.0
_MEASURED = 200
_MEASURED_RADIUS = 12


@dataclass(frozen=True)
class PsfFit:
    """A point-spread function and the stars it came from.

    Parameters
    ----------
    psf
        The model.
    used : (n,)
        True for the candidates that made the model.
    flux : (n,) [count]
        Flux of the unit-sum stamp; NaN for candidates that are not used.
    x, y : (n,) [pixel]
        Positions by the model; NaN for candidates that are not used.
    chi2 : (n,)
        Chi-square per degree of freedom, each pixel's bounded; NaN for candidates that are not used.
    order
        Total degree of the polynomials of width and ellipticity.
    residual_order
        The same of the grid that is added to the Moffat profile.
    fwhm, beta
        FWHM before pixel integration [pixel] at the middle of the image, and exponent, of the Moffat profile.
    rms
        Relative root mean square of the mean residual of the used stars, their noise included.
    """

    psf: Psf
    used: BoolArray
    flux: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    chi2: NDArray[np.float64]
    order: int
    residual_order: int
    fwhm: float
    beta: float
    rms: float

    @property
    def n_used(self) -> int:
        """Number of stars that made the model."""
        return int(self.used.sum())


def fit_psf(start: FitStart, *, order: int = 3, residual_order: int = 2, reject_fraction: float = 0.1) -> PsfFit:
    """Model the point-spread function of an image from candidate stars.

    A pixel-integrated elliptical Moffat profile, whose width and ellipticity are polynomials of the position, is fitted
    to all stars at once, with flux, position and local sky of every star. What the stars show beyond it goes on an
    oversampled grid of B-splines with a prior that the data set themselves, so that it vanishes where the profile
    suffices. Both together become a `PixelGridPsf`.

    Parameters
    ----------
    start
        From `begin_fit`.
    order
        Total degree of the variation of width and ellipticity; lowered when there are fewer than three to five stars
        per term, or when the terms are not significant.
    residual_order
        The same of the grid; lowered when there are too few stars.
    reject_fraction
        At most this fraction of the stars is rejected at a time.

    Raises
    ------
    PsfError
        If the model is not finite.

    References
    ----------
    Jarvis et al. 2021, MNRAS 501, 1282 (PIFF); Bertin 2011, ASPC 442, 435 (PSFEx); Anderson & King 2000, PASP 112,
    1360 (effective PSF).
    """
    weights = start.weights
    state = fit_profile(start.state, order=order, weights=weights, reject_fraction=reject_fraction)
    state, residual = fit_remainder(state, order=residual_order, weights=weights, reject_fraction=reject_fraction)
    average = (float(state.x.mean()), float(state.y.mean()))
    composed = compose_psf(state.field, residual, radius=state.stamps.radius, average_position=average)
    on_stamp = np.array([composed.psf.stamp_fraction(x=a, y=b) for a, b in zip(state.x, state.y, strict=True)])
    offsets = composed.offsets(x=state.x, y=state.y, domain=state.field.domain)
    return start.result(
        state,
        composed.psf,
        flux=state.total_flux * on_stamp,
        offsets=offsets,
        residual_order=residual.order,
        rms=_stacked_rms(state, weights),
    )


@dataclass(frozen=True)
class FitStart:
    """Where every fit of a PSF begins: good stars without their neighbours, and a rough round profile.

    Parameters
    ----------
    state
        The stars, with one Moffat profile for all.
    weights
        How residuals count.
    placed : (n_placed,)
        Rows of the candidates that have a position; ``state.index`` counts among them.
    n
        Number of candidates.
    """

    state: PsfRound
    weights: FitWeights
    placed: NDArray[np.int64]
    n: int

    def result(
        self,
        state: PsfRound,
        psf: Psf,
        *,
        flux: NDArray[np.float64],
        offsets: NDArray[np.float64],
        residual_order: int,
        rms: float,
    ) -> PsfFit:
        """Spread what is known of the stars over all candidates.

        Parameters
        ----------
        state
            The stars in the end.
        psf
            Their model.
        flux : (n_used,) [count]
        offsets : (n_used, 2) [pixel]
            Of the centres of the model from the positions of the state.
        residual_order, rms
            As in `PsfFit`.
        """
        rows = self.placed[state.index]
        table = np.full((4, self.n), np.nan)
        table[:, rows] = flux, state.x + offsets[:, 0], state.y + offsets[:, 1], state.stars.chi2
        used = np.zeros(self.n, dtype=np.bool_)
        used[rows] = True
        return PsfFit(
            psf=psf,
            used=used,
            flux=table[0],
            x=table[1],
            y=table[2],
            chi2=table[3],
            order=state.field.order,
            residual_order=residual_order,
            fwhm=state.field.fwhm,
            beta=state.field.beta,
            rms=rms,
        )


def begin_fit(
    image: FloatArray,
    *,
    variance: FloatArray,
    bad: BoolArray,
    x: FloatArray,
    y: FloatArray,
    fwhm: float | None = None,
    radius: int | None = None,
    neighbours: Neighbours | None = None,
    max_stars: int = 600,
    floor: float = 0.01,
    sky_sigma: float = 0.15,
) -> FitStart:
    """Cut out the candidates, choose the good ones, and fit one profile to the brightest: what every model begins with.

    Parameters
    ----------
    image, variance : (ny, nx) [count], [count^2]
        Sky-subtracted image and its variance.
    bad : (ny, nx)
        True where a pixel must not be used.
    x, y : (n,) [pixel]
        Candidates, good to about half a pixel.
    fwhm : [pixel]
        First guess; measured from the candidates when None.
    radius : [pixel]
        Half size of the stamps; four FWHM when None.
    neighbours
        Sources whose light is subtracted; the candidates may be among them.
    max_stars
        The brightest stars are taken, evenly over the image, up to this number.
    floor
        Error of the model as a fraction of a star's flux in a pixel: caps the weight of bright stars.
    sky_sigma
        How far the sky under a star may be from zero, in units of the noise of a pixel.

    Raises
    ------
    PsfError
        If no candidate can be used.
    """
    placed = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    at_x, at_y = np.array(x, dtype=np.float64)[placed], np.array(y, dtype=np.float64)[placed]
    fwhm = float(np.median(_measured_fwhm(image, bad=bad, x=at_x, y=at_y))) if fwhm is None else fwhm
    radius = max(_MIN_RADIUS, round(_STAMP_FWHM * fwhm)) if radius is None else radius
    domain = Domain(-0.5, image.shape[1] - 0.5, -0.5, image.shape[0] - 0.5)
    stamps = cut_stamps(image, variance=variance, bad=bad, x=at_x, y=at_y, radius=radius)
    field = start_field(fwhm=fwhm, order=0, domain=domain)
    state = first_round(stamps, x=at_x, y=at_y, field=field, max_stars=max_stars)
    sky_variance = float(np.median(state.stamps.noise[state.stamps.noise > 0]))
    weights = FitWeights(floor=floor, sky_prior=1.0 / (sky_sigma**2 * sky_variance))
    return FitStart(fit_roughly(state, weights=weights, neighbours=neighbours), weights, placed, len(x))


def fit_gaussian_psf(
    image: FloatArray, *, bad: BoolArray, x: FloatArray, y: FloatArray, radius: int | None = None
) -> GaussianPsf:
    """Return a circular Gaussian as wide as the stars, the same everywhere.

    Parameters
    ----------
    image : (ny, nx) [count]
        Sky-subtracted image.
    bad : (ny, nx)
        True where a pixel must not be used.
    x, y : (n,) [pixel]
        Candidates; the width is the median of theirs.
    radius : [pixel]
        Half size of the stamps; four FWHM when None.

    Raises
    ------
    PsfError
        If no candidate has a measurable width.
    """
    placed = np.isfinite(x) & np.isfinite(y)
    at_x, at_y = np.array(x, dtype=np.float64)[placed], np.array(y, dtype=np.float64)[placed]
    fwhm = float(np.median(_measured_fwhm(image, bad=bad, x=at_x, y=at_y)))
    sigma = np.sqrt(max((fwhm / FWHM_PER_SIGMA) ** 2 - _PIXEL_VARIANCE, 0.05))
    radius = max(_MIN_RADIUS, round(_STAMP_FWHM * fwhm)) if radius is None else radius
    return GaussianPsf(sigma=float(sigma), radius=radius)


def _stacked_rms(state: PsfRound, weights: FitWeights) -> float:
    """Return the root mean square of the mean residual of the stars relative to that of their profile."""
    residuals, pixel_weights = unit_residuals(state, weights)
    mean = (pixel_weights * (residuals - state.residual_images())).sum(axis=0)
    mean /= np.maximum(pixel_weights.sum(axis=0), 1e-300)
    profiles = state.field.images(x=state.x, y=state.y, dx=state.dx, dy=state.dy, radius=state.stamps.radius)
    return float(np.sqrt((mean**2).sum() / (profiles**2).sum(axis=(1, 2)).mean()))


def _measured_fwhm(
    image: FloatArray, *, bad: BoolArray, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return adaptive FWHM [pixel] of some of the candidates."""
    r = _MEASURED_RADIUS
    found = []
    for cx, cy in zip(np.rint(x[:_MEASURED]).astype(int), np.rint(y[:_MEASURED]).astype(int), strict=True):
        if not (r <= cy < image.shape[0] - r and r <= cx < image.shape[1] - r):
            continue
        cut = np.s_[cy - r : cy + r + 1, cx - r : cx + r + 1]
        stamp = np.where(bad[cut], 0.0, image[cut]).astype(np.float64)
        ixx, iyy, ixy, _, _, _, status = adaptive_moments_stamp(stamp, float(r), float(r), 1.5)
        if status == 0:
            found.append(FWHM_PER_SIGMA * (ixx * iyy - ixy**2) ** 0.25)
    if not found:
        raise PsfError(f"None of {len(x)} PSF candidates has a measurable width.", n_candidates=len(x), n_used=0)
    return np.array(found)
