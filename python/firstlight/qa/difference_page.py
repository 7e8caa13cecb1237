"""One page about a difference image: the map of its noise, the kernel, and the best and the worst candidates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Row, Table
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec
from numpy.typing import NDArray

from firstlight.framework import Gate
from firstlight.images.atomic import write_atomically
from firstlight.images.box import Box
from firstlight.images.exposure import Exposure
from firstlight.images.spatial_kernel import MatchingKernel
from firstlight.kernels.arrays import FloatArray, IntArray

WIDTH, TOP_HEIGHT, STRIP_HEIGHT, MARGIN = 17.0, 6.8, 5.2, 0.95
"""Inches of the page: across; of the maps; of the stamps of the best or the worst candidates; of what frames them."""

DPI = 90
STAMPS = 10
HALF_STAMP = 15
MASKED = ("NO_DATA", "EDGE", "SAT", "SAT_TEMPLATE", "BAD")
BLUE, ORANGE, VERMILION, GREEN, GREY = "#0072B2", "#E69F00", "#D55E00", "#009E73", "#7F7F7F"
STATUS = {"ok": (GREEN, "ok"), "warn": (ORANGE, "WARN"), "fail": (VERMILION, "FAIL")}
SMALL, TINY = 8.0, 6.5


@dataclass(frozen=True)
class DifferenceContent:
    """What there is to show.

    Parameters
    ----------
    title
    science, matched_template, difference
        On the same pixels.
    kernel
    candidates
        Of `DifferenceImageTask`.
    gates
    note
        Second line, for a result that is not complete.
    """

    title: str
    science: Exposure
    matched_template: Exposure
    difference: Exposure
    kernel: MatchingKernel
    candidates: Table
    gates: tuple[Gate, ...] = ()
    note: str = ""


def write_difference_page(content: DifferenceContent, path: Path) -> None:
    """Draw the page into a PNG file that holds no time and no software version.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    figure = draw_difference_page(content)
    write_atomically(path, lambda file: figure.savefig(file, format="png", metadata={"Software": None}))


def draw_difference_page(content: DifferenceContent) -> Figure:
    """Draw maps and numbers above, the ten best and the ten worst candidates below, as many as there are."""
    best, worst = rank_candidates(content.candidates)
    strips = [(rows, name) for rows, name in ((best, "best"), (worst, "worst")) if len(rows)]
    height = TOP_HEIGHT + STRIP_HEIGHT * len(strips) + MARGIN
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.03, 1 - 0.26 / height, content.title, fontsize=14, weight="bold", va="center")
    figure.text(0.03, 1 - 0.52 / height, content.note, fontsize=11, color=VERMILION, va="center")
    grid = GridSpec(
        1 + len(strips), 1, figure=figure, left=0.03, right=0.985, bottom=0.26 / height, top=1 - 0.95 / height,
        hspace=0.12, height_ratios=(TOP_HEIGHT, *[STRIP_HEIGHT] * len(strips)),
    )  # fmt: skip
    above = grid[0].subgridspec(2, 4, wspace=0.2, hspace=0.25, width_ratios=(1, 1, 0.85, 0.95))
    z = significance_of(content.difference)
    _map_panel(figure.add_subplot(above[:, 0:2]), z, content.candidates)
    _kernel_panel(figure, above[0, 2], content.kernel)
    _noise_panel(figure.add_subplot(above[1, 2]), z)
    _gates_panel(figure.add_subplot(above[:, 3]), content.gates, content.candidates)
    for number, (rows, name) in enumerate(strips, start=1):
        _triplets(figure, grid[number], content, rows, name)
    return figure


def significance_of(difference: Exposure) -> NDArray[np.float32]:
    """Return the difference in units of its noise, NaN where it is masked (ny, nx)."""
    bad = difference.mask.any_of(*(name for name in MASKED if name in difference.mask.planes))
    with np.errstate(invalid="ignore", divide="ignore"):
        z = difference.image / np.sqrt(difference.variance)
    return np.asarray(np.where(bad, np.nan, z), dtype=np.float32)


