"""Images in the one form that the kernels are compiled for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firstlight.kernels.arrays import FloatArray


def as_plane(image: FloatArray) -> NDArray[np.float32]:
    """Return an image as contiguous single precision in native byte order, itself if it is that already.

    FITS files are big-endian and cut-outs are not contiguous; a kernel would be compiled anew for each, or refuse.
    """
    return np.ascontiguousarray(image, dtype=np.float32)
