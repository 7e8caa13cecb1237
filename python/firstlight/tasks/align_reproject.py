"""Bring an exposure onto the pixels of another with the library reproject, for comparison with other pipelines."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs.wcsapi import BaseLowLevelWCS
from numpy.typing import NDArray
from pydantic import PositiveFloat

from firstlight.algorithms.warp_kernels import WarpKernel, gaussian_kernel, hann_kernel, overlap_kernel
from firstlight.algorithms.warping import WarpedPlanes, WarpGrid, warp_grid
from firstlight.errors import ConfigError
from firstlight.images.exposure import Exposure
from firstlight.images.pixel_grid import PixelGrid
from firstlight.images.wcs import SkyWcs
from firstlight.kernels.arrays import BoolArray
from firstlight.tasks.align import AlignResult, AlignTask, ResampleConfig, align_result, both_wcs, planes_of, sky_map

try:
    import reproject
except ImportError:
    reproject = None

_TOLERANCE_PX = 0.002
_LEAST_COVER = 0.1


class AdaptiveAlignConfig(ResampleConfig):
    """Settings of `AdaptiveAlignTask`."""

    kernel: Literal["gaussian", "hann"] = "gaussian"
    """Averaging window; ``hann`` is narrower and blurs less, ``gaussian`` aliases less."""

    kernel_width: PositiveFloat = 1.3
    """Twice the standard deviation of the Gaussian [pixel, the larger of the two images']."""

    sample_region_width: PositiveFloat = 4.0
    """Side of the square of pixels that the Gaussian takes in [pixel, the larger of the two images']."""


class AdaptiveAlignTask(AlignTask[AdaptiveAlignConfig]):
    """Anti-aliased averaging (DeForest 2004, Sol. Phys. 219, 3) by reproject: no ringing, but it blurs.

    The image is that of ``reproject_adaptive`` with conserved flux. Variance, mask and PSF come from the same weights
    as a kernel along x and y. For the Gaussian and maps without shear it is the same kernel. A Hann window that is
    turned against the input axes only has the same second moments: the PSF is then off by up to 5 % of its peak for
    stars of 2.5 pixels FWHM, and the variance is a few per cent too large.
    """

    def run(self, exposure: Exposure, *, onto: Exposure | PixelGrid) -> AlignResult:
        """Resample ``exposure``.

        Raises
        ------
        ConfigError
            If reproject is not installed.
        """
        _require_reproject(type(self).__name__)
        source, target = both_wcs(exposure, onto)
        grid = warp_grid(sky_map(source, target), onto.shape, tolerance=_TOLERANCE_PX)
        bad = _unusable(exposure, self.config.excluded_planes)
        image, _ = reproject.reproject_adaptive(
            (np.where(bad, np.nan, exposure.image).astype(np.float64), _SkyApi(source)),
            _SkyApi(target),
            shape_out=onto.shape,
            conserve_flux=True,
            roundtrip_coords=False,
            kernel=self.config.kernel,
            kernel_width=self.config.kernel_width,
            sample_region_width=self.config.sample_region_width,
            boundary_mode="ignore_threshold",
            bad_value_mode="ignore",
        )
        result = _result(exposure, image, config=self.config, grid=grid, kernel=self._kernel(grid), wcs=target)
        self.log.info("aligned", coverage=result.coverage, noise_correlation=result.noise_correlation)
        return result

    def _kernel(self, grid: WarpGrid) -> WarpKernel:
        along_x, along_y = (max(1.0, length) for length in grid.lengths())
        if self.config.kernel == "hann":
            return hann_kernel(stretch=(along_x, along_y))
        sigma, reach = self.config.kernel_width / 2, self.config.sample_region_width / 2
        return gaussian_kernel(sigma, reach=reach, stretch=(along_x, along_y))


class ExactAlignConfig(ResampleConfig):
    """Settings of `ExactAlignTask`."""


class ExactAlignTask(AlignTask[ExactAlignConfig]):
    """Overlaps of pixels as polygons on the sphere by reproject: exact for surface brightness, and slow.

    The image is that of ``reproject_exact`` times the ratio of the pixel areas. Variance, mask and PSF come from the
    overlaps as they are when the axes of both images are parallel. Turned axes have the same second moments: the mean
    variance is then right within 2 %, and the PSF off by up to 4 % of its peak for stars of 2.5 pixels FWHM.
    """

    def run(self, exposure: Exposure, *, onto: Exposure | PixelGrid) -> AlignResult:
        """Resample ``exposure``.

        Raises
        ------
        ConfigError
            If reproject is not installed.
        """
        _require_reproject(type(self).__name__)
        source, target = both_wcs(exposure, onto)
        grid = warp_grid(sky_map(source, target), onto.shape, tolerance=_TOLERANCE_PX)
        bad = _unusable(exposure, self.config.excluded_planes)
        brightness = _overlapped(np.where(bad, 0.0, exposure.image), source, target, onto.shape)
        if bad.any():
            usable = _overlapped(~bad, source, target, onto.shape)
            with np.errstate(invalid="ignore", divide="ignore"):
                brightness = np.where(usable >= _LEAST_COVER, brightness / usable, np.nan)
        image = brightness * grid.pixel_areas()
        kernel = overlap_kernel(grid.lengths())
        result = _result(exposure, image, config=self.config, grid=grid, kernel=kernel, wcs=target)
        self.log.info("aligned", coverage=result.coverage, noise_correlation=result.noise_correlation)
        return result


def _require_reproject(task: str) -> None:
    if reproject is None:
        raise ConfigError(f"{task} needs reproject; 'pip install firstlight[align]' brings it.")


def _unusable(exposure: Exposure, planes: tuple[str, ...]) -> BoolArray:
    return np.asarray(exposure.mask.any_of(*planes) | ~np.isfinite(exposure.image) | ~np.isfinite(exposure.variance))


def _overlapped(image: NDArray[Any], source: SkyWcs, target: SkyWcs, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the mean of the input pixels under each output pixel, weighted by overlap; NaN where there are none."""
    mean, _ = reproject.reproject_exact(
        (np.asarray(image, np.float64), _SkyApi(source)), _SkyApi(target), shape_out=shape
    )
    return np.asarray(mean)


def _result(
    exposure: Exposure,
    image: NDArray[np.float64],
    *,
    config: ResampleConfig,
    grid: WarpGrid,
    kernel: WarpKernel,
    wcs: SkyWcs,
) -> AlignResult:
    """Put the image of the library among the planes that its equivalent kernel gives."""
    planes = planes_of(exposure, excluded=config.excluded_planes, grid=grid, kernel=kernel)
    known = np.isfinite(image) & np.isfinite(planes.image)
    no_data = np.int32(exposure.mask.bits("NO_DATA"))
    joined = WarpedPlanes(
        image=np.where(known, image, np.nan).astype(np.float32),
        variance=np.where(known, planes.variance, np.float32(np.nan)),
        mask=np.where(known, planes.mask, planes.mask | no_data),
    )
    return align_result(exposure, joined, grid=grid, kernel=kernel, wcs=wcs, warn_coverage=config.warn_coverage)


class _SkyApi(BaseLowLevelWCS):  # type: ignore[misc]  # astropy ships no types
    """A `SkyWcs` in the interface of astropy (APE 14), so that reproject goes through the very same positions."""

    pixel_n_dim = 2
    world_n_dim = 2
    world_axis_physical_types = ("pos.eq.ra", "pos.eq.dec")
    world_axis_units = ("deg", "deg")
    world_axis_object_components = (
        ("celestial", 0, "spherical.lon.degree"),
        ("celestial", 1, "spherical.lat.degree"),
    )
    world_axis_object_classes = {"celestial": (SkyCoord, (), {"frame": "icrs", "unit": u.deg})}

    def __init__(self, wcs: SkyWcs) -> None:
        self._wcs = wcs

    def pixel_to_world_values(self, *pixel: Any) -> Any:
        """Return right ascension and declination [deg]."""
        return self._wcs.pixel_to_sky(x=pixel[0], y=pixel[1])

    def world_to_pixel_values(self, *world: Any) -> Any:
        """Return x and y [pixel]."""
        return self._wcs.sky_to_pixel(ra=world[0], dec=world[1])
