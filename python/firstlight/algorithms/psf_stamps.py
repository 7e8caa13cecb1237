"""Stamps of stars with honest noise: what a point-spread function is fitted to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from firstlight.kernels.arrays import BoolArray, FloatArray, IntArray

_MIN_SLOPE_FRACTION = 0.02


@dataclass(frozen=True)
class StarStamps:
    """Squares of an image around stars.

    Parameters
    ----------
    data : (n, s, s) [count]
    noise : (n, s, s) [count^2]
        Variance without the star's own photons; 0 where a pixel is not used.
    gain_slope : [count]
        Variance that a count of the star adds; 0 when the variance does not follow the image.
    x, y : (n,) [pixel]
        Centre of the middle pixel.
    """

    data: NDArray[np.float64]
    noise: NDArray[np.float64]
    gain_slope: float
    x: NDArray[np.float64]
    y: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def radius(self) -> int:
        """Half size of the squares [pixel]."""
        return int(self.data.shape[1] - 1) // 2

    def select(self, which: BoolArray | IntArray) -> Self:
        """Return some of the stamps."""
        return replace(self, data=self.data[which], noise=self.noise[which], x=self.x[which], y=self.y[which])

    def good_fraction(self, *, reach: float) -> NDArray[np.float64]:
        """Return the fraction of pixels in use within ``reach`` [pixel] of the middle pixel, (n,)."""
        steps = np.arange(-self.radius, self.radius + 1)
        inside = np.hypot(*np.meshgrid(steps, steps)) <= reach
        return np.asarray((self.noise[:, inside] > 0).mean(axis=1))


def cut_stamps(
    image: FloatArray, *, variance: FloatArray, bad: BoolArray, x: FloatArray, y: FloatArray, radius: int
) -> StarStamps:
    """Cut squares around stars and take the stars' own photons out of the variance.

    A variance made from the pixels themselves is low where the pixels are low by chance; as a weight it would bias
    every fit. So its slope with the counts is measured, and the part that belongs to the star is left to the model.

    Parameters
    ----------
    image, variance : (ny, nx) [count], [count^2]
        Sky-subtracted image and its variance.
    bad : (ny, nx)
        True where a pixel must not be used; pixels off the image count as such.
    x, y : (n,) [pixel]
    radius : [pixel]
        Half size of the squares.
    """
    middle_x, middle_y = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    steps = np.arange(-radius, radius + 1)
    rows, columns = middle_y[:, None, None] + steps[None, :, None], middle_x[:, None, None] + steps[None, None, :]
    inside = (rows >= 0) & (rows < image.shape[0]) & (columns >= 0) & (columns < image.shape[1])
    rows, columns = np.clip(rows, 0, image.shape[0] - 1), np.clip(columns, 0, image.shape[1] - 1)
    data, noise = image[rows, columns].astype(np.float64), variance[rows, columns].astype(np.float64)
    good = inside & ~bad[rows, columns] & np.isfinite(data) & np.isfinite(noise) & (noise > 0)
    data = np.where(good, data, 0.0)
    slope = _variance_slope(data, noise, good)
    noise = np.maximum(noise - slope * data, 0.05 * noise)
    return StarStamps(
        data=data,
        noise=np.where(good, noise, 0.0),
        gain_slope=slope,
        x=middle_x.astype(np.float64),
        y=middle_y.astype(np.float64),
    )


def _variance_slope(data: NDArray[np.float64], noise: NDArray[np.float64], good: BoolArray) -> float:
    """Return the median over stars of the slope of variance against counts; 0 where it explains next to nothing."""
    n_good = np.maximum(good.sum(axis=(1, 2)), 1)
    center = (np.where(good, data, 0).sum(axis=(1, 2)) / n_good)[:, None, None]
    deviation = np.where(good, data - center, 0.0)
    power = (deviation**2).sum(axis=(1, 2))
    slopes = (deviation * noise).sum(axis=(1, 2))[power > 0] / power[power > 0]
    slope = float(np.median(slopes)) if len(slopes) else 0.0
    if slope <= 0:
        return 0.0
    rise = slope * np.sqrt(power / n_good)
    level = np.where(good, noise, 0.0).sum(axis=(1, 2)) / n_good
    return slope if np.median(rise) > _MIN_SLOPE_FRACTION * np.median(level) else 0.0
