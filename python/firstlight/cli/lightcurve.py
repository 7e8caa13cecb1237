"""``firstlight lightcurve``: how bright an object of a repository was at each time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import collections_option, json_option, repo_option, where_option

if TYPE_CHECKING:
    from astropy.table import Table

    from firstlight.repo.repo import Repo


@click.command(context_settings={"max_content_width": 110, "ignore_unknown_options": True})
@click.argument("what", metavar="OBJECT|RA DEC", nargs=-1, required=True)
@repo_option
@click.option(
    "--radius", type=click.FloatRange(0, 600), metavar="ARCSEC", help="How far from RA DEC an object is.  [3]"
)
@click.option("--forced", metavar="TYPE", help="Measure these images there, seen or not: difference_image.")
@collections_option
@where_option
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Table: .parquet or .fits.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Plot: .png, .pdf or .svg.")
@json_option
@log_options
def lightcurve(
    what: tuple[str, ...],
    root: Path,
    radius: float | None,
    forced: str | None,
    collections: tuple[str, ...],
    where: str,
    output: Path | None,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print the light curve of an object, draw it, write it.

    OBJECT is the number of an object, or of any detection of it; RA DEC a place [deg], of which the nearest object is
    taken. Fluxes are those of difference images [nJy]: what was detected, and what was measured at the place of the
    object where nothing was, with the AB magnitude of 5 errors as the limit.

    With --forced no object is needed: every difference image, or those of -i and -d, that shows the place is measured
    there. Fluxes are on the
    scale of the template, which the stars of each image tell, so that no zero point is in them; with the flux of the
    place on the template they make total fluxes and magnitudes, as of a variable star.

    \b
      firstlight lightcurve 4611686018427387904 -b R
      firstlight lightcurve 150.11 -2.2 -b R -o curve.parquet --plot curve.png
      firstlight lightcurve 150.11 -2.2 -b R --forced difference_image -i diff --plot curve.png

    Exit code: 0 found, 2 a mistake, 3 nothing there.
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    _refuse_idle_options(what, radius, forced, collections, where)
    from firstlight.cli.tables import print_rows
    from firstlight.images.catalog import write_catalog
    from firstlight.repo.light_curves import light_curve
    from firstlight.repo.repo import Repo

    with Repo.open(root) as repo:
        if forced is not None:
            curve, title, about = _at_place(repo, what, forced, collections, where)
        else:
            found = _found(repo, what, 3.0 if radius is None else radius)
            curve, title, about = light_curve(repo, int(found["id"])), _title(found), _about(found)
            curve.meta["object_id"] = int(found["id"])
    if output is not None:
        write_catalog(curve, output)
    if plot is not None:
        _draw(curve, title, plot)
    if not as_json:
        click.echo(about)
    print_rows([_plain(row) for row in curve], as_json=as_json)


def _refuse_idle_options(
    what: tuple[str, ...], radius: float | None, forced: str | None, collections: tuple[str, ...], where: str
) -> None:
    """Refuse an option that would change nothing."""
    if forced is not None and radius is not None:
        raise click.UsageError("--radius looks for an object; --forced measures at RA DEC itself. Give one of the two.")
    if radius is not None and _is_number(what):
        raise click.UsageError("--radius looks for the object nearest to RA DEC; a number says which one it is.")
    if forced is None and (collections or where):
        idle = "-i" if collections else "-d"
        raise click.UsageError(
            f"{idle} chooses images to measure: give --forced TYPE too, as --forced difference_image."
        )


def _at_place(
    repo: Repo, what: tuple[str, ...], forced: str, collections: tuple[str, ...], where: str
) -> tuple[Table, str, str]:
    """Return the light curve of a place, its title, and a line about it."""
    from firstlight.cli.place_fluxes import Place, place_light_curve
    from firstlight.repo.light_curves import find_object

    if _is_number(what):
        found = find_object(repo, int(what[0]))[0]
        ra, dec = float(found["ra"]), float(found["dec"])
    else:
        ra, dec = _place(what)
    runs = collections or tuple(each.name for each in repo.collections() if each.kind == "RUN")
    curve = place_light_curve(repo, Place(ra, dec, forced, runs, where))
    about = f"{len(curve)} images at ra {ra:.6f}, dec {dec:+.6f}, {int(curve['flag'].sum())} flagged"
    if unknown := sum(value != value for value in curve["template_flux"].tolist()):
        about += f", {unknown} whose template is not known, gone, or has no good pixels there: no total flux"
    return curve, f"ra {ra:.5f}, dec {dec:+.5f}", about


def _place(what: tuple[str, ...]) -> tuple[float, float]:
    """Return RA and DEC [deg] as they are given."""
    from firstlight.errors import InputError

    try:
        ra, dec = (float(each) for each in what)
    except ValueError as error:
        raise InputError(f"{' '.join(what)!r} is neither the number of an object nor RA DEC in degrees.") from error
    if not (0.0 <= ra <= 360.0 and abs(dec) <= 90.0):
        raise InputError(f"RA is 0 to 360 and DEC -90 to 90 degrees; got {ra:g} {dec:g}.")
    return ra, dec


def _is_number(what: tuple[str, ...]) -> bool:
    return len(what) == 1 and what[0].removeprefix("-").isdecimal()


def _found(repo: Repo, what: tuple[str, ...], radius: float) -> Table.Row:
    """Return the object that is asked for."""
    from firstlight.errors import NoWorkFound
    from firstlight.repo.light_curves import find_object, find_objects

    if _is_number(what):
        return find_object(repo, int(what[0]))[0]
    ra, dec = _place(what)
    near = find_objects(repo, ra=ra, dec=dec, radius=radius)
    if not len(near):
        raise NoWorkFound(f"No object lies within {radius:g} arcsec of ra {ra:g}, dec {dec:g}; try a larger --radius.")
    return near[0]


def _title(found: Table.Row) -> str:
    return f"object {found['id']}, ra {found['ra']:.5f}, dec {found['dec']:+.5f}"


def _about(found: Table.Row) -> str:
    away = f", {found['separation']:.2f} arcsec away" if "separation" in found.colnames else ""
    return (
        f"object {found['id']} at ra {found['ra']:.6f}, dec {found['dec']:+.6f}{away}: "
        f"{found['n_detections']} detections from MJD {found['first_mjd']:.5f} to {found['last_mjd']:.5f}"
    )


def _plain(row: Table.Row) -> dict[str, object]:
    """Return a row for people and for JSON: what is not known is None."""
    import math

    values = {name: row[name].item() for name in row.colnames}
    digits = {"mjd": 6, "flux": 1, "flux_err": 1, "snr": 2, "mag": 4, "mag_err": 4, "limit_mag": 3, "score": 4}
    digits |= {"scale": 4, "scale_err": 5, "template_flux": 1, "total_flux": 1, "total_flux_err": 1}
    return {
        name: (round(value, digits[name]) if math.isfinite(value) else None) if name in digits else value
        for name, value in values.items()
    }


def _draw(curve: Table, title: str, path: Path) -> None:
    from firstlight.errors import InputError
    from firstlight.images.atomic import write_atomically
    from firstlight.qa.light_curve import light_curve_figure

    kind = path.suffix.lstrip(".").lower()
    if kind not in ("png", "pdf", "svg"):
        raise InputError(f"A plot is a .png, .pdf or .svg file; got {path.name}.")
    figure = light_curve_figure(curve, title=title)
    write_atomically(path, lambda file: figure.savefig(file, format=kind))
