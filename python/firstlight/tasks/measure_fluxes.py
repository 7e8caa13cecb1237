"""Measure fluxes: of the PSF, in apertures, under weights, and how much of them is the neighbours'."""

from __future__ import annotations

from typing import Literal

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat

from firstlight.algorithms.aperture import ApertureFluxes, aperture_fluxes, compensated_fluxes, kron_fluxes
from firstlight.algorithms.psf_flux import measure_psf_flux
from firstlight.algorithms.weighted_fluxes import WeightedFluxes, compensated_gaussian_fluxes, gaussian_weighted_flux
from firstlight.framework import Config
from firstlight.kernels.arrays import BoolArray
from firstlight.tasks.measurement_plugins import (
    EMPTY,
    Columns,
    MeasurementPlugin,
    moments_of,
    on_tiles,
    pixels_within,
    values,
)
from firstlight.tasks.measurement_scene import UNUSABLE, MeasurementScene

LengthUnit = Literal["fwhm", "pixel"]
"""``fwhm``: lengths follow the seeing. ``pixel``: they are the same on all images."""


class PsfFluxPlugin(MeasurementPlugin):
    """Flux of the PSF at each centroid, neighbours of a blend fitted together.

    Where there is no centroid it is the flux at the peak, and flagged, as LSST's ``SafeCentroidExtractor`` has it.
    """

    order = 3.0

    def run(self, scene: MeasurementScene, catalog: Table) -> Columns:
        """Measure ``psf_inst_flux``, its error and flags, ``psf_chi2`` and ``snr``."""
        exposure, nothing = scene.exposure, np.full(len(catalog), np.nan)
        if exposure.psf is None:
            return self._columns(scene, nothing, nothing, nothing, {"no_psf": np.ones(len(catalog), bool)})
        found = measure_psf_flux(
            exposure.image,
            variance=exposure.variance,
            bad=scene.unusable,
            psf=exposure.psf,
            x=values(catalog, "x"),
            y=values(catalog, "y"),
        )
        flags = {
            "no_good_pixels": found.no_good_pixels,
            "same_place": found.same_place,
            "failed": found.flag & ~found.no_good_pixels & ~found.same_place,
            "no_centroid": _without_centroid(catalog),
        }
        return self._columns(scene, found.flux, found.flux_err, found.chi2, flags) | {"psf_flux_at_edge": found.edge}

    @staticmethod
    def _columns(
        scene: MeasurementScene,
        flux: NDArray[np.float64],
        error: NDArray[np.float64],
        chi2: NDArray[np.float64],
        flags: dict[str, BoolArray],
    ) -> dict[str, object]:
        with np.errstate(invalid="ignore", divide="ignore"):
            snr = flux / error
        return {
            "psf_inst_flux": flux * scene.unit,
            "psf_inst_flux_err": error * scene.unit,
            "psf_chi2": chi2,
            "psf_flux_flag": np.logical_or.reduce(list(flags.values())),
            **{f"psf_flux_flag_{name}": flag for name, flag in flags.items()},
            "snr": snr,
        }


class ApertureFluxConfig(Config):
    """Settings of `ApertureFluxPlugin`."""

    radii: tuple[PositiveFloat, ...] = ()
    """Further aperture radii in units of `unit`; 1.5 gives ``aper_1_5_fwhm_inst_flux`` or ``aper_1_5_px_inst_flux``.
    Beyond 6 times the FWHM the light of neighbours counts."""

    unit: LengthUnit = "fwhm"
    """Whether these radii follow the seeing or are pixels."""


class ApertureFluxPlugin(MeasurementPlugin[ApertureFluxConfig]):
    """Sums in circles with exact fractional pixels: the calibration aperture and any others (sep)."""

    order = 3.0

    def reach(self, *, fwhm: float, aperture_radius: float) -> float:
        """Return how far from a centroid the pixels are needed [pixel]."""
        return max([aperture_radius, *(length_px(fwhm, radius, self.config.unit) for radius in self.config.radii)])

    def run(self, scene: MeasurementScene, catalog: Table) -> Columns:
        """Measure ``aper_inst_flux`` and its error and flags, and the same for each further radius."""
        unit = self.config.unit
        radii = {"aper": scene.aperture_radius}
        radii |= {
            length_name("aper", radius, unit): length_px(scene.fwhm, radius, unit) for radius in self.config.radii
        }
        columns: dict[str, object] = {}
        for name, radius in radii.items():
            found = aperture_fluxes(**pixels_within(scene, catalog, radius, bad=EMPTY), radius=max(1.0, radius))
            columns |= _aperture_columns(scene, catalog, name, found, radius)
        return columns


