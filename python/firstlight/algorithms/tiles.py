"""Each source of an image on a tile of its own, without its neighbours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.source_light import SourceLight
from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray
from firstlight.kernels.planes import as_plane
from firstlight.kernels.tiles import add_to_tiles, cut_tiles

_STEP = 2
_SHEET_WIDTH = 1024


@dataclass(frozen=True)
class Tiles:
    """A sheet of tiles, one for each source: images that can be measured like any other, at `x` and `y` of the sheet.

    Parameters
    ----------
    image, variance : (ny, nx)
        Of the sheet.
    mask : (ny, nx)
        Bits of the mask of the image.
    numbers : (ny, nx)
        i + 1 on the tile of source i, 0 between the tiles: a label image that keeps measurements on their tile.
    foreign : (ny, nx)
        Pixels of other sources, where these could not be taken away.
    off : (ny, nx)
        Pixels that lie off the image.
    shift_x, shift_y : (n,)
        What is added to a position on the image to find it on the sheet.
    half : (n,) [pixel]
        Half size of the tiles.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.int32]
    numbers: NDArray[np.int32]
    foreign: BoolArray
    off: BoolArray
    shift_x: NDArray[np.int64]
    shift_y: NDArray[np.int64]
    half: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.half)

    @property
    def own(self) -> NDArray[np.int64]:
        """Numbers of the tiles, one for each source."""
        return np.arange(1, len(self) + 1, dtype=np.int64)

    def at(self, x: FloatArray, y: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return positions of the image on the sheet, one for each source [pixel]."""
        return np.asarray(x, np.float64) + self.shift_x, np.asarray(y, np.float64) + self.shift_y

    @classmethod
    def cut(
        cls,
        image: FloatArray,
        *,
        variance: FloatArray,
        mask: IntArray,
        x: FloatArray,
        y: FloatArray,
        half: IntArray,
        labels: NDArray[np.int32],
        own_label: IntArray,
        outside: int,
    ) -> Self:
        """Cut tiles about positions.

        Parameters
        ----------
        image, variance, mask : (ny, nx)
        x, y : (n,) [pixel]
        half : (n,) [pixel]
            The tiles have at least ``2 half + 1`` pixels on a side.
        labels : (ny, nx)
            Regions of the sources.
        own_label : (n,)
            That of each source; 0 if no pixel is foreign to it.
        outside
            Mask of what lies off the image.
        """
        reach = -(-np.asarray(half, dtype=np.int64) // _STEP) * _STEP
        side = 2 * reach + 1
        tile_x, tile_y, shape = _places(side)
        left, low = np.rint(x).astype(np.int64) - reach, np.rint(y).astype(np.int64) - reach
        planes = cut_tiles(
            as_plane(image),
            as_plane(variance),
            np.ascontiguousarray(mask, dtype=np.int32),
            labels,
            np.asarray(own_label, dtype=np.int64),
            left,
            low,
            tile_x,
            tile_y,
            side,
            shape,
            outside,
        )
        return cls(*planes, shift_x=tile_x - left, shift_y=tile_y - low, half=reach)

    def with_light(self, light: SourceLight) -> Self:
        """Return the tiles with the light of each source on its own; they were cut from ``light.residual``."""
        sheet = self.image.copy()
        tile_x, tile_y = self._corners()
        add_to_tiles(
            sheet,
            light.light,
            light.boxes,
            light.first,
            tile_x - self.shift_x,
            tile_y - self.shift_y,
            tile_x,
            tile_y,
            2 * self.half + 1,
        )
        return replace(self, image=sheet)

    def _corners(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        tile_x, tile_y, _ = _places(2 * self.half + 1)
        return tile_x, tile_y


def _places(side: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[int, int]]:
    """Return first columns and rows of tiles that are put next to each other by size, and the shape of the sheet."""
    width = max(_SHEET_WIDTH, int(side.max(initial=1)))
    tile_x, tile_y = np.zeros(len(side), dtype=np.int64), np.zeros(len(side), dtype=np.int64)
    row = 0
    for size in np.unique(side):
        which = np.flatnonzero(side == size)
        number, per_row = np.arange(len(which)), width // size
        tile_x[which], tile_y[which] = size * (number % per_row), row + size * (number // per_row)
        row += int(size) * (-(-len(which) // int(per_row)))
    return tile_x, tile_y, (max(row, 1), width)
