"""Find the sources of a difference that show only when a brighter one beside them is taken off."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from firstlight.algorithms.deblending import DeblendLimits, is_point_like, light_of_stars, put_back
from firstlight.algorithms.detection import Detections
from firstlight.algorithms.detection_lists import with_members
from firstlight.algorithms.hidden_stars import HiddenLimits, credible_stars
from firstlight.algorithms.psf_flux import PsfFluxes, StarScene, fit_star_scene
from firstlight.algorithms.source_light import SourceLight
from firstlight.images.psf import FWHM_PER_SIGMA, Psf
from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray
from firstlight.kernels.psf_flux_fit import add_star

_LOOK_FWHM = 3.5
"""A source further from a brighter one has a peak of its own."""

_LIGHT_FWHM = 2.5
"""Sources so much further away are taken off too: their light lies where is looked."""

_SMOOTH_REACH = 3.5
"""Half size of the smoothing kernel in units of its standard deviation."""

_LOPSIDED = 2.0
"""What is hidden stands out so many times further than the places a quarter of a turn apart: trails and galaxies leave
light on two sides or all around."""

_REFINED_SNR = 8.0
_STEPS = 2
_STEPS_APART = 4

_TRAIL_STEPS = 3.0
"""Stars per FWHM that make a trail."""

_PAIR_GAIN = 9.0
"""By so much the chi-square of two stars is less than that of a trail."""


@dataclass(frozen=True)
class ChangeImage:
    """A difference on which the sources of one sign are positive.

    Parameters
    ----------
    image, variance : (ny, nx)
    bad : (ny, nx)
        Pixels that tell nothing about a source.
    noise : (ny, nx)
        Standard deviation over that of the variance: what the subtraction leaves behind.
    psf
    psf_sigma : [pixel]
        Its standard deviation.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    bad: BoolArray
    noise: NDArray[np.float32]
    psf: Psf
    psf_sigma: float

    @property
    def fwhm(self) -> float:
        """Full width at half maximum [pixel]."""
        return FWHM_PER_SIGMA * self.psf_sigma

    def fitted(self, x: FloatArray, y: FloatArray, *, steps: int, refine_snr: float) -> StarScene:
        """Return stars at positions [pixel], fitted together, those above a significance moved in steps."""
        return fit_star_scene(
            self.image,
            variance=self.variance,
            bad=self.bad,
            psf=self.psf,
            x=x,
            y=y,
            refinements=steps,
            refine_snr=refine_snr,
        )

    def significance(self, fluxes: PsfFluxes) -> NDArray[np.float64]:
        """Return (n,) fluxes over their errors, with what the subtraction leaves behind at their places."""
        row, column = (
            np.clip(np.rint(at).astype(np.int64), 0, side - 1)
            for at, side in zip((fluxes.y, fluxes.x), self.image.shape, strict=True)
        )
        return np.asarray(fluxes.flux / (fluxes.flux_err * self.noise[row, column]))


@dataclass(frozen=True)
class HiddenChanges:
    """What `find_hidden_changes` returns.

    Parameters
    ----------
    detections
        Those given, with what was hidden after them; sources beside it at the places that fit best.
    light
        The light of the sources that were told apart; all others are ``skipped``. None where nothing was hidden.
    """

    detections: Detections
    light: SourceLight | None


def find_hidden_changes(
    change: ChangeImage, detections: Detections, *, min_snr: float, limits: HiddenLimits, stars: DeblendLimits
) -> HiddenChanges:
    """Look again about bright sources, once all sources there were fitted and taken off.

    As `firstlight.algorithms.hidden_stars.find_hidden_stars` (Stetson 1987, PASP 99, 191, section III.D.3), but only on
    squares about the bright sources, of which a difference has few, and for at most one more beside each. What a trail
    would explain as well is none.

    Parameters
    ----------
    change
    detections
        What was found on it.
    min_snr
        Least significance of a source about which is looked.
    limits, stars
        When something is a source beside its neighbours, and a star.
    """
    hosts = np.flatnonzero(np.abs(detections.peak_snr) >= min_snr)
    if len(hosts) == 0:
        return HiddenChanges(detections, None)
    # A function of its own, so that its planes are freed before the next fit.
    peak_x, peak_y = _peaks_beside(change, detections, hosts, limits)
    inside = detections.labels[peak_y, peak_x] > 0
    return _told_apart(change, detections, peak_x[inside], peak_y[inside], limits=limits, stars=stars)