def rank_candidates(candidates: Table, *, n: int = STAMPS) -> tuple[IntArray, IntArray]:
    """Return the rows of the most and of the least convincing candidates, at most ``n`` each, none twice.

    A candidate convinces if the vetting, where there was one, calls it real; among equals by its signal-to-noise
    ratio, less so the worse the PSF fits it; a dipole does not.

    Parameters
    ----------
    candidates
    n
    """
    if not len(candidates):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    snr = np.abs(np.nan_to_num(np.asarray(candidates["snr"], dtype=np.float64)))
    chi2 = np.nan_to_num(np.asarray(candidates["psf_chi2"], dtype=np.float64), nan=99.0)
    merit = snr / np.maximum(chi2, 1.0) ** 2
    if "is_dipole" in candidates.colnames:
        merit[np.asarray(candidates["is_dipole"], dtype=bool)] -= 1e6
    if "is_real" in candidates.colnames:
        merit[np.asarray(candidates["is_real"], dtype=bool)] += 1e9
    order = np.argsort(-merit, kind="stable")
    best = order[:n]
    return best, order[::-1][: min(n, len(order) - len(best))]


def _map_panel(axes: Axes, z: FloatArray, candidates: Table) -> None:
    ny, nx = z.shape
    factor = max(1, -(-max(z.shape) // 700))
    rows, columns = ny // factor * factor, nx // factor * factor
    blocks = z[:rows, :columns].reshape(rows // factor, factor, columns // factor, factor)
    known = np.isfinite(blocks)
    mean = np.where(known, blocks, 0.0).sum(axis=(1, 3)) / np.maximum(np.sqrt(known.sum(axis=(1, 3))), 1.0)
    shown = np.where(known.any(axis=(1, 3)), mean, np.nan)
    axes.set_facecolor("#FFE9A8")
    axes.imshow(
        shown, origin="lower", cmap="gray_r", norm=Normalize(-4, 8), extent=(-0.5, columns - 0.5, -0.5, rows - 0.5),
        interpolation="nearest",
    )  # fmt: skip
    kinds = _kinds(candidates)
    for label, chosen, color in kinds:
        axes.scatter(
            np.asarray(candidates["x"], dtype=float)[chosen], np.asarray(candidates["y"], dtype=float)[chosen],
            s=140, facecolors="none", edgecolors=color, linewidths=1.0, label=f"{label} ({int(chosen.sum())})",
        )  # fmt: skip
    axes.set_xlim(-0.5, nx - 0.5)
    axes.set_ylim(-0.5, ny - 0.5)
    axes.tick_params(labelsize=TINY)
    axes.set_title("difference [sigma]; yellow: masked", fontsize=SMALL, loc="left")
    if len(candidates):
        axes.legend(fontsize=SMALL, loc="upper left", framealpha=0.85, ncols=3)
    else:
        axes.text(0.02, 0.97, "nothing changed", transform=axes.transAxes, va="top", fontsize=11, color=VERMILION)


def _kinds(candidates: Table) -> list[tuple[str, NDArray[np.bool_], str]]:
    if not len(candidates):
        return []
    negative = np.asarray(candidates["is_negative"], dtype=bool)
    known = "is_dipole" in candidates.colnames
    dipole = np.asarray(candidates["is_dipole"], dtype=bool) if known else np.zeros(len(candidates), dtype=bool)
    return [
        ("brighter", ~negative & ~dipole, BLUE),
        ("fainter", negative & ~dipole, VERMILION),
        ("dipoles", dipole, ORANGE),
    ]


def _kernel_panel(figure: Figure, place: SubplotSpec, kernel: MatchingKernel) -> None:
    cells = place.subgridspec(3, 3, wspace=0.03, hspace=0.16)
    ny, nx = kernel.kernel.shape
    stamps = {
        (row, column): kernel.kernel.image(x=u * (nx - 1), y=v * (ny - 1))
        for row, v in enumerate((0.9, 0.5, 0.1))
        for column, u in enumerate((0.1, 0.5, 0.9))
    }
    peak = max(float(np.abs(stamp).max()) for stamp in stamps.values())
    for (row, column), stamp in stamps.items():
        axes = figure.add_subplot(cells[row, column])
        norm = AsinhNorm(linear_width=0.05 * peak, vmin=-peak, vmax=peak)
        axes.imshow(stamp, origin="lower", cmap="RdBu_r", norm=norm, interpolation="nearest")
        _bare(axes, f"sum {stamp.sum():.3f}")
        if (row, column) == (0, 0):
            axes.text(0, 1.32, f"kernel of the {kernel.convolved}", transform=axes.transAxes, fontsize=SMALL)


def _noise_panel(axes: Axes, z: FloatArray) -> None:
    known = z[np.isfinite(z)]
    bins = np.linspace(-6, 6, 61)
    middle, step = 0.5 * (bins[1:] + bins[:-1]), bins[1] - bins[0]
    count = np.histogram(np.clip(known, -5.99, 5.99), bins)[0]
    axes.semilogy(middle, np.maximum(count, 0.5), drawstyle="steps-mid", color=BLUE, lw=1.2, label="difference")
    gauss = len(known) * step * np.exp(-0.5 * middle**2) / np.sqrt(2 * np.pi)
    axes.semilogy(middle, np.maximum(gauss, 0.5), color=GREY, lw=1.0, label="unit Gaussian")
    quartiles = np.percentile(known, (25, 75)) if len(known) else np.zeros(2)
    axes.set_title(
        f"pixels [sigma], robust width {(quartiles[1] - quartiles[0]) / 1.349:.3f}", fontsize=SMALL, loc="left"
    )
    axes.tick_params(labelsize=TINY)
    axes.set_ylim(0.5, None)
    axes.legend(fontsize=TINY, loc="upper right", frameon=False)


def _gates_panel(axes: Axes, gates: Iterable[Gate], candidates: Table) -> None:
    axes.set_axis_off()
    shown = sorted(gates, key=lambda gate: list(STATUS).index(gate.status), reverse=True)[:34]
    step = min(0.036, 1.0 / (len(shown) + 4))
    y = 1.0
    for label, chosen, _ in _kinds(candidates):
        axes.text(0.0, y, label, transform=axes.transAxes, fontsize=SMALL, va="top")
        axes.text(1.0, y, str(int(chosen.sum())), transform=axes.transAxes, fontsize=SMALL, va="top", ha="right")
        y -= step
    y -= step / 2
    for gate in shown:
        color, word = STATUS[gate.status]
        axes.text(
            0.0, y, word, transform=axes.transAxes, fontsize=TINY, va="top", color="white", weight="bold",
            bbox={"facecolor": color, "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip
        axes.text(0.14, y, gate.name.replace("_", " "), transform=axes.transAxes, fontsize=SMALL, va="top")
        value = f"{gate.value:.4g} {gate.unit}".strip()
        axes.text(1.0, y, value, transform=axes.transAxes, fontsize=SMALL, va="top", ha="right")
        y -= step


def _triplets(figure: Figure, place: SubplotSpec, content: DifferenceContent, rows: IntArray, name: str) -> None:
    cells = place.subgridspec(3, STAMPS, wspace=0.04, hspace=0.04)
    table = content.candidates
    for column in range(STAMPS):
        panels = [figure.add_subplot(cells[row, column]) for row in range(3)]
        if column >= len(rows):
            for axes in panels:
                axes.set_axis_off()
            continue
        row = table[int(rows[column])]
        _triplet(panels, content, x=float(row["x"]), y=float(row["y"]), title=_words(row))
        if column == 0:
            for axes, label in zip(panels, (f"{name}: science", "template", "difference"), strict=True):
                axes.set_ylabel(label, fontsize=SMALL)


def _words(row: Row) -> str:
    """Return what stands above the stamps of a candidate."""
    words = f"x {row['x']:.1f}  y {row['y']:.1f}\nS/N {row['snr']:.1f}  chi2 {row['psf_chi2']:.2f}"
    if "is_dipole" in row.colnames and row["is_dipole"]:
        words += "  dipole"
    if "real_score" in row.colnames:
        words += "\n" + (f"real {row['real_score']:.2f}" if np.isfinite(row["real_score"]) else "not vetted")
    return words


def _triplet(panels: Sequence[Axes], content: DifferenceContent, *, x: float, y: float, title: str) -> None:
    noise = float(np.sqrt(np.median(content.difference.variance)))
    box = Box.around(x=x, y=y, radius=HALF_STAMP)
    for index, (axes, exposure) in enumerate(
        zip(panels, (content.science, content.matched_template, content.difference), strict=True)
    ):
        stamp = box.cut(exposure.image, fill=np.nan)
        if index == 2:
            axes.imshow(stamp, origin="lower", cmap="RdBu_r", norm=Normalize(-8 * noise, 8 * noise))
        else:
            level = float(np.nanmedian(stamp)) if np.isfinite(stamp).any() else 0.0
            norm = AsinhNorm(linear_width=3 * noise, vmin=level - 3 * noise, vmax=level + 60 * noise)
            axes.imshow(stamp, origin="lower", cmap="gray_r", norm=norm)
        axes.set_facecolor("#FFE9A8")
        _bare(axes, title if index == 0 else "")


def _bare(axes: Axes, title: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=TINY, pad=2)
