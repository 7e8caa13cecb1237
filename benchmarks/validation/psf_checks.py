"""Checks of the point-spread function (D.4) and the aperture correction (D.5)."""

from __future__ import annotations

import numpy as np
import sep
from astropy.table import Table

from validation.frame import BoolArray, FloatArray, Frame
from validation.results import Check, median_check, robust_mean, robust_std

RADIUS_FWHM = 1.5
"""Radius of the circle in which the residuals of a star are judged [FWHM]."""


def psf_checks(frame: Frame) -> list[Check]:
    """Compare the PSF model with the true profile and with stars that it has not seen."""
    psf = frame.exposure.psf
    if psf is None:
        return [Check("D.4", "PSF exists", np.nan, 1, None)]
    ny, nx = frame.truth.image.shape
    x, y = (g.ravel() for g in np.meshgrid(np.linspace(30, nx - 31, 6), np.linspace(30, ny - 31, 6)))
    model = np.array([_moments(psf.moments(x=a, y=b)) for a, b in zip(x, y, strict=True)])
    size, e1, e2 = _shape_error(model, frame.true_moments(x=x, y=y))
    stamps = psf.images(x=x + 0.37, y=y - 0.21)
    total = np.abs(stamps.sum(axis=(1, 2)) - 1).max()
    checks = [
        _truth_check("size dT/T against the truth, median", size, 2e-3),
        _truth_check("e1 against the truth, median", e1, 1e-3),
        _truth_check("e2 against the truth, median", e2, 1e-3),
        Check("D.4", "size dT/T against the truth, rms of 36 places", float(np.sqrt((size**2).mean())), n=36),
        Check("D.4", "ellipticity error, rms of 36 places", float(np.sqrt((e1**2 + e2**2).mean())), n=36),
        Check("D.4", "relative rms of the PSF image", _image_rms(frame, x=x, y=y), n=36),
        Check("D.4", "PSF sums to 1, worst", float(total), high=1e-5, n=36),
        Check("D.4", "PSF centroid shift, worst [px]", _centroid_shift(frame, x=x, y=y), high=0.02, n=36),
        Check("D.4", "PSF stars", float(frame.summary.get("n_psf_star") or 0)),
    ]
    return [*checks, *_reserved_checks(frame)]


def _truth_check(name: str, values: FloatArray, limit: float) -> Check:
    """Return a check of a median over the field; its places share the stars, so they count as few."""
    error = robust_std(values)[0] / np.sqrt(6)
    return Check("D.4", name, float(np.median(values)), -limit, limit, error, len(values))


def _moments(moments: object) -> tuple[float, float, float]:
    return moments.ixx, moments.iyy, moments.ixy  # type: ignore[attr-defined]  # of any PSF


