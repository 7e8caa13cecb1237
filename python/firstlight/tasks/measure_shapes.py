"""Measure shapes: second and higher moments, and whether a source is larger than a star."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import NDArray
from pydantic import PositiveFloat

from firstlight.algorithms.extendedness import flux_extendedness, size_extendedness
from firstlight.algorithms.moments import adaptive_moments
from firstlight.algorithms.weighted_fluxes import MOMENT_ORDERS, higher_moments
from firstlight.framework import Config
from firstlight.kernels import moments as kernel
from firstlight.kernels.arrays import BoolArray
from firstlight.tasks.measurement_plugins import (
    Columns,
    MeasurementPlugin,
    moments_of,
    on_tiles,
    values,
)
from firstlight.tasks.measurement_scene import UNUSABLE, MeasurementScene

SHAPE = ("ixx", "iyy", "ixy")


class AdaptiveMomentsPlugin(MeasurementPlugin):
    """Second moments under a matched Gaussian, of the source and of the PSF there (Bernstein & Jarvis 2002).

    The flux of that Gaussian comes with them; it is exact for a Gaussian source (LSST ``GaussianFlux``).
    """

    order = 2.0

    def run(self, scene: MeasurementScene, catalog: Table) -> Columns:
        """Measure ``ixx``, ``iyy``, ``ixy``, ``gaussian_inst_flux`` with errors and flags, and ``psf_ixx`` ..."""
        found = self._measure(scene, catalog, scene.blocked, np.arange(len(catalog)))
        again = np.flatnonzero((found["status"] == kernel.MASKED) & scene.has_foreign)
        if len(again):
            for name, column in self._measure(scene, catalog, scene.bad(*UNUSABLE), again).items():
                found[name][again] = column
        status = found.pop("status")
        return self._columns(scene, catalog, found, status)

    @staticmethod
    def _measure(
        scene: MeasurementScene, catalog: Table, bad: BoolArray, rows: NDArray[np.int64]
    ) -> dict[str, NDArray[Any]]:
        tiles, at = scene.tiles, on_tiles(scene, catalog)
        found = adaptive_moments(
            tiles.image,
            variance=tiles.variance,
            bad=bad,
            x=at["x"][rows],
            y=at["y"][rows],
            sigma_guess=scene.psf_sigma,
            labels=tiles.numbers(),
            own_label=tiles.own[rows],
            own_only=True,
            kurtosis=scene.psf_kurtosis,
        )
        names = (*SHAPE, *(f"{name}_err" for name in SHAPE), "flux", "flux_err", "status")
        return {name: np.array(getattr(found, name)) for name in names}

    @staticmethod
    def _columns(
        scene: MeasurementScene, catalog: Table, found: dict[str, NDArray[Any]], status: NDArray[np.int64]
    ) -> Columns:
        finite = np.logical_and.reduce([np.isfinite(column) for column in found.values()])
        flags: dict[str, BoolArray] = {
            "no_good_pixels": np.isin(status, (kernel.MASKED, kernel.OFF_IMAGE)),
            "not_converged": np.asarray(status == kernel.NOT_CONVERGED),
            "no_flux": np.asarray(status == kernel.NO_FLUX),
            "shift": np.asarray(status == kernel.SHIFTED),
            "no_ellipse": np.isin(status, (kernel.SINGULAR, kernel.TOO_LARGE)) | ((status == kernel.OK) & ~finite),
        }
        flag = np.logical_or.reduce(list(flags.values()))
        area = u.pix**2
        columns: dict[str, object] = {name: found[name] * area for name in found if name.startswith("i")}
        columns["shape_flag"] = flag
        columns |= {f"shape_flag_{name}": value for name, value in flags.items()}
        columns |= {"gaussian_inst_flux": found["flux"] * scene.unit}
        columns |= {"gaussian_inst_flux_err": found["flux_err"] * scene.unit, "gaussian_flux_flag": flag}
        psf = _psf_moments(scene, catalog)
        return columns | {f"psf_{name}": psf[:, k] * area for k, name in enumerate(SHAPE)}


class HigherMomentsPlugin(MeasurementPlugin):
    """Moments of orders 3 and 4 of the source made round and of unit size, under the matched Gaussian."""

    order = 4.0

    def run(self, scene: MeasurementScene, catalog: Table) -> Columns:
        """Measure ``moment_30`` to ``moment_04`` and ``moments_flag``."""
        if "ixx" not in catalog.colnames:
            return {}
        found = higher_moments(
            scene.tiles.image, bad=scene.bad(*UNUSABLE), **on_tiles(scene, catalog), **moments_of(catalog)
        )
        columns: dict[str, object] = {f"moment_{name}": found[:, k] for k, name in enumerate(MOMENT_ORDERS)}
        return columns | {"moments_flag": ~np.isfinite(found).all(axis=1)}


class ExtendednessConfig(Config):
    """Settings of `ExtendednessPlugin`."""

    least_excess: PositiveFloat = 0.08
    """Excess of the size over that of the PSF, relative, at which a source without noise counts as extended."""

    n_sigma: PositiveFloat = 2.5
    """A noisy source must be larger than the PSF by this many standard errors besides."""


class ExtendednessPlugin(MeasurementPlugin[ExtendednessConfig]):
    """How much larger than the PSF a source is (LSST `ClassificationSizeExtendedness`, without a unit)."""

    order = 4.0

    def run(self, scene: MeasurementScene, catalog: Table) -> Columns:
        """Measure ``extendedness``: below 0.5 for a point source, above for an extended one; NaN without a shape."""
        if "psf_ixx" not in catalog.colnames:
            return {}
        own, psf = moments_of(catalog), moments_of(catalog, prefix="psf_")
        found = size_extendedness(
            own["ixx"] + own["iyy"],
            size_err=np.hypot(values(catalog, "ixx_err"), values(catalog, "iyy_err")),
            psf_size=psf["ixx"] + psf["iyy"],
            least_excess=self.config.least_excess,
            n_sigma=self.config.n_sigma,
        )
        return {"extendedness": found, "extendedness_flag": ~np.isfinite(found)}


class FluxExtendednessConfig(Config):
    """Settings of `FluxExtendednessPlugin`."""

    least_excess: PositiveFloat = 0.03
    """Excess of the matched Gaussian over the PSF flux, relative to stars, at which a source is extended."""

    n_sigma: PositiveFloat = 2.5
    """A noisy source must exceed it by this many standard errors besides."""


class FluxExtendednessPlugin(MeasurementPlugin[FluxExtendednessConfig]):
    """Whether a matched Gaussian holds more light than the PSF (LSST ``ClassificationExtendedness``)."""

    order = 4.0

    def run(self, scene: MeasurementScene, catalog: Table) -> Columns:
        """Measure ``flux_extendedness``: 0 for a point source, 1 for an extended one; NaN without both fluxes."""
        names = ("gaussian_inst_flux", "gaussian_inst_flux_err", "psf_inst_flux")
        if any(name not in catalog.colnames for name in names):
            return {}
        found = flux_extendedness(
            values(catalog, names[0]),
            model_flux_err=values(catalog, names[1]),
            psf_flux=values(catalog, names[2]),
            of_star=scene.gaussian_share,
            least_excess=self.config.least_excess,
            n_sigma=self.config.n_sigma,
        )
        return {"flux_extendedness": found, "flux_extendedness_flag": ~np.isfinite(found)}


def _psf_moments(scene: MeasurementScene, catalog: Table) -> NDArray[np.float64]:
    psf = scene.exposure.psf
    if psf is None:
        return np.full((len(catalog), 3), np.nan)
    return psf.shapes(x=values(catalog, "x"), y=values(catalog, "y"))
