"""The noise and the saturation of an image, from its detector or from its own pixels."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from firstlight.images.observation import DetectorInfo, VarianceSource
from firstlight.kernels.arrays import FloatArray

LAG = 3
"""Distance of the pixels whose difference shows the noise [pixel]; neighbours may be correlated."""

CLIP_SIGMA = 3.0
CLIPPED_STD = 0.98654
"""Standard deviation of a unit Gaussian cut at three sigma."""

TAIL_SIGMAS = 1.33186
"""Standard deviations between the 1st and the 16th percentile of a Gaussian."""

N_CLIPS = 30
MAX_PIXELS = 1 << 20
MIN_PIXELS = 16
MAX_ZERO_FRACTION = 0.05
EXCESS = 2.0
"""When the pixels scatter by this factor more in variance than the detector explains, the sky was subtracted before."""

MIN_CLIPPED_PIXELS = 10
MAX_CLIPPED_FRACTION = 0.2


class SkyNoise(NamedTuple):
    """Level and noise of the emptier parts of an image."""

    level: float
    variance: float


def measure_sky_noise(image: FloatArray) -> SkyNoise:
    """Measure the level of the sky and the variance of a pixel.

    The variance is the smaller of two: half the clipped variance of differences of pixels a few columns apart, which
    gradients do not reach but a crowd of stars does; and that of the lower tail of the pixel values, where it is the
    other way round. NaN if there are hardly any pixels.

    Parameters
    ----------
    image : (ny, nx)
        What is not finite is left out, and so are exact zeros when they are many, as in a border without data.
    """
    rows = image[:: max(1, image.size // MAX_PIXELS)].astype(np.float64)
    zero = rows == 0
    if np.count_nonzero(zero) > MAX_ZERO_FRACTION * rows.size:
        rows[zero] = np.nan
    lag = min(LAG, rows.shape[1] - 1)
    difference = (rows[:, lag:] - rows[:, : rows.shape[1] - lag]).ravel()
    difference = difference[np.isfinite(difference)]
    values = rows[np.isfinite(rows)]
    if lag == 0 or difference.size < MIN_PIXELS:
        return SkyNoise(math.nan, math.nan)
    lowest, low, middle = np.percentile(values, (1.0, 16.0, 50.0))
    tail = float(((low - lowest) / TAIL_SIGMAS) ** 2)
    scatter = _clipped_spread(difference) ** 2 / 2
    return SkyNoise(float(middle), min(scatter, tail) if tail > 0 else scatter)


def make_variance(
    image: FloatArray, detector: DetectorInfo, *, assumed_gain: float | None = None
) -> tuple[NDArray[np.float32], VarianceSource]:
    """Return the variance of every pixel, and where it came from.

    With a gain it is photon and read noise; if the pixels scatter much more than that, the sky was subtracted before
    and its noise, measured on the pixels, is added. Without a gain the noise of the sky is measured on the pixels, and
    grows with the counts above the sky: by ``assumed_gain``, or as if the sky were all photons.

    Parameters
    ----------
    image : (ny, nx) [count]
    detector
        Its gain and read noise.
    assumed_gain : [electron / count]
        About what the gain is, when it is not known.
    """
    sky = measure_sky_noise(image)
    if not (math.isfinite(sky.variance) and sky.variance > 0):
        sky = SkyNoise(sky.level if math.isfinite(sky.level) else 0.0, 1.0)
    if detector.gain is not None:
        return _from_gain(image, sky, gain=detector.gain, read_noise=detector.read_noise)
    if assumed_gain is not None:
        per_count = 1.0 / assumed_gain
    else:
        per_count = sky.variance / sky.level if sky.level > CLIP_SIGMA * math.sqrt(sky.variance) else 0.0
    return _rising(image, start=sky.level, floor=sky.variance, per_count=per_count), "image"


def clip_level(image: FloatArray) -> float | None:
    """Return the value at which the pixels were cut off; None if the highest value is not that of many pixels."""
    finite = image[np.isfinite(image)]
    if not finite.size:
        return None
    highest = float(finite.max())
    count = int(np.count_nonzero(finite == highest))
    return highest if MIN_CLIPPED_PIXELS <= count <= MAX_CLIPPED_FRACTION * finite.size else None


def _from_gain(
    image: FloatArray, sky: SkyNoise, *, gain: float, read_noise: float | None
) -> tuple[NDArray[np.float32], VarianceSource]:
    photons = max(sky.level, 0.0) / gain
    reading = (read_noise / gain) ** 2 if read_noise is not None else max(sky.variance - photons, 0.0)
    excess = sky.variance - photons - reading
    is_subtracted = sky.variance > EXCESS * (photons + reading)
    floor = reading + excess if is_subtracted else reading
    source: VarianceSource = "image" if is_subtracted else "gain"
    return _rising(image, start=0.0, floor=floor, per_count=1.0 / gain), source


def _clipped_spread(difference: NDArray[np.float64]) -> float:
    """Return the standard deviation about zero after clipping, begun at the median absolute value."""
    size = np.abs(difference)
    spread = 1.4826 * float(np.median(size)) or float(size.mean())
    for _ in range(N_CLIPS):
        kept = size[size <= CLIP_SIGMA * spread]
        before, spread = spread, float(np.sqrt(np.mean(kept**2))) / CLIPPED_STD
        if abs(spread - before) <= 1e-3 * before:
            break
    return spread


def _rising(image: FloatArray, *, start: float, floor: float, per_count: float) -> NDArray[np.float32]:
    """Return ``floor`` plus ``per_count`` for every count above ``start``; NaN stays NaN."""
    variance = np.subtract(image, np.float32(start), dtype=np.float32)
    np.maximum(variance, 0.0, out=variance)
    variance *= np.float32(per_count)
    variance += np.float32(floor)
    return variance
