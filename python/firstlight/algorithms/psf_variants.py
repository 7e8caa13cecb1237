"""Simpler models of the point-spread function: a Moffat profile alone, and an effective PSF alone."""

from __future__ import annotations

import numpy as np

from firstlight.algorithms.psf_compose import compose_psf
from firstlight.algorithms.psf_effective import fit_effective_grid
from firstlight.algorithms.psf_model import FitStart, PsfFit
from firstlight.algorithms.psf_residual import start_residual
from firstlight.algorithms.psf_rounds import fit_profile
from firstlight.images.psf import MoffatPsf, Psf


def fit_moffat_psf(start: FitStart, *, order: int = 2, reject_fraction: float = 0.1) -> PsfFit:
    """Fit a pixel-integrated elliptical Moffat profile, and nothing that it does not show.

    It has the fewest parameters of all models that vary, so that it suits few or faint stars; what real stars have
    beyond it (diffraction, coma) stays in the residuals.

    Parameters
    ----------
    start
        From `begin_fit`.
    order
        Total degree of the variation of width and ellipticity; lowered when there are too few stars, or when the terms
        are not significant. At 0 the model is a `MoffatPsf`, above it a `PixelGridPsf`.
    reject_fraction
        At most this fraction of the stars is rejected at a time.

    References
    ----------
    Moffat 1969, A&A 3, 455; Trujillo et al. 2001, MNRAS 328, 977 (why not a Gaussian).
    """
    state = fit_profile(start.state, order=order, weights=start.weights, reject_fraction=reject_fraction)
    field, size = state.field, state.stamps.radius
    psf: Psf
    if field.order == 0:
        e1, e2 = (float(value) for value in field.coefficients[1:, 0])
        psf = MoffatPsf(fwhm=field.fwhm, beta=field.beta, radius=size, e1=e1, e2=e2)
    else:
        nothing = start_residual(order=0, fwhm=field.fwhm, radius=size, peak=0.0)
        average = (float(state.x.mean()), float(state.y.mean()))
        psf = compose_psf(field, nothing, radius=size, average_position=average).psf
    fractions = np.array([psf.stamp_fraction(x=a, y=b) for a, b in zip(state.x, state.y, strict=True)])
    return start.result(
        state, psf, flux=state.flux * fractions, offsets=np.zeros((len(state.x), 2)), residual_order=0, rms=np.nan
    )


def fit_effective_psf(start: FitStart, *, order: int = 2, reject_fraction: float = 0.1) -> PsfFit:
    """Build an effective PSF: the mean of what stars of all pixel phases show, on a grid finer than the pixels.

    Parameters
    ----------
    start
        From `begin_fit`.
    order
        Total degree of the variation of every point of the grid; lowered when there are too few stars.
    reject_fraction
        At most this fraction of the stars is rejected at a time.

    References
    ----------
    Anderson & King 2000, PASP 112, 1360.
    """
    field, size = start.state.field, start.state.stamps.radius
    nothing = start_residual(order=0, fwhm=field.fwhm, radius=size, peak=0.0)
    average = (float(start.state.x.mean()), float(start.state.y.mean()))
    begin = compose_psf(field, nothing, radius=size, average_position=average)
    state, psf = fit_effective_grid(
        start.state, begin, order=order, weights=start.weights, reject_fraction=reject_fraction
    )
    return start.result(
        state, psf, flux=state.flux, offsets=np.zeros((len(state.x), 2)), residual_order=psf.order, rms=np.nan
    )
