"""The stars by which two images are matched, and what is no star."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from firstlight.algorithms.detection import detect_sources, smooth_for_detection
from firstlight.algorithms.kernel_sources import select_kernel_sources
from firstlight.algorithms.psf_flux import measure_psf_flux
from firstlight.algorithms.unshared_light import UnsharedLight, find_unshared_light
from firstlight.errors import KernelError
from firstlight.kernels.arrays import BoolArray
from firstlight.tasks.subtract_pair import SubtractPair

REJECTING_FLAGS = ("edge", "saturated", "bad", "cr", "no_data", "centroid_flag", "psf_flux_flag", "sky_source")
MAX_EXTENDEDNESS = 0.5
MIN_TEMPLATE_SNR = 5.0
REFINEMENTS = 3


@dataclass(frozen=True)
class KernelStars:
    """The stars by which two images are matched, with their fluxes in both.

    Parameters
    ----------
    x, y, template_x, template_y : (n,) [pixel]
        Places of the PSFs that fit best, in the science image and in the template.
    snr : (n,)
        Signal-to-noise ratio in the science image.
    science_flux, science_flux_err, template_flux, template_flux_err : (n,) [unit of each image]
    unshared
        Where only one image is bright.
    steps
        Name of each step of the selection and the number left after it.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    snr: NDArray[np.float64]
    science_flux: NDArray[np.float64]
    science_flux_err: NDArray[np.float64]
    template_flux: NDArray[np.float64]
    template_flux_err: NDArray[np.float64]
    template_x: NDArray[np.float64]
    template_y: NDArray[np.float64]
    unshared: UnsharedLight
    steps: tuple[tuple[str, int], ...]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def unshared_share(self) -> float:
        """Share of the bright peaks on good pixels that have light of one image only in their core."""
        left = dict(self.steps)
        return 1.0 - left["in_both"] / max(left["good_pixels"], 1)

    def to_table(self) -> Table:
        """Return one row a star."""
        places = ("x", "y", "template_x", "template_y")
        fluxes = ("snr", "science_flux", "science_flux_err", "template_flux", "template_flux_err")
        table = Table({name: getattr(self, name) for name in (*places, *fluxes)})
        for name in places:
            table[name].unit = "pix"
        return table


def find_kernel_stars(
    pair: SubtractPair,
    sources: Table | None,
    *,
    reach: int,
    min_snr: float,
    max_snr: float,
    cell_size: int,
    per_cell: int,
    max_sources: int,
) -> KernelStars:
    """Choose stars of the science exposure that the template has, too.

    Parameters
    ----------
    pair
    sources
        With ``x``, ``y``, and ``snr``, ``extendedness`` and flags where known. Sources are looked for when it is None.
    reach : [pixel]
        How far beyond its stamp the surroundings of a star count.
    min_snr, max_snr, cell_size, per_cell, max_sources
        As `select_kernel_sources` takes them.
    """
    found = _detected(pair, min_snr) if sources is None or "snr" not in sources.colnames else sources
    x, y, snr = (np.asarray(found[name], dtype=np.float64) for name in ("x", "y", "snr"))
    unshared = _unshared(pair, x=x, y=y)
    chosen = select_kernel_sources(
        x=x,
        y=y,
        snr=snr,
        rejected=_rejected(found),
        bad=pair.bad,
        unshared=unshared.science | unshared.template,
        margin=pair.stamp_radius + reach + 1,
        stamp_radius=pair.stamp_radius,
        core_radius=pair.core_radius,
        separation=float(pair.stamp_radius),
        min_snr=min_snr,
        max_snr=max_snr,
        cell_size=cell_size,
        per_cell=per_cell,
        max_sources=max_sources,
    )
    x, y, snr = (values[chosen.index] for values in (x, y, snr))
    fluxes = [
        measure_psf_flux(image, variance=variance, bad=bad, psf=psf, x=x, y=y, refinements=REFINEMENTS, refine_snr=0.0)
        for image, variance, bad, psf in (
            (pair.science, pair.science_variance, pair.bad | unshared.science, pair.science_psf),
            (pair.template, pair.template_variance, pair.bad | unshared.template, pair.template_psf),
        )
    ]
    both = fluxes[1].flux > MIN_TEMPLATE_SNR * fluxes[1].flux_err
    return KernelStars(
        x=fluxes[0].x[both],
        y=fluxes[0].y[both],
        snr=snr[both],
        science_flux=fluxes[0].flux[both],
        science_flux_err=fluxes[0].flux_err[both],
        template_flux=fluxes[1].flux[both],
        template_flux_err=fluxes[1].flux_err[both],
        template_x=fluxes[1].x[both],
        template_y=fluxes[1].y[both],
        unshared=unshared,
        steps=(*chosen.steps, ("in_template", int(both.sum()))),
    )


def without_unshared_light(pair: SubtractPair, stars: KernelStars) -> SubtractPair:
    """Return the pair with what only one image shows replaced by what the other has there."""
    ratio = np.float32(np.median(stars.science_flux / stars.template_flux))
    science, template = pair.science.copy(), pair.template.copy()
    only = stars.unshared
    science[only.science] = ratio * pair.template[only.science]
    template[only.template] = pair.science[only.template] / ratio
    return replace(pair, science=science, template=template)


def require_stars(stars: KernelStars, least: int) -> None:
    """Raise unless there are enough stars.

    Raises
    ------
    KernelError
        If there are fewer than ``least``.
    """
    if len(stars) < least:
        steps = " -> ".join(f"{name} {left}" for name, left in stars.steps)
        raise KernelError(
            f"Matching science and template needs at least {least} stars in both; got {len(stars)} ({steps}).",
            n_stars=len(stars),
            min_stars=least,
        )


def _detected(pair: SubtractPair, min_snr: float) -> Table:
    smoothed = smooth_for_detection(
        pair.science, variance=pair.science_variance, bad=pair.science_lost, psf_sigma=pair.science_sigma
    )
    found = detect_sources(smoothed, threshold=min_snr)
    return Table({"x": found.peak_x.astype(float), "y": found.peak_y.astype(float), "snr": found.peak_snr})


def _unshared(pair: SubtractPair, *, x: NDArray[np.float64], y: NDArray[np.float64]) -> UnsharedLight:
    ny, nx = pair.shape
    placed = np.isfinite(x) & np.isfinite(y)
    peaks = [psf.kernel_image(x=(nx - 1) / 2, y=(ny - 1) / 2).max() for psf in (pair.science_psf, pair.template_psf)]
    return find_unshared_light(
        pair.science,
        pair.template,
        science_variance=pair.science_variance,
        template_variance=pair.template_variance,
        bad=pair.bad,
        peaks=(float(peaks[0]), float(peaks[1])),
        x=x[placed],
        y=y[placed],
        radius=pair.core_radius,
    )


def _rejected(sources: Table) -> BoolArray:
    rejected = np.zeros(len(sources), dtype=bool)
    for name in REJECTING_FLAGS:
        if name in sources.colnames:
            rejected |= np.asarray(sources[name], dtype=bool)
    if "extendedness" in sources.colnames:
        rejected |= np.asarray(sources["extendedness"], dtype=np.float64) > MAX_EXTENDEDNESS
    return rejected
