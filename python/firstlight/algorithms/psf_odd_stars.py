"""Which stars have another shape than the profile that all other stars show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.psf_moffat import FitWeights, MoffatField, StarFit
from firstlight.algorithms.psf_stamps import StarStamps
from firstlight.algorithms.psf_stars import usual_chi2
from firstlight.kernels.arrays import BoolArray
from firstlight.kernels.psf_moffat_fit import moffat_equations

_SHAPES = 3
_THREE_SIGMA = 14.16
_MEDIAN = 2.37
_MOST_LEVERAGE = 1.0 - 1e-6


def find_odd_stars(
    stamps: StarStamps, *, field: MoffatField, stars: StarFit, weights: FitWeights, share: float
) -> BoolArray:
    """Return the stars whose shape is beyond three sigma of those of their brightness: one in 370 good ones.

    A close neighbour makes a star wide or oval. Where other stars are far, the profile follows it, and the star fits.

    Parameters
    ----------
    stamps, field, stars, weights
        A fit that has settled, as `fit_moffat_field` returns it.
    share
        At most this share of the stars is returned: the oddest.
    """
    chi2 = shape_chi2(stamps, field=field, stars=stars, weights=weights)
    known = np.isfinite(chi2)
    odd = np.zeros(len(chi2), dtype=np.bool_)
    if known.any():
        # Where no star has the shape of the model, as bright ones that are wider, they are compared with each other.
        chi2[known] /= np.maximum(usual_chi2(chi2[known], flux=stars.values[known, 0]) / _MEDIAN, 1.0)
        oddest = np.argsort(np.where(known, -chi2, np.inf), kind="stable")[: int(share * known.sum())]
        odd[oddest] = chi2[oddest] > _THREE_SIGMA
    return odd


def shape_chi2(stamps: StarStamps, *, field: MoffatField, stars: StarFit, weights: FitWeights) -> NDArray[np.float64]:
    """Return how far width and ellipticity of each star are from the profile that the other stars have there.

    The profile without the star follows from the one with it; its error, large where other stars are far, counts along.

    Parameters
    ----------
    stamps, field, stars, weights
        A fit that has settled, as `fit_moffat_field` returns it.

    Returns
    -------
    chi2 : (n,)
        Of three degrees of freedom; NaN where the fit failed, and where no other star tells the profile.

    References
    ----------
    Belsley, Kuh & Welsch 1980, Regression Diagnostics, section 2.1 (what leaving out an observation changes).
    """
    x, y = stamps.x + stars.values[:, 1], stamps.y + stars.values[:, 2]
    matrix, vector, *_ = moffat_equations(
        stamps.data,
        stamps.noise,
        np.zeros_like(stamps.data),
        stars.values,
        field.parameters(x=x, y=y),
        stamps.gain_slope,
        weights.floor,
        weights.misfit,
        weights.clip,
        weights.sky_prior,
    )
    usable = np.isfinite(stars.chi2) & (stars.values[:, 0] > 0)
    basis = field.domain.terms(field.order, x=x, y=y)[usable]
    own, pull = matrix[usable, :_SHAPES, :_SHAPES], vector[usable, :_SHAPES, None]
    size = _SHAPES * basis.shape[1]
    information = np.einsum("nt,nab,nu->atbu", basis, own, basis, optimize=True).reshape(size, size)
    covariance = np.linalg.pinv(information, rcond=1e-12).reshape(_SHAPES, -1, _SHAPES, basis.shape[1])
    error = np.einsum("nt,atbu,nu->nab", basis, covariance, basis, optimize=True)
    leverage = error @ own
    told = np.linalg.eigvals(leverage).real.max(axis=1, initial=0.0) < _MOST_LEVERAGE
    leverage, error, own, pull = leverage[told], error[told], own[told], pull[told]
    error = np.linalg.solve(np.eye(_SHAPES) - leverage, error) + np.linalg.pinv(own)
    difference = error @ pull
    chi2 = np.full(len(x), np.nan)
    chi2[np.flatnonzero(usable)[told]] = (difference * pull).sum(axis=(1, 2))
    return chi2
