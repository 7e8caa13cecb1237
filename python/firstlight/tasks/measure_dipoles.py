"""Measure dipoles: sources that lie at different places in science exposure and template."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt

from firstlight.algorithms.dipoles import DipoleImages, Dipoles, fit_dipoles
from firstlight.framework import Config
from firstlight.kernels.arrays import BoolArray
from firstlight.tasks.difference_plugins import DifferencePlugin, DifferenceScene, psf_of
from firstlight.tasks.measurement_plugins import Columns, values


class DipolePluginConfig(Config):
    """Settings of `DipolePlugin`."""

    max_area: PositiveInt = 1200
    """Larger footprints are not fitted [pixel]."""

    radius_fwhm: PositiveFloat = 2.0
    """How far beyond the two peaks pixels are used, in units of the full width at half maximum."""

    direct_weight: float = Field(default=0.5, ge=0.0)
    """Weight of the pixels of science exposure and template over that of the difference."""

    max_shift_sigma: PositiveFloat = 5.0
    """Each lobe stays this near to its peak, in units of the sigma of the PSF."""

    min_snr: PositiveFloat = 5.0 * math.sqrt(2.0)
    """Signal-to-noise ratios of the two lobes, added in quadrature, that a dipole exceeds."""

    max_flux_ratio: float = Field(default=0.65, gt=0.5, lt=1.0)
    """Larger share of the light of both lobes that one of them may have."""

    min_separation_snr: PositiveFloat = 3.0
    """The distance of the lobes exceeds this many of its errors [standard deviation]."""


class DipolePlugin(DifferencePlugin[DipolePluginConfig]):
    """Fits two lobes to footprints of both signs (LSST `DipoleFitPlugin`).

    A source is called a dipole if both lobes are bright and alike, stand apart, and explain the difference better than
    a point source does.
    """

    order: ClassVar[float] = 1.0

    def run(self, scene: DifferenceScene, catalog: Table) -> Columns:
        """Measure ``is_dipole``, fluxes and places of the lobes; ``x`` and ``y`` of a dipole become their middle."""
        n = len(catalog)
        tried = np.isfinite(values(catalog, "partner_x")) & (values(catalog, "merged_area") <= self.config.max_area)
        rows = np.flatnonzero(tried)
        fitted = self._fit(scene, catalog, rows)
        is_dipole = np.zeros(n, dtype=bool)
        is_dipole[rows] = self._is_dipole(fitted)
        columns: dict[str, object] = {
            "dipole_tried": tried,
            "is_dipole": is_dipole,
            "dipole_flag": tried & ~_spread(fitted.converged.astype(float), rows, n, fill=0.0).astype(bool),
        }
        for name, sign in (("positive", 1.0), ("negative", -1.0)):
            flux, error = getattr(fitted, f"{name}_flux"), getattr(fitted, f"{name}_flux_err")
            columns[f"dipole_{name}_inst_flux"] = _spread(sign * flux, rows, n) * scene.unit
            columns[f"dipole_{name}_inst_flux_err"] = _spread(error, rows, n) * scene.unit
            for axis in ("x", "y"):
                columns[f"dipole_{name}_{axis}"] = _spread(getattr(fitted, f"{name}_{axis}"), rows, n) * u.pix
        columns |= {
            "dipole_separation": _spread(fitted.separation, rows, n) * u.pix,
            "dipole_separation_err": _spread(fitted.separation_err, rows, n) * u.pix,
            "dipole_angle": _spread(fitted.angle, rows, n) * u.deg,
            "dipole_snr": _spread(fitted.snr, rows, n),
            "dipole_chi2": _spread(fitted.chi2, rows, n),
        }
        for axis in ("x", "y"):
            middle = 0.5 * (getattr(fitted, f"positive_{axis}") + getattr(fitted, f"negative_{axis}"))
            columns[axis] = np.where(is_dipole, _spread(middle, rows, n), values(catalog, axis)) * u.pix
        return columns

    def _fit(self, scene: DifferenceScene, catalog: Table, rows: NDArray[np.int64]) -> Dipoles:
        negative = np.asarray(catalog["is_negative"], dtype=bool)[rows]
        own = [values(catalog, name)[rows] for name in ("peak_x", "peak_y")]
        other = [values(catalog, name)[rows] for name in ("partner_x", "partner_y")]
        ny, nx = scene.difference.shape
        scale = scene.flux_scale(x=np.array([(nx - 1) / 2]), y=np.array([(ny - 1) / 2]))[0]
        images = DipoleImages(
            difference=scene.difference.image,
            difference_variance=scene.difference.variance,
            science=scene.science.image,
            science_variance=scene.science.variance,
            template=scene.template.image * np.float32(scale),
            bad=scene.unusable,
            difference_psf=psf_of(scene.difference),
            science_psf=psf_of(scene.science),
            template_psf=psf_of(scene.template),
        )
        return fit_dipoles(
            images,
            positive_x=np.where(negative, other[0], own[0]),
            positive_y=np.where(negative, other[1], own[1]),
            negative_x=np.where(negative, own[0], other[0]),
            negative_y=np.where(negative, own[1], other[1]),
            radius=max(3, math.ceil(self.config.radius_fwhm * scene.fwhm)),
            direct_weight=self.config.direct_weight,
            max_shift=self.config.max_shift_sigma * scene.fwhm / 2.3548,
        )

    def _is_dipole(self, fitted: Dipoles) -> BoolArray:
        total = 2.0 * fitted.flux
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.maximum(fitted.positive_flux, fitted.negative_flux) / total
            both = (fitted.positive_flux > 0) & (fitted.negative_flux > 0)
            apart = fitted.separation > self.config.min_separation_snr * fitted.separation_err
            return np.asarray(
                both
                & (share < self.config.max_flux_ratio)
                & (fitted.snr > self.config.min_snr)
                & apart
                & (fitted.chi2 < fitted.point_chi2)
            )


def _spread(
    found: NDArray[np.float64], rows: NDArray[np.int64], n: int, *, fill: float = np.nan
) -> NDArray[np.float64]:
    """Return values of some rows as a column of all."""
    column = np.full(n, fill)
    column[rows] = found
    return column
