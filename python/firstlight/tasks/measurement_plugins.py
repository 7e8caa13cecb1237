"""The measurements a catalogue is made of; each fills columns for all sources at once.

A plug-in never raises for a source: what cannot be measured is NaN and flagged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from astropy import units as u
from astropy.table import Table
from pydantic import PositiveFloat
from typing_extensions import TypeVar

from firstlight.algorithms.aperture import aperture_fluxes
from firstlight.algorithms.centroids import measure_centroids
from firstlight.algorithms.detection import Detections
from firstlight.algorithms.moments import adaptive_moments
from firstlight.algorithms.psf_flux import measure_psf_flux
from firstlight.framework import Config, Task
from firstlight.images.catalog import with_sky_positions
from firstlight.images.exposure import Exposure
from firstlight.images.psf import FWHM_PER_SIGMA
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.kernels.pixel_flags import any_in_footprint

Columns = Mapping[str, object]
"""Column name -> values, one per source; quantities where they have a unit."""

UNUSABLE = ("BAD", "NO_DATA", "SAT", "CR")

MeasurementConfigT = TypeVar("MeasurementConfigT", bound=Config, covariant=True, default=Config)


class MeasurementPlugin(Task[MeasurementConfigT], ABC):
    """Interface: one kind of measurement."""

    order: ClassVar[float] = 0.0
    """Plug-ins run by rising order: centroids 0, flags 1, shapes 2, fluxes 3, what needs these 4, sky positions 5."""

    @abstractmethod
    def run(self, exposure: Exposure, catalog: Table, detections: Detections, *, aperture_radius: float) -> Columns:
        """Measure all sources of ``catalog``, which holds the columns of the plug-ins before this one.

        Parameters
        ----------
        exposure
            Background-subtracted, with a PSF.
        catalog
            One row per detection.
        detections
            Peaks and label image.
        aperture_radius : [pixel]
            The calibration aperture of this exposure.
        """


class WindowedCentroidConfig(Config):
    """Settings of `WindowedCentroidPlugin`."""

    wide: PositiveFloat = 1.5
    """Sources wider than the PSF by this factor get a window of their own width."""


class WindowedCentroidPlugin(MeasurementPlugin[WindowedCentroidConfig]):
    """Centroids under a Gaussian window as wide as the PSF (SExtractor's XWIN, YWIN)."""

    order = 0.0

    def run(self, exposure: Exposure, catalog: Table, detections: Detections, *, aperture_radius: float) -> Columns:
        """Measure ``x``, ``y``, their errors and ``centroid_flag``."""
        sigma = psf_sigma(exposure)
        start_x, start_y = self._start(exposure, catalog)
        area = detections.a * detections.b - sigma**2
        found = measure_centroids(
            exposure.image,
            variance=exposure.variance,
            bad=exposure.mask.any_of("BAD", "NO_DATA", "CR", "SAT"),
            x=start_x,
            y=start_y,
            snr=_values(catalog, "peak_snr"),
            psf_sigma=sigma,
            size=np.where(area > (self.config.wide * sigma) ** 2, np.sqrt(np.maximum(area, 0.0)), np.nan),
            labels=detections.labels,
            own_label=np.arange(1, len(catalog) + 1),
        )
        return {
            "x": found.x * u.pix,
            "y": found.y * u.pix,
            "x_err": found.x_err * u.pix,
            "y_err": found.y_err * u.pix,
            "centroid_flag": found.flag,
        }

    @staticmethod
    def _start(exposure: Exposure, catalog: Table) -> tuple[FloatArray, FloatArray]:
        """Return isophotal centroids; of saturated stars, whose bleed trails pull these away, the smoothed peaks."""
        peak_x, peak_y = _values(catalog, "peak_x"), _values(catalog, "peak_y")
        saturated = _any_at_centre(exposure.mask.any_of("SAT"), peak_x, peak_y)
        return np.where(saturated, peak_x, _values(catalog, "x")), np.where(saturated, peak_y, _values(catalog, "y"))


class PixelFlagsPlugin(MeasurementPlugin):
    """What the mask says under each footprint and at each centre (LSST `PixelFlags`)."""

    order = 1.0
    footprint: ClassVar[Mapping[str, str]] = {
        "saturated": "SAT",
        "interpolated": "INTRP",
        "cr": "CR",
        "bad": "BAD",
        "no_data": "NO_DATA",
        "suspect": "SUSPECT",
    }
    centre: ClassVar[Mapping[str, str]] = {
        "saturated_center": "SAT",
        "interpolated_center": "INTRP",
        "cr_center": "CR",
        "bad_center": "BAD",
    }

    def run(self, exposure: Exposure, catalog: Table, detections: Detections, *, aperture_radius: float) -> Columns:
        """Set one flag per mask plane: any pixel of the footprint, and any of the 3 x 3 at the centre."""
        columns: dict[str, object] = {}
        for name, plane in self.footprint.items():
            where = exposure.mask.any_of(plane)
            columns[name] = any_in_footprint(where, detections.labels, detections.n_peaks)
        for name, plane in self.centre.items():
            columns[name] = _any_at_centre(exposure.mask.any_of(plane), _values(catalog, "x"), _values(catalog, "y"))
        return columns


class AdaptiveMomentsPlugin(MeasurementPlugin):
    """Second moments under a matched Gaussian, of the source and of the PSF there (Bernstein & Jarvis 2002)."""

    order = 2.0

    def run(self, exposure: Exposure, catalog: Table, detections: Detections, *, aperture_radius: float) -> Columns:
        """Measure ``ixx``, ``iyy``, ``ixy`` with errors, ``shape_flag`` and ``psf_ixx``, ``psf_iyy``, ``psf_ixy``."""
        x, y = _values(catalog, "x"), _values(catalog, "y")
        found = adaptive_moments(
            exposure.image,
            variance=exposure.variance,
            bad=exposure.mask.any_of(*UNUSABLE),
            x=x,
            y=y,
            sigma_guess=psf_sigma(exposure),
            labels=detections.labels,
            own_label=np.arange(1, len(catalog) + 1),
        )
        area = u.pix**2
        columns: dict[str, object] = {name: getattr(found, name) * area for name in ("ixx", "iyy", "ixy")}
        columns |= {f"{name}_err": getattr(found, f"{name}_err") * area for name in ("ixx", "iyy", "ixy")}
        columns["shape_flag"] = found.flag
        columns |= {f"psf_{name}": value * area for name, value in _psf_moments(exposure, x, y).items()}
        return columns


class ApertureFluxConfig(Config):
    """Settings of `ApertureFluxPlugin`."""

    radii: tuple[PositiveFloat, ...] = ()
    """Further aperture radii [pixel]; each gives ``aper_<radius>_inst_flux``."""


class ApertureFluxPlugin(MeasurementPlugin[ApertureFluxConfig]):
    """Sums in circles with exact fractional pixels: the calibration aperture and any others (sep)."""

    order = 3.0

    def run(self, exposure: Exposure, catalog: Table, detections: Detections, *, aperture_radius: float) -> Columns:
        """Measure ``aper_inst_flux`` and its error and flag, and the same for each further radius."""
        columns: dict[str, object] = {}
        for radius in (aperture_radius, *self.config.radii):
            name = "aper" if radius == aperture_radius else f"aper_{radius:g}".replace(".", "_")
            found = aperture_fluxes(
                exposure.image,
                variance=exposure.variance,
                bad=exposure.mask.any_of("BAD", "NO_DATA"),
                x=_values(catalog, "x"),
                y=_values(catalog, "y"),
                radius=radius,
            )
            columns[f"{name}_inst_flux"] = found.flux * exposure_unit(exposure)
            columns[f"{name}_inst_flux_err"] = found.flux_err * exposure_unit(exposure)
            columns[f"{name}_flux_flag"] = found.flag
        return columns


class PsfFluxPlugin(MeasurementPlugin):
    """Flux of the PSF at each centroid, neighbours of a blend fitted together."""

    order = 3.0

    def run(self, exposure: Exposure, catalog: Table, detections: Detections, *, aperture_radius: float) -> Columns:
        """Measure ``psf_inst_flux``, its error and flag, ``psf_chi2`` and ``snr``."""
        if exposure.psf is None:
            nothing = np.full(len(catalog), np.nan)
            return {
                "psf_inst_flux": nothing,
                "psf_inst_flux_err": nothing,
                "psf_flux_flag": np.ones(len(catalog), bool),
            }
        found = measure_psf_flux(
            exposure.image,
            variance=exposure.variance,
            bad=exposure.mask.any_of(*UNUSABLE),
            psf=exposure.psf,
            x=_values(catalog, "x"),
            y=_values(catalog, "y"),
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            snr = found.flux / found.flux_err
        return {
            "psf_inst_flux": found.flux * exposure_unit(exposure),
            "psf_inst_flux_err": found.flux_err * exposure_unit(exposure),
            "psf_chi2": found.chi2,
            "psf_flux_flag": found.flag,
            "snr": snr,
        }


class ExtendednessPlugin(MeasurementPlugin):
    """How much larger than the PSF a source is (LSST `ClassificationSizeExtendedness`)."""

    order = 4.0

    def run(self, exposure: Exposure, catalog: Table, detections: Detections, *, aperture_radius: float) -> Columns:
        """Measure ``extendedness``: 0 for a point source, towards 1 for an extended one; NaN without a shape."""
        if "psf_ixx" not in catalog.colnames:
            return {}
        size = _values(catalog, "ixx") + _values(catalog, "iyy")
        psf_size = _values(catalog, "psf_ixx") + _values(catalog, "psf_iyy")
        error = np.hypot(_values(catalog, "ixx_err"), _values(catalog, "iyy_err"))
        with np.errstate(invalid="ignore", divide="ignore"):
            excess = np.maximum(size - psf_size, 0.0) / np.sqrt(psf_size)
            noise = error / np.sqrt(psf_size)
            extendedness = 1.0 - np.exp(-0.5 * np.maximum(excess**2 - noise**2, 0.0))
        return {"extendedness": extendedness}


class SkyCoordPlugin(MeasurementPlugin):
    """Position on the sky, where the exposure has a WCS."""

    order = 5.0

    def run(self, exposure: Exposure, catalog: Table, detections: Detections, *, aperture_radius: float) -> Columns:
        """Compute ``ra`` and ``dec``; NaN without a WCS."""
        placed = with_sky_positions(catalog, exposure.wcs)
        return {name: placed[name] for name in ("ra", "dec")}


def psf_sigma(exposure: Exposure) -> float:
    """Return the size of the PSF at the centre of the exposure [pixel]."""
    if exposure.psf is None:
        return 3.5 / FWHM_PER_SIGMA
    ny, nx = exposure.image.shape
    return exposure.psf.moments(x=(nx - 1) / 2, y=(ny - 1) / 2).sigma


def exposure_unit(exposure: Exposure) -> u.UnitBase:
    """Return the unit of the pixels."""
    return u.nJy if exposure.unit == "nJy" else u.ct


def _values(catalog: Table, name: str) -> FloatArray:
    return np.asarray(catalog[name], dtype=np.float64)


def _any_at_centre(where: BoolArray, x: FloatArray, y: FloatArray) -> BoolArray:
    ny, nx = where.shape
    column, row = np.rint(np.nan_to_num(x)).astype(int), np.rint(np.nan_to_num(y)).astype(int)
    result = np.zeros(len(x), dtype=bool)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            result |= where[np.clip(row + dy, 0, ny - 1), np.clip(column + dx, 0, nx - 1)]
    return result


def _psf_moments(exposure: Exposure, x: FloatArray, y: FloatArray) -> dict[str, FloatArray]:
    shapes = exposure.psf.shapes(x=x, y=y) if exposure.psf else np.full((len(x), 3), np.nan)
    return {"ixx": shapes[:, 0], "iyy": shapes[:, 1], "ixy": shapes[:, 2]}
