"""The parts of the page that show fluxes, positions, the zero point and the depth."""

from __future__ import annotations

import math

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from firstlight.kernels.arrays import BoolArray, FloatArray
from firstlight.qa import columns, plots, plots_flux, plots_sky
from firstlight.qa.content import PageContent, clean_points, decimals, positions
from firstlight.qa.pictures import Facts, Picture, Section, encode, row_of_panels
from firstlight.qa.plots_sky import draw_cells
from firstlight.qa.statistics import cell_means, cell_medians, excess_scatter, median_of, number_counts

GRID_SNR = 50.0
LEAST_BRIGHT = 20


def flux_section(content: PageContent) -> Section:
    """Compare PSF fluxes of stars with their total and aperture fluxes, by magnitude and place."""
    table = content.filled("stars", "psf_stars")
    pairs = [] if table is None else _differences(content, table)
    pictures: tuple[Picture, ...] = ()
    facts: tuple[Facts, ...] = ()
    if table is not None and pairs:
        magnitude, label = columns.magnitude(table, zero_point=content.number("zero_point"))
        chosen = clean_points(table)
        figure, rows = row_of_panels(2 * len(pairs), aspect=0.75, least_columns=4)
        rows_of_facts = []
        for number, (name, difference) in enumerate(pairs):
            left, right = rows[0][2 * number : 2 * number + 2]
            plots_flux.draw_flux_difference(
                left, magnitude=magnitude[chosen], difference=difference[chosen], label=label, name=name
            )
            bright = chosen & _bright(table, chosen)
            cells = cell_medians(positions(table, bright), 1000 * difference[bright], shape=content.shape)
            draw_cells(right, cells, shape=content.shape, title=f"{name}, bright stars [mmag]")
            median, error = median_of(difference[bright & np.isfinite(difference)])
            values = ((1000 * median, "{:+.2f}"), (1000 * error, "{:.2f}"), (excess_scatter(cells), "{:.2f}"))
            rows_of_facts.append((name, str(int(bright.sum())), *(decimals(v, form) for v, form in values)))
        heads = ("difference", "bright stars", "median [mmag]", "its error [mmag]", "4 x 4 cells beyond noise [mmag]")
        pictures = (
            encode(
                figure,
                "Magnitude by the PSF minus that by another flux; medians in 4 x 4 cells, full colour at 5 sigma.",
            ),
        )
        facts = (Facts(heads, tuple(rows_of_facts)),)
    return Section(
        "flux",
        "PSF flux against aperture flux",
        "Each brought to the total flux by its correction. Flat at zero: a slope at the faint end is an error of the "
        "sky, at the bright end of linearity or brighter-fatter; a pattern over the field is a PSF model that "
        "does not follow.",
        pictures,
        facts,
        () if pairs else ("no stars with a PSF flux and an aperture flux",),
    )


def _differences(content: PageContent, table: Table) -> list[tuple[str, FloatArray]]:
    """Return differences of the magnitude by the PSF and by other fluxes, each brought to the total flux."""
    first = _total_magnitude(content, table, "psf")
    made = ((f"psf - {kind}", first - _total_magnitude(content, table, kind)) for kind in ("aper", "gaussian"))
    return [(name, values) for name, values in made if np.isfinite(values).any()]


def _total_magnitude(content: PageContent, table: Table, kind: str) -> FloatArray:
    values = columns.magnitude(table, kind)[0]
    corrections = content.exposure.aperture_corrections
    if corrections is None or kind not in corrections:
        return values
    same_unit = (f"{kind}_flux" in table.colnames) == (content.exposure.unit == "nJy")
    factor = corrections[kind].evaluate(**positions(table), flux=columns.flux(table, kind) if same_unit else None)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(values - 2.5 * np.log10(np.where(factor > 0, factor, np.nan)))


def _bright(table: Table, among: BoolArray) -> BoolArray:
    """Return the stars above a signal-to-noise ratio of 50, or the brighter half where these are too few."""
    snr = columns.column(table, "snr")
    bright = among & (snr > GRID_SNR)
    if bright.sum() < LEAST_BRIGHT and (among & np.isfinite(snr)).any():
        bright = among & (snr >= np.median(snr[among & np.isfinite(snr)]))
    return np.asarray(bright, dtype=bool)