class CompensatedTophatFluxConfig(Config):
    """Settings of `CompensatedTophatFluxPlugin`."""

    radii: tuple[PositiveFloat, ...] = (2.0,)
    """Aperture radii in units of `unit`; each gives ``tophat_<radius>_<unit>_inst_flux``."""

    unit: LengthUnit = "fwhm"
    """Whether the radii follow the seeing or are pixels."""

    inner_scale: PositiveFloat = 1.0
    """Inner radius of the ring in units of the radius of the aperture."""

    outer_scale: float = Field(default=1.7, gt=1.0)
    """Outer radius of the ring in units of the radius of the aperture."""


class CompensatedTophatFluxPlugin(MeasurementPlugin[CompensatedTophatFluxConfig]):
    """Apertures less the mean of a ring around them (LSST ``CompensatedTophatFlux``)."""

    order = 3.0

    def reach(self, *, fwhm: float, aperture_radius: float) -> float:
        """Return how far from a centroid the pixels are needed [pixel]."""
        largest = max(self.config.radii, default=0.0)
        return self.config.outer_scale * length_px(fwhm, largest, self.config.unit)

    def run(self, scene: MeasurementScene, catalog: Table) -> Columns:
        """Measure the flux, its error and flags for each radius."""
        columns: dict[str, object] = {}
        for radius in self.config.radii:
            px = length_px(scene.fwhm, radius, self.config.unit)
            found = compensated_fluxes(
                **pixels_within(scene, catalog, self.config.outer_scale * px, bad=EMPTY),
                radius=px,
                inner_scale=self.config.inner_scale,
                outer_scale=self.config.outer_scale,
            )
            name = length_name("tophat", radius, self.config.unit)
            columns |= _aperture_columns(scene, catalog, name, found, px * self.config.outer_scale)
        return columns


class CompensatedGaussianFluxConfig(Config):
    """Settings of `CompensatedGaussianFluxPlugin`."""

    widths: tuple[PositiveFloat, ...] = (0.85, 1.4)
    """Standard deviations of the inner Gaussians in units of `unit`; each gives ``compensated_<width>_<unit>``."""

    unit: LengthUnit = "fwhm"
    """Whether the widths follow the seeing or are pixels."""

    ratio: float = Field(default=2.0, gt=1.0)
    """Width of the outer Gaussian in units of that of the inner one."""


class CompensatedGaussianFluxPlugin(MeasurementPlugin[CompensatedGaussianFluxConfig]):
    """Gaussian weights less wider ones of the same volume (LSST ``CompensatedGaussianFlux``)."""

    order = 3.0

    def reach(self, *, fwhm: float, aperture_radius: float) -> float:
        """Return how far from a centroid the pixels are needed [pixel]."""
        largest = max(self.config.widths, default=0.0)
        return 4.0 * self.config.ratio * length_px(fwhm, largest, self.config.unit)

    def run(self, scene: MeasurementScene, catalog: Table) -> Columns:
        """Measure the flux, its error and flag for each width."""
        columns: dict[str, object] = {}
        for width in self.config.widths:
            px = length_px(scene.fwhm, width, self.config.unit)
            found = compensated_gaussian_fluxes(
                **pixels_within(scene, catalog, 4.0 * self.config.ratio * px, bad=EMPTY),
                width=px,
                ratio=self.config.ratio,
            )
            columns |= _flux_columns(scene, length_name("compensated", width, self.config.unit), found)
        return columns


class KronFluxConfig(Config):
    """Settings of `KronFluxPlugin`."""

    factor: PositiveFloat = 2.5
    """Size of the ellipse in units of the first-moment radius."""

    least_fwhm: PositiveFloat = 1.5
    """Smallest semi-major axis in units of the full width at half maximum."""


