"""Each source of an image on a tile of its own, without its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.source_light import SourceLight
from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray
from firstlight.kernels.planes import as_plane
from firstlight.kernels.tiles import add_to_tiles, copy_to_tiles, mark_on_tiles, mark_others_on_tiles

_STEP = 2
_SHEET_WIDTH = 1024


class TilePlaces(NamedTuple):
    """Where tiles are: on the image, and on the sheet.

    Parameters
    ----------
    source_x, source_y : (n,)
        First column and row on the image, which may lie off it.
    tile_x, tile_y : (n,)
        First column and row on the sheet.
    side : (n,) [pixel]
    """

    source_x: NDArray[np.int64]
    source_y: NDArray[np.int64]
    tile_x: NDArray[np.int64]
    tile_y: NDArray[np.int64]
    side: NDArray[np.int64]

    def in_order(self, order: NDArray[np.int64]) -> TilePlaces:
        """Return the places in another order."""
        return TilePlaces(*(column[order] for column in self))


@dataclass(frozen=True)
class Tiles:
    """A sheet of tiles, one for each source: images that can be measured like any other, at `at` of the sheet.

    Only what is measured again and again is kept; what else there is of a tile is made when it is asked for.

    Parameters
    ----------
    image, variance : (ny, nx)
        Of the sheet; 0 off the image and between the tiles.
    places
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    places: TilePlaces

    def __len__(self) -> int:
        return len(self.places.side)

    @property
    def own(self) -> NDArray[np.int64]:
        """Numbers of the tiles, one for each source."""
        return np.arange(1, len(self) + 1, dtype=np.int64)

    @property
    def shift_x(self) -> NDArray[np.int64]:
        """What is added to a column of the image to find it on the sheet (n,)."""
        return self.places.tile_x - self.places.source_x

    @property
    def shift_y(self) -> NDArray[np.int64]:
        """What is added to a row of the image to find it on the sheet (n,)."""
        return self.places.tile_y - self.places.source_y

    def at(self, x: FloatArray, y: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return positions of the image on the sheet, one for each source [pixel]."""
        return np.asarray(x, np.float64) + self.shift_x, np.asarray(y, np.float64) + self.shift_y

    def numbers(self) -> NDArray[np.int32]:
        """Return i + 1 on the tile of source i, 0 between the tiles: labels that keep measurements on their tile."""
        sheet, side = np.zeros_like(self.image, dtype=np.int32), self.places.side
        for size in np.unique(side):
            which = np.flatnonzero(side == size)
            per_row = sheet.shape[1] // int(size)
            grid = np.zeros(-(-len(which) // per_row) * per_row, dtype=np.int32)
            grid[: len(which)] = which + 1
            first = int(self.places.tile_y[which[0]])
            rows = np.repeat(grid.reshape(-1, per_row), size, axis=1)
            block = sheet[first : first + size * len(rows), : rows.shape[1]]
            block.reshape(len(rows), size, -1)[:] = rows[:, None, :]
        return sheet

    def marked(self, mask: NDArray[np.int32], bits: int) -> BoolArray:
        """Return where any of the bits is set in the mask of the image; True off the image and between the tiles."""
        sheet = np.ones(self.image.shape, dtype=bool)
        mark_on_tiles(mask, bits, *self.places.in_order(_by_rows(self.places)), sheet)
        return sheet

    def foreign(self, labels: NDArray[np.int32], own_label: IntArray) -> BoolArray:
        """Return the pixels of other sources.

        Parameters
        ----------
        labels : (ny, nx)
            Regions of the sources on the image.
        own_label : (n,)
            That of each source; 0 if no pixel is foreign to it.
        """
        sheet = np.zeros(self.image.shape, dtype=bool)
        order = _by_rows(self.places)
        mark_others_on_tiles(labels, np.asarray(own_label, np.int64)[order], *self.places.in_order(order), sheet)
        return sheet

    @classmethod
    def cut(
        cls,
        image: FloatArray,
        *,
        variance: FloatArray,
        x: FloatArray,
        y: FloatArray,
        half: IntArray,
        light: SourceLight | None = None,
    ) -> Self:
        """Cut tiles about positions.

        Parameters
        ----------
        image, variance : (ny, nx)
        x, y : (n,) [pixel]
        half : (n,) [pixel]
            The tiles have at least ``2 half + 1`` pixels on a side.
        light
            The light of each source, which is added to its own tile; ``image`` is then ``light.residual``.
        """
        reach = -(-np.asarray(half, dtype=np.int64) // _STEP) * _STEP
        side = 2 * reach + 1
        tile_x, tile_y, shape = _sheet_places(side)
        left, low = np.rint(x).astype(np.int64) - reach, np.rint(y).astype(np.int64) - reach
        places = TilePlaces(left, low, tile_x, tile_y, side)
        sheet, noise = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
        by_rows = places.in_order(_by_rows(places))
        copy_to_tiles(as_plane(image), *by_rows, sheet)
        copy_to_tiles(as_plane(variance), *by_rows, noise)
        if light is not None:
            add_to_tiles(sheet, light.light, light.boxes, light.first, *places)
        return cls(image=sheet, variance=noise, places=places)


def _by_rows(places: TilePlaces) -> NDArray[np.int64]:
    """Return the order in which an image is read from its first row to its last, rather than here and there."""
    return np.asarray(np.argsort(places.source_y, kind="stable"))


def _sheet_places(side: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[int, int]]:
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
