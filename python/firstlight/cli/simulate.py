"""``firstlight simulate``: make frames of a known sky."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from firstlight.errors import ConfigError

if TYPE_CHECKING:
    from firstlight.simulation import SimulationSettings

_SETTING_NAMES = {"density": "star_density", "scale": "pixel_scale", "big_galaxy": "big_galaxy_radius"}
"""Options whose setting has a longer name."""

_SEASON_SETTINGS = {
    "nights": "n_nights",
    "fields": "n_fields",
    "supernovae": "n_supernovae",
    "variables": "n_variables",
    "movers": "n_movers",
    "lost_nights": "lost_nights",
}
"""Options of a season and their settings."""

_count = click.IntRange(min=0)


def _parse_size(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Return (ny, nx) of ``1024`` or ``3072x3080``."""
    if value is None:
        return None
    parts = value.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdigit() for part in parts):
        raise click.BadParameter(f"{value!r} is not a size; give 1024 or WIDTHxHEIGHT such as 3072x3080.", ctx, param)
    return int(parts[-1]), int(parts[0])


@click.command(short_help="Make frames of a known sky.")
@click.option(
    "-o", "--output", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to fill."
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Another seed, another night.")
@click.option("--size", callback=_parse_size, help="Pixels: 1024 or 3072x3080.  [default: 1024; in a season 512]")
@click.option("--epochs", type=click.IntRange(1, 1000), help="Number of exposures.  [default: 1]")
@click.option("--nights", type=click.IntRange(1, 1000), help="Make a season of so many nights.")
@click.option("--fields", type=click.IntRange(1, 100), help="Fields of a season.  [default: 4]")
@click.option("--supernovae", type=_count, help="Supernovae of a season.  [default: 50]")
@click.option("--variables", type=_count, help="Variable stars of a season.  [default: 50]")
@click.option("--movers", type=_count, help="Moving bodies of a season.  [default: 20]")
@click.option("--lost-nights", type=click.FloatRange(0, 1), help="Share of nights without a frame.  [default: 0.2]")
@click.option("--crowded", is_flag=True, help="13,600 stars in 1024 x 1024 pixels of 1 arcsec.")
@click.option("--density", type=float, help="Stars to magnitude 22 per square degree.  [default: 24000]")
@click.option("--fwhm", type=float, help="Seeing at the image centre in pixels.  [default: 2.2]")
@click.option("--scale", type=float, help="Arcsec per pixel.  [default: 1.012]")
@click.option("--band", type=click.Choice(["g", "r", "i"]), help="Filter.  [default: r]")
@click.option("--ra", type=float, help="Right ascension of the field in degrees.  [default: from the seed]")
@click.option("--dec", type=float, help="Declination of the field in degrees.  [default: from the seed]")
@click.option("--distortion", type=float, help="Largest distortion of a full 3072 frame in arcsec.  [default: 1.5]")
@click.option("--cosmic-rays", type=float, help="Tracks in 1024 x 1024 pixels.  [default: 40]")
@click.option("--ellipticity", type=float, help="Ellipticity that all stars share.  [default: 0]")
@click.option("--sky", "sky_level", type=float, help="Sky in counts.  [default: 300]")
@click.option("--sky-gradient", type=float, help="Sky from side to side, relative to its middle.  [default: 0.05]")
@click.option("--transparency", type=float, help="Share of the light that passes the clouds.  [default: 1]")
@click.option(
    "--bright-star", "bright_stars", type=float, multiple=True, help="Magnitude of a star to add; repeatable."
)
@click.option("--big-galaxy", type=float, help="Half-light radius of a galaxy to add in arcsec.")
@click.option("--trails", "satellite_trails", type=click.IntRange(min=0), help="Satellites per image.  [default: 0]")
@click.option("--pointing-error", type=float, help="Largest error of the header's position in arcsec.  [default: 20]")
@click.option(
    "--header-wcs",
    type=click.Choice(["approximate", "exact", "none"]),
    help="Which WCS the headers carry.  [default: approximate]",
)
@click.option("--mirrored", is_flag=True, help="East to the right when north is up.")
def simulate(
    folder: Path,
    seed: int,
    size: tuple[int, int] | None,
    epochs: int | None,
    crowded: bool,
    mirrored: bool,
    **changes: object,
) -> None:
    """Make telescope frames of a sky whose every star is known.

    Stars with realistic counts, colours and proper motions, galaxies, a point spread that changes over the image,
    distortion, cosmic rays, saturated stars that bleed, bad columns. With --epochs, later exposures have another
    pointing, seeing and sky, and new sources appear. With --nights, several fields are observed night after night in
    changing weather: supernovae, variable stars and moving bodies, with the light curve of each.

    \b
    Try it:
        firstlight simulate -o night --seed 7
        firstlight process night/epoch_0.fits --refcat night/refcat.parquet -o out
        firstlight simulate -o season --nights 30

    \b
    OUTPUT gets:
        epoch_0.fits ...      the frames, as a camera would write them
        refcat.parquet        reference catalogue to r = 20, epoch 2016.0, with errors
        truth.parquet         every source: position, motion, magnitudes; x, y, flux per frame
        truth_0.json ...      exact WCS, zero point, point spread, sky, noise
        truth_0_mask.fits ... pixels hit by cosmic rays, hot, bad or saturated

    \b
    With --nights it gets:
        template/*.fits            frames from long before the season, for templates
        night_00/*.fits ...        the frames of each night that was not lost
        refcat.parquet             reference catalogue of all fields
        minor_planets.parquet      where known bodies are predicted, for 'firstlight associate'
        truth_objects.parquet      what changes, and how
        truth_light_curves.parquet place, flux and signal-to-noise ratio of each object in each frame
        visits.parquet             time, seeing, clouds and sky of each frame
    """  # noqa: D301 - click needs the real backspace character
    # Heavy modules load here, so that --help stays quick.
    from firstlight.simulation import SimulationSettings

    season = {name: changes.pop(option) for option, name in _SEASON_SETTINGS.items()}
    is_season = season["n_nights"] is not None
    start = SimulationSettings.crowded() if crowded else SimulationSettings()
    given = {_SETTING_NAMES.get(name, name): value for name, value in changes.items() if value is not None}
    if crowded and "star_density" in given:
        raise ConfigError("--crowded sets the density of stars; leave out one of --crowded and --density.")
    settings = start.varied(shape=size or ((512, 512) if is_season else (1024, 1024)), mirrored=mirrored, **given)
    chosen = {name: value for name, value in season.items() if value is not None}
    if not is_season and chosen:
        raise ConfigError("--fields, --supernovae, --variables, --movers and --lost-nights go with --nights.")
    if is_season and epochs is not None:
        raise ConfigError("--nights says how many exposures there are; leave out one of --nights and --epochs.")
    if is_season:
        _write_season(folder, settings, chosen, seed=seed)
    else:
        _write_night(folder, settings, seed=seed, n_epochs=epochs or 1)


def _write_night(folder: Path, settings: SimulationSettings, *, seed: int, n_epochs: int) -> None:
    from firstlight.simulation import write_night

    paths = write_night(folder, settings, seed=seed, n_epochs=n_epochs)
    for path in paths:
        click.echo(f"wrote {path}  ({path.stat().st_size / 1e6:.2f} MB)")
    click.echo(f"next: firstlight process {paths[0]} --refcat {folder / 'refcat.parquet'} -o {folder / 'out'}")


def _write_season(folder: Path, settings: SimulationSettings, chosen: Mapping[str, Any], *, seed: int) -> None:
    from firstlight.simulation import SeasonSettings, write_season

    sky = settings.sky
    if (sky.ra is None) != (sky.dec is None):
        raise ConfigError("A season needs both --ra and --dec for its first field, or neither.")
    centres = ((sky.ra, sky.dec),) if sky.ra is not None and sky.dec is not None else ()
    season = SeasonSettings(image=settings, centres=centres, **chosen)
    n_frames, n_bytes = 0, 0
    for path in write_season(folder, season, seed=seed):
        n_bytes += path.stat().st_size
        n_frames += path.suffix == ".fits"
        if path.suffix != ".fits":
            click.echo(f"wrote {path}  ({path.stat().st_size / 1e6:.2f} MB)")
    click.echo(f"wrote {n_frames} frames, {n_bytes / 1e6:.0f} MB in all; next: firstlight ingest -b REPO {folder}")
