"""`AlignedStack`: the planes of many aligned exposures, read back in bands of rows, in bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from firstlight.images.mask import BITS, Mask
from firstlight.kernels.arrays import FloatArray

BYTES_KEPT, BYTES_IN_HAND = 12, 40
"""Memory for each pixel of each exposure: of its planes, and of what combining a band makes of them [byte]."""


@dataclass(frozen=True)
class StackBand:
    """Some rows of every exposure."""

    rows: slice
    """Which rows of the template they are."""

    own: slice
    """Those of the band that are not only there for their neighbours."""

    image: NDArray[np.float32]
    """(n, rows, nx)"""

    variance: NDArray[np.float32]
    mask: NDArray[np.int32]


class AlignedStack:
    """Exposures on one grid; those that do not fit into memory wait in a scratch file that nobody else sees.

    Parameters
    ----------
    shape
        Rows and columns of the grid.
    max_bytes
        Memory that it may take. The result of combining does not depend on it.
    expected
        Number of exposures that will come.
    """

    def __init__(self, shape: tuple[int, int], *, max_bytes: int, expected: int) -> None:
        self.shape = shape
        self.planes: Mapping[str, int] = BITS
        self._max_bytes = max_bytes
        self._kept: list[tuple[NDArray[Any], ...]] = []
        in_memory = expected * shape[0] * shape[1] * BYTES_KEPT <= max_bytes // 2
        self._scratch: IO[bytes] | None = None if in_memory else tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.clear()
        if self._scratch is not None:
            self._scratch.close()

    def __len__(self) -> int:
        return self._count

    def add(self, image: FloatArray, *, variance: FloatArray, mask: Mask) -> None:
        """Keep one exposure more; its planes are not to be changed any more."""
        whole = Mask.empty((1, 1), planes=self.planes).with_new_planes(*mask.planes)
        self.planes = whole.planes
        planes = (
            np.ascontiguousarray(image, np.float32),
            np.ascontiguousarray(variance, np.float32),
            mask.renumbered(self.planes).array,
        )
        self._count += 1
        if self._scratch is None:
            self._kept.append(planes)
            return
        for plane in planes:
            plane.tofile(self._scratch)
        self._scratch.flush()

    def bands(self, *, margin: int) -> Iterator[StackBand]:
        """Yield all rows, band by band.

        Parameters
        ----------
        margin : [pixel]
            Rows of its neighbours that a band has as well.
        """
        ny, nx = self.shape
        share = self._max_bytes // (2 if self._scratch is None else 1)
        height = max(1, share // (BYTES_IN_HAND * max(1, self._count) * nx) - 2 * margin)
        for start in range(0, ny, height):
            stop = min(start + height, ny)
            first, last = max(0, start - margin), min(ny, stop + margin)
            image, variance, mask = (self._read(plane, first, last) for plane in range(3))
            yield StackBand(slice(start, stop), slice(start - first, stop - first), image, variance, mask)

    def _read(self, plane: int, first: int, last: int) -> NDArray[Any]:
        nx, kind = self.shape[1], np.dtype(np.int32 if plane == 2 else np.float32)
        result = np.empty((self._count, last - first, nx), kind)
        for number in range(self._count):
            if self._scratch is None:
                result[number] = self._kept[number][plane][first:last]
                continue
            self._scratch.seek(((number * 3 + plane) * self.shape[0] + first) * nx * kind.itemsize)
            result[number] = np.fromfile(self._scratch, kind, (last - first) * nx).reshape(-1, nx)
        return result
