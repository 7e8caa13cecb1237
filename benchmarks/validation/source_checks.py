"""Checks of measurements: pulls, biases, shapes, extendedness, flags (D.6)."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from scipy.spatial import KDTree

from validation.frame import FloatArray, Frame, match
from validation.results import Check, median_check, share, spread_check

MEASURED = {
    "centroid": ("x", "y", "x_err", "y_err"),
    "shape": ("ixx", "iyy", "ixy", "ixx_err", "iyy_err", "ixy_err"),
    "aper_flux": ("aper_flux", "aper_flux_err"),
    "psf_flux": ("psf_flux", "psf_flux_err", "calib_flux", "calib_flux_err"),
}
"""What must be finite where ``NAME_flag`` is not set."""

SMALLEST_FWHM = 2.0
"""From here on [pixel] the moments of a star on whole pixels are those of its continuous profile."""


def source_checks(frame: Frame) -> list[Check]:
    """Compare the measurements of isolated stars with the truth."""
    truth, (rows, found) = frame.star_truth, frame.stars_found
    chosen = found & truth.isolated & (truth.snr > 10)
    if np.count_nonzero(chosen) < 10:
        return _flag_checks(frame.sources)
    table = frame.sources[rows[chosen]]
    snr = truth.snr[chosen]
    flux = np.asarray(table["calib_flux"], float)
    ratio = flux / (truth.flux[chosen] * frame.njy_per_adu)
    bright = np.isfinite(ratio) & (snr > 50)
    scale = float(np.median(ratio[bright])) if bright.sum() >= 5 else 1.0
    error = np.asarray(table["calib_flux_err"], float)
    pull = (flux - scale * truth.flux[chosen] * frame.njy_per_adu) / error
    faint = np.isfinite(pull) & (snr < 100)
    best = np.asarray(error / (truth.flux_error[chosen] * frame.njy_per_adu))
    checks = [
        median_check("D.6", "flux pull, mean (S/N 10-100)", pull[faint], low=-0.05, high=0.05),
        spread_check("D.6", "flux pull, std (S/N 10-100)", pull[faint], low=0.95, high=1.10),
        median_check("D.6", "flux error / photon limit", best[faint], low=None, high=1.08),
        median_check("D.6", "flux / true flux - 1, S/N 10-20", (ratio / scale - 1)[snr < 20], low=-0.01, high=0.01),
    ]
    checks += _centroid_checks(table, x=truth.x[chosen], y=truth.y[chosen], snr=snr)
    checks += _shape_checks(frame, table, x=truth.x[chosen], y=truth.y[chosen], snr=snr)
    extended = np.asarray(table["extendedness"], float)
    known = np.isfinite(extended)
    value, doubt = share(extended[known] < 0.5)
    checks.append(Check("D.6", "stars that are called stars", value, 0.98, None, doubt, int(known.sum())))
    return [*checks, *_galaxy_checks(frame), *_flag_checks(frame.sources)]


def _centroid_checks(table: Table, *, x: FloatArray, y: FloatArray, snr: FloatArray) -> list[Check]:
    pulls, offsets = [], []
    for name, true in (("x", x), ("y", y)):
        difference = np.asarray(table[name], float) - true
        pulls.append(difference / np.asarray(table[f"{name}_err"], float))
        offsets.append(difference)
    pull = np.concatenate([p[np.isfinite(p) & (snr < 200)] for p in pulls])
    offset = np.concatenate([o[snr > 50] for o in offsets])
    return [
        spread_check("D.6", "centroid pull, std (S/N 10-200)", pull, low=0.9, high=1.2),
        median_check("D.6", "centroid offset, S/N > 50 [px]", offset, low=-0.01, high=0.01),
    ]


def _shape_checks(frame: Frame, table: Table, *, x: FloatArray, y: FloatArray, snr: FloatArray) -> list[Check]:
    """Compare moments with those of the PSF and, where pixels are fine enough for that, with the true profile's."""
    good = (snr > 50) & ~np.asarray(table["shape_flag"], bool)
    if np.count_nonzero(good) < 5:
        return []
    truth = frame.true_moments(x=x[good], y=y[good])
    checks = []
    for k, name in enumerate(("ixx", "iyy")):
        measured = np.asarray(table[name], float)[good]
        model = np.asarray(table[f"psf_{name}"], float)[good]
        pairs = [("PSF's", measured / model - 1)]
        pairs += [("true", measured / truth[:, k] - 1)] if frame.fwhm > SMALLEST_FWHM else []
        for what, values in pairs:
            label = f"{name} / {what} - 1, S/N > 50"
            checks.append(median_check("D.6", label, values[np.isfinite(values)], low=-5e-3, high=5e-3))
    return checks


