"""The light of each source of an image, apart from that of its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.images.box import Box
from firstlight.kernels.arrays import BoolArray


@dataclass(frozen=True)
class SourceLight:
    """An image taken apart: what belongs to each source, and what belongs to none.

    The image is ``residual`` plus the light of all sources, to the rounding of single precision.

    Parameters
    ----------
    residual : (ny, nx)
        The image without the sources; it keeps the noise under them, and what no template explains.
    light : (first[-1],)
        The light of source i lies in ``[first[i]:first[i + 1]]``, by rows of its box.
    boxes : (n, 4)
        First column, first row, width and height; its region lies in it.
    first : (n + 1,)
    labels : (ny, nx)
        Regions of the sources, i + 1 for source i.
    point_like : (n,)
        The light is that of a star.
    symmetric : (n,)
        The light is a share by a symmetric template; where neither is set the source was left in the image.
    skipped : (n,)
        The source belongs to a blend that was too large to be taken apart.
    """

    residual: NDArray[np.float32]
    light: NDArray[np.float32]
    boxes: NDArray[np.int64]
    first: NDArray[np.int64]
    labels: NDArray[np.int32]
    point_like: BoolArray
    symmetric: BoolArray
    skipped: BoolArray

    def __len__(self) -> int:
        return len(self.boxes)

    def child(self, number: int) -> tuple[Box, NDArray[np.float64]]:
        """Return the box of a source and its share of the image there.

        What no template explains goes to the source in whose region it is, so that all children together are the image
        at every pixel of every region.

        Parameters
        ----------
        number
            From 0.
        """
        left, low, width, height = (int(edge) for edge in self.boxes[number])
        box = Box(left, low, width, height)
        rest = np.where(self.labels[box.slices] == number + 1, self.residual[box.slices].astype(np.float64), 0.0)
        return box, rest + self.light[self.first[number] : self.first[number + 1]].reshape(height, width)
