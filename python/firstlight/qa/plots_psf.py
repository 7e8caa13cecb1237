"""Panels of the point-spread function: stars, model and what is left, over the field and against magnitude."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from firstlight.images.aperture_correction import ApertureCorrection
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.qa import columns, plots
from firstlight.qa.pixels import noise_of
from firstlight.qa.statistics import CellMedians, binned_medians, cell_medians

LIMIT_SIGMA = 5.0
LEAST_RESERVED = 40


@dataclass(frozen=True)
class StarShapes:
    """Sizes and ellipticities of the candidates for the PSF, and of the model at the same places.

    Parameters
    ----------
    x, y : (n,) [pixel]
    magnitude : (n,)
    label
        What the magnitude is.
    used, reserved : (n,)
    size, model_size : (n,) [pixel]
        Trace radius.
    e1, e2, model_e1, model_e2 : (n,)
    """

    x: FloatArray
    y: FloatArray
    magnitude: FloatArray
    label: str
    used: BoolArray
    reserved: BoolArray
    size: FloatArray
    e1: FloatArray
    e2: FloatArray
    model_size: FloatArray
    model_e1: FloatArray
    model_e2: FloatArray

    @property
    def residuals(self) -> dict[str, FloatArray]:
        """Star minus model: relative size, e1 and e2, by label."""
        return {
            "size / model - 1": self.size / self.model_size - 1,
            "e1 - model": self.e1 - self.model_e1,
            "e2 - model": self.e2 - self.model_e2,
        }


def star_shapes(table: Table, *, zero_point: float) -> StarShapes | None:
    """Return the shapes of stars that made or test the PSF; None if no star has a shape and a model to compare.

    The zero point [mag] may be NaN.
    """
    used, reserved = (columns.flag(table, f"calib_psf_{name}", default=False) for name in ("used", "reserved"))
    (e1, e2), (model_e1, model_e2) = columns.ellipticity(table), columns.ellipticity(table, "psf_")
    values = {
        "x": columns.column(table, "x"),
        "y": columns.column(table, "y"),
        "size": columns.trace_radius(table),
        "model_size": columns.trace_radius(table, "psf_"),
        "e1": e1,
        "e2": e2,
        "model_e1": model_e1,
        "model_e2": model_e2,
    }
    good = (used | reserved) & ~columns.flag(table, "shape_flag", default=False)
    good &= np.logical_and.reduce([np.isfinite(value) for value in values.values()])
    if not good.any():
        return None
    magnitude, label = columns.magnitude(table, zero_point=zero_point)
    kept = {name: value[good] for name, value in values.items()}
    return StarShapes(magnitude=magnitude[good], label=label, used=used[good], reserved=reserved[good], **kept)


def draw_size_maps(panels: Sequence[Axes], stars: StarShapes, *, shape: tuple[int, int]) -> None:
    """Show the size of stars, of the model, and the difference in per cent over the field."""
    middle, spread = noise_of(stars.size)
    low, high = middle - max(3 * spread, 0.01 * middle), middle + max(3 * spread, 0.01 * middle)
    norm = Normalize(low, high)
    for axes, values, name in ((panels[0], stars.size, "stars"), (panels[1], stars.model_size, "model")):
        _draw_points(axes, stars, values, norm=norm, cmap="viridis", shape=shape)
        plots.set_title(axes, f"size of {name}: dark {low:.3f}, light {high:.3f} px")
    residual = 100 * stars.residuals["size / model - 1"]
    limit = max(3 * noise_of(residual)[1], 0.1)
    _draw_points(panels[2], stars, residual, norm=Normalize(-limit, limit), cmap="RdBu_r", shape=shape)
    plots.set_title(panels[2], f"size residual, \u00b1{limit:.2f} %, median {np.median(residual):+.3f} %")


def _draw_points(
    axes: Axes, stars: StarShapes, values: FloatArray, *, norm: Normalize, cmap: str, shape: tuple[int, int]
) -> None:
    area = float(np.clip(6000 / len(values), 6, 45))
    axes.set_facecolor("#DDDDDD")
    axes.scatter(stars.x, stars.y, c=values, norm=norm, cmap=cmap, s=area, linewidths=0)
    _frame(axes, shape)


def draw_whiskers(panels: Sequence[Axes], stars: StarShapes, *, shape: tuple[int, int]) -> None:
    """Show ellipticities as whiskers: stars and model on one scale, the difference on its own.

    A whisker is as long as e = sqrt(e1^2 + e2^2) and points along the major axis.
    """
    residuals = stars.residuals
    pairs = (
        ("stars", stars.e1, stars.e2),
        ("model", stars.model_e1, stars.model_e2),
        ("star - model", residuals["e1 - model"], residuals["e2 - model"]),
    )
    typical = float(np.median(np.hypot(stars.e1, stars.e2)))
    for axes, (title, e1, e2) in zip(panels, pairs, strict=True):
        own = typical if title != "star - model" else float(np.median(np.hypot(e1, e2)))
        x, y, e1, e2 = _thinned(stars, e1, e2, shape=shape)
        if own > 0:
            _draw_whisker_field(axes, x, y, e1, e2, key=plots.round_length(own), width=shape[1])
        _frame(axes, shape)
        plots.set_title(axes, f"e of {title}, median {own:.4f}")


def _draw_whisker_field(
    axes: Axes, x: FloatArray, y: FloatArray, e1: FloatArray, e2: FloatArray, *, key: float, width: int
) -> None:
    e, angle = np.hypot(e1, e2), 0.5 * np.arctan2(e2, e1)
    whiskers = axes.quiver(
        x, y, e * np.cos(angle), e * np.sin(angle), angles="xy", scale_units="xy", scale=key / (0.05 * width),
        pivot="middle", headwidth=0, headlength=0, headaxislength=0, width=0.004, color=plots.BLUE,
    )  # fmt: skip
    axes.quiverkey(
        whiskers, 0.86, 1.04, key, f"{key:g}", labelpos="E", coordinates="axes", fontproperties={"size": plots.TINY}
    )


def _thinned(
    stars: StarShapes, e1: FloatArray, e2: FloatArray, *, shape: tuple[int, int]
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the stars, or the medians of cells where there are too many to see."""
    if len(e1) <= plots.MOST_ARROWS:
        return stars.x, stars.y, e1, e2
    return plots.cell_centers_and_medians(stars.x, stars.y, e1, e2, shape=shape)


