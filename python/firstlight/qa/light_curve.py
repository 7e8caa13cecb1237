"""Draw how bright an object was at each time."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from firstlight.qa.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, SMALL, TINY, VERMILION, draw_nothing

BAND_COLORS = {"u": PURPLE, "g": GREEN, "r": VERMILION, "i": ORANGE, "z": BLUE, "y": SKY}
LEGEND_ROWS = 6
MIN_TOTAL_SNR = 10.0
"""Total fluxes are drawn where one is this many times its error."""


def light_curve_figure(curve: Table, *, title: str) -> Figure:
    """Return a figure with one light curve (`draw_light_curve`), and the total brightness below where it is known."""
    if not has_totals(curve):
        figure = Figure(figsize=(7.0, 4.0), dpi=150, layout="constrained")
        draw_light_curve(figure.subplots(), curve, title=title)
        return figure
    figure = Figure(figsize=(7.0, 6.5), dpi=150, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    draw_light_curve(above, curve, title=title)
    draw_totals(below, curve)
    above.set_xlabel("")
    return figure


def has_totals(curve: Table) -> bool:
    """Return whether a light curve says how bright the place was in all, with the template, well above the noise."""
    if not {"total_flux", "total_flux_err", "template_flux", "total_flag"} <= set(curve.colnames):
        return False
    total, error = (np.asarray(curve[name], dtype=float) for name in ("total_flux", "total_flux_err"))
    return bool(np.any(np.isfinite(total) & (total > MIN_TOTAL_SNR * error)))


def draw_totals(axes: Axes, curve: Table) -> None:
    """Draw the total flux over that of the template against time; open circles are flagged.

    Parameters
    ----------
    axes
    curve
        With ``mjd`` [d], ``band``, ``total_flux``, ``total_flux_err`` and ``template_flux`` [nJy], and ``total_flag``.
    """
    total, error, base = (
        np.asarray(curve[name], dtype=float) for name in ("total_flux", "total_flux_err", "template_flux")
    )
    zero = np.floor(np.min(np.asarray(curve["mjd"])))
    days, bands = np.asarray(curve["mjd"]) - zero, np.asarray(curve["band"], dtype=str)
    flagged = np.asarray(curve["total_flag"], dtype=bool)
    axes.axhline(1.0, color="#BBBBBB", linewidth=0.8, zorder=0)
    for band in sorted(set(bands)):
        color = BAND_COLORS.get(band, GREY)
        for face, kind in ((color, ~flagged), ("white", flagged)):
            rows = kind & (bands == band) & np.isfinite(total) & (base > 0)
            if rows.any():
                axes.errorbar(
                    days[rows],
                    total[rows] / base[rows],
                    yerr=error[rows] / base[rows],
                    fmt="o",
                    color=color,
                    markerfacecolor=face,
                    markersize=4.5,
                    elinewidth=0.9,
                )
    axes.set_xlabel(f"MJD (TAI) - {zero:.0f} [d]", fontsize=SMALL)
    axes.set_ylabel("total flux over that of the template", fontsize=SMALL)
    axes.tick_params(labelsize=TINY)


def draw_light_curve(axes: Axes, curve: Table, *, title: str) -> None:
    """Draw fluxes of a difference against time, one colour for each band.

    Filled circles are detections, open ones fluxes at the known place; where such a flux is below 3 errors, a grey
    triangle shows the limit of 5.

    Parameters
    ----------
    axes
    curve
        With ``mjd`` [d], ``kind``, ``band``, ``flux``, ``flux_err`` [nJy] and ``snr``.
    title
    """
    flux, error = np.asarray(curve["flux"], dtype=float), np.asarray(curve["flux_err"], dtype=float)
    good = np.isfinite(flux)
    if not good.any():
        draw_nothing(axes, title=title, reason="no fluxes")
        return
    zero = np.floor(np.min(np.asarray(curve["mjd"])))
    days, bands = np.asarray(curve["mjd"]) - zero, np.asarray(curve["band"], dtype=str)
    detected, snr = np.asarray(curve["kind"], dtype=str) == "detection", np.asarray(curve["snr"], dtype=float)
    axes.axhline(0.0, color="#BBBBBB", linewidth=0.8, zorder=0)
    for band in sorted(set(bands)):
        color = BAND_COLORS.get(band, GREY)
        for kind, rows in (("detected", detected), ("at its place", ~detected & (np.abs(snr) >= 3.0))):
            rows = rows & (bands == band) & good
            if rows.any():
                face = color if kind == "detected" else "white"
                bars = np.where(np.isfinite(error[rows]), error[rows], 0.0)
                axes.errorbar(
                    days[rows],
                    flux[rows],
                    yerr=bars,
                    fmt="o",
                    color=color,
                    markerfacecolor=face,
                    markersize=4.5,
                    elinewidth=0.9,
                    label=f"{band or 'no band'} {kind}",
                )
    faint = ~detected & ~(np.abs(snr) >= 3.0) & np.isfinite(error)
    if faint.any():
        axes.scatter(days[faint], 5.0 * error[faint], marker="v", s=16, color=GREY, label="below 5 errors", zorder=1)
    axes.set_xlabel(f"MJD (TAI) - {zero:.0f} [d]", fontsize=SMALL)
    axes.set_ylabel("flux of the difference [nJy]", fontsize=SMALL)
    axes.set_title(title, fontsize=SMALL, loc="left")
    axes.tick_params(labelsize=TINY)
    axes.legend(fontsize=TINY, ncols=1 + len(axes.get_legend_handles_labels()[1]) // LEGEND_ROWS, frameon=False)
