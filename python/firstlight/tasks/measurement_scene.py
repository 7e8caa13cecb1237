"""What measurements are made on: an exposure, the sources on it, and each source without its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from firstlight.algorithms.detection import Detections
from firstlight.algorithms.moments import adaptive_moments, excess_kurtosis
from firstlight.algorithms.source_light import SourceLight
from firstlight.algorithms.tiles import Tiles
from firstlight.images.exposure import Exposure
from firstlight.images.psf import FWHM_PER_SIGMA
from firstlight.kernels.arrays import BoolArray

UNUSABLE = ("BAD", "NO_DATA", "SAT", "CR")
"""Mask planes whose pixels say nothing about a source."""

_REACH_FWHM = 3.0
_MOST_REACH_FWHM = 6.0
_REGION_GROWTH = 1.3
_MAX_HALF = 100


@dataclass(frozen=True)
class MeasurementScene:
    """An exposure with its sources, as a `MeasurementPlugin` gets it.

    Parameters
    ----------
    exposure
        Background-subtracted.
    detections
        Peaks and label image.
    aperture_radius : [pixel]
        The calibration aperture of the exposure.
    light
        The light of each source, from a `DeblendTask`; None where none has run.
    reach : [pixel]
        How far from a centroid the plug-ins look.
    """

    exposure: Exposure
    detections: Detections
    aperture_radius: float
    light: SourceLight | None = None
    reach: float = 0.0

    @cached_property
    def psf_sigma(self) -> float:
        """Size of the PSF at the centre of the exposure [pixel]."""
        return psf_sigma(self.exposure)

    @property
    def fwhm(self) -> float:
        """Full width at half maximum of a Gaussian of that size [pixel]."""
        return FWHM_PER_SIGMA * self.psf_sigma

    @property
    def unit(self) -> u.UnitBase:
        """Unit of the pixels."""
        return exposure_unit(self.exposure)

    @property
    def sky_image(self) -> NDArray[np.float32]:
        """The image, without the sources as far as they were told apart."""
        return self.exposure.image if self.light is None else self.light.residual

    @property
    def tile_reach(self) -> float:
        """How far from a centroid every tile reaches [pixel]: to 3 times the FWHM, or `reach` up to 6 times it."""
        return max(_REACH_FWHM * self.fwhm, min(max(self.reach, self.aperture_radius), _MOST_REACH_FWHM * self.fwhm))

    @cached_property
    def tiles(self) -> Tiles:
        """Each source on a tile, its neighbours taken away, or their pixels marked where they were not told apart.

        Tiles reach to `tile_reach`, and beyond the region of the source.
        """
        found = self.detections
        span = np.maximum.reduce(
            [
                found.peak_x - found.x_min,
                found.x_max - found.peak_x,
                found.peak_y - found.y_min,
                found.y_max - found.peak_y,
            ]
        )
        least = self.tile_reach + 2.0
        half = np.ceil(np.clip(_REGION_GROWTH * span + 2.0, least, max(least, _MAX_HALF))).astype(np.int64)
        return Tiles.cut(
            self.sky_image,
            variance=self.exposure.variance,
            x=found.peak_x.astype(np.float64),
            y=found.peak_y.astype(np.float64),
            half=half,
            light=self.light,
        )

    @cached_property
    def has_foreign(self) -> BoolArray:
        """Whether pixels of other sources lie on the tile of each source."""
        found = np.zeros(len(self.tiles) + 1, dtype=bool)
        found[self.tiles.numbers()[self.foreign()]] = True
        return found[1:]

    @cached_property
    def blocked(self) -> BoolArray:
        """Pixels of the tiles that say nothing about their source: unusable, off the image, or those of others."""
        return self.bad(*UNUSABLE) | self.foreign()

    def foreign(self) -> BoolArray:
        """Return the pixels of the tiles that belong to other sources, where these were not told apart."""
        number = np.arange(1, self.detections.n_peaks + 1)
        own_label = number if self.light is None else np.where(self.light.skipped, number, 0)
        return self.tiles.foreign(self.detections.labels, own_label)

    @cached_property
    def gaussian_share(self) -> float:
        """Flux of the matched Gaussian of a star over its PSF flux; NaN without a PSF."""
        psf = self.exposure.psf
        if psf is None:
            return float("nan")
        ny, nx = self.exposure.shape
        stamp = psf.kernel_image(x=(nx - 1) / 2, y=(ny - 1) / 2)
        middle = np.array([float(psf.radius)])
        return float(adaptive_moments(stamp, x=middle, y=middle, sigma_guess=self.psf_sigma).flux[0])

    @cached_property
    def psf_kurtosis(self) -> float:
        """Excess of the fourth moment of a star over that of a Gaussian; 0 without a PSF."""
        psf = self.exposure.psf
        if psf is None:
            return 0.0
        ny, nx = self.exposure.shape
        return excess_kurtosis(psf.kernel_image(x=(nx - 1) / 2, y=(ny - 1) / 2), sigma=self.psf_sigma)

    @cached_property
    def unusable(self) -> BoolArray:
        """Pixels of the exposure that say nothing about a source: defects, no data, saturation, cosmic rays."""
        return self.exposure.mask.any_of(*UNUSABLE)

    def bad(self, *planes: str) -> BoolArray:
        """Return which pixels of the tiles have any of the mask planes set, or lie off the image."""
        mask = self.exposure.mask
        return self.tiles.marked(mask.array, mask.bits(*planes))


def psf_sigma(exposure: Exposure) -> float:
    """Return the size of the PSF at the centre of the exposure [pixel]."""
    if exposure.psf is None:
        return 3.5 / FWHM_PER_SIGMA
    ny, nx = exposure.image.shape
    return exposure.psf.moments(x=(nx - 1) / 2, y=(ny - 1) / 2).sigma


def exposure_unit(exposure: Exposure) -> u.UnitBase:
    """Return the unit of the pixels."""
    return u.nJy if exposure.unit == "nJy" else u.ct
