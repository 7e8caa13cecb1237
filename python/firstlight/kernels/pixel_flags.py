"""What a mask says under each label of a label image."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def any_in_footprint(where: NDArray[np.bool_], labels: NDArray[np.int32], n_labels: int) -> NDArray[np.bool_]:
    """Return for every label whether one of its pixels is True.

    Parameters
    ----------
    where, labels : (ny, nx)
        Labels count from 1; 0 is sky.
    n_labels
        Number of labels.

    Returns
    -------
    result : (n_labels,)
    """
    result = np.zeros(n_labels, dtype=np.bool_)
    for row in range(labels.shape[0]):
        for column in range(labels.shape[1]):
            label = labels[row, column]
            if label > 0 and where[row, column]:
                result[label - 1] = True
    return result
