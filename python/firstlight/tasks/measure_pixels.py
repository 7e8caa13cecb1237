"""Measure what lies under and about each source: mask planes, noise, the local sky."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from astropy.table import Table
from pydantic import PositiveFloat

from firstlight.algorithms.aperture import local_sky
from firstlight.algorithms.weighted_fluxes import median_in_ellipses
from firstlight.framework import Config
from firstlight.kernels.pixel_flags import bits_in_footprint
from firstlight.tasks.measure_positions import centre_bits
from firstlight.tasks.measurement_plugins import (
    EMPTY,
    Columns,
    MeasurementPlugin,
    SecondMoments,
    moments_of,
    on_tiles,
    values,
)
from firstlight.tasks.measurement_scene import MeasurementScene


class PixelFlagsConfig(Config):
    """Settings of `PixelFlagsPlugin`."""

    further_planes: tuple[str, ...] = ()
    """Mask planes that give flags of their own beside the usual ones: INJECTED gives ``injected`` and
    ``injected_center``."""


class PixelFlagsPlugin(MeasurementPlugin[PixelFlagsConfig]):
    """What the mask says under each footprint and at each centre (LSST `PixelFlags`)."""

    order = 1.0
    planes: ClassVar[Mapping[str, str]] = {
        "saturated": "SAT",
        "interpolated": "INTRP",
        "cr": "CR",
        "bad": "BAD",
        "no_data": "NO_DATA",
        "suspect": "SUSPECT",
        "streak": "STREAK",
    }
    everywhere: ClassVar[frozenset[str]] = frozenset({"saturated", "interpolated"})
    """Flags that also come in a kind for centres of which all nine pixels have the plane."""

    def run(self, scene: MeasurementScene, catalog: Table) -> Columns:
        """Set one flag per mask plane: any pixel of the footprint, and any of the 3 x 3 at the centre."""
        mask, found = scene.exposure.mask, scene.detections
        x, y = values(catalog, "x"), values(catalog, "y")
        flags = {**self.planes, **{plane.lower(): plane for plane in self.config.further_planes}}
        bits = bits_in_footprint(mask.array, found.labels, found.n_peaks)
        columns: dict[str, object] = {name: (bits & mask.bits(plane)) != 0 for name, plane in flags.items()}
        columns["at_edge"] = (bits & mask.bits("EDGE")) != 0
        centre = centre_bits(mask.array, x, y)
        ny, nx = mask.shape
        columns["off_image"] = ~((x > -0.5) & (y > -0.5) & (x < nx - 0.5) & (y < ny - 0.5))
        for name, plane in flags.items():
            where = (centre & mask.bits(plane)) != 0
            columns[f"{name}_center"] = where.any(axis=0)
            if name in self.everywhere:
                columns[f"{name}_center_all"] = where.all(axis=0)
        return columns


class VarianceConfig(Config):
    """Settings of `VariancePlugin`."""

    scale: PositiveFloat = 5.0
    """Size of the ellipse in units of the rms size of the source."""


class VariancePlugin(MeasurementPlugin[VarianceConfig]):
    """Median of the variance in an ellipse about each source (LSST ``Variance``)."""

    order = 4.0

    def run(self, scene: MeasurementScene, catalog: Table) -> Columns:
        """Measure ``variance`` and ``variance_flag``."""
        median = median_in_ellipses(
            scene.tiles.variance,
            bad=scene.bad(*EMPTY),
            **on_tiles(scene, catalog),
            **_shape_or_psf(scene, catalog),
            scale=self.config.scale,
        )
        return {"variance": median * scene.unit**2, "variance_flag": ~np.isfinite(median)}


class LocalBackgroundConfig(Config):
    """Settings of `LocalBackgroundPlugin`."""

    inner_fwhm: PositiveFloat = 3.0
    """Inner radius of the ring in units of the full width at half maximum."""

    outer_fwhm: PositiveFloat = 6.0
    """Outer radius in units of the full width at half maximum."""

    clip: PositiveFloat = 3.0
    """Clipping limit [sigma]."""


class LocalBackgroundPlugin(MeasurementPlugin[LocalBackgroundConfig]):
    """Clipped mean of a ring about each source, with the sources taken away where they were told apart."""

    order = 3.0

    def run(self, scene: MeasurementScene, catalog: Table) -> Columns:
        """Measure ``local_background``, its error, the scatter of the pixels and ``local_background_flag``."""
        sky = local_sky(
            scene.sky_image,
            bad=scene.exposure.mask.any_of("BAD", "SAT", "NO_DATA"),
            x=values(catalog, "x"),
            y=values(catalog, "y"),
            inner=self.config.inner_fwhm * scene.fwhm,
            outer=self.config.outer_fwhm * scene.fwhm,
            n_sigma=self.config.clip,
        )
        return {
            "local_background": sky.level * scene.unit,
            "local_background_err": sky.level_err * scene.unit,
            "local_background_sigma": sky.sigma * scene.unit,
            "local_background_flag": ~(np.isfinite(sky.level) & np.isfinite(sky.level_err)),
        }


def _shape_or_psf(scene: MeasurementScene, catalog: Table) -> SecondMoments:
    """Return the moments of each source; those of the PSF where it has none."""
    shape, size2 = moments_of(catalog), scene.psf_sigma**2
    known = np.isfinite(shape["ixx"])
    return {
        "ixx": np.where(known, shape["ixx"], size2),
        "iyy": np.where(known, shape["iyy"], size2),
        "ixy": np.where(known, shape["ixy"], 0.0),
    }