class KronFluxPlugin(MeasurementPlugin[KronFluxConfig]):
    """Sums in ellipses that follow the first moment of the light: SExtractor's FLUX_AUTO (Kron 1980; sep)."""

    order = 3.0

    def run(self, scene: MeasurementScene, catalog: Table) -> Columns:
        """Measure ``kron_inst_flux`` and its error and flag."""
        shape = moments_of(catalog)
        known = np.isfinite(shape["ixx"])
        middle, spread = (
            0.5 * (shape["ixx"] + shape["iyy"]),
            np.hypot(0.5 * (shape["ixx"] - shape["iyy"]), shape["ixy"]),
        )
        found = kron_fluxes(
            scene.tiles.image,
            variance=scene.tiles.variance,
            bad=scene.bad(*EMPTY),
            **on_tiles(scene, catalog),
            a=np.where(known, np.sqrt(np.abs(middle + spread)), scene.psf_sigma),
            b=np.where(known, np.sqrt(np.maximum(middle - spread, 1e-2)), scene.psf_sigma),
            theta=np.where(known, np.degrees(0.5 * np.arctan2(2.0 * shape["ixy"], shape["ixx"] - shape["iyy"])), 0.0),
            labels=scene.tiles.numbers(),
            factor=self.config.factor,
            min_radius=self.config.least_fwhm * scene.fwhm,
        )
        return _flux_columns(scene, "kron", found)


class BlendednessPlugin(MeasurementPlugin):
    """Share of the light under the source that is its neighbours' (Bosch et al. 2018, section 4.9.11)."""

    order = 4.0

    def run(self, scene: MeasurementScene, catalog: Table) -> Columns:
        """Measure ``blendedness``, 0 for a lone source and towards 1 under a bright neighbour, and its flag."""
        if "ixx" not in catalog.colnames:
            return {}
        shape = moments_of(catalog)
        own = gaussian_weighted_flux(scene.tiles.image, bad=scene.bad(*UNUSABLE), **on_tiles(scene, catalog), **shape)
        everything = gaussian_weighted_flux(
            scene.exposure.image,
            bad=scene.unusable,
            x=values(catalog, "x"),
            y=values(catalog, "y"),
            **shape,
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            blendedness = np.clip(1.0 - own / everything, 0.0, 1.0)
        blendedness = np.where(everything > 0, blendedness, np.nan)
        return {"blendedness": blendedness, "blendedness_flag": ~np.isfinite(blendedness)}


def _without_centroid(catalog: Table) -> BoolArray:
    """Return whose positions are those of their peaks; none where no centroids were measured."""
    name = "centroid_flag_reset_to_peak"
    return np.array(catalog[name] if name in catalog.colnames else np.zeros(len(catalog)), dtype=np.bool_)


def length_name(stem: str, length: float, unit: LengthUnit) -> str:
    """Return the name of what was measured with a length: ``aper_1_5_fwhm`` or ``aper_12_px``."""
    number = f"{length:g}".replace(".", "_")
    return f"{stem}_{number}_{'fwhm' if unit == 'fwhm' else 'px'}"


def length_px(fwhm: float, length: float, unit: LengthUnit) -> float:
    """Return a length in pixels."""
    return length * fwhm if unit == "fwhm" else length


def _aperture_columns(
    scene: MeasurementScene, catalog: Table, name: str, found: ApertureFluxes, radius: float
) -> dict[str, object]:
    x, y = values(catalog, "x"), values(catalog, "y")
    ny, nx = scene.exposure.shape
    truncated = ~((x - radius > -0.5) & (y - radius > -0.5) & (x + radius < nx - 0.5) & (y + radius < ny - 0.5))
    flags = {"truncated": truncated, "masked": found.flag & ~truncated}
    return _flux_columns(scene, name, found, also=truncated) | {
        f"{name}_flux_flag_{what}": flag for what, flag in flags.items()
    }


def _flux_columns(
    scene: MeasurementScene, name: str, found: ApertureFluxes | WeightedFluxes, *, also: BoolArray | None = None
) -> dict[str, object]:
    flag = found.flag | ~np.isfinite(found.flux) | ~np.isfinite(found.flux_err)
    flag = flag if also is None else flag | also
    unit: u.UnitBase = scene.unit
    return {
        f"{name}_inst_flux": np.where(flag, np.nan, found.flux) * unit,
        f"{name}_inst_flux_err": np.where(flag, np.nan, found.flux_err) * unit,
        f"{name}_flux_flag": flag,
    }
