"""From the magnitudes of a catalogue to those that a camera sees, by the colours of the stars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class StarColors:
    """Colours of stars: the magnitude that a zero point is fitted to, minus another.

    Parameters
    ----------
    value : (n,) [mag]
        NaN where it is not known.
    variance : (n,) [mag^2]
        Of `value`.
    covariance : (n,) [mag^2]
        Of `value` with the magnitude.
    """

    value: FloatArray
    variance: FloatArray
    covariance: FloatArray

    @classmethod
    def of(
        cls, primary: FloatArray, secondary: FloatArray, *, primary_error: FloatArray, secondary_error: FloatArray
    ) -> Self:
        """Return the colours ``primary - secondary`` of magnitudes with independent errors [mag]; NaN counts as 0."""
        primary_variance, secondary_variance = _known(primary_error) ** 2, _known(secondary_error) ** 2
        return cls(primary - secondary, primary_variance + secondary_variance, primary_variance)

    def __getitem__(self, keep: BoolArray | IntArray) -> Self:
        return type(self)(self.value[keep], self.variance[keep], self.covariance[keep])

    def __len__(self) -> int:
        return len(self.value)

    @property
    def known(self) -> BoolArray:
        """(n,) True where the colour is known."""
        return np.isfinite(self.value)

    @property
    def noise_share(self) -> float:
        """Share of the variance between the stars that is noise; infinite where all have the same colour."""
        spread = float(np.var(self.value[self.known])) if self.known.any() else 0.0
        return float(np.mean(self.variance[self.known])) / spread if spread > 0 else np.inf


def camera_magnitudes(
    primary: FloatArray,
    secondary: FloatArray,
    *,
    primary_error: FloatArray,
    secondary_error: FloatArray,
    c0: float = 0.0,
    c1: float = 0.0,
    c2: float = 0.0,
) -> tuple[FloatArray, FloatArray]:
    """Return ``primary + c0 + c1 color + c2 color^2`` with ``color = primary - secondary``, and its error.

    The form is that of LSST's ``Colorterm``. The error takes both magnitudes as independent, to first order.

    Parameters
    ----------
    primary, secondary : (n,) [mag]
    primary_error, secondary_error : (n,) [mag]
        One that is not finite counts as zero.
    c0 : [mag]
    c1
    c2 : [1 / mag]

    Returns
    -------
    magnitude, error : (n,) [mag]
    """
    color = primary - secondary
    slope = c1 + 2 * c2 * color
    error = np.hypot((1 + slope) * _known(primary_error), slope * _known(secondary_error))
    return primary + c0 + color * (c1 + c2 * color), error


def _known(error: FloatArray) -> FloatArray:
    return np.where(np.isfinite(error), error, 0.0)
