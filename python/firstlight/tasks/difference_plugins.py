"""The interface of what is measured on a difference image together with the two images that it was made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import NDArray
from typing_extensions import TypeVar

from firstlight.framework import Config, Task
from firstlight.images.exposure import Exposure
from firstlight.images.psf import FWHM_PER_SIGMA, Psf
from firstlight.images.spatial_kernel import MatchingKernel
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.tasks.measurement_plugins import Columns
from firstlight.tasks.measurement_scene import exposure_unit, psf_sigma


@dataclass(frozen=True)
class DifferenceScene:
    """A difference image and the images behind it, as a `DifferencePlugin` gets them.

    Parameters
    ----------
    difference
        With its PSF.
    science
    template
        On the pixels of the science exposure, with its own PSF.
    kernel
        How one was matched to the other.
    unusable : (ny, nx)
        Pixels of the difference that say nothing about a source.
    """

    difference: Exposure
    science: Exposure
    template: Exposure
    kernel: MatchingKernel
    unusable: BoolArray

    @property
    def fwhm(self) -> float:
        """Full width at half maximum of the PSF of the difference [pixel]."""
        return FWHM_PER_SIGMA * psf_sigma(self.difference)

    @property
    def unit(self) -> u.UnitBase:
        """Unit of the pixels of science exposure and difference."""
        return exposure_unit(self.difference)

    def aperture_radius(self, fwhms: float) -> float:
        """Return the radius of the calibration aperture [pixel]: of the science exposure, or so many FWHM."""
        summary = self.science.summary or {}
        return float(summary.get("aperture_radius", 0.0) or fwhms * self.fwhm)

    def flux_scale(self, *, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
        """Return the flux of a star in the science exposure over that in the template at positions [pixel]."""
        total = self.kernel.kernel.total(x=np.nan_to_num(x), y=np.nan_to_num(y))
        return np.asarray(total if self.kernel.convolved == "template" else 1.0 / total)


DifferencePluginConfigT = TypeVar("DifferencePluginConfigT", bound=Config, covariant=True, default=Config)


class DifferencePlugin(Task[DifferencePluginConfigT], ABC):
    """Interface: one kind of measurement on a difference image and the two images behind it.

    What cannot be measured for a source is NaN and flagged; nothing is raised.
    """

    order: ClassVar[float] = 0.0
    """Plug-ins run by rising order."""

    @abstractmethod
    def run(self, scene: DifferenceScene, catalog: Table) -> Columns:
        """Return columns for all sources of ``catalog``, which has those of the measurement of the difference.

        Parameters
        ----------
        scene
        catalog
            Also with ``partner_x`` and ``partner_y``, the strongest peak of the other sign in the same footprint (NaN
            for none), and ``merged_area`` [pixel].
        """


def psf_of(exposure: Exposure) -> Psf:
    """Return the PSF of an exposure that was subtracted, and therefore has one."""
    if exposure.psf is None:
        raise AssertionError("An exposure that was subtracted has a PSF.")
    return exposure.psf
