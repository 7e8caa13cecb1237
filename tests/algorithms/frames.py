"""Simulated frames with their truth, made once per test run, and stars drawn by hand."""

from __future__ import annotations

from functools import cache

import numpy as np

from firstlight.simulation import DetectorSettings, OpticsSettings, SimulatedExposure, SimulationSettings, SkySettings
from firstlight.simulation import simulate_exposure as _simulate


@cache
def star_frame(
    seed: int = 11, side: int = 640, density: float = 24_000.0, cosmic_rays: float = 40.0
) -> SimulatedExposure:
    """A field of the default telescope: stars of 2.2 pixels on a sky of 300 counts."""
    settings = SimulationSettings(
        shape=(side, side),
        sky=SkySettings(star_density=density, bright_limit=13.0),
        optics=OpticsSettings(),
        detector=DetectorSettings(cosmic_rays=cosmic_rays),
    )
    return _simulate(settings, seed=seed)


def gaussian(shape, *, x, y, sigma, flux=1.0) -> np.ndarray:
    """A Gaussian star sampled at the pixel centres."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return flux / (2 * np.pi * sigma**2) * np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / sigma**2)


def moffat(side, *, dx=0.0, dy=0.0, fwhm, beta=3.0, oversampling=7) -> np.ndarray:
    """A Moffat star of unit flux integrated over the pixels, offset from the centre of an odd stamp."""
    grid = (np.arange(side * oversampling) + 0.5) / oversampling - 0.5 - side // 2
    alpha = 0.5 * fwhm / np.sqrt(2 ** (1 / beta) - 1)
    radius2 = (grid[None, :] - dx) ** 2 + (grid[:, None] - dy) ** 2
    profile = (beta - 1) / (np.pi * alpha**2) * (1 + radius2 / alpha**2) ** -beta / oversampling**2
    return profile.reshape(side, oversampling, side, oversampling).sum(axis=(1, 3))


def tiled(stamp, rows, columns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same stamp many times in one image, and the positions of the middle pixels x, y."""
    side = stamp.shape[0]
    y, x = np.mgrid[:rows, :columns]
    middle = side // 2
    return np.tile(stamp, (rows, columns)), x.ravel() * side + float(middle), y.ravel() * side + float(middle)
