"""Measure short trails: what moved during the exposure."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import NDArray
from pydantic import PositiveFloat

from firstlight.algorithms.trails import Trails, fit_trails, trail_of_moments
from firstlight.framework import Config
from firstlight.images.psf import FWHM_PER_SIGMA
from firstlight.tasks.difference_plugins import DifferencePlugin, DifferenceScene
from firstlight.tasks.measurement_plugins import Columns, values


class TrailPluginConfig(Config):
    """Settings of `TrailPlugin`."""

    min_snr: PositiveFloat = 8.0
    """Fainter sources have no measurable length."""

    min_length_fwhm: PositiveFloat = 0.8
    """Sources whose moments tell of a shorter trail are not fitted, in units of the full width at half maximum."""

    min_length_snr: PositiveFloat = 5.0
    """The length of a trail exceeds this many of its errors [standard deviation]."""


class TrailPlugin(DifferencePlugin[TrailPluginConfig]):
    """Fits a blurred line to elongated sources (LSST ``ext_trailedSources_Naive``)."""

    order: ClassVar[float] = 3.0

    def run(self, scene: DifferenceScene, catalog: Table) -> Columns:
        """Measure ``is_trail``, ``trail_length``, ``trail_angle``, ``trail_inst_flux`` and their errors."""
        n, sigma = len(catalog), scene.fwhm / FWHM_PER_SIGMA
        nothing = np.full(n, np.nan)
        ixx, iyy, ixy = (
            values(catalog, name) if name in catalog.colnames else nothing for name in ("ixx", "iyy", "ixy")
        )
        length, angle = trail_of_moments(ixx, iyy, ixy, sigma=sigma)
        with np.errstate(invalid="ignore"):
            tried = (length > self.config.min_length_fwhm * scene.fwhm) & (
                np.abs(values(catalog, "snr")) > self.config.min_snr
            )
        tried &= ~np.asarray(catalog["is_dipole"], dtype=bool) if "is_dipole" in catalog.colnames else True
        rows = np.flatnonzero(tried)
        fitted = self._fit(scene, catalog, rows, length[rows], angle[rows], sigma)
        is_trail = np.zeros(n, dtype=bool)
        with np.errstate(invalid="ignore"):
            is_trail[rows] = (fitted.length > self.config.min_length_snr * fitted.length_err) & (
                fitted.chi2 < fitted.point_chi2
            )
        sign = np.where(np.asarray(catalog["is_negative"], dtype=bool)[rows], -1.0, 1.0)
        found: dict[str, tuple[NDArray[np.float64], u.UnitBase]] = {
            "trail_length": (fitted.length, u.pix),
            "trail_length_err": (fitted.length_err, u.pix),
            "trail_angle": (fitted.angle, u.deg),
            "trail_inst_flux": (sign * fitted.flux, scene.unit),
            "trail_inst_flux_err": (fitted.flux_err, scene.unit),
            "trail_chi2": (fitted.chi2, u.dimensionless_unscaled),
        }
        columns: dict[str, object] = {"is_trail": is_trail}
        for name, (numbers, unit) in found.items():
            column = nothing.copy()
            column[rows] = numbers
            columns[name] = column if unit == u.dimensionless_unscaled else column * unit
        return columns

    @staticmethod
    def _fit(
        scene: DifferenceScene,
        catalog: Table,
        rows: NDArray[np.int64],
        length: NDArray[np.float64],
        angle: NDArray[np.float64],
        sigma: float,
    ) -> Trails:
        sign = np.where(np.asarray(catalog["is_negative"], dtype=bool)[rows], -1.0, 1.0)
        parts = []
        for each in (1.0, -1.0):
            chosen = sign == each
            parts.append(
                fit_trails(
                    np.float32(each) * scene.difference.image,
                    variance=scene.difference.variance,
                    bad=scene.unusable,
                    sigma=sigma,
                    x=values(catalog, "x")[rows[chosen]],
                    y=values(catalog, "y")[rows[chosen]],
                    length=length[chosen],
                    angle=angle[chosen],
                )
            )
        back = np.argsort(np.concatenate([np.flatnonzero(sign == 1.0), np.flatnonzero(sign == -1.0)]))
        return Trails(
            *(
                np.concatenate([getattr(part, name) for part in parts])[back]
                for name in ("x", "y", "length", "length_err", "angle", "flux", "flux_err", "chi2", "point_chi2")
            )
        )
