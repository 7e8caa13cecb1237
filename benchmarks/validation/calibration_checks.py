"""Checks of astrometry (D.7) and photometry (D.8) against the true WCS and zero point."""

from __future__ import annotations

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from firstlight.qa.truth import astrometry_rms
from validation.frame import NJY_ZERO_POINT, FloatArray, Frame
from validation.results import Check

Summary = dict[str, object]

DOUBT_OF_BINS = 3.0
"""The worst of about a dozen bins is chosen by its bias beyond this many standard errors."""


def astrometry_checks(frame: Frame) -> list[Check]:
    """Compare the WCS with the true one, with held-out stars, and with what an independent reader makes of the file."""
    exposure, summary = frame.exposure, frame.summary
    if exposure.wcs is None:
        return [Check("D.7", "WCS exists", np.nan, 1, None)]
    scale = frame.truth.settings.optics.pixel_scale
    rms = astrometry_rms(exposure, frame.truth.wcs)
    stated = 1000 * _number(summary, "astrom_stated_error")
    fitted, held_out = (_number(summary, f"astrom_{name}rms_2d_px") for name in ("", "held_out_"))
    n = int(_number(summary, "astrometry_matches_count"))
    order = _number(summary, "astrom_order")
    terms = (order + 1) * (order + 2) / 2
    cells = _cells(frame)
    return [
        Check("D.7.1", "rms to the true WCS per axis [px]", rms / 1000 / scale / np.sqrt(2), high=0.07, n=n),
        Check("D.7.1", "rms to the true WCS [mas]", rms, n=n),
        Check("D.7.1", "rms to the true WCS / stated error", rms / stated, high=2.5, n=n),
        Check(
            "D.7.2",
            "held-out rms / fitted rms",
            held_out / fitted,
            high=1.2,
            error=held_out / fitted / np.sqrt(0.4 * n),
            n=n,
        ),
        Check("D.7.2", "matches / free parameters per axis", n / terms, low=2, n=n, note=f"order {order:g}"),
        Check("D.7.4", "pixel -> sky -> pixel, worst [px]", _round_trip(frame), high=1e-6, n=400),
        Check("D.7.4", "written header read by astropy.wcs, worst [px]", _header_error(frame), high=0.01, n=400),
        Check(
            "D.7.6",
            "cells of 10 x 10 within 0.07 px",
            float((cells < 0.07).mean()),
            low=1.0,
            n=100,
            note=f"worst {cells.max():.3f} px",
        ),
    ]


def _grid(frame: Frame, *, margin: float, n: int = 20) -> tuple[FloatArray, FloatArray]:
    ny, nx = frame.truth.image.shape
    x, y = np.meshgrid(np.linspace(-margin, nx - 1 + margin, n), np.linspace(-margin, ny - 1 + margin, n))
    return x.ravel(), y.ravel()


def _cells(frame: Frame) -> FloatArray:
    """Return the distance of the WCS from the true one per axis at the centre of 10 x 10 cells [px]."""
    ny, nx = frame.truth.image.shape
    x, y = (
        g.ravel() for g in np.meshgrid((np.arange(10) + 0.5) * nx / 10 - 0.5, (np.arange(10) + 0.5) * ny / 10 - 0.5)
    )
    ra, dec = frame.exposure.wcs.pixel_to_sky(x=x, y=y)
    true_x, true_y = frame.truth.wcs.all_world2pix(ra, dec, 0, quiet=True)
    return np.hypot(true_x - x, true_y - y) / np.sqrt(2)


def _round_trip(frame: Frame) -> float:
    x, y = _grid(frame, margin=100.0)
    ra, dec = frame.exposure.wcs.pixel_to_sky(x=x, y=y)
    back_x, back_y = frame.exposure.wcs.sky_to_pixel(ra=ra, dec=dec)
    return float(np.hypot(back_x - x, back_y - y).max())


def _header_error(frame: Frame) -> float:
    with fits.open(frame.run.folder / "frame_image.fits") as hdus:
        other = WCS(hdus["IMAGE"].header)
    x, y = _grid(frame, margin=0.0)
    ra, dec = frame.exposure.wcs.pixel_to_sky(x=x, y=y)
    other_x, other_y = other.all_world2pix(ra, dec, 0, quiet=True, tolerance=1e-8)
    return float(np.hypot(other_x - x, other_y - y).max())


def photometry_checks(frame: Frame) -> list[Check]:
    """Compare zero point and calibrated magnitudes with the true ones."""
    summary = frame.summary
    if frame.truth.settings.color_term:
        return _color_checks(frame)
    zero_point, stated = _number(summary, "zero_point"), _number(summary, "zero_point_error")
    true = frame.zero_point
    n = int(_number(summary, "n_photometry"))
    error = 1000 * (zero_point - true)
    limit = 3.0 if n >= 100 else 20.0
    if frame.files.scene.wrong_references:
        limit = 5.0
    checks = [
        Check(
            "D.8",
            f"zero point error [mmag], {'100+' if n >= 100 else 'few'} stars",
            error,
            -limit,
            limit,
            1000 * stated,
            n,
        ),
        Check("D.8", "zero point error / stated error", error / 1000 / stated, -3, 3, 0, n),
    ]
    return [*checks, *_magnitude_checks(frame)]


