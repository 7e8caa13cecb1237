"""Flux of the PSF at known positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.images.psf import Psf
from firstlight.kernels.arrays import BoolArray, FloatArray


@dataclass(frozen=True)
class PsfFluxes:
    """PSF fluxes, one entry per source."""

    flux: NDArray[np.float64]
    flux_err: NDArray[np.float64]
    chi2: NDArray[np.float64]
    flag: BoolArray


def measure_psf_flux(
    image: FloatArray, *, variance: FloatArray, bad: BoolArray, psf: Psf, x: FloatArray, y: FloatArray
) -> PsfFluxes:
    """Measure F = sum(p d) / sum(p^2) (LSST `PsfFlux`)."""
    n = len(x)
    stamps = psf.images(x=x, y=y)
    r = psf.radius
    steps = np.arange(-r, r + 1)
    rows = np.rint(y).astype(int)[:, None, None] + steps[None, :, None]
    cols = np.rint(x).astype(int)[:, None, None] + steps[None, None, :]
    inside = (rows >= 0) & (rows < image.shape[0]) & (cols >= 0) & (cols < image.shape[1])
    rows, cols = np.clip(rows, 0, image.shape[0] - 1), np.clip(cols, 0, image.shape[1] - 1)
    good = inside & ~bad[rows, cols]
    p = np.where(good, stamps, 0.0)
    d = np.where(good, image[rows, cols], 0.0)
    v = variance[rows, cols]
    norm = (p**2).sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        flux = (p * d).sum((1, 2)) / norm
        err = np.sqrt((p**2 * v).sum((1, 2))) / norm
        chi2 = np.where(good, (d - flux[:, None, None] * stamps) ** 2 / v, 0.0).sum((1, 2)) / np.maximum(
            1, good.sum((1, 2)) - 1
        )
    flag = ~np.isfinite(flux) | (norm < 0.5 * (stamps**2).sum((1, 2)))
    return PsfFluxes(flux=flux, flux_err=err, chi2=chi2, flag=flag)
