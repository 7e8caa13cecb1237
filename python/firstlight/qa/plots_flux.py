"""Panels of fluxes, positions and depth against magnitude."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes

from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.qa import plots
from firstlight.qa.pixels import noise_of
from firstlight.qa.statistics import NumberCounts, binned_medians


def draw_flux_difference(axes: Axes, *, magnitude: FloatArray, difference: FloatArray, label: str, name: str) -> None:
    """Show the difference of two magnitudes of stars against magnitude, with medians of groups."""
    good = np.isfinite(magnitude) & np.isfinite(difference)
    limit = max(6 * noise_of(difference[good])[1], 0.01)
    shown = np.clip(difference, -0.98 * limit, 0.98 * limit)
    axes.axhline(0, color=plots.GREY, lw=0.7)
    axes.scatter(magnitude[good], shown[good], s=6, color=plots.SKY, alpha=0.7, linewidths=0)
    medians = binned_medians(magnitude, difference)
    axes.errorbar(medians.at, medians.value, medians.error, fmt="s-", ms=3, lw=1, color="black")
    axes.set_ylim(-limit, limit)
    _labels(axes, x=label, y=f"{name} [mag]")
    plots.set_title(axes, f"{name}, {good.sum()} stars")


def draw_against(
    axes: Axes, *, at: FloatArray, values: FloatArray, used: BoolArray, reserved: BoolArray, label: str, name: str
) -> None:
    """Show residuals against something else; crosses were clipped, reserved ones stand out."""
    good = np.isfinite(at) & np.isfinite(values)
    limit = max(7 * noise_of(values[good & used])[1], 1e-4)
    shown = np.clip(values, -0.97 * limit, 0.97 * limit)
    axes.axhline(0, color=plots.GREY, lw=0.7)
    clipped, kept, held = good & ~used & ~reserved, good & used, good & reserved
    axes.scatter(at[clipped], shown[clipped], s=10, marker="x", color=plots.VERMILION, lw=0.7)
    axes.scatter(at[kept], shown[kept], s=6, color=plots.SKY, alpha=0.7, linewidths=0)
    axes.scatter(at[held], shown[held], s=14, color=plots.ORANGE, linewidths=0)
    medians = binned_medians(at[kept], values[kept])
    axes.errorbar(medians.at, medians.value, medians.error, fmt="s-", ms=3, lw=1, color="black")
    axes.set_ylim(-limit, limit)
    _labels(axes, x=label, y=name)
    plots.set_title(axes, f"used {kept.sum()}, clipped {clipped.sum()}")


def draw_number_counts(
    axes: Axes, everything: NumberCounts, stars: NumberCounts | None, *, label: str, mag_lim: float, area: float
) -> None:
    """Show sources for each magnitude and square degree on a logarithmic scale, and the limiting magnitude."""
    per = area if math.isfinite(area) and area > 0 else 1.0
    for counts, color, name in ((everything, plots.GREY, "all"), (stars, plots.BLUE, "point-like")):
        if counts is None:
            continue
        width = counts.edges[1] - counts.edges[0]
        heights = np.where(counts.count > 0, counts.count, np.nan) / width / per
        axes.stairs(heights, counts.edges, color=color, lw=1.4, label=f"{name}: {counts.count.sum()}")
    if math.isfinite(mag_lim):
        axes.axvline(mag_lim, color=plots.VERMILION, lw=1, label=f"limit (5 sigma) {mag_lim:.2f}")
    axes.set_yscale("log")
    unit = "sources / mag" if per == 1.0 else "sources / mag / deg2"
    _labels(axes, x=label, y=unit)
    axes.legend(fontsize=plots.TINY, loc="best", frameon=False)
    plots.set_title(axes, "number counts")


def draw_depth(axes: Axes, *, magnitude: FloatArray, snr: FloatArray, label: str, mag_lim: float) -> None:
    """Show the signal-to-noise ratio against magnitude; the dots cross 5 at the limiting magnitude."""
    good = np.isfinite(magnitude) & (snr > 0)
    axes.scatter(magnitude[good], snr[good], s=4, color=plots.SKY, alpha=0.6, linewidths=0)
    axes.axhline(5, color=plots.GREY, lw=0.8)
    if math.isfinite(mag_lim):
        axes.axvline(mag_lim, color=plots.VERMILION, lw=1)
    axes.set_yscale("log")
    _labels(axes, x=label, y="signal-to-noise ratio")
    plots.set_title(axes, "depth: the dots cross the lines together")


def draw_separations(axes: Axes, *, snr: FloatArray, separation: FloatArray, used: BoolArray, unit: str) -> None:
    """Show the distance of matched pairs against the significance of the peak; crosses are not in the fit."""
    good = np.isfinite(separation) & (snr > 0) & (separation > 0)
    kept, clipped = good & used, good & ~used
    axes.scatter(snr[kept], separation[kept], s=5, color=plots.SKY, alpha=0.7, linewidths=0)
    axes.scatter(snr[clipped], separation[clipped], s=10, marker="x", color=plots.VERMILION, lw=0.7)
    with np.errstate(divide="ignore", invalid="ignore"):
        medians = binned_medians(np.where(kept, np.log10(snr), np.nan), separation)
    axes.errorbar(10**medians.at, medians.value, medians.error, fmt="s-", ms=3, lw=1, color="black")
    if good.any():
        axes.set_xscale("log")
        axes.set_yscale("log")
    _labels(axes, x="significance of the peak", y=f"separation [{unit}]")
    plots.set_title(axes, f"in the fit {kept.sum()}, not {clipped.sum()}")


def draw_pulls(axes: Axes, *, values: FloatArray, errors: FloatArray) -> None:
    """Show residuals in units of their errors beside the normal distribution."""
    with np.errstate(divide="ignore", invalid="ignore"):
        pulls = values / errors
    pulls = pulls[np.isfinite(pulls)]
    if len(pulls) < 5:
        plots.draw_nothing(axes, title="residual / error", reason="no errors")
        return
    bins = np.linspace(-5, 5, int(np.clip(2 * math.sqrt(len(pulls)), 11, 41)))
    share = np.full(len(pulls), 1.0 / (len(pulls) * (bins[1] - bins[0])))  # those further out count, too
    axes.hist(pulls, bins=list(bins), weights=share, color=plots.SKY, alpha=0.7)
    at = np.linspace(-5, 5, 101)
    axes.plot(at, np.exp(-(at**2) / 2) / math.sqrt(2 * math.pi), color="black", lw=1)
    _labels(axes, x="residual / error", y="density")
    further = int((np.abs(pulls) > 5).sum())
    plots.set_title(axes, f"width {noise_of(pulls)[1]:.2f}; line: 1" + (f"; {further} beyond 5" if further else ""))


def _labels(axes: Axes, *, x: str, y: str) -> None:
    axes.tick_params(labelsize=plots.TINY)
    axes.set_xlabel(x, fontsize=plots.SMALL)
    axes.set_ylabel(y, fontsize=plots.SMALL)