def _color_checks(frame: Frame) -> list[Check]:
    """Compare zero point and colour term with those of the camera.

    Magnitudes are those of the camera's own system, so that they differ from the catalogue's with the colour. What is
    left of that slope once the stated colour term is taken off is how wrong the term is.
    """
    truth, (rows, found), summary = frame.star_truth, frame.stars_found, frame.summary
    flux = np.asarray(frame.sources["calib_flux"], float)[rows]
    good = found & truth.isolated & (truth.snr > 50) & (flux > 0)
    catalog = truth.mag - frame.truth.settings.color_term * truth.color
    difference = NJY_ZERO_POINT - 2.5 * np.log10(flux[good]) - catalog[good]
    color = truth.color[good]
    near = np.abs(difference - np.median(difference)) < 0.15
    slope, constant = np.polyfit(color[near], difference[near], 1)
    residual = difference[near] - slope * color[near] - constant
    error = float(residual.std() / np.sqrt(near.sum()) / color[near].std())
    stated, stated_error = _number(summary, "color_term"), _number(summary, "color_term_error")
    zero_point, n = 1000 * (_number(summary, "zero_point") - frame.zero_point), int(_number(summary, "n_photometry"))
    zero_point_error = 1000 * _number(summary, "zero_point_error")
    true = frame.truth.settings.color_term
    return [
        Check(
            "D.8",
            "slope of nJy with colour beyond the colour term [mmag / mag]",
            1000 * (float(slope) - stated),
            -2,
            2,
            1000 * float(np.hypot(error, stated_error)),
            int(good.sum()),
        ),
        Check("D.8", "colour term error [mmag / mag]", 1000 * (stated - true), -2, 2, 1000 * stated_error, n),
        Check("D.8", "zero point error with a colour term [mmag]", zero_point, -5, 5, zero_point_error, n),
        Check("D.8", "zero point error / stated error", zero_point / zero_point_error, -3, 3, 0, n),
    ]


def _magnitude_checks(frame: Frame) -> list[Check]:
    truth, (rows, found) = frame.star_truth, frame.stars_found
    flux = np.asarray(frame.sources["calib_flux"], float)[rows]
    good = found & truth.isolated & np.isfinite(flux) & (flux > 0)
    true_mag = truth.mag
    difference = NJY_ZERO_POINT - 2.5 * np.log10(np.where(good, flux, 1.0)) - true_mag
    checks = []
    bright = good & (truth.snr > 100)
    if bright.sum() >= 5:
        value = float(np.median(10 ** (-0.4 * difference[bright])) - 1)
        doubt = float(1.25 * difference[bright].std() / np.sqrt(bright.sum()))
        checks.append(Check("D.8", "nJy of stars / true nJy - 1", value, -0.01, 0.01, doubt, int(bright.sum())))
    usable = good & (truth.snr > 12)
    bins = []
    for low in np.arange(14.0, 20.5, 0.5):
        members = difference[usable & (true_mag >= low) & (true_mag < low + 0.5)]
        if len(members) >= 5:
            spread = 1.4826 * np.median(np.abs(members - np.median(members)))
            bins.append((float(np.median(members)), float(1.25 * spread / np.sqrt(len(members))), low, len(members)))
    if bins:
        value, doubt, low, count = max(bins, key=lambda b: abs(b[0]) - DOUBT_OF_BINS * b[1])
        checks.append(
            Check(
                "D.8", "bias in the worst bin of 0.5 mag [mag]", value, -0.01, 0.01, 1.5 * doubt, count, f"mag {low:g}"
            )
        )
    return [*checks, *_cell_check(frame, difference, usable & (truth.snr > 30))]


def _cell_check(frame: Frame, difference: FloatArray, chosen: np.ndarray) -> list[Check]:
    """Return the rms over 4 x 4 cells of the mean magnitude error, with what noise alone would give."""
    ny, nx = frame.truth.image.shape
    truth = frame.star_truth
    cell = (4 * truth.y // ny).astype(int) * 4 + (4 * truth.x // nx).astype(int)
    means, errors = [], []
    for k in range(16):
        members = difference[chosen & (cell == k)]
        if len(members) >= 4:
            means.append(np.median(members))
            errors.append(1.25 * members.std() / np.sqrt(len(members)))
    if len(means) < 8:
        return []
    rms, noise = float(np.std(means)), float(np.sqrt(np.mean(np.square(errors))))
    net = 1000 * float(np.sqrt(max(rms**2 - noise**2, 0.0)))
    return [
        Check(
            "D.8", "zero point over 4 x 4 cells, rms beyond noise [mmag]", net, None, 10, 1000 * noise / 4, len(means)
        )
    ]


def _number(summary: Summary, name: str) -> float:
    value = summary.get(name)
    return float(value) if isinstance(value, int | float) else float("nan")
