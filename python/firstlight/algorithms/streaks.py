"""Find the straight trails of satellites and aircraft, and how wide they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import least_squares

from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray
from firstlight.kernels.blocks import clipped_significance_sums
from firstlight.kernels.hough import line_votes
from firstlight.kernels.planes import as_plane

_CELLS = 512
_SCALES = (1, 2, 4)
_CLIP = 3.0
_CELL_SIGMA = 2.0
_CANDIDATES = 12
_SHORTEST = 0.25
_SEGMENTS = 24
_SEGMENT_SIGMA = 3.0
_FLANK = 2.0
_SAME_ANGLE = 10.0
_MIDDLE = 5
_KNOWN_OUTSKIRTS = 0.25
_MEDIAN_ERROR = 1.2533
_EXPONENT = 2.5


@dataclass(frozen=True)
class Streak:
    """A straight trail across an image."""

    x: float
    """A point on its middle line [pixel]."""

    y: float

    angle: float
    """From the x axis towards the y axis, 0 to 180 [degree]."""

    peak: float
    """Brightness along the middle in units of the noise of a pixel."""

    sigma: float
    """Scale of the profile ``(1 + (d / sigma)^2)^-2.5`` across it [pixel]."""

    coverage: float
    """Share of its length at which it stands out."""

    evenness: float
    """Its median over its greatest brightness along the line; the spike of a star fades outwards."""

    half_width: float
    """Distance from the middle at which it has faded [pixel]."""

    def distance(self, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return the signed distance of positions from the middle line [pixel]."""
        cosine, sine = np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))
        return np.asarray((y - self.y) * cosine - (x - self.x) * sine)


