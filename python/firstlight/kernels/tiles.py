"""Cut sources out of an image, each onto a tile of its own."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def copy_to_tiles(
    plane: NDArray[np.float32],
    source_x: NDArray[np.int64],
    source_y: NDArray[np.int64],
    tile_x: NDArray[np.int64],
    tile_y: NDArray[np.int64],
    side: NDArray[np.int64],
    sheet: NDArray[np.float32],
) -> None:
    """Copy a square of pixels for each source onto a sheet, in place; what lies off the image is left as it is.

    Parameters
    ----------
    plane : (ny, nx)
    source_x, source_y : (n,)
        First column and row of the squares, which may begin or end off the image.
    tile_x, tile_y : (n,)
        Their places on the sheet.
    side : (n,)
    sheet
    """
    ny, nx = plane.shape
    for i in range(side.size):
        for y in range(max(0, source_y[i]), min(ny, source_y[i] + side[i])):
            to_y = tile_y[i] + y - source_y[i]
            for x in range(max(0, source_x[i]), min(nx, source_x[i] + side[i])):
                sheet[to_y, tile_x[i] + x - source_x[i]] = plane[y, x]


@njit(cache=True, nogil=True)
def mark_on_tiles(
    mask: NDArray[np.int32],
    bits: int,
    source_x: NDArray[np.int64],
    source_y: NDArray[np.int64],
    tile_x: NDArray[np.int64],
    tile_y: NDArray[np.int64],
    side: NDArray[np.int64],
    marked: NDArray[np.bool_],
) -> None:
    """Set, in place, whether any of the bits of a mask is set; the arguments are those of `copy_to_tiles`."""
    ny, nx = mask.shape
    for i in range(side.size):
        for y in range(max(0, source_y[i]), min(ny, source_y[i] + side[i])):
            to_y = tile_y[i] + y - source_y[i]
            first = max(0, source_x[i])
            last = max(first, min(nx, source_x[i] + side[i]))
            to_x = tile_x[i] + first - source_x[i]
            line, onto = mask[y, first:last], marked[to_y, to_x : to_x + last - first]
            for k in range(line.size):
                onto[k] = (line[k] & bits) != 0


@njit(cache=True, nogil=True)
def mark_others_on_tiles(
    labels: NDArray[np.int32],
    own: NDArray[np.int64],
    source_x: NDArray[np.int64],
    source_y: NDArray[np.int64],
    tile_x: NDArray[np.int64],
    tile_y: NDArray[np.int64],
    side: NDArray[np.int64],
    foreign: NDArray[np.bool_],
) -> None:
    """Set, in place, where a label is another one than that of the source; with 0 as its own no pixel is foreign."""
    ny, nx = labels.shape
    for i in range(side.size):
        if own[i] <= 0:
            continue
        for y in range(max(0, source_y[i]), min(ny, source_y[i] + side[i])):
            to_y = tile_y[i] + y - source_y[i]
            for x in range(max(0, source_x[i]), min(nx, source_x[i] + side[i])):
                foreign[to_y, tile_x[i] + x - source_x[i]] = labels[y, x] > 0 and labels[y, x] != own[i]


@njit(cache=True, nogil=True)
def add_to_tiles(
    sheet: NDArray[np.float32],
    light: NDArray[np.float32],
    boxes: NDArray[np.int64],
    first: NDArray[np.int64],
    source_x: NDArray[np.int64],
    source_y: NDArray[np.int64],
    tile_x: NDArray[np.int64],
    tile_y: NDArray[np.int64],
    side: NDArray[np.int64],
) -> None:
    """Add to each tile the light of its source, in place.

    Parameters
    ----------
    sheet
        As `copy_to_tiles` fills it.
    light : (first[-1],)
        That of source i lies in ``[first[i]:first[i + 1]]``, by rows.
    boxes : (n, 4)
        First column, first row, width and height of it on the image.
    first : (n + 1,)
    source_x, source_y, tile_x, tile_y, side : (n,)
        As for `copy_to_tiles`.
    """
    for i in range(side.size):
        left, low, width, height = boxes[i]
        for row in range(max(low, source_y[i]), min(low + height, source_y[i] + side[i])):
            for col in range(max(left, source_x[i]), min(left + width, source_x[i] + side[i])):
                value = light[first[i] + (row - low) * width + col - left]
                sheet[tile_y[i] + row - source_y[i], tile_x[i] + col - source_x[i]] += value