def draw_residuals(panels: Sequence[Axes], stars: StarShapes, values: FloatArray, *, label: str) -> None:
    """Show one residual against magnitude, x and y; medians are those of reserved stars where there are enough."""
    limit = max(LIMIT_SIGMA * noise_of(values)[1], 1e-4)
    shown = np.clip(values, -0.98 * limit, 0.98 * limit)
    enough = stars.reserved.sum() >= LEAST_RESERVED
    judged = stars.reserved if enough else np.ones(len(values), dtype=bool)
    axes_of = ((stars.magnitude, stars.label), (stars.x, "x [pixel]"), (stars.y, "y [pixel]"))
    for axes, (at, name) in zip(panels, axes_of, strict=True):
        axes.axhline(0, color=plots.GREY, lw=0.7)
        axes.scatter(at[stars.used], shown[stars.used], s=7, color=plots.SKY, alpha=0.6, linewidths=0, label="used")
        axes.scatter(at[stars.reserved], shown[stars.reserved], s=14, color=plots.VERMILION, lw=0, label="reserved")
        medians = binned_medians(at[judged], values[judged], n_bins=6)
        axes.errorbar(medians.at, medians.value, medians.error, fmt="s-", ms=3, lw=1, color="black")
        axes.set_ylim(-limit, limit)
        axes.tick_params(labelsize=plots.TINY)
        axes.set_xlabel(name, fontsize=plots.SMALL)
    whose = "reserved" if enough else "all"
    plots.set_title(panels[0], f"{label}; squares: medians of {whose} stars")


def draw_aperture_correction(
    axes: Axes,
    correction: ApertureCorrection,
    *,
    name: str,
    shape: tuple[int, int],
    place: Mapping[str, FloatArray] | None,
) -> None:
    """Show the factor to the total flux over the field, and the stars that it was made from, if any."""
    values = 1000 * (correction.sampled() / correction.field.mean() - 1)
    largest = max(float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 0.0, 1.0)
    extent = (-0.5, shape[1] - 0.5, -0.5, shape[0] - 0.5)
    axes.imshow(values, origin="lower", cmap="RdBu_r", norm=Normalize(-largest, largest), extent=extent)
    if place is not None:
        axes.scatter(place["x"], place["y"], s=6, facecolors="none", edgecolors="black", linewidths=0.4)
    _frame(axes, shape)
    origin = "by the PSF" if place is None else f"{len(place['x'])} stars"
    error = f" +- {correction.error:.4f}" if correction.error > 0 and math.isfinite(correction.error) else ""
    title = f"{name}: {correction.field.mean():.4f}{error}, colours \u00b1{largest:.1f}e-3, {origin}"
    plots.set_title(axes, title)


def size_residual_cells(stars: StarShapes, *, shape: tuple[int, int]) -> CellMedians:
    """Return the median size residual in 4 x 4 cells [per cent]."""
    return cell_medians({"x": stars.x, "y": stars.y}, 100 * stars.residuals["size / model - 1"], shape=shape)


def _frame(axes: Axes, shape: tuple[int, int]) -> None:
    axes.set_xlim(-0.5, shape[1] - 0.5)
    axes.set_ylim(-0.5, shape[0] - 0.5)
    axes.set_aspect("equal")
    axes.tick_params(labelsize=plots.TINY)
