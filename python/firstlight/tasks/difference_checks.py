"""Whether a difference is good enough to look for changes on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from firstlight.algorithms.detection import Detections
from firstlight.errors import BadSubtractionError, PsfError
from firstlight.framework import Funnel
from firstlight.images.exposure import Exposure
from firstlight.kernels.arrays import FloatArray

LEAST_STARS = 5
"""Fewer stars than this do not condemn a subtraction."""


def require_psfs(exposures: Mapping[str, Exposure]) -> None:
    """Raise where an exposure, given by what it is called in a message, has no PSF.

    Raises
    ------
    PsfError
    """
    for name, exposure in exposures.items():
        if exposure.psf is None:
            raise PsfError(f"Finding what changed needs PSFs; the {name} has none.")


def residuals_of(kernel_sources: Table | None) -> NDArray[np.float64] | None:
    """Return what is left of each star by which two images were matched, where it is known; None without stars."""
    if kernel_sources is None:
        return None
    left = np.asarray(kernel_sources["residual_ratio"], dtype=np.float64)[np.asarray(kernel_sources["used"])]
    return np.asarray(left[np.isfinite(left)])


def require_good_subtraction(left: FloatArray | None, *, max_mean: float | None, max_scatter: float | None) -> None:
    """Raise where too much of the stars is left (LSST ``raiseOnBadSubtractionRatio``).

    Parameters
    ----------
    left : (n,)
        Share of the light of each star that is left.
    max_mean, max_scatter
        Largest mean and standard deviation; None for any.

    Raises
    ------
    BadSubtractionError
        If one is exceeded by five stars or more.
    """
    if left is None or len(left) < LEAST_STARS:
        return
    mean, scatter = float(np.mean(left)), float(np.std(left))
    for name, value, limit in (("mean", mean, max_mean), ("scatter", scatter, max_scatter)):
        if limit is not None and value > limit:
            raise BadSubtractionError(
                f"The difference leaves {mean:.2f} +- {scatter:.2f} of the light of {len(left)} stars; a {name} of at "
                f"most {limit:g} can be searched for changes (max_residual_ratio, max_residual_scatter).",
                residual_ratio=mean,
                residual_scatter=scatter,
                n_stars=len(left),
            )


def difference_funnel(found: Iterable[Detections], *, measured: Table, sources: Table) -> Funnel:
    """Return how many peaks of both signs became sources, and how many of those are clean."""
    peaks = sum(each.n_peaks for each in found)
    return Funnel("difference_sources", (("peaks", peaks), ("merged", len(measured)), ("clean", len(sources))))


def scatter_of_empty(table: Table) -> float:
    """Return the robust scatter of the PSF fluxes of empty places in units of their errors; NaN where none is known."""
    name = "psf_flux" if "psf_flux" in table.colnames else "psf_inst_flux"
    if name not in table.colnames:
        return float("nan")
    with np.errstate(invalid="ignore", divide="ignore"):
        pull = np.asarray(table[name], dtype=np.float64) / np.asarray(table[f"{name}_err"], dtype=np.float64)
    pull = pull[np.isfinite(pull)]
    return 1.4826 * float(np.median(np.abs(pull))) if len(pull) else float("nan")


def n_dipoles(sources: Table) -> int:
    """Return how many of the sources are dipoles, as far as that was looked at."""
    return int(np.sum(sources["is_dipole"])) if "is_dipole" in sources.colnames else 0
