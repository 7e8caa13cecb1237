"""`PhotoCalib`: from counts to nanojansky and AB magnitudes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firstlight.images.fields import ChebyshevField
from firstlight.images.parts import Arrays, Values

AB_ZERO_POINT = 31.4
"""AB magnitude of 1 nJy, as LSST rounds it."""

MAG_PER_RELATIVE_FLUX = 2.5 / math.log(10)
"""Magnitudes for each unit of relative flux, to first order."""


@dataclass(frozen=True)
class PhotoCalib:
    """How much flux one count is.

    Parameters
    ----------
    mean : [nJy / count]
        Mean over the image.
    error : [nJy / count]
        Error of the mean; 0 when it is exact.
    variation
        Local calibration relative to the mean; None when it is the same everywhere.

    Raises
    ------
    ValueError
        If the mean is not positive and finite.
    """

    mean: float
    error: float = 0.0
    variation: ChebyshevField | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and self.mean > 0):
            raise ValueError(f"A photometric calibration needs a positive flux per count; got {self.mean} nJy.")

    @classmethod
    def from_zero_point(cls, zero_point: float, *, error: float = 0.0, variation: ChebyshevField | None = None) -> Self:
        """Return the calibration whose single count has the AB magnitude ``zero_point``.

        Parameters
        ----------
        zero_point, error : [mag]
        variation
            Local calibration relative to the mean.
        """
        mean = 10 ** (-0.4 * (zero_point - AB_ZERO_POINT))
        return cls(mean, mean * error / MAG_PER_RELATIVE_FLUX, variation)

    @classmethod
    def identity(cls, *, error: float = 0.0) -> Self:
        """Return the calibration of an image in nJy, with the error [nJy / nJy] that is left."""
        return cls(1.0, error)

    @property
    def zero_point(self) -> float:
        """AB magnitude of one count, at the mean."""
        return AB_ZERO_POINT - 2.5 * math.log10(self.mean)

    @property
    def zero_point_error(self) -> float:
        """Error of the zero point [mag]."""
        return MAG_PER_RELATIVE_FLUX * self.error / self.mean

    def count_to_njy(self, *, x: ArrayLike | None = None, y: ArrayLike | None = None) -> Any:
        """Return the flux of one count [nJy]: at positions [pixel], or the mean if none are given."""
        if x is None or y is None:
            return self.mean
        if self.variation is None:
            return np.full(np.broadcast(x, y).shape, self.mean)[()]
        return self.mean * self.variation.evaluate(x=x, y=y)

    def image(self, shape: tuple[int, int]) -> NDArray[np.float32] | float:
        """Return the flux of one count at every pixel [nJy]; one number where it is the same everywhere.

        Raises
        ------
        ValueError
            If the calibration varies over another box than the image with ``shape`` (rows, columns).
        """
        if self.variation is None:
            return self.mean
        if self.variation.box.shape != shape:
            raise ValueError(f"The calibration varies over {self.variation.box}, not over an image of shape {shape}.")
        return (self.mean * self.variation.image()).astype(np.float32)

    def flux(self, inst_flux: ArrayLike, *, x: ArrayLike | None = None, y: ArrayLike | None = None) -> Any:
        """Return the flux [nJy] of an instrumental flux [count]; errors of fluxes are converted in the same way."""
        return np.asarray(inst_flux) * self.count_to_njy(x=x, y=y)

    def magnitude(self, inst_flux: ArrayLike, *, x: ArrayLike | None = None, y: ArrayLike | None = None) -> Any:
        """Return the AB magnitude of an instrumental flux [count]; NaN where it is not positive."""
        return ab_magnitude(self.flux(inst_flux, x=x, y=y))

    def to_parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays and the plain values from which `from_parts` makes an equal calibration."""
        values: dict[str, Any] = {"mean": self.mean, "error": self.error}
        if self.variation is None:
            return {}, values
        arrays, below = self.variation.to_parts()
        return arrays, {**values, "variation": below}

    @classmethod
    def from_parts(cls, arrays: Arrays, values: Values) -> Self:
        """Make the calibration that `to_parts` took apart."""
        below = values.get("variation")
        variation = None if below is None else ChebyshevField.from_parts(arrays, below)
        return cls(values["mean"], values["error"], variation)


def ab_magnitude(flux: ArrayLike) -> Any:
    """Return the AB magnitude of a flux [nJy]; NaN where it is not positive."""
    flux = np.asarray(flux, dtype=np.float64)
    positive = flux > 0
    return np.where(positive, AB_ZERO_POINT - 2.5 * np.log10(np.where(positive, flux, 1.0)), np.nan)[()]


def ab_magnitude_error(flux: ArrayLike, flux_err: ArrayLike) -> Any:
    """Return the error [mag] of `ab_magnitude`, to first order; NaN where the flux is not positive."""
    flux = np.asarray(flux, dtype=np.float64)
    positive = flux > 0
    return np.where(positive, MAG_PER_RELATIVE_FLUX * np.asarray(flux_err) / np.where(positive, flux, 1.0), np.nan)[()]
