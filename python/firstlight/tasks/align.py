"""Bring an exposure onto the pixels of another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat
from typing_extensions import TypeVar

from firstlight.algorithms.warp_kernels import WarpKernel, warp_kernel
from firstlight.algorithms.warping import (
    PositionMap,
    WarpedPlanes,
    WarpGrid,
    noise_correlation,
    ringing_variance,
    warp_grid,
    warp_image,
    warp_planes,
)
from firstlight.errors import InputError, NoWorkFound
from firstlight.framework import Config, Gate, Struct, Task
from firstlight.images.background import BackgroundList
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.pixel_grid import PixelGrid
from firstlight.images.warped_psf import WarpedPsf
from firstlight.images.wcs import SkyWcs
from firstlight.kernels.arrays import FloatArray


@dataclass(frozen=True)
class AlignResult(Struct):
    """What an `AlignTask` returns."""

    exposure: Exposure
    """On the new pixels: NaN and NO_DATA where nothing was measured, with the PSF that it has there."""

    coverage: float
    """Fraction of the new pixels that have a value."""

    noise_correlation: float
    """Noise in a large aperture over what the variance plane alone gives; also in the summary of the exposure."""

    gates: tuple[Gate, ...]
    """How good the map of positions is, and how much is covered."""


class ResampleConfig(Config):
    """What every alignment can be told that resamples by itself."""

    excluded_planes: tuple[str, ...] = ("BAD", "NO_DATA")
    """Mask planes whose pixels get no weight; their neighbours stand in, and the plane is kept."""

    warn_coverage: float = Field(default=0.2, ge=0.0, le=1.0)
    """A smaller fraction of covered pixels is a warning."""


AlignConfigT = TypeVar("AlignConfigT", bound=Config, covariant=True, default=Config)


class AlignTask(Task[AlignConfigT], ABC):
    """Interface: anything that resamples an exposure onto other pixels."""

    @abstractmethod
    def run(self, exposure: Exposure, *, onto: Exposure | PixelGrid) -> AlignResult:
        """Resample ``exposure``; its flux is kept, its sky becomes that of the new pixels.

        Parameters
        ----------
        exposure
            Background-subtracted where a residual sky would matter.
        onto
            Whose pixels the result has: shape and WCS, or an exposure.

        Raises
        ------
        NoWorkFound
            If the two do not overlap.
        InputError
            If the place of either on the sky is needed and not known.
        """


class LanczosAlignConfig(ResampleConfig):
    """Settings of `LanczosAlignTask`."""

    lobes: int = Field(default=3, ge=1, le=5)
    """Lobes of the Lanczos kernel: more are sharper and ring more; 1 is linear interpolation."""

    tolerance: PositiveFloat = 0.002
    """The map of positions is linear inside cells; they are made so small that it is right to this [pixel]."""

    undersampled_fwhm: NonNegativeFloat = 2.0
    """Narrower stars ring when they are resampled; what a kernel with two more lobes makes of them otherwise is added
    to the variance [pixel]."""


class LanczosAlignTask(AlignTask[LanczosAlignConfig]):
    """Windowed-sinc interpolation through both WCS, stretched for larger pixels (as SWarp and LSST `Warper`)."""

    def run(self, exposure: Exposure, *, onto: Exposure | PixelGrid) -> AlignResult:
        """Resample ``exposure``."""
        source, target = both_wcs(exposure, onto)
        return self.warped(exposure, onto.shape, wcs=target, position=sky_map(source, target))

    def warped(
        self, exposure: Exposure, shape: tuple[int, int], *, wcs: SkyWcs | None, position: PositionMap
    ) -> AlignResult:
        """Resample ``exposure`` through any map from new to old positions.

        Parameters
        ----------
        exposure
        shape
            Rows and columns of the result.
        wcs
            Of the result.
        position
            New pixel positions to those of ``exposure``.
        """
        map_ = warp_grid(position, shape, tolerance=self.config.tolerance)
        kernel = warp_kernel(self.config.lobes, lengths=map_.lengths())
        planes = planes_of(exposure, excluded=self.config.excluded_planes, grid=map_, kernel=kernel)
        if self._is_undersampled(exposure):
            other = warp_kernel(self.config.lobes + 2, lengths=map_.lengths())
            planes = self._with_ringing(exposure, planes, map_, other)
        result = align_result(
            exposure, planes, grid=map_, kernel=kernel, wcs=wcs, warn_coverage=self.config.warn_coverage
        )
        self.log.info("aligned", coverage=result.coverage, cell=map_.step, noise_correlation=result.noise_correlation)
        return result

    def _is_undersampled(self, exposure: Exposure) -> bool:
        x, y = exposure.box.center
        return exposure.psf is not None and exposure.psf.fwhm(x=x, y=y) < self.config.undersampled_fwhm

    def _with_ringing(
        self, exposure: Exposure, planes: WarpedPlanes, grid: WarpGrid, other: WarpKernel
    ) -> WarpedPlanes:
        bad = exposure.mask.any_of(*self.config.excluded_planes)
        again = warp_image(np.where(bad, np.float32(np.nan), exposure.image), grid=grid, kernel=other)
        error = ringing_variance(planes.image - again, variance=planes.variance)
        return WarpedPlanes(planes.image, planes.variance + error, planes.mask)


def planes_of(exposure: Exposure, *, excluded: tuple[str, ...], grid: WarpGrid, kernel: WarpKernel) -> WarpedPlanes:
    """Return the resampled planes of an exposure; pixels in the ``excluded`` mask planes get no weight."""
    mask = exposure.mask
    return warp_planes(
        exposure.image,
        variance=exposure.variance,
        mask=mask.array,
        bad=mask.any_of(*excluded),
        grid=grid,
        kernel=kernel,
        no_data=mask.bits("NO_DATA"),
        edge=mask.bits("EDGE"),
    )


def align_result(
    exposure: Exposure,
    planes: WarpedPlanes,
    *,
    grid: WarpGrid,
    kernel: WarpKernel,
    wcs: SkyWcs | None,
    warn_coverage: float,
) -> AlignResult:
    """Make an exposure of resampled planes, with the PSF and the noise factor that belong to them.

    Raises
    ------
    NoWorkFound
        If no pixel has a value.
    """
    ny, nx = grid.shape
    coverage = float(np.isfinite(planes.image).mean())
    if not coverage:
        raise NoWorkFound(
            f"None of {ny} x {nx} pixels has a value: the exposures do not overlap, or every pixel there is masked."
        )
    correlation = noise_correlation(grid, kernel)
    moved = exposure.replace(
        image=planes.image,
        variance=planes.variance,
        mask=Mask(planes.mask, planes=exposure.mask.planes),
        wcs=wcs,
        psf=warped_psf(exposure, grid, kernel),
        aperture_corrections=None,
        background=BackgroundList(),
        summary={**(exposure.summary or {}), "noise_correlation": correlation},
    )
    return AlignResult(
        exposure=moved,
        coverage=coverage,
        noise_correlation=correlation,
        gates=(
            Gate("align_map_error", grid.error, "pixel", warn=0.02, fail=0.2),
            Gate("align_coverage", coverage, sense="min", warn=warn_coverage),
        ),
    )


def both_wcs(exposure: Exposure, onto: Exposure | PixelGrid) -> tuple[SkyWcs, SkyWcs]:
    """Return the WCS of the exposure and that of the new pixels.

    Raises
    ------
    InputError
        If one of them is not known.
    """
    target = _known(onto.wcs, "The exposure to align with")
    return _known(exposure.wcs, "The exposure to be aligned"), target


def sky_map(source: SkyWcs, target: SkyWcs) -> PositionMap:
    """Return the map from pixels of ``target`` to those of ``source`` through the sky."""

    def position(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        ra, dec = target.pixel_to_sky(x=x, y=y)
        return source.sky_to_pixel(ra=ra, dec=dec)

    return position


def warped_psf(exposure: Exposure, map_: WarpGrid, kernel: WarpKernel) -> WarpedPsf | None:
    """Return the PSF of a warped exposure; None if it had none."""
    if exposure.psf is None:
        return None
    nodes = np.where(np.isfinite(map_.nodes[:2]), map_.nodes[:2], -1e6)
    return WarpedPsf(exposure.psf, nodes=nodes, step=map_.step, kernel_x=kernel.along_x, kernel_y=kernel.along_y)


def _known(wcs: SkyWcs | None, which: str) -> SkyWcs:
    if wcs is None:
        raise InputError(f"{which} has no WCS; solve it first, or align by its stars with PatternAlignTask.")
    return wcs
