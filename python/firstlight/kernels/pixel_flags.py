"""What a mask says under each label of a label image."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def bits_in_footprint(mask: NDArray[np.int32], labels: NDArray[np.int32], n_labels: int) -> NDArray[np.int32]:
    """Return for every label all bits that are set on its pixels.

    Parameters
    ----------
    mask, labels : (ny, nx)
        Labels count from 1; 0 is sky.
    n_labels
        Number of labels.

    Returns
    -------
    bits : (n_labels,)
    """
    bits = np.zeros(n_labels, dtype=np.int32)
    for row in range(labels.shape[0]):
        for column in range(labels.shape[1]):
            label = labels[row, column]
            if label > 0:
                bits[label - 1] |= mask[row, column]
    return bits
