"""Peaks of an image and the regions that drain to them."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from firstlight.kernels.arrays import Whole


@njit(cache=True, nogil=True)
def _root(parent: NDArray[np.int32], label: Whole) -> int:
    while parent[label] != label:
        parent[label] = parent[parent[label]]
        label = parent[label]
    return int(label)


@njit(cache=True, nogil=True)
def _highest_neighbour(flux: NDArray[np.float32], labels: NDArray[np.int32], row: int, col: int) -> tuple[int, bool]:
    """Return the label of the brightest of the labelled neighbours of a pixel, 0 without any, and if all are alike."""
    best, highest, alike = 0, np.float32(-np.inf), True
    for y in range(max(0, row - 1), min(flux.shape[0], row + 2)):
        for x in range(max(0, col - 1), min(flux.shape[1], col + 2)):
            label = labels[y, x]
            if label > 0:
                alike = alike and (best == 0 or label == best)
                if flux[y, x] > highest:
                    best, highest = label, flux[y, x]
    return best, alike


def watershed(
    flux: NDArray[np.float32],
    sigma: NDArray[np.float32],
    order: NDArray[np.int64],
    min_prominence: float,
    contrast: float,
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32], NDArray[np.bool_]]:
    """Flood an image from its peaks down, keeping apart those that rise far enough above the saddle between them.

    Parameters
    ----------
    flux, sigma : (ny, nx)
    order : (n,)
        Flat indices of the pixels to flood, brightest first.
    min_prominence
        Least height of a peak above the saddle to a higher one, in units of ``sigma`` at the lower peak.
    contrast
        Least height above the saddle over the height of the saddle.

    Returns
    -------
    labels : (ny, nx)
        0 outside, else 1 + number of the peak.
    peaks : (m,)
        Flat indices of the peaks, brightest first.
    footprint : (m,)
        Number of the first peak in the same connected region (8 neighbours).
    merged : (m,)
        A lower peak of more than one ``sigma`` was taken in.
    """
    labels = np.zeros(flux.shape, dtype=np.int32)
    return labels, *_flood(flux, sigma, order, min_prominence, contrast, labels)


@njit(cache=True, nogil=True)
def _flood(
    flux: NDArray[np.float32],
    sigma: NDArray[np.float32],
    order: NDArray[np.int64],
    min_prominence: float,
    contrast: float,
    labels: NDArray[np.int32],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.bool_]]:
    """Fill ``labels``, which are zero, and return the rest of the results of `watershed`."""
    ny, nx = flux.shape
    peaks = np.empty(order.size, dtype=np.int64)
    basin = np.empty(order.size + 1, dtype=np.int32)
    region = np.empty(order.size + 1, dtype=np.int32)
    merged = np.zeros(order.size + 1, dtype=np.bool_)
    count = 0
    for index in order:
        row, col = index // nx, index % nx
        value = flux[row, col]
        best, alike = _highest_neighbour(flux, labels, row, col)
        if best == 0:
            count += 1
            peaks[count - 1] = index
            basin[count], region[count] = count, count
            labels[row, col] = count
            continue
        labels[row, col] = best
        if alike:
            continue
        for y in range(max(0, row - 1), min(ny, row + 2)):
            for x in range(max(0, col - 1), min(nx, col + 2)):
                if labels[y, x] == 0 or labels[y, x] == labels[row, col]:
                    continue
                one, two = _root(region, np.int64(labels[y, x])), _root(region, np.int64(best))
                region[max(one, two)] = min(one, two)
                one, two = _root(basin, np.int64(labels[y, x])), _root(basin, np.int64(best))
                upper, lower = min(one, two), max(one, two)
                if upper == lower:
                    continue
                at = peaks[lower - 1]
                height, noise = flux[at // nx, at % nx] - value, sigma[at // nx, at % nx]
                if height < max(min_prominence * noise, contrast * value):
                    basin[lower] = upper
                    merged[upper] |= merged[lower] or height > noise
    return _renumber(labels, peaks[:count], basin, region, merged)


@njit(cache=True, nogil=True)
def _renumber(
    labels: NDArray[np.int32],
    peaks: NDArray[np.int64],
    basin: NDArray[np.int32],
    region: NDArray[np.int32],
    merged: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.bool_]]:
    """Give the basins that remain consecutive numbers in the order of their peaks."""
    number = np.zeros(peaks.size + 1, dtype=np.int32)
    kept = 0
    for label in range(1, peaks.size + 1):
        if _root(basin, label) == label:
            kept += 1
            number[label] = kept
    final = np.zeros(peaks.size + 1, dtype=np.int32)
    kept_peaks = np.empty(kept, dtype=np.int64)
    footprint = np.empty(kept, dtype=np.int32)
    kept_merged = np.empty(kept, dtype=np.bool_)
    for label in range(1, peaks.size + 1):
        final[label] = number[_root(basin, label)]
        if number[label] > 0:
            kept_peaks[number[label] - 1] = peaks[label - 1]
            footprint[number[label] - 1] = number[_root(region, label)] - 1
            kept_merged[number[label] - 1] = merged[label]
    ny, nx = labels.shape
    for row in range(ny):
        for col in range(nx):
            if labels[row, col] > 0:
                labels[row, col] = final[labels[row, col]]
    return kept_peaks, footprint, kept_merged


@njit(cache=True, nogil=True, error_model="numpy")
def region_moments(
    flux: NDArray[np.float32], labels: NDArray[np.int32], count: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum the pixels of every region.

    Parameters
    ----------
    flux, labels : (ny, nx)
    count
        Number of regions.

    Returns
    -------
    moments : (count, 6)
        Flux, barycentre x and y, central second moments xx, yy, xy.
    boxes : (count, 5)
        Area, least and greatest x, least and greatest y.
    """
    moments = np.zeros((count, 6))
    boxes = np.zeros((count, 5), dtype=np.int64)
    ny, nx = labels.shape
    boxes[:, 1], boxes[:, 2], boxes[:, 3], boxes[:, 4] = nx, -1, ny, -1
    for row in range(ny):
        for col in range(nx):
            label = labels[row, col]
            if label == 0:
                continue
            sums, box = moments[label - 1], boxes[label - 1]
            value = np.float64(flux[row, col])
            sums[0] += value
            sums[1] += value * col
            sums[2] += value * row
            sums[3] += value * col * col
            sums[4] += value * row * row
            sums[5] += value * row * col
            box[0] += 1
            box[1], box[2] = min(box[1], col), max(box[2], col)
            box[3], box[4] = min(box[3], row), max(box[4], row)
    for i in range(count):
        sums = moments[i]
        x, y = sums[1] / sums[0], sums[2] / sums[0]
        xx, yy, xy = sums[3] / sums[0] - x * x, sums[4] / sums[0] - y * y, sums[5] / sums[0] - x * y
        sums[1], sums[2], sums[3], sums[4], sums[5] = x, y, xx, yy, xy
    return moments, boxes