def astrometry_section(content: PageContent) -> Section:
    """Show residuals of positions as a map, as a scatter with histograms, and against brightness."""
    matches = content.filled("astrometry_matches")
    kept = "no WCS" if content.exposure.wcs is None else "the WCS is that of the header"
    scale = content.number("pixel_scale")
    factor, unit = (1000 * scale, "mas") if math.isfinite(scale) else (1.0, "px")
    dx, dy, used = np.zeros(0), np.zeros(0), np.zeros(0, dtype=bool)
    if matches is not None:
        dx, dy = (factor * columns.column(matches, name) for name in ("dx", "dy"))
        used = columns.flag(matches, "used", default=True) & np.isfinite(dx) & np.isfinite(dy)
    pictures: tuple[Picture, ...] = ()
    if matches is not None and used.any():
        place = positions(matches, prefix="src_")
        figure, [[field, scatter, along, cells]] = row_of_panels(4, aspect=1.0, gap=0.6)
        arrows = {name: values[used] for name, values in (*place.items(), ("dx", dx), ("dy", dy))}
        plots.draw_offset_field(field, **arrows, unit=unit, shape=content.shape)
        plots.draw_offset_scatter(scatter, dx=dx[used], dy=dy[used], unit=unit)
        snr = columns.column(matches, "src_snr", "src_peak_snr")
        plots_flux.draw_separations(along, snr=snr, separation=np.hypot(dx, dy), used=used, unit=unit)
        plots_sky.draw_quality(cells, _quality(content, place, np.hypot(dx, dy) / factor, used), shape=content.shape)
        pictures = (
            encode(
                figure,
                "Residuals of positions as arrows, as dots with their histograms along both axes, and against "
                "brightness; mean separation in 10 x 10 cells in units of half the FWHM.",
            ),
        )
    return Section(
        "astrometry",
        "Astrometry",
        "Arrows without order. A swirl or a common direction is a distortion that the fit lacks; held-out stars that "
        "fit much worse than fitted ones are a fit with too much freedom.",
        pictures,
        (_astrometry_facts(content),),
        () if pictures else (f"no astrometric solution: {kept}",),
    )


def _quality(
    content: PageContent, place: dict[str, NDArray[np.float64]], separation: FloatArray, used: BoolArray
) -> NDArray[np.float64]:
    """Return the mean separation [pixel] in 10 x 10 cells in units of half the FWHM; 1 pixel where it is not known."""
    half = content.number("psf_fwhm") / 2
    return cell_means(place, np.where(used, separation / (half if half > 0 else 1.0), np.nan), shape=content.shape)


def _astrometry_facts(content: PageContent) -> Facts:
    chosen = (
        ("matches", "astrometry_matches_count", "{:.0f}", ""),
        ("references on the image", "astrometry_references_in_frame", "{:.0f}", ""),
        ("rms, stars of the fit", "astrom_rms_2d_px", "{:.4f}", "px"),
        ("rms, stars held out in turn", "astrom_held_out_rms_2d_px", "{:.4f}", "px"),
        ("median separation", "astrom_offset_median", "{:.4f}", "arcsec"),
        ("error of the WCS", "astrom_stated_error", "{:.4f}", "arcsec"),
        ("order of the distortion", "astrom_order", "{:.0f}", ""),
        ("the fit moved the centre by", "initial_to_final_wcs", "{:.2f}", "arcsec"),
    )
    rows = [(words, decimals(content.number(name), form, unit=unit)) for words, name, form, unit in chosen]
    return Facts(("astrometry", ""), tuple(rows))


def photometry_section(content: PageContent) -> Section:
    """Show residuals of the zero point against magnitude, colour and position."""
    matches = content.filled("photometry_matches")
    missing: tuple[str, ...] = () if matches is not None else ("no photometry",)
    pictures: tuple[Picture, ...] = ()
    facts: tuple[Facts, ...] = ()
    if matches is not None:
        values = columns.column(matches, "residual")
        used = columns.flag(matches, "used", default=True) & np.isfinite(values)
        held = columns.flag(matches, "reserved", default=False)
        place = _places(content, matches)
        color = columns.column(matches, "ref_color")
        panels = [(columns.column(matches, "ref_mag"), f"reference {matches.meta.get('band', '')} [mag]")]
        if np.isfinite(color).any():
            panels.append((color, f"reference {matches.meta.get('color', 'colour')} [mag]"))
        else:
            missing += ("no colours in the reference",)
        figure, [axes] = row_of_panels(len(panels) + 2, aspect=0.8, least_columns=4, gap=0.65)
        for each, (at, label) in zip(axes, panels, strict=False):
            plots_flux.draw_against(
                each, at=at, values=values, used=used, reserved=held, label=label, name="zero point - mean [mag]"
            )
        shown = np.where(used, 1000 * values, np.nan)
        cells = cell_medians(place, shown, shape=content.shape)
        draw_cells(axes[-2], cells, shape=content.shape, title="zero point - mean [mmag]")
        plots_flux.draw_pulls(axes[-1], values=values[used], errors=_errors(matches)[used])
        pictures = (
            encode(
                figure,
                "Each calibrator minus the mean; medians in 4 x 4 cells, full colour at 5 sigma; residuals / errors.",
            ),
        )
        facts = (_photometry_facts(content, used, excess_scatter(cells)),)
    return Section(
        "photometry",
        "Zero point",
        "A horizontal band. A slope with magnitude is sky or linearity, with colour a missing colour term, a pattern "
        "over the field the flat field or cloud. Crosses were clipped.",
        pictures,
        facts,
        missing,
    )


