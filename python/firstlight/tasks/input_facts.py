"""What is known of an exposure that may become part of a template, before it is resampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.noise import SkyNoise, measure_sky_noise
from firstlight.errors import AlgorithmError
from firstlight.images.exposure import Exposure
from firstlight.images.photo_calib import ab_magnitude
from firstlight.images.pixel_grid import PixelGrid
from firstlight.kernels.arrays import BoolArray

CELL = 32
"""Side of the cells in which coverage is told [pixel of the template]."""

MIN_SKY = 0.1
"""With a smaller share of sky among the pixels, the noise is what the variance states."""

NOT_SKY = ("BAD", "NO_DATA", "SAT", "CR", "EDGE", "DETECTED", "DETECTED_NEGATIVE")
UNUSABLE = ("BAD", "NO_DATA", "SAT")
DEPTH_SNR = 5.0


@dataclass(frozen=True)
class InputFacts:
    """One exposure that was given."""

    number: int
    """Its place among those that were given."""

    label: str
    """What tells it from others."""

    lacking: str
    """Why it cannot be used; empty if it can."""

    mjd: float = math.nan
    """Middle of the exposure [day, TAI]."""

    band: str = ""
    """Passband, or the filter where it has no band; empty if it is not known."""

    unit: str = ""
    """Unit of the noise and of the depth; empty if it is not known."""

    fwhm: float = math.nan
    """Of the PSF in the middle [arcsec; pixel without a WCS]."""

    sky_level: float = math.nan
    """What is left of the sky [standard deviation of the sky]; 0 where no sky can be seen between the sources."""

    sky_noise: float = math.nan
    """Standard deviation of the sky [nJy; unit of the exposure if it is not calibrated]."""

    variance_ratio: float = math.nan
    """True variance of the sky over the stated one; 1 where no sky can be seen."""

    depth: float = math.nan
    """Faintest point source at five standard deviations [AB mag; instrumental if it is not calibrated]; NaN where
    the exposures are in different units."""

    coverage: float = math.nan
    """Fraction of the template that it may cover."""

    cells: BoolArray | None = None
    """Which cells of the template it covers [row, column]; None where that is known only after the alignment."""

    shape: tuple[int, int] = (0, 0)
    """Rows and columns."""


def measure_facts(
    exposure: Exposure, *, number: int, label: str, grid: PixelGrid | None, calibrated: bool
) -> InputFacts:
    """Return what is known of an exposure.

    Parameters
    ----------
    exposure
    number, label
    grid
        Of the template; None where its pixels are those of an input that is yet to be chosen.
    calibrated
        Whether an exposure that cannot be brought to nJy is of no use.
    """
    lacking = _lacking(exposure, calibrated=calibrated)
    if lacking:
        return InputFacts(number, label, lacking)
    sky = measure_sky(exposure) or stated_sky(exposure)
    if sky is None:
        return InputFacts(number, label, "no good pixel")
    if not (sky.sigma > 0 and math.isfinite(sky.level) and math.isfinite(sky.variance_ratio)):
        return InputFacts(number, label, "no noise")
    assert exposure.psf is not None  # noqa: S101 - _lacking has told those without
    x, y = exposure.box.center
    stamp = exposure.psf.kernel_image(x=x, y=y)
    factor = mean_factor(exposure) if calibrated else 1.0
    noise = sky.sigma * factor
    scale = 1.0 if exposure.wcs is None else float(exposure.wcs.pixel_scale(x=x, y=y))
    limit = DEPTH_SNR * noise / math.sqrt(float(np.sum(stamp**2)))
    cells = None if grid is None or exposure.wcs is None else covered_cells(exposure, grid)
    filter_ = exposure.filter
    date = exposure.observation.mjd_tai
    return InputFacts(
        number,
        label,
        "",
        mjd=math.nan if date is None else date,
        band="" if filter_ is None else filter_.band or filter_.physical,
        unit="nJy" if calibrated else exposure.unit,
        fwhm=exposure.psf.fwhm(x=x, y=y) * scale,
        sky_level=sky.level / sky.sigma,
        sky_noise=noise,
        variance_ratio=sky.variance_ratio,
        depth=float(ab_magnitude(limit)),
        coverage=math.nan if cells is None else float(cells.mean()),
        cells=cells,
        shape=exposure.shape,
    )


def measure_sky(exposure: Exposure) -> SkyNoise | None:
    """Measure the noise of the sky; None in a field so crowded that there is hardly any."""
    occupied = exposure.mask.any_of(*(plane for plane in NOT_SKY if plane in exposure.mask.planes))
    if np.mean(~occupied & np.isfinite(exposure.image)) < MIN_SKY:
        return None
    try:
        return measure_sky_noise(exposure.image, bad=occupied, variance=exposure.variance)
    except AlgorithmError:
        return None


def stated_sky(exposure: Exposure) -> SkyNoise | None:
    """Return the noise that the variance states for the darker pixels; None if none is good."""
    bad = exposure.mask.any_of(*(plane for plane in UNUSABLE if plane in exposure.mask.planes))
    good = exposure.variance[~bad & np.isfinite(exposure.image) & np.isfinite(exposure.variance)]
    if not good.size:
        return None
    return SkyNoise(level=0.0, sigma=math.sqrt(max(0.0, float(np.percentile(good, 25)))), variance_ratio=1.0, n_bins=0)


def covered_cells(exposure: Exposure, grid: PixelGrid) -> BoolArray:
    """Return which cells of ``grid`` have their middle on an exposure with a WCS [row, column]."""
    rows, columns = (-(-size // CELL) for size in grid.shape)
    y, x = np.meshgrid((np.arange(rows) + 0.5) * CELL, (np.arange(columns) + 0.5) * CELL, indexing="ij")
    assert exposure.wcs is not None  # noqa: S101 - the caller has made sure
    own_x, own_y = exposure.wcs.sky_to_pixel(**dict(zip(("ra", "dec"), grid.wcs.pixel_to_sky(x=x, y=y), strict=True)))
    ny, nx = exposure.shape
    with np.errstate(invalid="ignore"):
        return np.asarray((own_x > -0.5) & (own_x < nx - 0.5) & (own_y > -0.5) & (own_y < ny - 0.5))


def mean_factor(exposure: Exposure) -> float:
    """Return the flux of one unit of an exposure that has a calibration [nJy]."""
    return 1.0 if exposure.unit == "nJy" or exposure.photo_calib is None else exposure.photo_calib.mean


def in_njy(exposure: Exposure) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return image and variance of an exposure that has a calibration, in nJy."""
    if exposure.unit == "nJy" or exposure.photo_calib is None:
        return exposure.image, exposure.variance
    factor = exposure.photo_calib.image(exposure.shape)
    return np.asarray(exposure.image * factor, np.float32), np.asarray(exposure.variance * factor**2, np.float32)


def bands_of(facts: Sequence[InputFacts]) -> set[str]:
    """Return the bands of the usable ones, where they are known."""
    return {each.band for each in facts if each.band and not each.lacking}


def _lacking(exposure: Exposure, *, calibrated: bool) -> str:
    if exposure.psf is None:
        return "no PSF"
    if calibrated and exposure.unit != "nJy" and exposure.photo_calib is None:
        return "no calibration"
    return ""
