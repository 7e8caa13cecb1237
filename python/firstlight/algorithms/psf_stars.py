"""Choose the stars that the point-spread function is modelled on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from firstlight.kernels.arrays import BoolArray, FloatArray

_BRIGHT_SHARE = 0.5
_MIN_VOTERS = 5
_ITERATIONS = 10
_CELLS = 4
_SIMILAR_STARS = 31
_LEAST_MISFIT = 1.3
_MISFIT_SIGMA = 4.0
_SIGMA_PER_MAD = 1.4826


@dataclass(frozen=True)
class PsfStars:
    """Which sources are stars fit for modelling, and what each cut removed."""

    selected: BoolArray
    """One entry per source."""

    size: float
    """Median size of the selected [pixel]; NaN if there are none."""

    size_sigma: float
    """Robust standard deviation of their size [pixel]; NaN if there are none."""

    funnel: tuple[tuple[str, int], ...]
    """Name of each cut and the number of sources left after it, in order."""


def select_psf_stars(
    size: FloatArray,
    *,
    snr: FloatArray,
    flags: BoolArray,
    ellipticity: FloatArray | None = None,
    min_snr: float = 50.0,
    min_stars: int = 10,
    size_range: tuple[float, float] = (0.5, 10.0),
    max_ellipticity: float = 0.5,
    width: float = 0.08,
    n_sigma: float = 2.5,
    max_stars: int | None = None,
) -> PsfStars:
    """Select the sources of the most common size among the bright and clean ones.

    Stars share one size while galaxies and cosmic rays spread: each bright source votes for its size with a kernel of
    relative ``width``, and sources are kept within ``n_sigma`` standard deviations of the winner. Where fewer than
    ``min_stars`` are bright enough, the limit on S/N is lowered to take the brightest so many.

    Parameters
    ----------
    size : (n,) [pixel]
        Determinant radius; NaN if it could not be measured.
    snr : (n,)
    flags : (n,)
        True for saturated, blended, cosmic-ray and edge sources and the like.
    ellipticity : (n,)
        Modulus of the distortion.
    min_snr
        Least S/N.
    min_stars
        Number of candidates below which ``min_snr`` gives way.
    size_range : [pixel]
    max_ellipticity
    width
        Relative half-width that the locus of the stars may have.
    n_sigma
        Half-width of the accepted sizes in standard deviations.
    max_stars
        Keep the brightest so many.
    """
    n = len(size)
    sizes = np.asarray(size, dtype=np.float64)
    funnel = [("detected", n)]
    keep = np.isfinite(sizes) & np.isfinite(snr)
    funnel.append(("measured", int(keep.sum())))
    keep &= ~flags
    funnel.append(("clean", int(keep.sum())))
    keep &= (np.where(keep, sizes, 0.0) >= size_range[0]) & (np.where(keep, sizes, 0.0) <= size_range[1])
    if ellipticity is not None:
        keep &= np.nan_to_num(ellipticity, nan=1.0) <= max_ellipticity
    funnel.append(("compact", int(keep.sum())))
    keep &= snr >= _snr_limit(snr[keep], min_snr, min_stars)
    funnel.append(("bright", int(keep.sum())))
    keep, center, sigma = _stellar_locus(sizes, np.asarray(snr, dtype=np.float64), keep, width, n_sigma)
    funnel.append(("stellar", int(keep.sum())))
    if max_stars is not None and keep.sum() > max_stars:
        faintest = np.sort(snr[keep])[-max_stars]
        keep &= snr >= faintest
        funnel.append(("brightest", int(keep.sum())))
    return PsfStars(selected=keep, size=center, size_sigma=sigma, funnel=tuple(funnel))


def brightest_everywhere(
    u: FloatArray, v: FloatArray, *, brightness: FloatArray, n: int | None = None
) -> NDArray[np.int64]:
    """Return the rows of the brightest sources of each part of the image, first the brightest one of every part.

    Parameters
    ----------
    u, v : (n_sources,)
        Positions, -1 to 1 over the image.
    brightness : (n_sources,)
    n
        At most so many; all when None.
    """
    columns, rows = (np.clip((0.5 * (w + 1) * _CELLS).astype(int), 0, _CELLS - 1) for w in (u, v))
    cell = rows * _CELLS + columns
    by_brightness = np.argsort(-brightness, kind="stable")
    rank = np.empty(len(cell), dtype=np.int64)
    for label in np.unique(cell):
        members = by_brightness[cell[by_brightness] == label]
        rank[members] = np.arange(len(members))
    return np.lexsort((-brightness, rank))[:n]


def find_misfits(chi2: FloatArray, *, flux: FloatArray, share: float = 1.0) -> BoolArray:
    """Return the stars that a model fits worse than others of their brightness.

    A model that is not perfect fits bright stars worse. So the chi-square of each is compared with the median of those
    of similar flux; it is too large from 1.3 times that on, or from four robust standard deviations where those are
    more.

    Parameters
    ----------
    chi2 : (n,)
        Of the fit to each star, for a degree of freedom; one that is not finite is always too large.
    flux : (n,)
    share
        At most this share of those with a finite one is returned: the worst.
    """
    known = np.isfinite(chi2)
    misfit = ~known
    if known.any():
        misfit[known] = _worst_misfits(chi2[known], flux[known], share)
    return misfit


def _worst_misfits(chi2: FloatArray, flux: FloatArray, share: float) -> BoolArray:
    excess = chi2 / usual_chi2(chi2, flux=flux)
    limit = max(_LEAST_MISFIT, 1.0 + _MISFIT_SIGMA * _SIGMA_PER_MAD * float(np.median(np.abs(excess - 1.0))))
    worst = np.argsort(-excess, kind="stable")[: int(share * len(excess))]
    misfit = np.zeros(len(excess), dtype=np.bool_)
    misfit[worst] = excess[worst] > limit
    return misfit


def usual_chi2(chi2: FloatArray, *, flux: FloatArray) -> FloatArray:
    """Return the median chi-square of the stars of similar flux, (n,).

    The list is mirrored at its ends: repeated there, the brightest star would be its own median.

    Parameters
    ----------
    chi2, flux : (n,)
        All finite.
    """
    order = np.argsort(flux, kind="stable")
    usual = np.empty(len(chi2))
    usual[order] = median_filter(chi2[order], size=min(_SIMILAR_STARS, len(chi2)), mode="mirror")
    return usual


def _snr_limit(snr: FloatArray, min_snr: float, min_stars: int) -> float:
    """Return ``min_snr``, or as much less as ``min_stars`` candidates need."""
    if (snr >= min_snr).sum() >= min_stars or len(snr) == 0:
        return min_snr
    return float(np.sort(snr)[-min(min_stars, len(snr))])


def _stellar_locus(
    size: NDArray[np.float64], snr: NDArray[np.float64], keep: BoolArray, width: float, n_sigma: float
) -> tuple[BoolArray, float, float]:
    """Return which of the kept sources lie on the locus, its centre and its standard deviation."""
    if not keep.any():
        return keep, np.nan, np.nan
    log_size = np.log(np.where(keep, size, 1.0))
    candidates = np.flatnonzero(keep)
    order = candidates[np.argsort(-snr[candidates], kind="stable")]
    voters = order[: max(_MIN_VOTERS, int(_BRIGHT_SHARE * len(order)))]
    votes = np.exp(-0.5 * ((log_size[voters][:, None] - log_size[voters][None, :]) / (0.5 * width)) ** 2).sum(axis=1)
    center = float(log_size[voters[np.argmax(votes)]])
    limit = width
    chosen = keep & (np.abs(log_size - center) < limit)
    for _ in range(_ITERATIONS):
        center = float(np.median(log_size[chosen]))
        spread = 1.4826 * float(np.median(np.abs(log_size[chosen] - center)))
        limit = min(n_sigma * max(spread, 0.1 * width), 1.5 * width)
        updated = keep & (np.abs(log_size - center) < limit)
        if np.array_equal(updated, chosen) or not updated.any():
            break
        chosen = updated
    members = size[chosen]
    middle = float(np.median(members))
    return chosen, middle, 1.4826 * float(np.median(np.abs(members - middle)))
