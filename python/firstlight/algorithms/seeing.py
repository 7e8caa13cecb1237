"""Measure the seeing before anything else is known about the stars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.detection import Detections, detect_sources, smooth_for_detection
from firstlight.algorithms.moments import AdaptiveMoments, adaptive_moments
from firstlight.kernels.arrays import BoolArray, FloatArray

_FIRST_GUESS_SIGMA = 1.5
_THRESHOLD = 15.0
_PROMINENCE = 5.0
_LEAST_SIGMA = 0.42
_SAFE_SIGMA = 0.6
_ENOUGH_SHARP = 8
_MOST_ELLIPTIC = 0.5
_MIN_ISOLATED = 15
_CUTOUT = 1536
_WANTED = 40
_LOCUS_WIDTH = 0.07
_PROFILE_STARS = 40
_PROFILE_REACH = 1.6


@dataclass(frozen=True)
class Seeing:
    """Width of the stars of an image; NaN with `n` = 0 where there is no star."""

    fwhm: float
    """Full width at half maximum of the pixel-integrated profile [pixel]."""

    fwhm_err: float
    """Standard error of `fwhm` [pixel]."""

    sigma: float
    """Median determinant radius of the adaptive moments [pixel]."""

    ixx: float
    """Median second moments [pixel^2]."""

    iyy: float
    ixy: float

    n: int
    """Number of stars."""

    def kernel(self, *, beta: float = 3.0) -> NDArray[np.float64]:
        """Return an elliptical Moffat profile of this width and shape, centred in its stamp, of unit sum.

        A better stand-in for a star than a Gaussian where the ratio of neighbouring pixels matters, as in
        `find_cosmic_rays`.
        """
        reach = max(3, int(np.ceil(3.0 * self.fwhm)))
        dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        distance2 = self.iyy * dx**2 - 2.0 * self.ixy * dx * dy + self.ixx * dy**2
        radius2 = distance2 / (np.sqrt(self.ixx * self.iyy - self.ixy**2) * (0.5 * self.fwhm) ** 2)
        profile = (1.0 + (2.0 ** (1.0 / beta) - 1.0) * radius2) ** -beta
        return np.asarray(profile / profile.sum())


NO_STARS = Seeing(fwhm=np.nan, fwhm_err=np.nan, sigma=np.nan, ixx=np.nan, iyy=np.nan, ixy=np.nan, n=0)


def measure_seeing(
    image: FloatArray, *, variance: FloatArray, bad: BoolArray, saturation: float = np.inf, max_stars: int = 300
) -> Seeing:
    """Measure the width of the bright, isolated, compact sources that have the most common size.

    Hot pixels and cosmic rays are smaller or elongated, galaxies are larger and differ from each other; the stars of an
    image share one size. A large image is measured in its middle if there are enough stars there.

    Parameters
    ----------
    image, variance : (ny, nx) [count], [count^2]
        Without sky.
    bad : (ny, nx)
        Defective and saturated pixels.
    saturation : [count]
        Stars that reach it are left out.
    max_stars
        The brightest so many are measured.
    """
    if min(image.shape) > _CUTOUT:
        window = tuple(slice((side - _CUTOUT) // 2, (side + _CUTOUT) // 2) for side in image.shape)
        planes = np.ascontiguousarray(image[window]), np.ascontiguousarray(variance[window])
        middle = _measure(*planes, np.ascontiguousarray(bad[window]), saturation, max_stars)
        if middle.n >= _WANTED:
            return middle
    return _measure(image, variance, bad, saturation, max_stars)


def _measure(image: FloatArray, variance: FloatArray, bad: BoolArray, saturation: float, max_stars: int) -> Seeing:
    smoothed = smooth_for_detection(image, variance=variance, bad=bad, psf_sigma=_FIRST_GUESS_SIGMA)
    found = detect_sources(smoothed, threshold=_THRESHOLD, min_prominence=_PROMINENCE)
    chosen = _bright_isolated(found, image, bad, saturation, max_stars)
    if len(chosen) == 0:
        return NO_STARS
    shapes = adaptive_moments(
        image,
        x=found.x[chosen],
        y=found.y[chosen],
        sigma_guess=np.clip(np.sqrt(found.a[chosen] * found.b[chosen]), 1.0, 10.0),
        variance=variance,
        bad=bad,
        max_shift=4.0,
        max_sigma=15.0,
    )
    stars = _common_size(shapes)
    if not stars.any():
        return NO_STARS
    sigma = float(np.median(shapes.sigma[stars]))
    best = np.flatnonzero(stars)[:_PROFILE_STARS]
    width = _full_width(image, bad, shapes.x[best], shapes.y[best], shapes.flux[best], sigma)
    spread = max(1.4826 * float(np.median(np.abs(shapes.sigma[stars] / sigma - 1.0))), 0.005)
    n = int(stars.sum())
    return Seeing(
        fwhm=width,
        fwhm_err=1.2533 * spread * width / np.sqrt(n),
        sigma=sigma,
        ixx=float(np.median(shapes.ixx[stars])),
        iyy=float(np.median(shapes.iyy[stars])),
        ixy=float(np.median(shapes.ixy[stars])),
        n=n,
    )


def _bright_isolated(
    found: Detections, image: FloatArray, bad: BoolArray, saturation: float, max_stars: int
) -> NDArray[np.int64]:
    """Return the brightest detections that are unsaturated and, if there are enough of those, alone."""
    usable = ~found.edge
    for index in np.flatnonzero(usable):
        row, col = found.peak_y[index], found.peak_x[index]
        box = (slice(max(0, row - 1), row + 2), slice(max(0, col - 1), col + 2))
        usable[index] = not bad[box].any() and image[box].max() < saturation
    alone = usable & ~found.blended & ~found.merged
    if alone.sum() >= _MIN_ISOLATED:
        usable = alone
    candidates = np.flatnonzero(usable)
    return candidates[np.argsort(-found.peak_snr[candidates], kind="stable")][:max_stars]


def _common_size(shapes: AdaptiveMoments) -> BoolArray:
    """Return which sources have the most common size, allowing for the errors of faint ones.

    Sizes below `_SAFE_SIGMA` are those of cosmic rays too, and believed only of many sources.
    """
    stars = _members(shapes, _LEAST_SIGMA)
    if 0 < stars.sum() < _ENOUGH_SHARP and np.median(shapes.sigma[stars]) < _SAFE_SIGMA:
        return _members(shapes, _SAFE_SIGMA)
    return stars


def _members(shapes: AdaptiveMoments, least_sigma: float) -> BoolArray:
    with np.errstate(invalid="ignore"):
        sane = ~shapes.flag & (shapes.sigma > least_sigma) & (shapes.ellipticity < _MOST_ELLIPTIC)
    if not sane.any():
        return sane
    size = np.where(sane, np.log(np.where(sane, shapes.sigma, 1.0)), np.inf)
    error = np.where(sane, np.hypot(shapes.ixx_err, shapes.iyy_err) / (4.0 * shapes.sigma**2), 0.0)
    width = np.hypot(_LOCUS_WIDTH, np.minimum(error, 0.2))
    sane_sizes = size[sane]
    votes = np.exp(-0.5 * ((sane_sizes[:, None] - sane_sizes[None, :]) / width[sane][None, :]) ** 2) / width[sane]
    center = float(sane_sizes[np.argmax(votes.sum(axis=1))])
    stars = sane
    for _ in range(3):
        stars = sane & (np.abs(size - center) < 2.5 * width)
        center = float(np.median(size[stars]))
    return stars


def _full_width(
    image: FloatArray, bad: BoolArray, x: FloatArray, y: FloatArray, flux: FloatArray, sigma: float
) -> float:
    """Return the full width at half maximum of ln I as a parabola in r^2, fitted to all stars at once."""
    reach = int(np.ceil(_PROFILE_REACH * sigma))
    steps = np.arange(-reach, reach + 1)
    rows = np.round(y).astype(int)[:, None, None] + steps[None, :, None]
    cols = np.round(x).astype(int)[:, None, None] + steps[None, None, :]
    inside = (rows >= 0) & (rows < image.shape[0]) & (cols >= 0) & (cols < image.shape[1])
    rows, cols = np.clip(rows, 0, image.shape[0] - 1), np.clip(cols, 0, image.shape[1] - 1)
    radius2 = ((rows - y[:, None, None]) ** 2 + (cols - x[:, None, None]) ** 2) / sigma**2
    value = image[rows, cols] / flux[:, None, None] * (2.0 * np.pi * sigma**2)
    use = inside & ~bad[rows, cols] & (radius2 < _PROFILE_REACH**2) & (value > 0.02) & np.isfinite(value)
    if use.sum() < 6:
        return float(2.3548 * sigma)
    r2, level = radius2[use], np.log(value[use])
    slope_change, slope, _ = np.polyfit(r2, level, 2, w=value[use])
    drop = np.log(2.0)
    discriminant = slope**2 - 4.0 * slope_change * drop
    if slope >= 0.0 or discriminant <= 0.0:
        return float(2.3548 * sigma)
    half2 = 2.0 * drop / (-slope + np.sqrt(discriminant))
    return float(2.0 * sigma * np.sqrt(half2))