def _galaxy_checks(frame: Frame) -> list[Check]:
    """Return the share of galaxies, larger than 0.3 FWHM and brighter than S/N 30, that are called extended."""
    sources = frame.truth.sources
    galaxies = sources[sources["kind"] == "galaxy"]
    axis = np.sqrt(galaxies["axis_ratio"].data)
    size = galaxies["half_light_radius"].data * axis / frame.truth.settings.optics.pixel_scale
    ny, nx = frame.truth.image.shape
    x, y = galaxies["x"].data, galaxies["y"].data
    inside = (x > 15) & (x < nx - 16) & (y > 15) & (y < ny - 16)
    area = 4 * np.pi * (size**2 + (0.7 * frame.fwhm) ** 2)
    snr = (
        np.sqrt(frame.n_snaps)
        * galaxies["flux"].data
        / (np.median(frame.sky_sigma) / np.sqrt(frame.n_snaps) * np.sqrt(area))
    )
    chosen = inside & (size > 0.3 * frame.fwhm) & (snr > 30) & _alone(frame, x=x, y=y, flux=galaxies["flux"].data)
    rows, found = match(frame.sources, x=x[chosen], y=y[chosen], radius=max(2.0, frame.fwhm))
    extended = np.asarray(frame.sources["extendedness"], float)[rows[found]]
    known = np.isfinite(extended)
    value, doubt = share(extended[known] > 0.5)
    return (
        [Check("D.6", "galaxies that are called galaxies", value, 0.95, None, doubt, int(known.sum()))]
        if known.any()
        else []
    )


def _alone(frame: Frame, *, x: FloatArray, y: FloatArray, flux: FloatArray) -> np.ndarray:
    """Return who has no neighbour of a tenth of its flux within three FWHM, or brighter within six."""
    sources = frame.truth.sources
    tree = KDTree(np.column_stack([sources["x"], sources["y"]]))
    alone = np.ones(len(x), bool)
    for k in range(len(x)):
        for reach, factor in ((3.0, 0.1), (6.0, 1.0)):
            near = tree.query_ball_point([x[k], y[k]], reach * frame.fwhm)
            alone[k] &= np.count_nonzero(sources["flux"].data[near] > factor * flux[k]) <= (factor < 1)
    return alone


def _flag_checks(table: Table) -> list[Check]:
    """Count values that are not finite though their flag is not set."""
    bad: dict[str, int] = {}
    for kind, names in MEASURED.items():
        flag = np.asarray(table[f"{kind}_flag"], bool)
        for name in names:
            if name in table.colnames:
                silent = ~np.isfinite(np.asarray(table[name], float)) & ~flag
                bad |= {name: int(silent.sum())} if silent.any() else {}
    flagged = np.asarray(table["psf_flux_flag"], bool)
    return [
        Check(
            "D.6",
            "values that are NaN without a flag",
            float(sum(bad.values())),
            None,
            0,
            0,
            len(table),
            str(bad or ""),
        ),
        Check("D.6", "share of PSF fluxes with a flag", float(flagged.mean()), n=len(table)),
    ]
