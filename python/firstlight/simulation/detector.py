"""From light to counts: photon noise, full wells that bleed, cosmic rays, defects, read noise, rounding."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.simulation.cosmic_rays import draw_cosmic_rays
from firstlight.simulation.settings import DetectorSettings
from firstlight.simulation.streams import Stream, random_stream

FloatArray = NDArray[np.float64]

FULL_WELL = 1.03
"""Where pixels spill, in units of the saturation level."""


class TruthBit(enum.IntFlag):
    """What the truth mask knows of a pixel."""

    COSMIC_RAY = 1
    """Cosmic rays left more than 3 times the noise of the pixel."""

    COSMIC_RAY_FAINT = 2
    """Cosmic rays left between 0.3 and 3 times the noise of the pixel."""

    HOT = 4
    """Hot pixel."""

    BAD_COLUMN = 8
    """Pixel that sees only part of the light."""

    SATURATED = 16
    """At or above the saturation level."""

    TRAIL = 32
    """A satellite left more than the noise of the sky."""


@dataclass(frozen=True)
class Readout:
    """What the camera delivers and what spoiled it.

    Parameters
    ----------
    image : (ny, nx) float32 [adu]
    cosmic_ray_charge : (ny, nx) float32 [adu]
        What cosmic rays left, before wells overflow.
    mask : (ny, nx) uint8
        Sum of `TruthBit`.
    """

    image: NDArray[np.float32]
    cosmic_ray_charge: NDArray[np.float32]
    mask: NDArray[np.uint8]


@dataclass(frozen=True)
class Defects:
    """What is wrong with a camera, the same at all epochs.

    Parameters
    ----------
    columns
        Column number, first row, end row, share of the light that its pixels see.
    hot_rows, hot_columns : (n,) [pixel]
    hot_counts : (n,) [adu]
        Dark signal of hot pixels in one exposure.
    """

    columns: tuple[tuple[int, int, int, float], ...]
    hot_rows: NDArray[np.int64]
    hot_columns: NDArray[np.int64]
    hot_counts: FloatArray


def read_out(
    light: FloatArray, *, settings: DetectorSettings, seed: int, epoch: int, dark_time: float = 1.0
) -> Readout:
    """Expose a detector to light and read it.

    Parameters
    ----------
    light : (ny, nx) [adu]
        Expected sky and sources.
    dark_time
        Length of the exposure in units of the one for which hot pixels and cosmic rays are given.
    """
    gain = settings.gain
    shape = (light.shape[0], light.shape[1])
    defects = draw_defects(shape, settings=settings, seed=seed)
    rays = draw_cosmic_rays(
        shape,
        per_megapixel=settings.cosmic_rays * dark_time,
        thickness=settings.silicon_thickness,
        rng=random_stream(seed, Stream.COSMIC_RAYS, epoch=epoch),
    )
    expected = light * gain
    for column, start, stop, response in defects.columns:
        expected[start:stop, column] *= response
    expected[defects.hot_rows, defects.hot_columns] += defects.hot_counts * gain * dark_time
    noise = np.sqrt(expected + settings.read_noise**2)
    rng = random_stream(seed, Stream.NOISE, epoch=epoch)
    electrons = rng.poisson(expected).astype(np.float64) if settings.noise else expected
    electrons += rays
    counts = bleed(electrons, full_well=FULL_WELL * settings.saturation * gain)
    if settings.noise:
        counts += settings.read_noise * rng.standard_normal(shape, dtype=np.float32)
    counts /= gain
    if settings.rounding:
        np.round(counts, out=counts)
    mask = np.where(rays > 0.3 * noise, TruthBit.COSMIC_RAY_FAINT, 0).astype(np.uint8)
    mask[rays > 3.0 * noise] = TruthBit.COSMIC_RAY
    mask[defects.hot_rows, defects.hot_columns] |= np.uint8(TruthBit.HOT)
    for column, start, stop, _ in defects.columns:
        mask[start:stop, column] |= np.uint8(TruthBit.BAD_COLUMN)
    mask[counts >= settings.saturation] |= np.uint8(TruthBit.SATURATED)
    return Readout(image=counts.astype(np.float32), cosmic_ray_charge=(rays / gain).astype(np.float32), mask=mask)


def draw_defects(shape: tuple[int, int], *, settings: DetectorSettings, seed: int) -> Defects:
    """Draw the defects of a camera: insensitive columns from somewhere to one end, and hot pixels."""
    ny, nx = shape
    rng = random_stream(seed, Stream.DEFECTS)
    columns = []
    for _ in range(int(rng.poisson(settings.bad_columns * nx / 1024))):
        column, row = int(rng.integers(0, nx)), int(rng.integers(0, ny))
        start, stop = (0, row) if rng.random() < 0.5 else (row, ny)
        columns.append((column, start, stop, rng.uniform(0.05, 0.7)))
    n = int(rng.poisson(settings.hot_pixels * ny * nx / 1024**2))
    return Defects(tuple(columns), rng.integers(0, ny, n), rng.integers(0, nx, n), 10.0 ** rng.uniform(1.8, 4.3, n))


def bleed(electrons: FloatArray, *, full_well: float) -> FloatArray:
    """Spill what exceeds the wells along the columns, half up and half down; what reaches an end is lost.

    Parameters
    ----------
    electrons : (ny, nx) [electron]
    full_well
        Capacity of a pixel [electron].
    """
    columns = np.flatnonzero((electrons > full_well).any(axis=0))
    if len(columns) == 0:
        return electrons
    spilled = electrons.copy()
    level = np.minimum(electrons[:, columns], full_well)
    excess = electrons[:, columns] - level
    for rows in (range(level.shape[0]), range(level.shape[0] - 1, -1, -1)):
        carried = np.zeros(len(columns))
        for row in rows:
            carried += 0.5 * excess[row]
            taken = np.minimum(full_well - level[row], carried)
            level[row] += taken
            carried -= taken
    spilled[:, columns] = level
    return spilled
