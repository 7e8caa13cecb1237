"""Detections put together: sources with holes, with empty positions, and with fewer peaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.detection import Detections, SmoothedImage, detect_sources
from firstlight.kernels.arrays import BoolArray, FloatArray

_IMAGES = ("labels", "footprints")


def joined(one: Detections, two: Detections) -> Detections:
    """Return the entries of both, those of ``two`` last; where their pixels meet, those of ``one`` stay.

    Parameters
    ----------
    one, two
        Of the same image, such as its sources and its holes.
    """
    columns = {name: np.concatenate([getattr(one, name), getattr(two, name)]) for name in _columns()}
    columns["parent"] = np.concatenate([one.parent, two.parent + _first_free_parent(one)])
    shifted = np.where(two.labels > 0, two.labels + np.int32(one.n_peaks), np.int32(0))
    return Detections(
        **columns,
        labels=np.where(one.labels > 0, one.labels, shifted),
        footprints=one.footprints | two.footprints,
    )


def with_sky_positions(detections: Detections, *, x: FloatArray, y: FloatArray, radius: int, size: float) -> Detections:
    """Return the detections with empty positions after them, marked as `Detections.sky`.

    Parameters
    ----------
    detections
    x, y : (n,) [pixel]
        From `place_sky_sources`.
    radius : [pixel]
        Half side of their boxes.
    size : [pixel]
        Standard deviation of a star, given as their axes.
    """
    n = len(x)
    column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    zeros, none = np.zeros(n), np.zeros(n, dtype=bool)
    ny, nx = detections.labels.shape
    extra: dict[str, NDArray[Any]] = {
        "x": np.asarray(x, dtype=np.float64),
        "y": np.asarray(y, dtype=np.float64),
        "peak_x": column,
        "peak_y": row,
        "peak_snr": zeros,
        "x_min": np.maximum(column - radius, 0),
        "x_max": np.minimum(column + radius, nx - 1),
        "y_min": np.maximum(row - radius, 0),
        "y_max": np.minimum(row + radius, ny - 1),
        "area": np.zeros(n, dtype=np.int64),
        "flux": zeros,
        "a": np.full(n, size),
        "b": np.full(n, size),
        "theta": zeros,
        "parent": _first_free_parent(detections) + np.arange(n),
        "blended": none,
        "merged": none,
        "edge": none,
        "sky": np.ones(n, dtype=bool),
    }
    return replace(
        detections, **{name: np.concatenate([getattr(detections, name), extra[name]]) for name in _columns()}
    )


def with_most_peaks(detections: Detections, limit: int) -> tuple[Detections, BoolArray]:
    """Return the detections with at most ``limit`` peaks in each footprint, the brightest, and where others lay.

    Parameters
    ----------
    detections
        Brightest first.
    limit
        A fainter peak gives its pixels up.

    Returns
    -------
    detections
    given_up : (ny, nx)
        Pixels of the peaks that were left out.
    """
    order = np.argsort(detections.parent, kind="stable")
    _, first, size = np.unique(detections.parent[order], return_index=True, return_counts=True)
    rank = np.empty(detections.n_peaks, dtype=np.int64)
    rank[order] = np.arange(detections.n_peaks) - np.repeat(first, size)
    kept = selected(detections, rank < limit)
    if kept is detections:
        return kept, np.zeros(detections.labels.shape, dtype=bool)
    return kept, (detections.labels > 0) & (kept.labels == 0)


def redetected(
    found: Detections, smoothed: SmoothedImage, *, local_sky: FloatArray, threshold: float, most_simple: int = 1
) -> Detections:
    """Return the detections with the peaks of blended footprints found again above a local sky.

    Peaks that are only noise on the broad light of a bright neighbour vanish (LSST ``doTempLocalBackground``). A
    footprint keeps its brightest peak in any case, and its pixels in `Detections.footprints`.

    Parameters
    ----------
    found
        From `detect_sources` on ``smoothed``.
    smoothed
    local_sky : (ny, nx) [unit of the image]
        Sky of the smoothed image on a small scale.
    threshold : [standard deviation]
    most_simple
        Footprints with more peaks than this are looked at.
    """
    n_in_footprint = np.bincount(found.parent, minlength=1)[found.parent]
    above = replace(smoothed, flux=smoothed.flux - np.asarray(local_sky, dtype=np.float32))
    again = detect_sources(above, threshold=threshold)
    at_peak = again.labels[found.peak_y, found.peak_x]
    _, brightest = np.unique(found.parent, return_index=True)
    keep = n_in_footprint <= most_simple
    keep[brightest] = True
    # A peak of the first image is one of the second if it lies where that one drains to its own maximum.
    owner = np.full(again.n_peaks + 1, -1, dtype=np.int64)
    for entry in range(found.n_peaks - 1, -1, -1):
        owner[at_peak[entry]] = entry
    keep |= (at_peak > 0) & (owner[at_peak] == np.arange(found.n_peaks))
    return replace(selected(found, keep), footprints=found.footprints)


def selected(detections: Detections, keep: BoolArray) -> Detections:
    """Return some of the entries; the pixels of the others are free, and all pixels stay in `Detections.footprints`.

    Parameters
    ----------
    detections
    keep : (n_peaks,)
    """
    if keep.all():
        return detections
    table = np.zeros(len(keep) + 1, dtype=np.int32)
    table[1:][keep] = np.arange(1, int(keep.sum()) + 1, dtype=np.int32)
    columns = {name: getattr(detections, name)[keep] for name in _columns()}
    _, family, size = np.unique(columns["parent"], return_inverse=True, return_counts=True)
    columns["parent"], columns["blended"] = family.astype(np.int64), np.asarray(size[family] > 1)
    return Detections(**columns, labels=table[detections.labels], footprints=detections.footprints)


def with_members(
    detections: Detections,
    added: Mapping[str, NDArray[Any]],
    *,
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    source: NDArray[np.int64],
) -> Detections:
    """Return the detections with further sources after them, which share footprints with those of the same parent.

    Parameters
    ----------
    detections
    added
        Every column of `Detections` but ``area`` and ``blended`` (n_added,). Their boxes grow with the pixels they get.
    row, column, source : (n,) [pixel]
        Pixels that go over to one of the added where it is nearer than the source that has them, and to which; the
        nearest of several gets them. The pixel of a peak goes with it in any case, unless it has an older one.
    """
    owner = detections.labels[row, column]
    own = np.hypot(column - added["x"][source], row - added["y"][source])
    other = np.hypot(column - detections.x[owner - 1], row - detections.y[owner - 1])
    taken = np.flatnonzero((owner == 0) | (own < other))
    taken = taken[np.lexsort((-source[taken], -own[taken]))]  # what is written last stays: the nearest
    labels, nx = detections.labels.copy(), detections.labels.shape[1]
    peak = added["peak_y"] * nx + added["peak_x"]
    free = np.flatnonzero(~np.isin(peak, detections.peak_y * nx + detections.peak_x))
    pixel = np.append(row[taken] * nx + column[taken], peak[free])
    labels.reshape(-1)[pixel] = detections.n_peaks + 1 + np.append(source[taken], free)
    columns = {name: np.concatenate([getattr(detections, name), values]) for name, values in added.items()}
    gone_over = divmod(np.unique(pixel), nx)
    number, before = labels[gone_over] - 1, detections.labels[gone_over] - 1
    for at, low, high in zip(gone_over, ("y_min", "x_min"), ("y_max", "x_max"), strict=True):
        np.minimum.at(columns[low], number, at)
        np.maximum.at(columns[high], number, at)
    area = np.append(detections.area, np.zeros(len(peak), dtype=np.int64))
    np.add.at(area, number, 1)
    np.subtract.at(area, before[before >= 0], 1)
    _, family, size = np.unique(columns["parent"], return_inverse=True, return_counts=True)
    return replace(
        detections,
        **columns,
        area=area,
        blended=np.asarray(size[family] > 1) & ~columns["sky"],
        labels=labels,
    )


def _columns() -> list[str]:
    return [field.name for field in fields(Detections) if field.name not in _IMAGES]


def _first_free_parent(detections: Detections) -> int:
    return int(detections.parent.max(initial=-1)) + 1
