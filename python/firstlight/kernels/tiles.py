"""Cut sources out of an image, each onto a tile of its own."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


def cut_tiles(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    mask: NDArray[np.int32],
    labels: NDArray[np.int32],
    own: NDArray[np.int64],
    source_x: NDArray[np.int64],
    source_y: NDArray[np.int64],
    tile_x: NDArray[np.int64],
    tile_y: NDArray[np.int64],
    side: NDArray[np.int64],
    shape: tuple[int, int],
    outside: int,
) -> tuple[
    NDArray[np.float32], NDArray[np.float32], NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_], NDArray[np.bool_]
]:
    """Copy a square of pixels for each source onto a sheet.

    Parameters
    ----------
    image, variance, mask, labels : (ny, nx)
    own : (n,)
        Label of each source; with 0 no pixel is foreign to it.
    source_x, source_y : (n,)
        First column and row of the squares, which may begin or end off the image.
    tile_x, tile_y : (n,)
        Their places on the sheet.
    side : (n,)
    shape
        Rows and columns of the sheet.
    outside
        Mask of pixels that lie off the image, and of the sheet between the tiles.

    Returns
    -------
    image, variance, mask : ``shape``
    numbers : ``shape``
        i + 1 on the tile of source i, 0 between the tiles.
    foreign : ``shape``
        The pixel belongs to another source.
    off : ``shape``
        The pixel lies off the image.
    """
    sheet, noise = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    planes, numbers = np.full(shape, outside, dtype=np.int32), np.zeros(shape, dtype=np.int32)
    foreign, off = np.zeros(shape, dtype=np.bool_), np.ones(shape, dtype=np.bool_)
    places = (source_x, source_y, tile_x, tile_y, side)
    _copy_tiles(image, variance, mask, labels, own, *places, sheet, noise, planes, numbers, foreign, off)
    return sheet, noise, planes, numbers, foreign, off


@njit(cache=True, nogil=True)
def _copy_tiles(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    mask: NDArray[np.int32],
    labels: NDArray[np.int32],
    own: NDArray[np.int64],
    source_x: NDArray[np.int64],
    source_y: NDArray[np.int64],
    tile_x: NDArray[np.int64],
    tile_y: NDArray[np.int64],
    side: NDArray[np.int64],
    sheet: NDArray[np.float32],
    noise: NDArray[np.float32],
    planes: NDArray[np.int32],
    numbers: NDArray[np.int32],
    foreign: NDArray[np.bool_],
    off: NDArray[np.bool_],
) -> None:
    """Copy the pixels of `cut_tiles` onto its sheets."""
    ny, nx = image.shape
    for i in range(own.size):
        for row in range(side[i]):
            y, to_y = source_y[i] + row, tile_y[i] + row
            for col in range(side[i]):
                x, to_x = source_x[i] + col, tile_x[i] + col
                numbers[to_y, to_x] = i + 1
                if x < 0 or y < 0 or x >= nx or y >= ny:
                    continue
                sheet[to_y, to_x] = image[y, x]
                noise[to_y, to_x] = variance[y, x]
                planes[to_y, to_x] = mask[y, x]
                foreign[to_y, to_x] = own[i] > 0 and labels[y, x] > 0 and labels[y, x] != own[i]
                off[to_y, to_x] = False


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
        As `cut_tiles` returns it.
    light : (first[-1],)
        That of source i lies in ``[first[i]:first[i + 1]]``, by rows.
    boxes : (n, 4)
        First column, first row, width and height of it on the image.
    first : (n + 1,)
    source_x, source_y, tile_x, tile_y, side : (n,)
        As for `cut_tiles`.
    """
    for i in range(side.size):
        left, low, width, height = boxes[i]
        for row in range(max(low, source_y[i]), min(low + height, source_y[i] + side[i])):
            for col in range(max(left, source_x[i]), min(left + width, source_x[i] + side[i])):
                value = light[first[i] + (row - low) * width + col - left]
                sheet[tile_y[i] + row - source_y[i], tile_x[i] + col - source_x[i]] += value