def _shape_error(model: FloatArray, truth: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return relative size error and ellipticity errors."""
    trace, true_trace = model[:, 0] + model[:, 1], truth[:, 0] + truth[:, 1]
    e1 = (model[:, 0] - model[:, 1]) / trace - (truth[:, 0] - truth[:, 1]) / true_trace
    e2 = 2 * model[:, 2] / trace - 2 * truth[:, 2] / true_trace
    return trace / true_trace - 1, e1, e2


def _image_rms(frame: Frame, *, x: FloatArray, y: FloatArray) -> float:
    """Return the rms residual of unit-sum stamps over the rms of the true ones."""
    psf = frame.exposure.psf
    radius = min(psf.radius, int(np.ceil(3 * frame.fwhm)))
    cut = slice(psf.radius - radius, psf.radius + radius + 1)
    x, y = np.rint(x), np.rint(y)
    model = psf.images(x=x, y=y)[:, cut, cut]
    truth = frame.truth.point_spread.images(x=x, y=y, radius=radius)
    model, truth = (stamps / stamps.sum(axis=(1, 2), keepdims=True) for stamps in (model, truth))
    return float(np.sqrt(((model - truth) ** 2).sum() / (truth**2).sum()))


def _centroid_shift(frame: Frame, *, x: FloatArray, y: FloatArray) -> float:
    """Return the largest distance of the Gaussian-weighted centroid of a stamp from that of the true star there."""
    psf = frame.exposure.psf
    x, y = x + 0.37, y - 0.21
    offsets = np.arange(-psf.radius, psf.radius + 1.0)
    sigma = frame.fwhm / 2.35
    shifts = []
    stamps = psf.images(x=x, y=y)
    truth = frame.truth.point_spread.images(x=x, y=y, radius=psf.radius)
    for stamp, true_stamp, a, b in zip(stamps, truth, x - np.rint(x), y - np.rint(y), strict=True):
        weight = np.exp(-((offsets[None] - a) ** 2 + (offsets[:, None] - b) ** 2) / (2 * sigma**2))
        places = [
            np.array([(s * weight * offsets[None]).sum(), (s * weight * offsets[:, None]).sum()]) / (s * weight).sum()
            for s in (stamp, true_stamp)
        ]
        shifts.append(2 * np.hypot(*(places[0] - places[1])))
    return float(max(shifts))


def _reserved_checks(frame: Frame) -> list[Check]:
    """Judge the model on reserved stars; with the used ones where none are reserved."""
    table = frame.psf_stars
    reserved = _flag(table, "calib_psf_reserved")
    chosen = reserved if reserved.sum() >= 5 else _flag(table, "calib_psf_used")
    kind = "reserved" if reserved.sum() >= 5 else "used"
    stars = table[chosen & ~_flag(table, "shape_flag")]
    checks = [
        Check(
            "D.4", "reserved stars", float(reserved.sum()), low=5 if _flag(table, "calib_psf_used").sum() > 40 else None
        )
    ]
    if len(stars) < 5:
        return checks
    star, model = (
        np.column_stack([np.asarray(stars[f"{prefix}{name}"], float) for name in ("ixx", "iyy", "ixy")])
        for prefix in ("", "psf_")
    )
    size, e1, e2 = _shape_error(star, model)
    chi2 = _residual_chi2(frame, stars)
    note = f"{kind} stars"
    limits = (("size dT/T", size, 2e-3), ("e1", e1, 1e-3), ("e2", e2, 1e-3))
    # The model's own noise: its stars scatter as those that test it, and most of it cancels over the image.
    of_the_model = 1.0 + len(stars) / max(_flag(table, "calib_psf_used").sum(), 1)
    for name, values, limit in limits:
        value, error = robust_mean(values[np.isfinite(values)])
        error *= float(np.sqrt(of_the_model))
        checks.append(Check("D.4", f"{name} of held-out stars, median", value, -limit, limit, error, len(stars), note))
    value, error = robust_mean(chi2)
    checks.append(Check("D.4", "reduced chi2 of held-out stars, median", value, 0.8, 1.3, error, len(chi2), note))
    return checks


def _residual_chi2(frame: Frame, stars: Table) -> FloatArray:
    """Fit flux and sky of every star with the model and return the reduced chi2 within a circle."""
    exposure, psf = frame.exposure, frame.exposure.psf
    bad = exposure.mask.any_of("BAD", "SAT", "CR", "INTRP", "NO_DATA")
    ny, nx = exposure.shape
    half = min(psf.radius, int(np.ceil(RADIUS_FWHM * frame.fwhm)) + 1)
    offsets = np.arange(-half, half + 1)
    results = []
    x, y = np.asarray(stars["x"], float), np.asarray(stars["y"], float)
    stamps = psf.cores(half, x=x, y=y)
    for stamp, a, b in zip(stamps, x, y, strict=True):
        row, column = round(b), round(a)
        if not (half <= row < ny - half and half <= column < nx - half):
            continue
        cut = np.s_[row - half : row + half + 1, column - half : column + half + 1]
        inside = np.hypot(*np.meshgrid(offsets, offsets)) <= RADIUS_FWHM * frame.fwhm
        inside &= ~bad[cut]
        if inside.sum() < 8:
            continue
        weight = exposure.variance[cut][inside] ** -0.5
        design = np.column_stack([stamp[inside], np.ones(inside.sum())]) * weight[:, None]
        values = exposure.image[cut][inside].astype(float) * weight
        solution = np.linalg.lstsq(design, values, rcond=None)[0]
        results.append(((values - design @ solution) ** 2).sum() / (inside.sum() - 4))
    return np.array(results)


def aperture_correction_checks(frame: Frame) -> list[Check]:
    """Compare corrected PSF fluxes of bright isolated stars with aperture fluxes and with the truth."""
    truth, (rows, found) = frame.star_truth, frame.stars_found
    chosen = found & truth.isolated & (truth.snr > 200)
    if np.count_nonzero(chosen) < 5:
        return []
    table = frame.sources[rows[chosen]]
    flux = np.asarray(table["calib_flux"], float)
    enclosed, alone = _enclosed(frame, x=truth.x[chosen], y=truth.y[chosen], flux=truth.flux[chosen])
    ratio = flux / (np.asarray(table["aper_flux"], float) / enclosed)
    ratio = ratio[alone & np.isfinite(ratio)]
    true_ratio = flux / (truth.flux[chosen] * frame.njy_per_adu)
    good = np.isfinite(true_ratio)
    normal = true_ratio[good] / np.median(true_ratio[good])
    noise = float(np.median(1 / truth.snr[chosen]))
    scatter, scatter_error = robust_std(normal)
    x, y = truth.x[chosen][good], truth.y[chosen][good]
    checks = [
        median_check("D.5", "PSF flux / corrected aperture flux - 1", ratio - 1, low=-1e-3, high=1e-3),
        Check(
            "D.5",
            "scatter of flux / true flux, S/N > 200",
            scatter,
            None,
            5e-3,
            scatter_error,
            len(normal),
            f"photons {noise:.4f}",
        ),
    ]
    return [*checks, *_gradient_over_field(frame, x=x, y=y, values=normal)]


def _enclosed(frame: Frame, *, x: FloatArray, y: FloatArray, flux: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Return the true share of stars' light in the calibration aperture, and who has it for itself to 0.05 %."""
    radius = float(frame.summary["aperture_radius"])  # type: ignore[arg-type]  # a number
    half = int(np.ceil(radius)) + 2
    light = frame.n_snaps * (frame.truth.light - frame.truth.sky).astype(float)
    total = sep.sum_circle(np.ascontiguousarray(light), x, y, radius, subpix=0)[0]
    stamps = frame.truth.point_spread.images(x=x, y=y, radius=half)
    own = np.array(
        [
            sep.sum_circle(stamp, [half + a - np.round(a)], [half + b - np.round(b)], radius, subpix=0)[0][0]
            for stamp, a, b in zip(stamps, x, y, strict=True)
        ]
    )
    return own, np.abs(total / flux - own) < 5e-4


def _gradient_over_field(frame: Frame, *, x: FloatArray, y: FloatArray, values: FloatArray) -> list[Check]:
    if len(values) < 20:
        return []
    ny, nx = frame.truth.image.shape
    good = np.abs(values - 1) < 5 * robust_std(values)[0]
    design = np.column_stack([np.ones(len(x)), x / nx - 0.5, y / ny - 0.5])[good]
    solution, *_ = np.linalg.lstsq(design, values[good], rcond=None)
    error = values[good].std() * np.sqrt(12 / good.sum())
    return [
        Check(
            "D.5",
            "flux / true flux, slope end to end",
            float(np.hypot(*solution[1:])),
            None,
            2e-3,
            float(error * 1.25),
            int(good.sum()),
        )
    ]


def _flag(table: Table, name: str) -> BoolArray:
    return np.asarray(table[name], bool) if name in table.colnames else np.zeros(len(table), bool)
