"""`Footprints`: which pixels belong to which source."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from scipy import ndimage

from firstlight.images.box import Box
from firstlight.images.hdu_files import open_hdus, read_table, write_hdus
from firstlight.kernels.arrays import BoolArray, IntArray

TILE_ROWS = 64
PEAK_COLUMNS = ("footprint", "x", "y", "value")


@dataclass(frozen=True, eq=False)
class Footprints:
    """A label image and the peaks in it.

    Parameters
    ----------
    labels : (ny, nx)
        0 where there is nothing, otherwise the number of the footprint, from 1; not to be changed any more.
    peaks
        Columns ``footprint`` (its number), ``x``, ``y`` [pixel] and ``value`` (height of the peak), and any others.

    Raises
    ------
    ValueError
        If the labels are not whole numbers [y, x], or a column of the peaks is missing.
    """

    labels: NDArray[np.int32]
    peaks: Table
    boxes: tuple[Box, ...] = field(init=False)
    """Smallest box around each footprint, that of number 1 first; empty for numbers that are nowhere."""

    def __post_init__(self) -> None:
        labels: IntArray = self.labels
        if labels.ndim != 2 or labels.dtype.kind not in "iu":
            raise ValueError(f"Labels are whole numbers [y, x]; got {labels.dtype} with shape {labels.shape}.")
        missing = [name for name in PEAK_COLUMNS if name not in self.peaks.colnames]
        if missing:
            raise ValueError(f"The table of peaks has no column {', '.join(missing)}.")
        plain = np.ascontiguousarray(labels, dtype=np.int32).view()
        plain.setflags(write=False)
        object.__setattr__(self, "labels", plain)
        object.__setattr__(self, "boxes", tuple(_box(found) for found in ndimage.find_objects(plain)))

    def __len__(self) -> int:
        return len(self.boxes)

    def area(self) -> NDArray[np.int64]:
        """Return the number of pixels of each footprint, that of number 1 first."""
        return np.bincount(self.labels.ravel(), minlength=len(self) + 1)[1:].astype(np.int64)

    def pixels(self, number: int) -> tuple[Box, BoolArray]:
        """Return the box of a footprint and which pixels in it are its own [y, x].

        Raises
        ------
        IndexError
            If there is no footprint of that number.
        """
        if not 1 <= number <= len(self):
            raise IndexError(f"There is no footprint {number}; they are numbered from 1 to {len(self)}.")
        box = self.boxes[number - 1]
        return box, np.asarray(self.labels[box.slices] == number)

    def write(self, path: str | Path) -> None:
        """Write the label image and the peaks as FITS, atomically.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        tile = (min(TILE_ROWS, self.labels.shape[0]), self.labels.shape[1])
        labels = fits.CompImageHDU(self.labels, name="LABELS", compression_type="RICE_1", tile_shape=tile)
        peaks = fits.table_to_hdu(_without_meta(self.peaks))
        peaks.header["EXTNAME"] = "PEAKS"
        write_hdus(path, [fits.PrimaryHDU(), labels, peaks])

    @classmethod
    def read(cls, path: str | Path) -> Footprints:
        """Read what `write` wrote.

        Raises
        ------
        ImageFileError
            If the file cannot be read, or holds no footprints.
        """
        with open_hdus(path) as hdus:
            labels = np.asarray(hdus["LABELS"].data, dtype=np.int32)
            return cls(labels, read_table(hdus["PEAKS"]))


def _box(found: Any) -> Box:
    if found is None:
        return Box(0, 0, 0, 0)
    rows, columns = found
    return Box.between(x=(columns.start, columns.stop), y=(rows.start, rows.stop))


def _without_meta(table: Table) -> Table:
    plain = Table(table, copy=False)
    plain.meta = {}
    return plain