def find_streaks(
    image: FloatArray,
    *,
    variance: FloatArray,
    bad: BoolArray,
    min_significance: float = 7.0,
    min_coverage: float = 0.6,
    min_evenness: float = 0.3,
    min_axis_angle: float = 0.3,
    max_width: int = 100,
    faintest: float = 0.1,
    max_streaks: int = 10,
) -> list[Streak]:
    """Find trails by a Hough transform of small cells, and keep those that stand out along most of their length.

    Single pixels are clipped, so that a star counts no more than a piece of a trail. The profile across a candidate is
    the median along each of many segments, which stars and the spikes of one star do not move (the profile and its
    fit as in LSST ``MaskStreaksTask``).

    Parameters
    ----------
    image, variance : (ny, nx)
        Without its sky.
    bad : (ny, nx)
        Saturated and defective pixels.
    min_significance
        Least excess of the votes for a line, in units of their scatter.
    min_coverage
        Share of the segments in which the trail must stand out; spikes and chance alignments do not.
    min_evenness
        Median brightness along the trail over that of its brightest tenth; spikes are brightest at their star.
    min_axis_angle : [degree]
        Lines nearer than this to the rows or columns are taken for traces of the read-out; faint ones also where
        they are nearer than their own width over their length.
    max_width : [pixel]
        Widest trail.
    faintest : [standard deviation of a pixel]
        A trail is masked out to where its profile falls below this.
    max_streaks
        At most so many are returned, the most conspicuous first.
    """
    pixels = _Pixels(as_plane(image), as_plane(variance), bad)
    fine = max(1, -(-max(image.shape) // _CELLS))
    total, number = clipped_significance_sums(pixels.image, pixels.variance, pixels.bad, fine, _CLIP)
    limits = _Limits(min_significance, min_coverage, min_evenness, min_axis_angle, max_width, faintest)
    streaks: list[Streak] = []
    for times in _SCALES:
        block = times * fine
        bright, usable = _bright_cells(_merged(total, times), _merged(number, times), block)
        for streak in streaks:
            bright &= _clear_of(streak, bright.shape, block)
        while len(streaks) < max_streaks:
            found = _best_streak(pixels, bright, block, usable, limits)
            if found is None:
                break
            streaks.append(found)
            bright &= _clear_of(found, bright.shape, block)
    return streaks


def mark_streaks(streaks: list[Streak], shape: tuple[int, int]) -> BoolArray:
    """Return the pixels of the trails [y, x]."""
    marked = np.zeros(shape, dtype=bool)
    columns = np.arange(shape[1], dtype=np.float64)
    for streak in streaks:
        for first in range(0, shape[0], 256):
            rows = np.arange(first, min(first + 256, shape[0]), dtype=np.float64)[:, None]
            marked[first : first + 256] |= np.abs(streak.distance(x=columns, y=rows)) <= streak.half_width
    return marked


class _Limits(NamedTuple):
    significance: float
    coverage: float
    evenness: float
    axis_angle: float
    max_width: int
    faintest: float


class _Pixels(NamedTuple):
    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    bad: BoolArray

    def significance(self, row: IntArray, column: IntArray) -> NDArray[np.float32]:
        """Return the significance of pixels, NaN where they are outside, bad or without noise."""
        ny, nx = self.image.shape
        outside = (column < 0) | (column >= nx) | (row < 0) | (row >= ny)
        at = np.clip(row, 0, ny - 1), np.clip(column, 0, nx - 1)
        variance = self.variance[at]
        with np.errstate(invalid="ignore", divide="ignore"):
            value = self.image[at] / np.sqrt(variance)
        return np.where(outside | self.bad[at] | ~(variance > 0.0) | ~np.isfinite(value), np.float32(np.nan), value)


def _merged(plane: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    """Return the sums over ``times`` x ``times`` cells."""
    rows, columns = (np.arange(0, n, times) for n in plane.shape)
    return np.asarray(np.add.reduceat(np.add.reduceat(plane, rows, axis=0), columns, axis=1))


def _bright_cells(total: NDArray[np.float64], number: NDArray[np.float64], block: int) -> tuple[BoolArray, float]:
    """Return the cells whose mean stands out, and the share of all that could."""
    known = number > 0.5 * block**2
    if not known.any():
        return known, 0.0
    level = float(np.median(total[known] / number[known]))
    bright = known & (total - level * number > _CELL_SIGMA * np.sqrt(np.maximum(number, 1.0)))
    return bright, float(np.mean(known))


def _clear_of(streak: Streak, shape: tuple[int, ...], block: int) -> BoolArray:
    rows, columns = np.mgrid[: shape[0], : shape[1]] * block + 0.5 * (block - 1)
    return np.asarray(np.abs(streak.distance(x=columns, y=rows)) > streak.half_width + 2 * block)


def _best_streak(
    pixels: _Pixels,
    bright: BoolArray,
    block: int,
    usable: float,
    limits: _Limits,
) -> Streak | None:
    """Return the most conspicuous line that proves to be a trail."""
    start = 0.5 * (block - 1)
    traces: list[Streak] = []
    for x, y, angle in _candidates(bright, limits.significance, usable):
        streak = _fitted(pixels, (x * block + start, y * block + start), angle, limits, block)
        if streak is None or streak.coverage < limits.coverage or streak.evenness < limits.evenness:
            continue
        doubt = np.degrees(np.arctan(streak.sigma / max(1.0, streak.peak) / (0.5 * min(bright.shape) * block)))
        if abs((streak.angle + 45.0) % 90.0 - 45.0) < max(limits.axis_angle, doubt):
            traces.append(streak)
        elif not any(_lies_in(streak, trace) for trace in traces):
            return streak
    return None


def _lies_in(streak: Streak, trace: Streak) -> bool:
    """Return whether a line is a bad fit to another."""
    turn = abs((streak.angle - trace.angle + 90.0) % 180.0 - 90.0)
    return (
        turn < _SAME_ANGLE and abs(trace.distance(x=np.array([streak.x]), y=np.array([streak.y]))[0]) < trace.half_width
    )


def _candidates(bright: BoolArray, min_significance: float, usable: float) -> Iterator[tuple[float, float, float]]:
    """Yield a point [cell] and the direction [degree] of lines with more bright cells than chance, best first."""
    ny, nx = bright.shape
    rows, columns = np.nonzero(bright)
    middle_x, middle_y = (nx - 1) / 2, (ny - 1) / 2
    reach = int(np.ceil(np.hypot(nx, ny) / 2)) + 1
    normals = np.arange(0.0, np.pi, 1.0 / reach)
    cosines, sines = np.cos(normals), np.sin(normals)
    votes = line_votes(columns - middle_x, rows - middle_y, cosines, sines, reach)
    length = _chords(nx, ny, cosines[:, None], sines[:, None], np.arange(-reach, reach + 1.0)[None, :]) * usable
    share = len(rows) / bright.size / max(usable, 1e-3)
    long_enough = length > _SHORTEST * min(ny, nx)
    if not long_enough.any() or len(rows) == 0:
        return
    excess = np.where(long_enough, (votes - share * length) / np.sqrt(share * np.maximum(length, 1.0)), -np.inf)
    scatter = max(1.0, 1.4826 * float(np.median(np.abs(excess[long_enough]))))
    for _ in range(_CANDIDATES):
        k, j = np.unravel_index(int(np.argmax(excess)), excess.shape)
        if excess[k, j] < min_significance * scatter:
            return
        rho = float(j) - reach
        yield rho * cosines[k] + middle_x, rho * sines[k] + middle_y, float(np.degrees(normals[k]) + 90.0)
        turn = np.abs((normals - normals[k] + np.pi / 2) % np.pi - np.pi / 2)
        excess[np.ix_(turn < np.radians(1.0), np.abs(np.arange(2 * reach + 1) - j) < 8)] = -np.inf


def _chords(nx: int, ny: int, cosine: FloatArray, sine: FloatArray, rho: FloatArray) -> NDArray[np.float64]:
    """Return the length inside a centred rectangle of lines at ``rho`` from its middle with these normals."""
    with np.errstate(divide="ignore", invalid="ignore"):
        along_x = [(-sign * nx / 2 + rho * cosine) / sine for sign in (1.0, -1.0)]
        along_y = [(sign * ny / 2 - rho * sine) / cosine for sign in (1.0, -1.0)]
    low = np.maximum(np.fmin(*along_x), np.fmin(*along_y))
    high = np.minimum(np.fmax(*along_x), np.fmax(*along_y))
    return np.asarray(np.nan_to_num(np.maximum(high - low, 0.0), posinf=0.0))


def _fitted(
    pixels: _Pixels,
    point: tuple[float, float],
    angle: float,
    limits: _Limits,
    block: int,
) -> Streak | None:
    """Return the trail along a line with its place, direction and profile fitted; None where there is none."""
    for search, reach in ((_brightest_line, 2.0 * block), (_brightest_line, 2.0), (_centroid_line, 3.0)):
        profiles, _, along = _segments(pixels, point, angle, limits.max_width)
        if len(along) < _SEGMENTS // 2:
            return None
        shift, slope = search(profiles, along, reach)
        radians = np.radians(angle)
        point = point[0] - shift * np.sin(radians), point[1] + shift * np.cos(radians)
        angle += float(np.degrees(np.arctan(slope)))
    profiles, count, along = _segments(pixels, point, angle, limits.max_width)
    if len(along) < _SEGMENTS // 2:
        return None
    return _with_profile(profiles, count, point, angle % 180.0, limits)


def _brightest_line(profiles: NDArray[np.float64], along: NDArray[np.float64], reach: float) -> tuple[float, float]:
    """Return shift [pixel] and slope of the line through the profiles, within ``reach``, that gathers most light."""
    smooth = ndimage.gaussian_filter1d(np.clip(np.nan_to_num(profiles), -_CLIP, _CLIP), 2.0, axis=1)
    middle = smooth.shape[1] // 2
    steps = np.linspace(-reach, reach, 41)
    half = max(1.0, float(np.abs(along).max()))
    shift, slope = np.meshgrid(steps, steps / half, indexing="ij")
    at = middle + shift[..., None] + slope[..., None] * along
    index = np.clip(np.rint(at).astype(np.int64), 0, smooth.shape[1] - 1)
    light = smooth[np.arange(len(along)), index].sum(axis=-1)
    best = np.unravel_index(int(np.argmax(light)), light.shape)
    return float(shift[best]), float(slope[best])


def _centroid_line(profiles: NDArray[np.float64], along: NDArray[np.float64], reach: float) -> tuple[float, float]:
    """Return shift [pixel] and slope of the line through the centroids within ``reach`` of the middle."""
    offset = np.arange(profiles.shape[1]) - profiles.shape[1] // 2
    near = np.abs(offset) <= reach
    weight = np.clip(profiles[:, near], 0.0, None)
    mass = weight.sum(axis=1)
    if np.count_nonzero(mass) < _SEGMENTS // 2:
        return 0.0, 0.0
    centre = (weight @ offset[near]) / np.maximum(mass, 1e-12)
    slope, shift = np.polyfit(along, centre, 1, w=np.sqrt(mass))
    return float(shift), float(slope)


def _with_profile(
    profiles: NDArray[np.float64],
    count: NDArray[np.float64],
    point: tuple[float, float],
    angle: float,
    limits: _Limits,
) -> Streak | None:
    """Return the trail with the profile fitted to the median of the segments; None if that is too faint."""
    offset = np.arange(profiles.shape[1]) - profiles.shape[1] // 2
    known = np.isfinite(profiles).any(axis=0)
    profile = np.nanmedian(profiles[:, known], axis=0)

    def residual(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        peak, sigma = parameters
        model: NDArray[np.float64] = peak * (1.0 + (offset[known] / sigma) ** 2) ** -_EXPONENT - profile
        return model

    fit = least_squares(
        residual, [max(float(profile.max()), 0.1), 3.0], bounds=([0.0, 0.5], [np.inf, limits.max_width / 2])
    )
    peak, sigma = (float(value) for value in fit.x)
    if peak <= limits.faintest or not _flanks_are_seen(profiles, sigma):
        return None
    core = np.abs(offset) <= max(1.0, 0.5 * sigma)
    error = _MEDIAN_ERROR / np.sqrt(count * np.count_nonzero(core))
    brightness = np.nanmean(profiles[:, core], axis=1)
    coverage = float(np.mean(brightness > _SEGMENT_SIGMA * error))
    evenness = float(np.median(brightness) / max(np.quantile(brightness, 0.9), 1e-12))
    half_width = sigma * np.sqrt(max((peak / limits.faintest) ** (1.0 / _EXPONENT) - 1.0, 1.0))
    return Streak(
        x=float(point[0]),
        y=float(point[1]),
        angle=angle,
        peak=peak,
        sigma=sigma,
        coverage=coverage,
        evenness=evenness,
        half_width=float(min(half_width, limits.max_width / 2)),
    )


def _flanks_are_seen(profiles: NDArray[np.float64], sigma: float) -> bool:
    """Return whether the profile lies well inside the window and the image; else it may be a glow of sky or border."""
    half = profiles.shape[1] // 2
    reach = int(np.ceil(_FLANK * sigma))
    return reach < half and bool(np.isfinite(profiles[:, [half - reach, half + reach]]).mean(axis=0).min() >= 0.5)


def _segments(
    pixels: _Pixels, point: tuple[float, float], angle: float, max_width: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the median profile across each segment above its outskirts, pixels in each, and places along the line.

    Beyond the border of the image, and where hardly a pixel is good, a profile is NaN. A segment counts where its
    middle and a part of its outskirts are known.
    """
    ny, nx = pixels.image.shape
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    diagonal = int(np.hypot(nx, ny)) + 1
    along = np.arange(-diagonal, diagonal + 1)
    inside = (np.abs(point[0] + along * cosine - (nx - 1) / 2) <= nx / 2) & (
        np.abs(point[1] + along * sine - (ny - 1) / 2) <= ny / 2
    )
    along = along[inside]
    offset = np.arange(-max_width, max_width + 1)
    column = np.rint(point[0] + along[:, None] * cosine - offset * sine).astype(np.int64)
    row = np.rint(point[1] + along[:, None] * sine + offset * cosine).astype(np.int64)
    values = pixels.significance(row, column)
    middle, outskirts = np.abs(offset) <= _MIDDLE, np.abs(offset) > max_width // 2
    profiles, counts, places = [], [], []
    for part in np.array_split(np.arange(len(along)), _SEGMENTS):
        number = np.isfinite(values[part]).sum(axis=0)
        known = number >= max(3, len(part) // 3)
        if not known[middle].all() or known[outskirts].mean() < _KNOWN_OUTSKIRTS:
            continue
        profile = np.full(len(offset), np.nan)
        profile[known] = np.nanmedian(values[part][:, known], axis=0)
        profiles.append(profile - np.median(profile[known & outskirts]))
        counts.append(float(number[middle].min()))
        places.append(float(along[part].mean()))
    return np.array(profiles, dtype=np.float64), np.array(counts), np.array(places)
