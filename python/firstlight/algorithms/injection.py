"""Artificial sources: their light, where they lie, and which share of them is found again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaincinv, expit

from firstlight.images.psf import Psf
from firstlight.kernels.arrays import BoolArray, FloatArray

_MIN_BRIGHT = 50
_BRIGHT_SIGMA = 5.0


def light_of_stars(
    shape: tuple[int, int], *, psf: Psf, x: FloatArray, y: FloatArray, flux: FloatArray
) -> NDArray[np.float64]:
    """Return the light of point sources on an image (ny, nx); what falls beyond its border is lost.

    Parameters
    ----------
    shape
        Rows and columns.
    psf
    x, y : (n,) [pixel]
    flux : (n,)
        Sum over the stamp of the PSF.
    """
    radius = psf.radius
    sheet = np.zeros((shape[0] + 2 * radius, shape[1] + 2 * radius))
    size = 2 * radius + 1
    inside = (x > -0.5 - radius) & (y > -0.5 - radius) & (x < shape[1] + radius - 0.5) & (y < shape[0] + radius - 0.5)
    for at_x, at_y, total in zip(x[inside], y[inside], flux[inside], strict=True):
        stamp = total * psf.image(x=float(at_x), y=float(at_y))
        # On the widened sheet the corner of a stamp is the rounded position itself.
        row, column = int(np.rint(at_y)), int(np.rint(at_x))
        top, left = max(row, 0), max(column, 0)
        target = sheet[top : row + size, left : column + size]
        target += stamp[top - row : top - row + target.shape[0], left - column : left - column + target.shape[1]]
    return sheet[radius : radius + shape[0], radius : radius + shape[1]]


def point_source_errors(
    variance: FloatArray, *, psf: Psf, x: FloatArray, y: FloatArray, bad: BoolArray
) -> NDArray[np.float64]:
    """Return the error of the PSF flux of a faint source at each position: sigma / sqrt(sum P^2).

    Parameters
    ----------
    variance : (ny, nx)
        Its median about the position counts; NaN where every pixel is bad.
    psf
    x, y : (n,) [pixel]
    bad : (ny, nx)
    """
    ny, nx = variance.shape
    errors = np.full(len(x), np.nan)
    power = (psf.images(x=x, y=y) ** 2).sum(axis=(1, 2)) if len(x) else np.zeros(0)
    half = max(1, min(psf.radius, 5))
    for index, (column, row) in enumerate(zip(np.rint(x).astype(int), np.rint(y).astype(int), strict=True)):
        square = np.s_[
            max(row - half, 0) : max(min(row + half + 1, ny), 0),
            max(column - half, 0) : max(min(column + half + 1, nx), 0),
        ]
        good = variance[square][~bad[square] & np.isfinite(variance[square])]
        if good.size:
            errors[index] = math.sqrt(float(np.median(good)) / power[index])
    return errors


def effective_gain(image: FloatArray, variance: FloatArray, *, bad: BoolArray) -> float | None:
    """Return how many electrons one unit of the pixels is, from how the variance rises with the light; None if unknown.

    Parameters
    ----------
    image, variance : (ny, nx) [unit], [unit^2]
        Without its sky.
    bad : (ny, nx)
    """
    with np.errstate(invalid="ignore"):
        bright = ~bad & np.isfinite(image) & np.isfinite(variance) & (image > _BRIGHT_SIGMA * np.sqrt(variance))
    if int(bright.sum()) < _MIN_BRIGHT:
        return None
    light, spread = image[bright].astype(np.float64), variance[bright].astype(np.float64)
    centred = light - light.mean()
    slope = float(centred @ (spread - spread.mean())) / max(float(centred @ centred), 1e-300)
    return 1.0 / slope if slope > 0.0 and math.isfinite(slope) else None


def binomial_interval(found: int, total: int, *, confidence: float = 0.683) -> tuple[float, float]:
    """Return the interval of a share of which ``found`` of ``total`` were seen (Jeffreys; Cameron 2011, PASA 28, 128).

    Parameters
    ----------
    found, total
    confidence
        Probability that the true share lies inside.
    """
    if total == 0:
        return 0.0, 1.0
    tail = 0.5 * (1.0 - confidence)
    low = 0.0 if found == 0 else float(betaincinv(found + 0.5, total - found + 0.5, tail))
    high = 1.0 if found == total else float(betaincinv(found + 0.5, total - found + 0.5, 1.0 - tail))
    return low, high


@dataclass(frozen=True)
class CompletenessBins:
    """Share of the sources that were found, in bins.

    Parameters
    ----------
    edges : (n + 1,)
    n_total, n_found : (n,)
    share, low, high : (n,)
        Share that was found and its interval; NaN, 0 and 1 for an empty bin.
    """

    edges: NDArray[np.float64]
    n_total: NDArray[np.int64]
    n_found: NDArray[np.int64]
    share: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def bin_completeness(value: FloatArray, found: BoolArray, *, edges: FloatArray) -> CompletenessBins:
    """Count which share of sources was found, by magnitude or signal-to-noise ratio.

    Parameters
    ----------
    value : (n,)
    found : (n,)
    edges : (m + 1,)
        Borders of the bins, rising.
    """
    borders = np.array(edges, dtype=np.float64)
    total, seen = (np.histogram(values, borders)[0].astype(np.int64) for values in (value, np.asarray(value)[found]))
    intervals = np.array([binomial_interval(int(k), int(n)) for k, n in zip(seen, total, strict=True)]).reshape(-1, 2)
    share = np.where(total > 0, seen / np.maximum(total, 1), np.nan)
    return CompletenessBins(borders, total, seen, share, intervals[:, 0], intervals[:, 1])


@dataclass(frozen=True)
class CompletenessFit:
    """A smooth curve of completeness: ``ceiling / (1 + exp(-(v - half) / width))``.

    Parameters
    ----------
    half, half_err
        Where half of the ceiling is reached; a magnitude limit, where the values are magnitudes. Infinite error where
        the sources do not tell.
    width
        Negative where bright sources have small values, as with magnitudes.
    ceiling
        Share of the brightest sources that is found.
    """

    half: float
    half_err: float
    width: float
    ceiling: float

    def share(self, value: FloatArray) -> NDArray[np.float64]:
        """Return the completeness at values."""
        return np.asarray(self.ceiling * expit((np.asarray(value, dtype=np.float64) - self.half) / self.width))


def fit_completeness(value: FloatArray, found: BoolArray, *, magnitudes: bool = False) -> CompletenessFit | None:
    """Fit the curve of completeness to sources one by one, by the likelihood of who was found.

    Parameters
    ----------
    value : (n,)
        Signal-to-noise ratio or magnitude of each source.
    found : (n,)
    magnitudes
        Whether small values are bright ones.

    Returns
    -------
    fit
        None where all or none were found: the limit lies beyond the sources.
    """
    value, found = np.asarray(value, dtype=np.float64), np.asarray(found, dtype=bool)
    if found.all() or not found.any():
        return None
    sign = -1.0 if magnitudes else 1.0
    strength = sign * value

    def cost_of(parameters: FloatArray) -> float:
        half, log_width, logit = parameters
        share = expit(logit) * expit((strength - half) / math.exp(log_width))
        share = np.clip(share, 1e-12, 1.0 - 1e-12)
        return float(-(np.log(share[found]).sum() + np.log1p(-share[~found]).sum()))

    middle = 0.5 * (float(np.median(strength[found])) + float(np.median(strength[~found])))
    spread = max(float(np.std(strength)), 1e-3)
    starts = [np.array([middle, math.log(spread * factor), 3.0]) for factor in (0.05, 0.2, 0.6)]
    best = min(
        (minimize(cost_of, start, method="Nelder-Mead", options={"maxiter": 2000, "xatol": 1e-4}) for start in starts),
        key=lambda result: float(result.fun),
    )
    half, log_width, logit = (float(number) for number in best.x)
    return CompletenessFit(
        half=sign * half,
        half_err=_error_of_half(cost_of, best.x),
        width=sign * math.exp(log_width),
        ceiling=float(expit(logit)),
    )


def _error_of_half(cost_of: Callable[[FloatArray], float], best: FloatArray) -> float:
    """Return the error of the first parameter from the curvature of the likelihood."""
    steps = np.array([0.05 * math.exp(float(best[1])) + 1e-6, 0.05, 0.05])
    n = len(best)
    hessian = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            corners = [
                one * two * cost_of(best + one * steps[i] * np.eye(n)[i] + two * steps[j] * np.eye(n)[j])
                for one in (-1.0, 1.0)
                for two in (-1.0, 1.0)
            ]
            hessian[i, j] = sum(corners) / (4.0 * steps[i] * steps[j])
    # A ceiling of one leaves no curvature of its own: the pseudo-inverse leaves it out.
    variance = float(np.linalg.pinv(hessian, rcond=1e-8, hermitian=True)[0, 0])
    return math.sqrt(variance) if variance > 0.0 else math.inf
