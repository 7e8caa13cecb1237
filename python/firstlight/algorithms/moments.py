"""Sizes and shapes of sources by adaptive Gaussian-weighted moments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.kernels import moments as kernel
from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray
from firstlight.kernels.planes import as_plane

_MAX_KURTOSIS = 0.25


@dataclass(frozen=True)
class AdaptiveMoments:
    """Adaptive moments of sources; NaN where `flag` is set."""

    x: NDArray[np.float64]
    """Centroid with the matched weight [pixel]."""

    y: NDArray[np.float64]
    x_err: NDArray[np.float64]
    y_err: NDArray[np.float64]

    ixx: NDArray[np.float64]
    """Second moments of the matched Gaussian [pixel^2]."""

    iyy: NDArray[np.float64]
    ixy: NDArray[np.float64]
    ixx_err: NDArray[np.float64]
    iyy_err: NDArray[np.float64]
    ixy_err: NDArray[np.float64]

    flux: NDArray[np.float64]
    """Flux of the matched Gaussian [unit of the image]."""

    flux_err: NDArray[np.float64]

    status: IntArray
    """0 if the iteration converged, else a constant of `firstlight.kernels.moments`."""

    @property
    def flag(self) -> BoolArray:
        """Nothing could be measured."""
        return np.asarray(self.status != kernel.OK)

    @property
    def sigma(self) -> NDArray[np.float64]:
        """Determinant radius (ixx iyy - ixy^2)^(1/4) [pixel]."""
        return np.asarray((self.ixx * self.iyy - self.ixy**2) ** 0.25)

    @property
    def ellipticity(self) -> NDArray[np.float64]:
        """Modulus of the distortion, (a^2 - b^2) / (a^2 + b^2)."""
        return np.asarray(np.hypot(self.ixx - self.iyy, 2.0 * self.ixy) / (self.ixx + self.iyy))


def adaptive_moments(
    image: FloatArray,
    *,
    x: FloatArray,
    y: FloatArray,
    sigma_guess: FloatArray | float,
    variance: FloatArray | None = None,
    bad: BoolArray | None = None,
    labels: IntArray | None = None,
    own_label: IntArray | None = None,
    own_only: bool = False,
    max_shift: float = 3.0,
    max_sigma: float = 50.0,
    tolerance: float = 1e-4,
    kurtosis: float = 0.0,
) -> AdaptiveMoments:
    """Measure the adaptive moments of sources in an image.

    The weight is an elliptical Gaussian that is iterated until it has the moments of the source (Bernstein & Jarvis
    2002, AJ 123, 583, section 3; Hirata & Seljak 2003, MNRAS 343, 459); it is never narrower than 1 pixel, and what it
    weighs is corrected for that as for a Gaussian. Masked pixels take the value of the current Gaussian. The errors are
    those of the linear response of the matched weight, with the noise of sky and source.

    Parameters
    ----------
    image : (ny, nx) [count]
        Without sky.
    x, y : (n,) [pixel]
        Where to start.
    sigma_guess : [pixel]
        Width to start from, one or one for each source.
    variance : (ny, nx) [count^2]
        Without it the errors are those for unit variance.
    bad : (ny, nx)
        Pixels that must not be used.
    labels, own_label : (ny, nx), (n,)
        Label image and the label of each source: the pixels of other sources are treated like bad ones, unless that
        leaves too few.
    own_only
        Give up a source of which too few pixels are left, instead of using those of others.
    max_shift : [pixel]
        Further from the start than this, the centroid belongs to something else.
    max_sigma : [pixel]
    tolerance
        Relative change of the moments at which the iteration stops.
    kurtosis
        `excess_kurtosis` of the stars. The weight grows with the measured size, and with wings the size grows with the
        weight: the errors of a Moffat profile (beta 3) are larger than those of a Gaussian by 15 %.
    """
    start_x, start_y = np.atleast_1d(np.asarray(x, dtype=np.float64)), np.atleast_1d(np.asarray(y, dtype=np.float64))
    guess = np.array(np.broadcast_to(np.asarray(sigma_guess, dtype=np.float64), start_x.shape))
    own = np.zeros(start_x.shape, dtype=np.int64) if own_label is None else np.asarray(own_label, dtype=np.int64)
    planes = (
        as_plane(image),
        np.ones(image.shape, dtype=np.float32) if variance is None else as_plane(variance),
        np.zeros(image.shape, dtype=np.bool_) if bad is None else bad,
        np.zeros(image.shape, dtype=np.int32) if labels is None else np.asarray(labels, dtype=np.int32),
    )
    limits = max_shift, max_sigma, tolerance, kurtosis
    values, variances, status = kernel.adaptive_moments_many(*planes, own, start_x, start_y, guess, *limits)
    again = np.flatnonzero((status == kernel.MASKED) & (own > 0))
    if len(again) > 0 and not own_only:
        values[again], variances[again], status[again] = kernel.adaptive_moments_many(
            *planes, np.zeros(again.shape, dtype=np.int64), start_x[again], start_y[again], guess[again], *limits
        )
    values = np.where((status == kernel.OK)[:, None], values, np.nan)
    errors = np.sqrt(variances)
    return AdaptiveMoments(
        x=values[:, 0],
        y=values[:, 1],
        x_err=errors[:, 3],
        y_err=errors[:, 4],
        ixx=values[:, 2],
        iyy=values[:, 3],
        ixy=values[:, 4],
        ixx_err=errors[:, 0],
        iyy_err=errors[:, 1],
        ixy_err=errors[:, 2],
        flux=values[:, 5],
        flux_err=errors[:, 5],
        status=status,
    )


def excess_kurtosis(stamp: FloatArray, *, sigma: float) -> float:
    """Return the weighted mean of r^4 of a star over that of a Gaussian, less 1: 0 for a Gaussian, more with wings.

    Parameters
    ----------
    stamp : (n, n)
        Star centred in its middle pixel.
    sigma : [pixel]
        Its adaptive width, that of the weight.
    """
    rows, columns = (np.arange(n) - n // 2 for n in stamp.shape)
    radius2 = rows[:, None] ** 2 + columns[None, :] ** 2
    light = stamp * np.exp(-0.5 * radius2 / sigma**2)
    second, fourth = ((light * radius2**power).sum() / light.sum() for power in (1, 2))
    return float(np.clip(fourth / (2.0 * second**2) - 1.0, 0.0, _MAX_KURTOSIS))
