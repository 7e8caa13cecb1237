"""``firstlight simulate``: make frames of a known sky."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.errors import ConfigError

_SETTING_NAMES = {"density": "star_density", "scale": "pixel_scale", "big_galaxy": "big_galaxy_radius"}
"""Options whose setting has a longer name."""


def _parse_size(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    """Return (ny, nx) of ``1024`` or ``3072x3080``."""
    parts = value.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdigit() for part in parts):
        raise click.BadParameter(f"{value!r} is not a size; give 1024 or WIDTHxHEIGHT such as 3072x3080.", ctx, param)
    return int(parts[-1]), int(parts[0])


@click.command(short_help="Make frames of a known sky.")
@click.option(
    "-o", "--output", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to fill."
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Another seed, another night.")
@click.option("--size", callback=_parse_size, default="1024", show_default=True, help="Pixels: 1024 or 3072x3080.")
@click.option("--epochs", type=click.IntRange(1, 1000), default=1, show_default=True, help="Number of exposures.")
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
    folder: Path, seed: int, size: tuple[int, int], epochs: int, crowded: bool, mirrored: bool, **changes: object
) -> None:
    """Make telescope frames of a sky whose every star is known.

    Stars with realistic counts, colours and proper motions, galaxies, a point spread that changes over the image,
    distortion, cosmic rays, saturated stars that bleed, bad columns. With --epochs, later exposures have another
    pointing, seeing and sky, and new sources appear.

    \b
    Try it:
        firstlight simulate -o night --seed 7
        firstlight process night/epoch_0.fits --refcat night/refcat.parquet -o out

    \b
    OUTPUT gets:
        epoch_0.fits ...      the frames, as a camera would write them
        refcat.parquet        reference catalogue to r = 20, epoch 2016.0, with errors
        truth.parquet         every source: position, motion, magnitudes; x, y, flux per frame
        truth_0.json ...      exact WCS, zero point, point spread, sky, noise
        truth_0_mask.fits ... pixels hit by cosmic rays, hot, bad or saturated
    """  # noqa: D301 - click needs the real backspace character
    # Heavy modules load here, so that --help stays quick.
    from firstlight.simulation import SimulationSettings, write_night

    start = SimulationSettings.crowded() if crowded else SimulationSettings()
    given = {_SETTING_NAMES.get(name, name): value for name, value in changes.items() if value is not None}
    if crowded and "star_density" in given:
        raise ConfigError("--crowded sets the density of stars; leave out one of --crowded and --density.")
    settings = start.varied(shape=size, mirrored=mirrored, **given)
    paths = write_night(folder, settings, seed=seed, n_epochs=epochs)
    for path in paths:
        click.echo(f"wrote {path}  ({path.stat().st_size / 1e6:.2f} MB)")
    click.echo(f"next: firstlight process {paths[0]} --refcat {folder / 'refcat.parquet'} -o {folder / 'out'}")
