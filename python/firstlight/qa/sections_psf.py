"""The parts of the page that show the PSF and how its flux is brought to the total flux."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from astropy.table import Table
from matplotlib.axes import Axes

from firstlight.images.psf import Psf
from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.qa import columns, plots, plots_psf, plots_sky
from firstlight.qa.content import PageContent, decimals, positions
from firstlight.qa.pictures import Facts, Picture, Section, encode, row_of_panels
from firstlight.qa.pixels import StarStack, noise_of, stack_stars
from firstlight.qa.plots_psf import StarShapes
from firstlight.qa.statistics import median_of

STACK_CELLS, STACK_LIMIT = 3, 0.05
MOST_MAPS = 3


def psf_section(content: PageContent) -> Section:
    """Show sizes and ellipticities of stars, model and residual, and the residuals of reserved stars."""
    psf, table = content.exposure.psf, content.filled("psf_stars")
    shapes = None if table is None else plots_psf.star_shapes(table, zero_point=content.number("zero_point"))
    missing: tuple[str, ...] = () if psf is not None else ("no PSF",)
    missing += () if shapes is not None else ("no PSF stars with a shape to compare with the model",)
    pictures: tuple[Picture, ...] = ()
    if psf is not None:
        pictures += (_stamps(content, psf, table),)
    if shapes is not None:
        pictures += (_shape_maps(shapes, content), _residuals(shapes))
    return Section(
        "psf",
        "Point-spread function",
        "Stars and model have the same size and whiskers everywhere; residuals have no pattern over the field and no "
        "trend with magnitude. Bright stars that are larger than the model: brighter-fatter effect or saturation; "
        "faint ones: galaxies or an error of the sky. Reserved stars did not make the model.",
        pictures,
        (_psf_facts(shapes),) if shapes is not None else (),
        missing,
    )


def _stamps(content: PageContent, psf: Psf, table: Table | None) -> Picture:
    """Show the model at nine places, stacks of groups of stars with their residuals, and residuals by place."""
    figure, [panels] = row_of_panels(3, aspect=1.15, gap=0.1, row_gap=0.2)
    _draw_model(panels[0], psf, shape=content.shape)
    groups = [] if table is None else [(name, _stack(content, psf, table, rows)) for name, rows in _groups(table)]
    known = [(name, stack) for name, stack in groups if stack is not None]
    if known:
        stars = [f"{stack.n} {name}" for name, stack in known]
        models = ["model"] * len(known)
        plots.draw_mosaic(
            panels[1],
            [[stack.star for _, stack in known], [stack.model for _, stack in known]],
            [stars, models],
            limit=None,
        )
        lower = figure.add_axes(_lower_third(panels[1]))
        residuals = [stack.residual for _, stack in known]
        plots.draw_mosaic(lower, [residuals], [[_worst(stack) for _, stack in known]], limit=STACK_LIMIT)
    else:
        plots.draw_nothing(panels[1], title="", reason="no PSF stars")
    cells = _cell_stacks(content, psf, table)
    local = [[None if stack is None else stack.residual for stack in row] for row in cells]
    words = [["no stars" if stack is None else f"{stack.n}: {_worst(stack)}" for stack in row] for row in cells]
    plots.draw_mosaic(panels[2], local, words, limit=STACK_LIMIT)
    return encode(
        figure,
        "Left: the model at nine places and its FWHM. Middle: stacks of stars, of the model, and their difference from "
        "-5 (blue) to +5 % (red) of the peak. Right: the difference in nine cells of the field; the words say how many "
        "stars, and the largest difference.",
    )


def _draw_model(axes: Axes, psf: Psf, *, shape: tuple[int, int]) -> None:
    """Show the model at 3 x 3 places of the image, the top row at its top."""
    half = min(psf.radius, 10)
    places = [[(u * (shape[1] - 1), v * (shape[0] - 1)) for u in (0.1, 0.5, 0.9)] for v in (0.9, 0.5, 0.1)]
    stamps: list[list[FloatArray | None]] = []
    for row in places:
        images = [psf.kernel_image(x=x, y=y) for x, y in row]
        middle = len(images[0]) // 2
        cut = slice(middle - half, middle + half + 1)
        stamps.append([image[cut, cut] for image in images])
    plots.draw_mosaic(axes, stamps, [[f"{psf.fwhm(x=x, y=y):.2f} px" for x, y in row] for row in places], limit=None)


def _lower_third(axes: Axes) -> tuple[float, float, float, float]:
    """Leave the upper two thirds of its place to a panel, and return the rest."""
    x0, y0, width, height = axes.get_position(original=True).bounds
    axes.set_position((x0, y0 + height / 3, width, 2 * height / 3))
    return x0, y0, width, height / 3


def _worst(stack: StarStack) -> str:
    return f"< {100 * float(np.max(np.abs(stack.residual))):.1f} %"


def _groups(table: Table) -> Iterator[tuple[str, BoolArray]]:
    """Yield the stars used, reserved, and the brighter and fainter half of both."""
    used, reserved = (columns.flag(table, f"calib_psf_{name}", default=False) for name in ("used", "reserved"))
    both = used | reserved
    brightness = columns.flux(table, "psf")
    finite = both & np.isfinite(brightness)
    middle = float(np.median(brightness[finite])) if finite.any() else np.nan
    yield "used", used
    yield "reserved", reserved
    yield "bright half", both & (brightness > middle)
    yield "faint half", both & (brightness <= middle)


def _stack(content: PageContent, psf: Psf, table: Table, rows: BoolArray) -> StarStack | None:
    place = positions(table, rows & np.isfinite(columns.column(table, "x") + columns.column(table, "y")))
    return stack_stars(content.exposure.image, psf=psf, x=place["x"], y=place["y"])


def _cell_stacks(content: PageContent, psf: Psf, table: Table | None) -> list[list[StarStack | None]]:
    """Return the stacks of 3 x 3 cells, the top row first."""
    if table is None:
        return [[None] * STACK_CELLS] * STACK_CELLS
    chosen = next(rows for _, rows in _groups(table)) | columns.flag(table, "calib_psf_reserved", default=False)
    place = positions(table)
    column = np.floor((place["x"] + 0.5) * STACK_CELLS / content.shape[1])
    row = np.floor((place["y"] + 0.5) * STACK_CELLS / content.shape[0])
    return [
        [_stack(content, psf, table, chosen & (row == j) & (column == i)) for i in range(STACK_CELLS)]
        for j in reversed(range(STACK_CELLS))
    ]


def _shape_maps(shapes: StarShapes, content: PageContent) -> Picture:
    figure, rows = row_of_panels(4, aspect=content.aspect, rows=2)
    plots_psf.draw_size_maps(rows[0][:3], shapes, shape=content.shape)
    plots_psf.draw_whiskers(rows[1][:3], shapes, shape=content.shape)
    cells = plots_psf.size_residual_cells(shapes, shape=content.shape)
    plots_sky.draw_cells(
        rows[0][3], cells, shape=content.shape, title="median size residual [%], red/blue: 5 sigma", form="{:+.2f}"
    )
    axes = rows[1][3]
    plots.draw_sizes(
        axes,
        magnitude=shapes.magnitude,
        size=shapes.size,
        is_psf_star=shapes.used,
        psf_size=float(np.median(shapes.model_size)),
        label=shapes.label,
    )
    return encode(
        figure,
        "Sizes (trace radius) and ellipticities of stars, model and difference over the field; whiskers lie along the "
        "major axis.",
    )


def _residuals(shapes: StarShapes) -> Picture:
    figure, rows = row_of_panels(3, aspect=0.32, rows=3)
    for panels, (label, values) in zip(rows, shapes.residuals.items(), strict=True):
        plots_psf.draw_residuals(panels, shapes, values, label=label)
    rows[0][0].legend(fontsize=plots.TINY, loc="upper left", ncols=3, frameon=False)
    return encode(
        figure,
        "Residuals of size and ellipticity against magnitude and position; reserved stars did not make the model.",
    )


def _psf_facts(shapes: StarShapes) -> Facts:
    rows = []
    for label, values in shapes.residuals.items():
        for name, chosen in (("used", shapes.used), ("reserved", shapes.reserved)):
            median, error = median_of(values[chosen])
            scatter = noise_of(values[chosen])[1] if chosen.any() else np.nan
            cells = (
                decimals(value, form) for value, form in ((median, "{:+.5f}"), (error, "{:.5f}"), (scatter, "{:.5f}"))
            )
            rows.append((label, f"{name} ({chosen.sum()})", *cells))
    return Facts(("residual", "stars", "median", "its error", "scatter"), tuple(rows))


def aperture_section(content: PageContent) -> Section:
    """Show the aperture corrections over the field."""
    known = content.exposure.aperture_corrections
    pictures: tuple[Picture, ...] = ()
    rows = []
    if known:
        names = list(known)[:MOST_MAPS]
        figure, [panels] = row_of_panels(len(names), aspect=content.aspect)
        table = content.filled("psf_stars")
        for axes, name in zip(panels, names, strict=True):
            place = None
            if table is not None and f"apcorr_{name}_used" in table.colnames:
                place = positions(table, columns.flag(table, f"apcorr_{name}_used", default=False))
            plots_psf.draw_aperture_correction(axes, known[name], name=name, shape=content.shape, place=place)
        pictures = (
            encode(
                figure,
                "Factor from each flux to the total flux: mean over the field, and deviation from it as colours.",
            ),
        )
        for name, correction in known.items():
            values = correction.sampled()
            numbers = (correction.field.mean(), float(np.nanmin(values)), float(np.nanmax(values)))
            error = f"{correction.error:.5f}" if correction.error > 0 else "-"
            rows.append((name, *(decimals(number, "{:.5f}") for number in numbers), error))
    return Section(
        "aperture",
        "Aperture corrections",
        "Near 1 and flat for the PSF flux: a structure of more than a few thousandths repeats what the PSF model "
        "misses. Few stars (circles) far from a corner: the factor is extrapolated there.",
        pictures,
        (Facts(("flux", "mean factor", "smallest", "largest", "error"), tuple(rows)),) if rows else (),
        () if known else ("no aperture corrections",),
    )
