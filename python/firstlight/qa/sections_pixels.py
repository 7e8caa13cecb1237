"""The parts of the page that show pixels: the image, what was rejected, the sky."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from matplotlib.axes import Axes

from firstlight.images.background import BackgroundList
from firstlight.kernels.arrays import IntArray
from firstlight.qa import columns, plots, plots_sky
from firstlight.qa.content import PageContent, decimals, positions
from firstlight.qa.pictures import Facts, Picture, Section, encode, hide, row_of_panels
from firstlight.qa.pixels import residual_sky, shrink
from firstlight.qa.statistics import SkySurface, sky_surface

MOST_MARKS = 4000
MOST_MODELS = 7
LARGEST_PICTURE = 900
NOT_SKY = ("BAD", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "NO_DATA", "SAT", "SUSPECT", "SPIKE", "CR")


def image_section(content: PageContent) -> Section:
    """Show the image with its detections, the rejected pixels, and the share of each mask plane."""
    figure, [[left, right]] = row_of_panels(2, aspect=content.aspect, least_columns=2)
    exposure = content.exposure
    shown, factor = shrink(exposure.image, largest=LARGEST_PICTURE)
    for axes in (left, right):
        plots.draw_image(axes, shown, factor=factor, shape=content.shape, unit=exposure.unit)
    missing = _mark_detections(left, content)
    plots_sky.draw_rejected(right, exposure.mask, factor=factor)
    return Section(
        "image",
        "Image",
        "Circles sit on sources up to the corners and hold no empty sky. Saturated cores, trails and defects are "
        "coloured; stars are not taken for cosmic rays.",
        (encode(figure, "Left: what was found. Right: pixels that were not used; small marks are enlarged."),),
        (_planes(content),),
        missing,
    )


def _mark_detections(axes: Axes, content: PageContent) -> tuple[str, ...]:
    """Circle what was found; return what was not."""
    found = content.filled("sources", "stars", "psf_stars")
    if found is not None:
        rows = _brightest(found)
        label = f"detections ({len(found)})"
        plots.mark_sources(axes, **positions(found, rows), color=plots.BLUE, size=14, label=label)
    if (stars := content.filled("psf_stars")) is not None:
        used = columns.flag(stars, "calib_psf_used", default=False)
        held = columns.flag(stars, "calib_psf_reserved", default=False)
        for chosen, color, name in ((used, plots.ORANGE, "PSF stars"), (held, plots.VERMILION, "reserved stars")):
            if chosen.any():
                label = f"{name} ({chosen.sum()})"
                plots.mark_sources(axes, **positions(stars, chosen), color=color, size=50, label=label)
    if content.exposure.wcs is not None:
        plots.draw_compass(axes, content.exposure.wcs, shape=content.shape)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=plots.TINY, loc="upper left", framealpha=0.85, ncols=3)
    lacks = ((found is None, "no detections"), (content.exposure.wcs is None, "no WCS"))
    return tuple(reason for lack, reason in lacks if lack)


def _brightest(table: Table) -> IntArray:
    """Return the rows to mark: real sources, the brightest of them if there are very many."""
    rows = np.flatnonzero(~columns.flag(table, "sky_source", default=False))
    if len(rows) > MOST_MARKS:
        rows = rows[np.argsort(-np.nan_to_num(columns.column(table, "snr", "peak_snr")[rows]))[:MOST_MARKS]]
    return rows


def _planes(content: PageContent) -> Facts:
    mask = content.exposure.mask
    shares = {name: mask.fraction(name) for name in mask.planes if name in mask.in_use()}
    words = {True: "not used", False: ""}
    rows = [(name, f"{100 * share:.4f} %", words[name in plots_sky.REJECTED]) for name, share in shares.items()]
    return Facts(("mask plane", "share of pixels", ""), tuple(rows))


def sky_section(content: PageContent) -> Section:
    """Show each sky model, their sum and what is left."""
    exposure = content.exposure
    left = residual_sky(exposure.image, bad=exposure.mask.any_of(*NOT_SKY))
    surfaces = _surfaces(exposure.background)
    missing: tuple[str, ...] = () if surfaces else ("no background was subtracted",)
    missing += () if left is not None else ("no free sky to measure what is left",)
    pictures: tuple[Picture, ...] = ()
    n_panels = len(surfaces) + (left is not None)
    if n_panels:
        columns_ = min(4, n_panels)
        figure, rows = row_of_panels(columns_, aspect=content.aspect, rows=-(-n_panels // columns_), least_columns=4)
        panels = [axes for row in rows for axes in row]
        for axes, surface in zip(panels, surfaces, strict=False):
            plots_sky.draw_sky_surface(axes, surface, unit=exposure.unit, shape=content.shape)
        if left is not None:
            plots.draw_sky_map(panels[len(surfaces)], left, shape=content.shape)
        hide(panels[n_panels:])
        pictures = (
            encode(
                figure,
                "Each model of the sky that was subtracted, their sum, and what is left in units of the noise.",
            ),
        )
    sigma = left.sigma if left is not None else np.nan
    return Section(
        "sky",
        "Sky",
        "The first model carries the sky; later ones are corrections of a few hundredths of the noise. What is left "
        "has no pattern; rings around bright sources or a gradient mean that the model was too stiff or too soft.",
        pictures,
        (_sky_facts(surfaces, sigma, exposure.unit),) if surfaces else (),
        missing,
    )


def _surfaces(background: BackgroundList) -> list[SkySurface]:
    """Return the models, the smallest corrections lumped together where there are too many, and their sum."""
    each = [sky_surface(f"model {number}", model) for number, model in enumerate(background, start=1)]
    if not each:
        return []
    total = SkySurface("sum", np.sum([surface.values for surface in each], axis=0))
    if len(each) > MOST_MODELS:
        rest = np.sum([surface.values for surface in each[MOST_MODELS - 1 :]], axis=0)
        each = [*each[: MOST_MODELS - 1], SkySurface(f"models {MOST_MODELS} to {len(each)}", rest)]
    return [*each, total]


def _sky_facts(surfaces: list[SkySurface], sigma: float, unit: str) -> Facts:
    rows = [
        (
            surface.name,
            surface.bins,
            f"{surface.level:.6g}",
            f"{surface.slope_x:+.4g}",
            f"{surface.slope_y:+.4g}",
            f"{surface.span:.4g}",
            decimals(surface.span / sigma, "{:.3f}"),
        )
        for surface in surfaces
    ]
    heads = ("level", "slope in x", "slope in y", "max - min")
    return Facts(("sky model", "", *(f"{head} [{unit}]" for head in heads), "max - min [noise]"), tuple(rows))