def _peaks_beside(
    change: ChangeImage, detections: Detections, hosts: IntArray, limits: HiddenLimits
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return column and row of what stands out beside the hosts when all sources about them are taken off."""
    known = _near(detections.x, detections.y, hosts, reach=(_LOOK_FWHM + _LIGHT_FWHM) * change.fwhm)
    # Two sources in one have their centroid between them, and look like a trail from there.
    start = (place[known].astype(np.float64) for place in (detections.peak_x, detections.peak_y))
    scene = change.fitted(*start, steps=_STEPS, refine_snr=_REFINED_SNR)
    return _residual_peaks(change, scene, np.searchsorted(known, hosts), limits)


def _near(x: FloatArray, y: FloatArray, hosts: IntArray, *, reach: float) -> NDArray[np.int64]:
    """Return the sources that are within reach of one of the hosts, which are some of them."""
    places = np.column_stack([x, y])
    distance, _ = cKDTree(places[hosts]).query(places, distance_upper_bound=reach)
    return np.flatnonzero(np.isfinite(distance))


def _residual_peaks(
    change: ChangeImage, scene: StarScene, row: IntArray, limits: HiddenLimits
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return column and row of what stands out most about each of some sources of the scene, if it is significant."""
    reach, look = math.ceil(_SMOOTH_REACH * change.psf_sigma), round(_LOOK_FWHM * change.fwhm)
    offsets = np.arange(-look - reach, look + reach + 1)
    line, column = scene.row[row][:, None, None] + offsets[:, None], scene.column[row][:, None, None] + offsets
    ny, nx = change.image.shape
    at = np.clip(line, 0, ny - 1), np.clip(column, 0, nx - 1)
    usable = (line == at[0]) & (column == at[1]) & ~change.bad[at] & (change.variance[at] > 0)
    away = offsets - offsets[reach:-reach, None]
    taps = np.where(np.abs(away) <= reach, np.exp(-0.5 * (away / change.psf_sigma) ** 2), 0.0)

    def smoothed(squares: FloatArray, kernel: FloatArray) -> NDArray[np.float64]:
        return np.asarray(kernel @ np.where(usable, squares, 0.0) @ kernel.T)

    inner = np.s_[:, reach:-reach, reach:-reach]
    left = scene.residual[at]
    noise = np.sqrt(smoothed(change.variance[at], taps**2)) * change.noise[at][inner]
    noise = np.hypot(noise, limits.model_error * smoothed(change.image[at] - left, taps))
    distance = np.hypot(offsets[:, None], offsets)[reach:-reach, reach:-reach]
    asked = usable[inner] & (distance >= limits.min_separation * change.fwhm) & (distance <= look)
    snr = smoothed(left, taps) / np.where(asked, noise, np.inf)
    snr = np.where(snr > _LOPSIDED * _elsewhere(snr, scene, row), snr, 0.0).reshape(len(row), -1)
    best = snr.argmax(axis=1)
    found = np.flatnonzero(snr[np.arange(len(row)), best] > limits.threshold)
    down, along = np.divmod(best[found], 2 * look + 1)
    places = np.column_stack([scene.column[row][found] + along - look, scene.row[row][found] + down - look])
    peak_x, peak_y = np.unique(places, axis=0).T
    return peak_x, peak_y


def _elsewhere(snr: NDArray[np.float64], scene: StarScene, row: IntArray) -> NDArray[np.float64]:
    """Return the largest size that each square has at a place turned about its source by one, two or three quarters."""
    side = snr.shape[1]
    place = np.arange(side) - side // 2
    x = place - (scene.fluxes.x - scene.column)[row][:, None, None]
    y = place[:, None] - (scene.fluxes.y - scene.row)[row][:, None, None]
    largest = np.zeros(snr.shape)
    for along, down in ((-y, x), (-x, -y), (y, -x)):
        at = (
            np.clip(np.rint(turned + start[row][:, None, None]).astype(int) + side // 2, 0, side - 1)
            for turned, start in ((down, scene.fluxes.y - scene.row), (along, scene.fluxes.x - scene.column))
        )
        largest = np.maximum(largest, np.abs(snr[(np.arange(len(row))[:, None, None], *at)]))
    return largest


def _told_apart(
    change: ChangeImage,
    detections: Detections,
    peak_x: IntArray,
    peak_y: IntArray,
    *,
    limits: HiddenLimits,
    stars: DeblendLimits,
) -> HiddenChanges:
    """Return the detections with those of the peaks that are stars beside stars when all are fitted together."""
    while len(peak_x):
        x, y = np.append(detections.peak_x, peak_x) * 1.0, np.append(detections.peak_y, peak_y) * 1.0
        peaks = detections.n_peaks + np.arange(len(peak_x))
        which = _near(x, y, peaks, reach=(_LOOK_FWHM + _LIGHT_FWHM) * change.fwhm)
        new = which >= detections.n_peaks
        scene = change.fitted(x[which], y[which], steps=_STEPS_APART, refine_snr=limits.threshold)
        credible = credible_stars(scene, new, change.fwhm, limits, stars)
        credible &= change.significance(scene.fluxes) > limits.threshold
        kept = credible[new] & ~_like_trails(change, scene, new)
        if kept.all():
            return _with_light(change, detections, scene, which, new, stars=stars)
        peak_x, peak_y = peak_x[kept], peak_y[kept]
    return HiddenChanges(detections, None)


def _like_trails(change: ChangeImage, scene: StarScene, new: BoolArray) -> NDArray[np.bool_]:
    """Return for each new source whether it and the nearest known one are no better than a trail of their moments.

    Where no pixel tells the flux of one of the two, nothing is better.
    """
    fluxes, old = scene.fluxes, np.flatnonzero(~new)
    trails = np.zeros(int(new.sum()), dtype=bool)
    for k, one in enumerate(np.flatnonzero(new)):
        two = old[np.argmin(np.hypot(fluxes.x[old] - fluxes.x[one], fluxes.y[old] - fluxes.y[one]))]
        if not (np.isfinite(fluxes.flux[one]) and np.isfinite(fluxes.flux[two])):
            trails[k] = True
            continue
        dx, dy = fluxes.x[one] - fluxes.x[two], fluxes.y[one] - fluxes.y[two]
        share = float(np.clip(fluxes.flux[one] / (fluxes.flux[one] + fluxes.flux[two]), 0.0, 1.0))
        # The variance of a line is that of its two ends when it is so many times longer than they are apart.
        length = math.sqrt(12.0 * share * (1.0 - share))
        steps = math.ceil(_TRAIL_STEPS * length * math.hypot(dx, dy) / change.fwhm) + 1
        along = share + length * ((np.arange(steps) + 0.5) / steps - 0.5)
        trails[k] = _fits_as_well(
            change, scene, [int(one), int(two)], x=fluxes.x[two] + along * dx, y=fluxes.y[two] + along * dy
        )
    return trails


def _fits_as_well(change: ChangeImage, scene: StarScene, pair: list[int], *, x: FloatArray, y: FloatArray) -> bool:
    """Return whether stars of one brightness at positions explain the pixels about a pair as well as the pair does."""
    radius = scene.cores.shape[1] // 2
    low, left = scene.row[pair].min() - 2 * radius, scene.column[pair].min() - 2 * radius
    high, right = scene.row[pair].max() + 2 * radius, scene.column[pair].max() + 2 * radius
    square = np.s_[max(low, 0) : high + 1, max(left, 0) : right + 1]
    both, trail = (np.zeros(change.image[square].shape, dtype=np.float32) for _ in range(2))
    corner_x, corner_y = square[1].start, square[0].start
    for one in pair:
        add_star(
            both, scene.cores[one], scene.column[one] - corner_x, scene.row[one] - corner_y, scene.fluxes.flux[one]
        )
    for stamp, at_x, at_y in zip(change.psf.cores(radius, x=x, y=y), np.rint(x), np.rint(y), strict=True):
        add_star(trail, stamp, int(at_x) - corner_x, int(at_y) - corner_y, 1.0)
    good = ~change.bad[square] & (change.variance[square] > 0)
    weight = np.where(good, 1.0 / np.where(good, change.variance[square], 1.0), 0.0)
    data = scene.residual[square] + both
    flux = (weight * trail * data).sum() / max((weight * trail**2).sum(), 1e-30)
    gain = (weight * ((data - flux * trail) ** 2 - scene.residual[square] ** 2)).sum()
    return bool(gain < _PAIR_GAIN)


def _with_light(
    change: ChangeImage,
    detections: Detections,
    scene: StarScene,
    which: NDArray[np.int64],
    new: BoolArray,
    *,
    stars: DeblendLimits,
) -> HiddenChanges:
    """Return the detections with the new sources of a scene, and the light of all its stars."""
    star = is_point_like(scene.fluxes, stars)
    put_back(scene, ~star)
    old = which[star & ~new]
    x, y = detections.x.copy(), detections.y.copy()
    x[old], y[old] = scene.fluxes.x[star & ~new], scene.fluxes.y[star & ~new]
    found = _with_sources(change, replace(detections, x=x, y=y), scene.fluxes, np.flatnonzero(new))
    boxes, first, light = light_of_stars(scene, found, which=which, point_like=star)
    apart = np.zeros(found.n_peaks, dtype=bool)
    apart[which[star]] = True
    return HiddenChanges(
        found,
        SourceLight(
            residual=scene.residual,
            light=light,
            boxes=boxes,
            first=first,
            labels=found.labels,
            point_like=apart,
            symmetric=np.zeros_like(apart),
            skipped=~apart,
        ),
    )


def _with_sources(change: ChangeImage, detections: Detections, fluxes: PsfFluxes, rows: IntArray) -> Detections:
    """Return the detections with new sources after them; pixels nearer to these than to their owner become theirs."""
    (ny, nx), look, n = detections.labels.shape, round(_LOOK_FWHM * change.fwhm), len(rows)
    column = np.clip(np.rint(fluxes.x[rows]).astype(np.int64), 0, nx - 1)
    line = np.clip(np.rint(fluxes.y[rows]).astype(np.int64), 0, ny - 1)
    _, nearest = cKDTree(np.column_stack([detections.x, detections.y])).query(np.column_stack([column, line]))
    down, along = np.indices((2 * look + 1, 2 * look + 1)).reshape(2, -1) - look
    near_y, near_x = line[:, None] + down, column[:, None] + along
    inside = (near_y >= 0) & (near_y < ny) & (near_x >= 0) & (near_x < nx)
    inside[inside] = detections.labels[near_y[inside], near_x[inside]] > 0
    no, size = np.zeros(n, dtype=bool), np.full(n, change.psf_sigma * np.sqrt(2.0))
    sign = -1.0 if (detections.peak_snr < 0).any() else 1.0
    reach = math.ceil(_SMOOTH_REACH * change.psf_sigma)
    added = {
        "x": fluxes.x[rows],
        "y": fluxes.y[rows],
        "peak_x": column,
        "peak_y": line,
        "peak_snr": sign * change.significance(fluxes)[rows],
        **dict.fromkeys(("x_min", "x_max"), column),
        **dict.fromkeys(("y_min", "y_max"), line),
        "flux": fluxes.flux[rows],
        "a": size,
        "b": size,
        "theta": np.zeros(n),
        "parent": detections.parent[nearest],
        "merged": no,
        "edge": np.minimum.reduce([column, line, nx - 1 - column, ny - 1 - line]) < reach,
        "sky": no,
    }
    source = np.nonzero(inside)[0]
    return with_members(detections, added, row=near_y[inside], column=near_x[inside], source=source)
