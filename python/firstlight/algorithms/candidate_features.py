"""What can be told from the stamps of a candidate by numbers: is it shaped like a star, and what lies about it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.candidate_fits import CandidateFits
from firstlight.algorithms.point_fit import CORE_FWHM, PointFit
from firstlight.algorithms.stamps import CandidateStamps, middle_of, significance_of_points
from firstlight.images.psf import FWHM_PER_SIGMA
from firstlight.kernels.arrays import BoolArray, FloatArray

MASK_KINDS = ("saturated", "cosmic_ray", "defect", "trail", "edge")
"""Kinds of trouble whose share of the pixels is a feature."""

FEATURES = (
    "log_snr",
    "log_chi2",
    "misfit",
    "largest_residual",
    "smallest_residual",
    "narrowness",
    "width",
    "width_significance",
    "elongation",
    "elongation_significance",
    "dipole_significance",
    "lowest_significance",
    "lowest_ratio",
    "negative_share",
    "surrounding_scatter",
    "line_significance",
    "line_ratio",
    "science_snr",
    "science_ratio",
    "template_snr",
    "template_peak",
    "template_distance",
    "science_light",
    *(f"{kind}_near" for kind in MASK_KINDS),
    *(f"{kind}_around" for kind in MASK_KINDS),
    "unknown_near",
    "own_log_chi2",
    "own_misfit",
    "own_largest_residual",
    "own_smallest_residual",
    "own_width",
    "own_width_significance",
    "own_elongation",
    "own_elongation_significance",
    "own_dipole_significance",
    "own_narrowness",
    "own_ratio",
    "own_shift",
    "own_edge_significance",
    "own_edge_ratio",
)
"""Names of the columns of `candidate_features`, in order."""

STAMP_FWHM = 4.0
"""Half size of the stamps that the features need, in units of the full width at half maximum."""

_N_ANGLES = 12
_OPPOSING = ((0, 1), (1, 0), (1, 1), (1, -1))


def candidate_features(stamps: CandidateStamps, fits: CandidateFits, *, fwhm: float) -> NDArray[np.float64]:
    """Return (n, len(FEATURES)) finite numbers about candidates.

    The difference is fitted with the PSF at the best position near the candidate, its first derivatives (a dipole) and
    its second ones (another width, another ellipticity), weighted by the variance; what is left, what the pixels around
    look like, what both images show there, and what is masked make up the rest. Lengths are in units of the FWHM and
    brightnesses in units of the noise, so that one set of numbers means the same in another seeing and depth.

    Features that begin with ``own`` are of the image in which the source is bright; see `CandidateFits`.

    Parameters
    ----------
    stamps
        Upright, see `CandidateStamps.upright`; at least `STAMP_FWHM` wide.
    fits
        To the middles of these stamps.
    fwhm : [pixel]
        Full width at half maximum of the PSF of the difference.
    """
    fit, own = fits
    snr = fit.snr
    radius = stamps.distances(fit.x, fit.y)
    near = radius <= fwhm
    columns = {
        "log_snr": np.log(snr),
        **_misfits(fit, snr),
        **_shape_features(fit, sigma=fwhm / FWHM_PER_SIGMA),
        "narrowness": _narrowness(fit),
        **_surroundings(stamps, radius, snr, fwhm=fwhm),
        **_image_features(stamps, fit, radius, snr, fwhm=fwhm),
        **{f"{kind}_near": _share(stamps.masks[kind], near) for kind in MASK_KINDS},
        **{f"{kind}_around": _share(stamps.masks[kind], ~near) for kind in MASK_KINDS},
        "unknown_near": _share(~stamps.known, near),
        **{f"own_{name}": column for name, column in _own_features(own, snr, fwhm=fwhm).items()},
        "own_shift": np.hypot(own.x - fit.x, own.y - fit.y) / fwhm,
    }
    table = np.stack([columns[name] for name in FEATURES], axis=1)
    return np.asarray(np.nan_to_num(table, nan=0.0, posinf=1e6, neginf=-1e6))


def _misfits(fit: PointFit, snr: FloatArray) -> dict[str, FloatArray]:
    core, residual = fit.core, fit.residual
    count = np.maximum(core.sum(axis=(1, 2)), 1)
    chi2 = np.where(core, residual**2, 0.0).sum(axis=(1, 2))
    return {
        "log_chi2": np.log(np.maximum(chi2 / count, 1e-3)),
        "misfit": np.sqrt(np.maximum(chi2 - count, 0.0)) / snr,
        "largest_residual": np.arcsinh(np.where(core, residual, -np.inf).max(axis=(1, 2), initial=-1e6)),
        "smallest_residual": np.arcsinh(np.where(core, residual, np.inf).min(axis=(1, 2), initial=1e6)),
    }


def _shape_features(fit: PointFit, *, sigma: float) -> dict[str, FloatArray]:
    shares = fit.coefficients / (fit.snr * fit.flux_err)[:, None]
    counts = fit.coefficients / fit.errors
    # The share of the second derivatives is a change of the variance of the profile; sigma^2 makes it a pure number.
    return {
        "width": np.clip(2.0 * shares[:, 3] / sigma**2, -10.0, 10.0),
        "width_significance": np.arcsinh(counts[:, 3]),
        # Along a diagonal d2/dxdy takes twice what d2/dx2 - d2/dy2 takes along an axis.
        "elongation": np.clip(np.hypot(shares[:, 4], 0.5 * shares[:, 5]) / sigma**2, 0.0, 10.0),
        "elongation_significance": np.arcsinh(np.hypot(counts[:, 4], counts[:, 5])),
        "dipole_significance": np.arcsinh(np.hypot(counts[:, 1], counts[:, 2])),
    }


def _surroundings(
    stamps: CandidateStamps, radius: FloatArray, snr: FloatArray, *, fwhm: float
) -> dict[str, FloatArray]:
    pixels = stamps.difference.astype(np.float64) / np.sqrt(stamps.difference_variance.astype(np.float64))
    around = (radius > CORE_FWHM * fwhm) & stamps.known
    smooth = significance_of_points(stamps.difference, stamps.difference_variance, sigma=fwhm / FWHM_PER_SIGMA)
    wide = (radius <= 2.5 * fwhm) & stamps.known
    lowest = np.where(wide, smooth, 0.0).min(axis=(1, 2))
    negative = np.where(wide & (pixels < -2.0), -pixels, 0.0).sum(axis=(1, 2))
    positive = np.where(wide & (pixels > 2.0), pixels, 0.0).sum(axis=(1, 2))
    count = np.maximum(around.sum(axis=(1, 2)), 1)
    # Clipped at 5: one neighbour that is bright is not a noisy place.
    scatter = np.sqrt(np.where(around, np.clip(pixels, -5.0, 5.0) ** 2, 0.0).sum(axis=(1, 2)) / count)
    return {
        "lowest_significance": np.arcsinh(lowest),
        "lowest_ratio": np.clip(lowest / snr, -20.0, 0.0),
        "negative_share": negative / np.maximum(negative + positive, 1.0),
        "surrounding_scatter": scatter,
        **_line_features(np.where(around, np.clip(pixels, -10.0, 10.0), 0.0), around, snr, fwhm=fwhm),
    }


def _line_features(pixels: FloatArray, around: BoolArray, snr: FloatArray, *, fwhm: float) -> dict[str, FloatArray]:
    """Return how much light lies along the best straight line through the candidate, beyond its core."""
    n, size = pixels.shape[:2]
    steps = np.arange(size, dtype=np.float64) - size // 2
    angles = np.pi * np.arange(_N_ANGLES) / _N_ANGLES
    across = np.abs(
        np.cos(angles)[:, None, None] * steps[None, :, None] - np.sin(angles)[:, None, None] * steps[None, None, :]
    )
    lines = (across <= max(0.7, 0.35 * fwhm)).reshape(_N_ANGLES, size**2).astype(np.float64)
    count = np.maximum(around.reshape(n, size**2).astype(np.float64) @ lines.T, 1.0)
    strength = ((pixels.reshape(n, size**2) @ lines.T) / np.sqrt(count)).max(axis=1, initial=0.0)
    return {"line_significance": np.arcsinh(strength), "line_ratio": np.clip(strength / snr, 0.0, 20.0)}


def _image_features(
    stamps: CandidateStamps, fit: PointFit, radius: FloatArray, snr: FloatArray, *, fwhm: float
) -> dict[str, FloatArray]:
    n, size, half = len(stamps), radius.shape[1], fit.profile.shape[1] // 2
    core = middle_of(radius, half) <= CORE_FWHM * fwhm
    snrs, pixels = [], []
    for image, variance in (
        (stamps.science, stamps.science_variance),
        (stamps.template, stamps.template_variance),
    ):
        weighted = np.where(core, fit.profile / middle_of(variance, half), 0.0)
        power = np.maximum((fit.profile * weighted).sum(axis=(1, 2)), 1e-300)
        snrs.append((middle_of(image, half) * weighted).sum(axis=(1, 2)) / np.sqrt(power))
        pixels.append(np.where(radius <= 3.0 * fwhm, image / np.sqrt(variance), 0.0).reshape(n, size**2))
    brightest = np.arange(n), pixels[1].argmax(axis=1)
    return {
        "science_snr": np.arcsinh(snrs[0]),
        "science_ratio": np.clip(snrs[0] / snr, -5.0, 20.0),
        "template_snr": np.arcsinh(snrs[1]),
        "template_peak": np.arcsinh(pixels[1][brightest]),
        "template_distance": radius.reshape(n, size**2)[brightest] / fwhm,
        "science_light": np.arcsinh(pixels[0].max(axis=1, initial=0.0)),
    }


def _own_features(fit: PointFit, snr: FloatArray, *, fwhm: float) -> dict[str, FloatArray]:
    edge = _sharpest_edge(fit)
    return {
        **_misfits(fit, snr),
        **_shape_features(fit, sigma=fwhm / FWHM_PER_SIGMA),
        "narrowness": _narrowness(fit),
        "ratio": np.clip(fit.snr / snr, 0.0, 20.0),
        "edge_significance": np.arcsinh(edge),
        "edge_ratio": np.clip(edge / snr, -20.0, 20.0),
    }


def _narrowness(fit: PointFit) -> FloatArray:
    """Return the brightest pixel over that of the PSF, both in units of the noise."""
    brightest, highest = (np.where(fit.core, each, 0.0).max(axis=(1, 2)) for each in (fit.pixels, fit.expected))
    return np.asarray(np.clip(brightest / np.maximum(highest, 1.0), 0.0, 20.0))


def _sharpest_edge(fit: PointFit) -> FloatArray:
    """Return by how many sigma the neighbours of the brightest pixel are brighter than the PSF makes them there.

    Neighbours are the means of two opposing ones, of four such pairs the faintest: the test for cosmic rays of SDSS
    photo (`firstlight.algorithms.cosmic_rays`) as a number, negative for what is sharper than a star.
    """
    source, profile = fit.source, fit.profile
    flat = np.where(fit.core, fit.pixels, -np.inf).reshape(len(source), source.shape[1] ** 2)
    row, column = np.unravel_index(flat.argmax(axis=1), source.shape[1:])
    row, column = (np.clip(each, 1, source.shape[1] - 2) for each in (row, column))
    which = np.arange(len(source))
    variance = np.where(np.isfinite(fit.sigma), fit.sigma, 0.0) ** 2
    below = []
    for dy, dx in _OPPOSING:
        pair = (which, row + dy, column + dx), (which, row - dy, column - dx)
        star = 0.5 * sum(profile[each] for each in pair) / np.maximum(profile[which, row, column], 1e-12)
        excess = 0.5 * sum(source[each] for each in pair) - star * source[which, row, column]
        spread = 0.25 * sum(variance[each] for each in pair) + star**2 * variance[which, row, column]
        below.append(excess / np.sqrt(np.maximum(spread, 1e-300)))
    return np.asarray(np.min(below, axis=0))


def _share(mask: BoolArray, where: BoolArray) -> FloatArray:
    return np.asarray((mask & where).sum(axis=(1, 2)) / np.maximum(where.sum(axis=(1, 2)), 1))
