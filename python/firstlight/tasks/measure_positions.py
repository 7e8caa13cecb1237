"""Measure positions: centroids on the image, and on the sky."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveFloat

from firstlight.algorithms.centroids import Centroids, measure_centroids
from firstlight.algorithms.psf_phase import without_phase_error
from firstlight.framework import Config
from firstlight.images.catalog import with_sky_positions
from firstlight.images.psf import GaussianPsf
from firstlight.kernels import centroids as kernel
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.tasks.measurement_plugins import Columns, MeasurementPlugin, moments_of, values
from firstlight.tasks.measurement_scene import MeasurementScene

DEG_PER_ARCSEC = 1.0 / 3600.0


class WindowedCentroidConfig(Config):
    """Settings of `WindowedCentroidPlugin`."""

    wide: PositiveFloat = 1.5
    """Sources wider than the PSF by this factor get a window of their own width."""

    edge_fwhm: PositiveFloat = 1.7
    """Centroids closer to the border of the image are flagged, in units of the full width at half maximum."""

    coarse_fwhm: NonNegativeFloat = 2.5
    """Where the full width at half maximum of the PSF is smaller, what the coarse pixels do to the centroids of point
    sources is taken off, as the PSF tells it [pixel]."""

    coarse_error: PositiveFloat = 0.1
    """Centroids less certain than this are left as they are measured: noise outweighs the pixels [pixel]."""


class WindowedCentroidPlugin(MeasurementPlugin[WindowedCentroidConfig]):
    """Centroids under a Gaussian window as wide as the PSF (SExtractor's XWIN, YWIN)."""

    order = 0.0

    def run(self, scene: MeasurementScene, catalog: Table) -> Columns:
        """Measure ``x``, ``y``, their errors, ``centroid_flag`` and what it is made of."""
        found, tiles, sigma = scene.detections, scene.tiles, scene.psf_sigma
        area = found.a * found.b - sigma**2
        size = np.where(area > (self.config.wide * sigma) ** 2, np.sqrt(np.maximum(area, 0.0)), np.nan)
        start_x, start_y = tiles.at(*self._start(scene, catalog))
        measured = measure_centroids(
            tiles.image,
            variance=tiles.variance,
            bad=scene.blocked,
            x=start_x,
            y=start_y,
            snr=np.abs(values(catalog, "peak_snr")),
            psf_sigma=sigma,
            size=size,
            labels=tiles.numbers(),
            own_label=tiles.own,
        )
        x, y = np.asarray(measured.x - tiles.shift_x), np.asarray(measured.y - tiles.shift_y)
        x, y = self._without_phase(scene, measured, x, y, snr=values(catalog, "peak_snr"), size=size)
        flags = self._flags(scene, measured, x, y)
        return {
            "x": x * u.pix,
            "y": y * u.pix,
            "x_err": measured.x_err * u.pix,
            "y_err": measured.y_err * u.pix,
            "centroid_flag": np.logical_or.reduce(list(flags.values())),
            **{f"centroid_flag_{name}": flag for name, flag in flags.items()},
        }

    def _without_phase(
        self,
        scene: MeasurementScene,
        measured: Centroids,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        *,
        snr: FloatArray,
        size: FloatArray,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return positions that do not depend on where in its pixel a point source lies."""
        psf = scene.exposure.psf
        if psf is None or isinstance(psf, GaussianPsf) or scene.fwhm > self.config.coarse_fwhm:
            return x, y
        error = np.maximum(measured.x_err, measured.y_err)
        rows = np.flatnonzero(~measured.flag & (error < self.config.coarse_error))
        x, y = x.copy(), y.copy()
        x[rows], y[rows] = without_phase_error(
            psf,
            x=x[rows],
            y=y[rows],
            snr=np.abs(snr[rows]),
            psf_sigma=scene.psf_sigma,
            size=size[rows],
            error=error[rows],
        )
        return x, y

    def _flags(
        self, scene: MeasurementScene, measured: Centroids, x: FloatArray, y: FloatArray
    ) -> dict[str, BoolArray]:
        ny, nx = scene.exposure.shape
        margin = self.config.edge_fwhm * scene.fwhm
        return {
            "edge": np.asarray((x < margin) | (y < margin) | (x > nx - 1 - margin) | (y > ny - 1 - margin)),
            "not_at_maximum": np.asarray((measured.status == kernel.NO_FLUX) | (measured.status == kernel.SHIFTED)),
            "not_converged": np.asarray(measured.status == kernel.NOT_CONVERGED),
            "no_good_pixels": np.asarray((measured.status == kernel.MASKED) | (measured.status == kernel.OFF_IMAGE)),
            "reset_to_peak": measured.flag & ~scene.detections.sky,
        }

    @staticmethod
    def _start(scene: MeasurementScene, catalog: Table) -> tuple[FloatArray, FloatArray]:
        """Return isophotal centroids; of saturated stars, whose bleed trails pull these away, the smoothed peaks."""
        peak_x, peak_y = values(catalog, "peak_x"), values(catalog, "peak_y")
        mask = scene.exposure.mask
        saturated = ((centre_bits(mask.array, peak_x, peak_y) & mask.bits("SAT")) != 0).any(axis=0)
        return np.where(saturated, peak_x, values(catalog, "x")), np.where(saturated, peak_y, values(catalog, "y"))


class SkyCoordPlugin(MeasurementPlugin):
    """Position on the sky with its error, where the exposure has a WCS, by the WCS made linear there."""

    order = 5.0

    def run(self, scene: MeasurementScene, catalog: Table) -> Columns:
        """Compute ``ra``, ``dec`` and their errors, that of ``ra`` along the sky; NaN without a WCS."""
        wcs = scene.exposure.wcs
        placed = with_sky_positions(catalog, wcs)
        errors = np.full((len(catalog), 2), np.nan)
        if wcs is not None and "x_err" in catalog.colnames:
            jacobian = wcs.local_jacobian(x=values(catalog, "x"), y=values(catalog, "y"))
            squares = np.column_stack([values(catalog, "x_err"), values(catalog, "y_err")]) ** 2
            errors = np.sqrt(np.einsum("nij,nj->ni", jacobian**2, squares)) * DEG_PER_ARCSEC
        return {
            **{name: placed[name] for name in ("ra", "dec")},
            "ra_err": errors[:, 0] * u.deg,
            "dec_err": errors[:, 1] * u.deg,
            "sky_flag": ~np.isfinite(np.asarray(placed["ra"])),
        }


class SkyShapePlugin(MeasurementPlugin):
    """Second moments on the sky, of the source and of the PSF there, by the WCS made linear there."""

    order = 5.0

    def run(self, scene: MeasurementScene, catalog: Table) -> Columns:
        """Compute ``sky_ixx`` (along east), ``sky_iyy`` (along north), ``sky_ixy`` [arcsec2], and those of the PSF."""
        if "ixx" not in catalog.colnames:
            return {}
        wcs = scene.exposure.wcs
        jacobian = np.full((len(catalog), 2, 2), np.nan)
        if wcs is not None:
            jacobian = wcs.local_jacobian(x=values(catalog, "x"), y=values(catalog, "y"))
        columns: dict[str, object] = {}
        for prefix in ("", "psf_"):
            moments = moments_of(catalog, prefix=prefix)
            ixx, iyy, ixy = moments["ixx"], moments["iyy"], moments["ixy"]
            matrix = np.stack([ixx, ixy, ixy, iyy], axis=-1).reshape(-1, 2, 2)
            on_sky = np.einsum("nij,njk,nlk->nil", jacobian, matrix, jacobian)
            for name, (i, k) in {"ixx": (0, 0), "iyy": (1, 1), "ixy": (0, 1)}.items():
                columns[f"sky_{prefix}{name}"] = on_sky[:, i, k] * u.arcsec**2
        return columns


def centre_bits(mask: NDArray[np.int32], x: FloatArray, y: FloatArray) -> NDArray[np.int32]:
    """Return the mask of the 3 x 3 pixels about each position, (9, n); beyond the border that of the nearest pixel."""
    ny, nx = mask.shape
    column, row = np.rint(np.nan_to_num(x)).astype(int), np.rint(np.nan_to_num(y)).astype(int)
    near = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return np.stack([mask[np.clip(row + dy, 0, ny - 1), np.clip(column + dx, 0, nx - 1)] for dy, dx in near])