def _errors(matches: Table) -> FloatArray:
    """Return the errors of magnitudes on the image and in the reference, together."""
    source, reference = (columns.column(matches, name) for name in ("src_mag_err", "ref_mag_err"))
    return np.hypot(source, np.nan_to_num(reference))


def _places(content: PageContent, matches: Table) -> dict[str, FloatArray]:
    """Return where the calibrators lie: those of the star catalogue with the same number."""
    if {"src_x", "src_y"} <= set(matches.colnames):
        return dict(positions(matches, prefix="src_"))
    stars = content.filled("stars")
    if stars is None:
        return {"x": np.full(len(matches), np.nan), "y": np.full(len(matches), np.nan)}
    rows = columns.rows_of(stars, matches, key="id", wanted_key="src_id")
    return {name: np.where(rows >= 0, values[rows], np.nan) for name, values in positions(stars).items()}


def _photometry_facts(content: PageContent, used: BoolArray, excess: float) -> Facts:
    rows = (
        ("zero point", decimals(content.number("zero_point"), "{:.4f}", unit="mag")),
        ("its error", decimals(1000 * content.number("zero_point_error"), "{:.2f}", unit="mmag")),
        ("calibrators used", str(int(used.sum()))),
        ("4 x 4 cells beyond noise", decimals(excess, "{:.2f}", unit="mmag")),
    )
    return Facts(("zero point", ""), rows)


def depth_section(content: PageContent) -> Section:
    """Show number counts, the signal-to-noise ratio and the sizes of all sources."""
    table = content.filled("sources", "stars", "psf_stars")
    magnitude, label = (
        (np.zeros(0), "") if table is None else columns.magnitude(table, zero_point=content.number("zero_point"))
    )
    everything = None
    pictures: tuple[Picture, ...] = ()
    if table is not None:
        real = ~columns.flag(table, "sky_source", default=False)
        magnitude = np.where(real, magnitude, np.nan)
        everything = number_counts(magnitude)
    if table is not None and everything is not None:
        mag_lim = content.number("mag_lim") if "AB" in label else math.nan
        stars = number_counts(magnitude[clean_points(table)])
        figure, [[left, middle, right]] = row_of_panels(3, aspect=0.75)
        plots_flux.draw_number_counts(left, everything, stars, label=label, mag_lim=mag_lim, area=_area(content))
        plots_flux.draw_depth(
            middle, magnitude=magnitude, snr=columns.column(table, "snr"), label=label, mag_lim=mag_lim
        )
        plots.draw_sizes(
            right,
            magnitude=magnitude,
            size=columns.trace_radius(table),
            is_psf_star=columns.flag(table, "calib_psf_used", default=False),
            psf_size=_model_size(content),
            label=label,
        )
        pictures = (
            encode(
                figure,
                "Number counts, signal-to-noise ratio and size against magnitude; vertical line: magnitude at 5 sigma.",
            ),
        )
    return Section(
        "depth",
        "Depth",
        "Counts rise to the limit and then drop. Stars lie on the line of sizes, galaxies above; what lies below is "
        "a cosmic ray or a defect.",
        pictures,
        (),
        () if pictures else ("no sources",),
    )


def _area(content: PageContent) -> float:
    """Return the area of the usable pixels [deg2]; NaN without a scale."""
    usable = float(np.mean(~content.exposure.mask.any_of("NO_DATA", "BAD", "SAT")))
    return usable * content.shape[0] * content.shape[1] * (content.number("pixel_scale") / 3600) ** 2


def _model_size(content: PageContent) -> float:
    psf, (ny, nx) = content.exposure.psf, content.shape
    if psf is None:
        return math.nan
    moments = psf.moments(x=(nx - 1) / 2, y=(ny - 1) / 2)
    return math.sqrt(max(0.0, (moments.ixx + moments.iyy) / 2))
