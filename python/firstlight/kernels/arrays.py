"""Names for the kinds of numpy array that pass between functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
"""Floating-point values of any precision."""

Whole = int | np.int64
"""A whole number; ``np.int64(2)`` where a kernel would be compiled once more for the constant 2."""

IntArray = NDArray[np.integer[Any]]
"""Integers of any width."""

BoolArray = NDArray[np.bool_]
"""True where the condition holds."""
