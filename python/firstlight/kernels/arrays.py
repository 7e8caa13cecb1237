"""Names for the kinds of numpy array that pass between functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
"""Floating-point values of any precision."""

IntArray = NDArray[np.integer[Any]]
"""Integers of any width."""

BoolArray = NDArray[np.bool_]
"""True where the condition holds."""
