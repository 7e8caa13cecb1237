"""Remove the signature of the detector from arrays: overscan, flat field, growth and repair of bad pixels, defects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from firstlight.algorithms.combine import MEDIAN_VARIANCE, clipped_moments
from firstlight.errors import CalibrationError
from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray

Statistic = Literal["mean", "median"]


@dataclass(frozen=True)
class OverscanLevel:
    """The level that the electronics add, measured where no light falls."""

    level: NDArray[np.float64]
    """(n_rows, 1), or (1, 1) for one level of all rows [count]."""

    variance: float
    """Variance of each level [count^2]."""

    noise: float
    """Standard deviation of one pixel of the overscan about its level, the read noise [count]."""


def measure_overscan(
    strip: FloatArray, *, per_row: bool, statistic: Statistic = "mean", smoothing: int = 1, n_sigma: float = 3.5
) -> OverscanLevel:
    """Measure the level of an overscan strip, of each row or of the whole.

    Parameters
    ----------
    strip : (n_rows, n_columns) [count]
        Pixels that saw no light; what is not finite is left out.
    per_row
        Whether each row has a level of its own.
    statistic
        The clipped mean, or the median, of the pixels of a level.
    smoothing : [pixel]
        Number of rows over which the levels of rows are averaged.
    n_sigma
        Pixels farther from the median of their row are left out of the mean.

    Raises
    ------
    CalibrationError
        If a row has no finite pixel.
    """
    values = strip.astype(np.float64)
    usable = np.isfinite(values)
    if not usable.any(axis=1).all():
        raise CalibrationError(
            f"{int((~usable.any(axis=1)).sum())} of {len(values)} rows of the overscan have no finite pixel.",
            rows_without_overscan=int((~usable.any(axis=1)).sum()),
        )
    by_row = np.nanmedian(values, axis=1, keepdims=True)
    _, noise = clipped_moments((values - by_row)[usable])
    noise *= float(np.sqrt(strip.shape[1] / max(1.0, strip.shape[1] - MEDIAN_VARIANCE)))
    kept = np.where(usable & (np.abs(values - by_row) <= max(n_sigma * noise, 1e-9)), values, np.nan)
    if not per_row:
        level = np.nanmean(kept) if statistic == "mean" else np.nanmedian(values)
        return OverscanLevel(np.full((1, 1), level), _variance_of_level(noise, strip.size, statistic), noise)
    levels = by_row[:, 0] if statistic == "median" else np.where(np.isfinite(kept).any(axis=1), _row_means(kept), 0.0)
    smoothed = uniform_filter1d(levels, smoothing, mode="nearest") if smoothing > 1 else levels
    return OverscanLevel(
        smoothed[:, None], _variance_of_level(noise, strip.shape[1] * max(smoothing, 1), statistic), noise
    )


def _row_means(kept: NDArray[np.float64]) -> NDArray[np.float64]:
    count = np.isfinite(kept).sum(axis=1)
    return np.asarray(np.nansum(kept, axis=1) / np.maximum(count, 1))


def _variance_of_level(noise: float, n_pixels: int, statistic: Statistic) -> float:
    return float(noise**2 / n_pixels * (MEDIAN_VARIANCE if statistic == "median" else 1.0))


@dataclass(frozen=True)
class FlatFielded:
    """An image divided by a flat field."""

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    dead: BoolArray
    """Where the flat is too low, or no number; these pixels are left as they were."""


def divide_by_flat(
    image: FloatArray, *, variance: FloatArray, flat: FloatArray, flat_variance: FloatArray, min_flat: float
) -> FlatFielded:
    """Divide by a flat field and add its noise to the variance.

    Parameters
    ----------
    image : (ny, nx) [count]
    variance : (ny, nx) [count^2]
    flat : (ny, nx)
        Response of the pixels relative to the typical one.
    flat_variance : (ny, nx)
    min_flat
        Pixels with a lower response are dead.
    """
    dead = ~(np.isfinite(flat) & (flat >= min_flat))
    response = np.where(dead, 1.0, flat)
    corrected = image / response
    noise = np.where(dead, 0.0, flat_variance)
    spread = (variance + corrected.astype(np.float64) ** 2 * noise) / response**2
    return FlatFielded(corrected.astype(np.float32), spread.astype(np.float32), dead)


def photon_variance(image: FloatArray, *, gain: float, read_noise: float) -> NDArray[np.float32]:
    """Return the variance of counts: photon noise of what is above zero, and read noise.

    Parameters
    ----------
    image : (ny, nx) [count]
        Without bias, with the sky and the dark current still in it.
    gain : [electron / count]
    read_noise : [electron]
    """
    return np.asarray(np.maximum(image, 0.0) / gain + (read_noise / gain) ** 2, dtype=np.float32)


def fill_along_rows(image: FloatArray, *, bad: BoolArray) -> NDArray[np.float32]:
    """Return the image with bad pixels filled in by a straight line between the nearest good ones of their row.

    A row without a good pixel is left as it is.

    Parameters
    ----------
    image : (ny, nx)
    bad : (ny, nx)
    """
    filled = np.array(image, dtype=np.float32)
    columns = np.arange(image.shape[1])
    for row in np.flatnonzero(bad.any(axis=1)):
        good = ~bad[row] & np.isfinite(image[row])
        if good.any():
            filled[row, bad[row]] = np.interp(columns[bad[row]], columns[good], image[row, good])
    return filled


def boxes_of_pixels(bad: BoolArray) -> NDArray[np.int64]:
    """Return boxes that together cover exactly the bad pixels.

    Runs along columns, the commonest defects; equal runs of neighbouring columns are joined.

    Parameters
    ----------
    bad : (ny, nx)

    Returns
    -------
    (n, 4) [pixel]
        x0, y0, width and height of each box, ordered by x0, then y0.
    """
    step = np.diff(np.pad(bad.astype(np.int8), ((1, 1), (0, 0))), axis=0)
    x, start = np.nonzero(step.T == 1)
    _, stop = np.nonzero(step.T == -1)
    boxes: list[list[int]] = []
    open_boxes: dict[tuple[int, int], list[int]] = {}
    for column, y0, y1 in zip(x.tolist(), start.tolist(), stop.tolist(), strict=True):
        box = open_boxes.get((y0, y1))
        if box is not None and box[0] + box[2] == column:
            box[2] += 1
        else:
            open_boxes[y0, y1] = box = [column, y0, 1, y1 - y0]
            boxes.append(box)
    return np.array(boxes, dtype=np.int64).reshape(-1, 4)


def pixels_of_boxes(boxes: IntArray, *, shape: tuple[int, int]) -> BoolArray:
    """Return where the boxes are, bool [y, x]; what lies outside of ``shape`` (rows, columns) is cut off.

    Parameters
    ----------
    boxes : (n, 4) [pixel]
        x0, y0, width and height of each box.
    shape
    """
    bad = np.zeros(shape, dtype=bool)
    for x0, y0, width, height in np.asarray(boxes).tolist():
        bad[max(y0, 0) : max(y0 + height, 0), max(x0, 0) : max(x0 + width, 0)] = True
    return bad
