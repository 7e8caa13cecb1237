"""Images in the one form that the kernels are compiled for, and in parts that fit into the cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from firstlight.kernels.arrays import FloatArray

_BLOCK_ROWS = 64


def as_plane(image: FloatArray) -> NDArray[np.float32]:
    """Return an image as contiguous single precision in native byte order, itself if it is that already.

    FITS files are big-endian and cut-outs are not contiguous; a kernel would be compiled anew for each, or refuse.
    """
    return np.ascontiguousarray(image, dtype=np.float32)


def row_blocks(n_rows: int) -> Iterator[slice]:
    """Yield slices of few rows, so that what is computed from them stays in the cache of the processor.

    Whole planes in between are each mapped, cleared and written to memory, which takes most of the time.
    """
    return (slice(start, min(start + _BLOCK_ROWS, n_rows)) for start in range(0, n_rows, _BLOCK_ROWS))
