"""What can be told from the stamps of a candidate by numbers: is it shaped like a star, and what lies about it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.stamps import CandidateStamps, significance_of_points
from firstlight.images.psf import FWHM_PER_SIGMA, Psf
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
)
"""Names of the columns of `candidate_features`, in order."""

STAMP_FWHM = 4.0
"""Half size of the stamps that the features need, in units of the full width at half maximum."""

_CHUNK = 1024
_RECENTRINGS = 2
_LARGEST_SHIFT = 1.5
_N_ANGLES = 12
_CORE_FWHM = 1.5


def candidate_features(stamps: CandidateStamps, *, psf: Psf, fwhm: float) -> NDArray[np.float64]:
    """Return (n, len(FEATURES)) finite numbers about candidates.

    The difference is fitted with the PSF at the best position near the candidate, its first derivatives (a dipole) and
    its second ones (another width, another ellipticity), weighted by the variance; what is left, what the pixels around
    look like, what both images show there, and what is masked make up the rest. Lengths are in units of the FWHM and
    brightnesses in units of the noise, so that one set of numbers means the same in another seeing and depth.

    Parameters
    ----------
    stamps
        Upright, see `CandidateStamps.upright`; at least `STAMP_FWHM` wide.
    psf
        Of the difference.
    fwhm : [pixel]
        Its full width at half maximum.
    """
    parts = [_features(stamps[start : start + _CHUNK], psf=psf, fwhm=fwhm) for start in range(0, len(stamps), _CHUNK)]
    return np.concatenate(parts) if parts else np.zeros((0, len(FEATURES)))


class PointFit(NamedTuple):
    """The PSF and its derivatives fitted to n stamps.

    Parameters
    ----------
    profile : (n, s, s)
        PSF at the best position.
    flux, flux_err : (n,)
        Of the PSF alone.
    coefficients : (n, 6)
        Of the PSF, d/dx, d/dy, Laplacian, d2/dx2 - d2/dy2 and d2/dxdy, fitted together.
    errors : (n, 6)
        As if each were fitted alone with the PSF.
    radius : (n, s, s) [pixel]
        Distance from the best position.
    """

    profile: NDArray[np.float64]
    flux: NDArray[np.float64]
    flux_err: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    errors: NDArray[np.float64]
    radius: NDArray[np.float64]


def fit_points(stamps: CandidateStamps, *, psf: Psf, fwhm: float) -> PointFit:
    """Fit a point source near the middle of each stamp of the difference.

    Parameters
    ----------
    stamps
    psf
        Of the difference.
    fwhm : [pixel]
    """
    x, y = stamps.x.copy(), stamps.y.copy()
    column, row = np.rint(x), np.rint(y)
    weight = 1.0 / stamps.difference_variance.astype(np.float64)
    half, n = stamps.half, len(stamps)
    for turn in range(_RECENTRINGS + 1):
        radius = _distances(half, x - column, y - row)
        inside = np.where(radius <= _CORE_FWHM * fwhm, weight, 0.0).reshape(n, -1)
        profile = _profiles(psf, x=x, y=y, column=column, row=row, half=half)
        shapes = _shapes(profile)
        flat = shapes.reshape(n, 6, -1)
        data = stamps.difference.reshape(n, -1).astype(np.float64)
        matrix = np.einsum("nip,np,njp->nij", flat, inside, flat, optimize=True)
        vector = np.einsum("nip,np,np->ni", flat, inside, data, optimize=True)
        coefficients = _solved(matrix, vector)
        if turn == _RECENTRINGS:
            break
        flux = coefficients[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = np.where(flux[:, None] > 0, -coefficients[:, 1:3] / flux[:, None], 0.0)
        steps = np.clip(np.nan_to_num(steps), -1.0, 1.0)
        x = np.clip(x + steps[:, 0], stamps.x - _LARGEST_SHIFT, stamps.x + _LARGEST_SHIFT)
        y = np.clip(y + steps[:, 1], stamps.y - _LARGEST_SHIFT, stamps.y + _LARGEST_SHIFT)
    power = np.maximum(matrix[:, 0, 0], 1e-300)
    # What is left of each derivative once the PSF has taken its share of it.
    own = np.einsum("nii->ni", matrix) - matrix[:, 0] ** 2 / power[:, None]
    own[:, 0] = power
    return PointFit(
        profile,
        vector[:, 0] / power,
        1.0 / np.sqrt(power),
        coefficients,
        1.0 / np.sqrt(np.maximum(own, 1e-300)),
        radius,
    )


def _features(stamps: CandidateStamps, *, psf: Psf, fwhm: float) -> NDArray[np.float64]:
    fit = fit_points(stamps, psf=psf, fwhm=fwhm)
    snr = np.maximum(fit.flux / fit.flux_err, 0.5)
    sigma = np.sqrt(stamps.difference_variance.astype(np.float64))
    core, near = fit.radius <= _CORE_FWHM * fwhm, fit.radius <= fwhm
    around = (fit.radius > _CORE_FWHM * fwhm) & stamps.known
    residual = (stamps.difference - fit.flux[:, None, None] * fit.profile) / sigma
    columns = {
        "log_snr": np.log(snr),
        **_misfits(residual, core & stamps.known, snr),
        **_shape_features(fit, snr, sigma=fwhm / FWHM_PER_SIGMA),
        **_pixel_features(stamps, fit, core, around, snr, fwhm=fwhm),
        **_line_features(stamps, fit, around, snr, fwhm=fwhm),
        **_image_features(stamps, fit, snr, fwhm=fwhm),
        **{f"{kind}_near": _share(stamps.masks[kind], near) for kind in MASK_KINDS},
        **{f"{kind}_around": _share(stamps.masks[kind], ~near) for kind in MASK_KINDS},
        "unknown_near": _share(~stamps.known, near),
    }
    table = np.stack([columns[name] for name in FEATURES], axis=1)
    return np.asarray(np.nan_to_num(table, nan=0.0, posinf=1e6, neginf=-1e6))


def _misfits(residual: FloatArray, core: BoolArray, snr: FloatArray) -> dict[str, FloatArray]:
    count = np.maximum(core.sum(axis=(1, 2)), 1)
    chi2 = np.where(core, residual**2, 0.0).sum(axis=(1, 2))
    return {
        "log_chi2": np.log(np.maximum(chi2 / count, 1e-3)),
        "misfit": np.sqrt(np.maximum(chi2 - count, 0.0)) / snr,
        "largest_residual": np.arcsinh(np.where(core, residual, -np.inf).max(axis=(1, 2), initial=-1e6)),
        "smallest_residual": np.arcsinh(np.where(core, residual, np.inf).min(axis=(1, 2), initial=1e6)),
    }


def _shape_features(fit: PointFit, snr: FloatArray, *, sigma: float) -> dict[str, FloatArray]:
    shares = fit.coefficients / (snr * fit.flux_err)[:, None]
    counts = fit.coefficients / fit.errors
    # The share of the second derivatives is a change of the variance of the profile; sigma^2 makes it a pure number.
    return {
        "width": np.clip(2.0 * shares[:, 3] / sigma**2, -10.0, 10.0),
        "width_significance": np.arcsinh(counts[:, 3]),
        "elongation": np.clip(np.hypot(shares[:, 4], shares[:, 5]) / sigma**2, 0.0, 10.0),
        "elongation_significance": np.arcsinh(np.hypot(counts[:, 4], counts[:, 5])),
        "dipole_significance": np.arcsinh(np.hypot(counts[:, 1], counts[:, 2])),
    }


def _pixel_features(
    stamps: CandidateStamps, fit: PointFit, core: BoolArray, around: BoolArray, snr: FloatArray, *, fwhm: float
) -> dict[str, FloatArray]:
    sigma = np.sqrt(stamps.difference_variance.astype(np.float64))
    pixels = stamps.difference / sigma
    smooth = significance_of_points(stamps.difference, stamps.difference_variance, sigma=fwhm / FWHM_PER_SIGMA)
    wide = (fit.radius <= 2.5 * fwhm) & stamps.known
    lowest = np.where(wide, smooth, 0.0).min(axis=(1, 2))
    expected = np.where(core, fit.flux[:, None, None] * fit.profile / sigma, 0.0).max(axis=(1, 2))
    brightest = np.where(core & stamps.known, pixels, 0.0).max(axis=(1, 2))
    negative = np.where(wide & (pixels < -2.0), -pixels, 0.0).sum(axis=(1, 2))
    positive = np.where(wide & (pixels > 2.0), pixels, 0.0).sum(axis=(1, 2))
    count = np.maximum(around.sum(axis=(1, 2)), 1)
    # Clipped at 5: one neighbour that is bright is not a noisy place.
    scatter = np.sqrt(np.where(around, np.clip(pixels, -5.0, 5.0) ** 2, 0.0).sum(axis=(1, 2)) / count)
    return {
        "narrowness": np.clip(brightest / np.maximum(expected, 1.0), 0.0, 20.0),
        "lowest_significance": np.arcsinh(lowest),
        "lowest_ratio": np.clip(lowest / snr, -20.0, 0.0),
        "negative_share": negative / np.maximum(negative + positive, 1.0),
        "surrounding_scatter": scatter,
    }


def _line_features(
    stamps: CandidateStamps, fit: PointFit, around: BoolArray, snr: FloatArray, *, fwhm: float
) -> dict[str, FloatArray]:
    """Return how much light lies along the best straight line through the candidate, beyond its core."""
    steps = np.arange(-stamps.half, stamps.half + 1, dtype=np.float64)
    angles = np.pi * np.arange(_N_ANGLES) / _N_ANGLES
    across = np.abs(
        np.cos(angles)[:, None, None] * steps[None, :, None] - np.sin(angles)[:, None, None] * steps[None, None, :]
    )
    lines = (across <= max(0.7, 0.35 * fwhm)).reshape(_N_ANGLES, -1).astype(np.float64)
    sigma = np.sqrt(stamps.difference_variance.astype(np.float64))
    clipped = np.where(around, np.clip(stamps.difference / sigma, -10.0, 10.0), 0.0).reshape(len(stamps), -1)
    count = np.maximum(around.reshape(len(stamps), -1).astype(np.float64) @ lines.T, 1.0)
    strength = ((clipped @ lines.T) / np.sqrt(count)).max(axis=1, initial=0.0)
    return {"line_significance": np.arcsinh(strength), "line_ratio": np.clip(strength / snr, 0.0, 20.0)}


def _image_features(stamps: CandidateStamps, fit: PointFit, snr: FloatArray, *, fwhm: float) -> dict[str, FloatArray]:
    columns: dict[str, FloatArray] = {}
    for name in ("science", "template"):
        variance = getattr(stamps, f"{name}_variance").astype(np.float64)
        image = getattr(stamps, name).astype(np.float64)
        weight = np.where(fit.radius <= _CORE_FWHM * fwhm, 1.0 / variance, 0.0)
        power = np.maximum((fit.profile**2 * weight).sum(axis=(1, 2)), 1e-300)
        columns[f"{name}_snr"] = (fit.profile * image * weight).sum(axis=(1, 2)) / np.sqrt(power)
        columns[f"{name}_pixels"] = image / np.sqrt(variance)
    template = np.where(fit.radius <= 3.0 * fwhm, columns["template_pixels"], 0.0)
    flat = template.reshape(len(stamps), -1)
    brightest = flat.argmax(axis=1)
    science = np.where(fit.radius <= 3.0 * fwhm, columns["science_pixels"], 0.0)
    return {
        "science_snr": np.arcsinh(columns["science_snr"]),
        "science_ratio": np.clip(columns["science_snr"] / snr, -5.0, 20.0),
        "template_snr": np.arcsinh(columns["template_snr"]),
        "template_peak": np.arcsinh(np.take_along_axis(flat, brightest[:, None], axis=1)[:, 0]),
        "template_distance": np.take_along_axis(fit.radius.reshape(len(stamps), -1), brightest[:, None], axis=1)[:, 0]
        / fwhm,
        "science_light": np.arcsinh(science.max(axis=(1, 2), initial=0.0)),
    }


def _share(mask: BoolArray, where: BoolArray) -> FloatArray:
    return np.asarray((mask & where).sum(axis=(1, 2)) / np.maximum(where.sum(axis=(1, 2)), 1))


def _distances(half: int, dx: FloatArray, dy: FloatArray) -> NDArray[np.float64]:
    steps = np.arange(-half, half + 1)
    return np.asarray(np.hypot(steps[None, None, :] - dx[:, None, None], steps[None, :, None] - dy[:, None, None]))


def _profiles(
    psf: Psf, *, x: FloatArray, y: FloatArray, column: FloatArray, row: FloatArray, half: int
) -> NDArray[np.float64]:
    """Return PSFs at x, y on squares about the given pixels; 0 beyond the stamps of the PSF."""
    drawn = psf.images(x=x, y=y)
    steps = np.arange(-half, half + 1)
    rows = psf.radius + steps[None, :] - (np.rint(y) - row).astype(np.intp)[:, None]
    columns = psf.radius + steps[None, :] - (np.rint(x) - column).astype(np.intp)[:, None]
    size = 2 * psf.radius + 1
    inside = ((rows >= 0) & (rows < size))[:, :, None] & ((columns >= 0) & (columns < size))[:, None, :]
    which = np.arange(len(x))[:, None, None]
    taken = drawn[which, np.clip(rows, 0, size - 1)[:, :, None], np.clip(columns, 0, size - 1)[:, None, :]]
    return np.where(inside, taken, 0.0)


def _shapes(profile: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 6, s, s): the profile, its first derivatives, and its second ones as sum, difference and cross."""
    along_y, along_x = np.gradient(profile, axis=(1, 2))
    yy, xy = np.gradient(along_y, axis=(1, 2))
    xx = np.gradient(along_x, axis=2)
    return np.stack([profile, along_x, along_y, xx + yy, xx - yy, xy], axis=1)


def _solved(matrix: NDArray[np.float64], vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the solutions of the normal equations; what the pixels do not tell stays small."""
    scale = np.sqrt(np.maximum(np.einsum("nii->ni", matrix), 1e-300))
    even = matrix / (scale[:, :, None] * scale[:, None, :]) + 1e-6 * np.eye(matrix.shape[1])
    return np.asarray(np.linalg.solve(even, (vector / scale)[:, :, None])[:, :, 0] / scale)
