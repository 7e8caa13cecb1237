"""``firstlight process``: calibrate images, one after the other."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options

FILE = click.Path(path_type=Path)


@click.command(context_settings={"max_content_width": 110})
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=FILE)
@click.option(
    "-o", "--output", required=True, type=FILE, metavar="DIR", help="Folder for the results; made if missing."
)
@click.option(
    "--refcat",
    type=FILE,
    metavar="TABLE|STORE|NAME",
    help="Reference stars: Parquet, FITS, CSV with ra, dec, magnitudes; what 'refcat ingest' made; or gaia_dr3, "
    "refcat2, ps1_dr1, of which what is needed is downloaded and kept.",
)
@click.option(
    "--photometry-refcat", type=FILE, metavar="TABLE|STORE|NAME", help="Other reference stars for the zero point."
)
@click.option("--instrument", metavar="NAME|FILE", help="Camera; without it, recognised from the header.")
@click.option("--ra", type=click.FloatRange(0, 360), metavar="DEG", help="Where the image is: right ascension.")
@click.option("--dec", type=click.FloatRange(-90, 90), metavar="DEG", help="Where the image is: declination.")
@click.option("--radius", type=click.FloatRange(0, 180, min_open=True), metavar="DEG", help="How wrong that may be.")
@click.option("--scale-low", type=click.FloatRange(0, min_open=True), metavar="S", help="Smallest arcsec per pixel.")
@click.option("--scale-high", type=click.FloatRange(0, min_open=True), metavar="S", help="Largest arcsec per pixel.")
@click.option("--ignore-wcs", is_flag=True, help="Solve the field as if the header had no WCS.")
@click.option("--snap", type=FILE, metavar="IMAGE2", help="Second image of a pair, added to the first.")
@click.option("--hdu", metavar="N", help="Number or name of the FITS extension.  [default: the first image]")
@click.option("--mask", type=FILE, metavar="F", help="FITS mask of the image.")
@click.option("--variance", type=FILE, metavar="F", help="FITS variance of the image.")
@click.option("--stop-after", metavar="PASS", help="End after this pass, e.g. psf_stars or astrometry.")
@click.option("-C", "config_files", multiple=True, metavar="FILE", help="YAML file with settings; may be repeated.")
@click.option("-c", "settings", multiple=True, metavar="LABEL:PATH=VALUE", help="One setting; may be repeated.")
@click.option("--no-page", is_flag=True, help="Do not draw the page.")
@log_options
def process(
    images: tuple[Path, ...],
    output: Path,
    refcat: Path | None,
    photometry_refcat: Path | None,
    instrument: str | None,
    ra: float | None,
    dec: float | None,
    radius: float | None,
    scale_low: float | None,
    scale_high: float | None,
    ignore_wcs: bool,
    snap: Path | None,
    hdu: str | None,
    mask: Path | None,
    variance: Path | None,
    stop_after: str | None,
    config_files: tuple[str, ...],
    settings: tuple[str, ...],
    no_page: bool,
) -> int:
    """Calibrate images: PSF, astrometry, photometry, star catalogue.

    Each IMAGE is a FITS file in counts, bias and flat field removed. With a reference table its stars are matched
    from the header's position or from --ra and --dec, and pixels and fluxes come out in nJy. Without one the header's
    WCS is kept and pixels stay in counts.

    \b
    Try it:
      firstlight simulate -o sim --seed 1
      firstlight process sim/epoch_0.fits --refcat sim/refcat.parquet -o out

    \b
    An image whose header says nothing useful about the sky:
      firstlight process m67.fits -o out --refcat gaia.csv --ra 132.85 --dec 11.81 --radius 0.5 \\
                         --ignore-wcs --scale-low 0.9 --scale-high 1.2

    \b
    Another setting, another algorithm, fewer steps:
      firstlight process *.fits -o out -c calibrate:psf.order=1
      firstlight process a.fits -o out -c calibrate:psf.task=GaussianPsfTask
      firstlight process a.fits -o out --stop-after psf_stars

    \b
    DIR gets, for image NAME.fits:
      NAME_image.fits         calibrated image, mask, variance, PSF, WCS
      NAME_stars.parquet      bright, well-measured stars
      NAME_sources.parquet    everything that was detected
      NAME_psf_stars.parquet  stars that made the PSF
      NAME_background.fits    the sky that was subtracted
      NAME_summary.json       numbers, quality gates, times, versions
      NAME_..._matches.parquet   pairs of stars and references
      NAME.html               the page to look at first

    A result of which a step failed keeps what was made before it; 'status' in the summary says so.
    """  # noqa: D301 - click needs the real backspace character
    _require_together(ra, dec, names="--ra and --dec")
    _require_together(scale_low, scale_high, names="--scale-low and --scale-high")
    if radius is not None and ra is None:
        raise click.UsageError("--radius belongs to --ra and --dec.")
    if scale_low is not None and scale_high is not None and scale_low > scale_high:
        raise click.UsageError(f"--scale-low {scale_low} is larger than --scale-high {scale_high}.")
    alone = [
        name for name, value in (("--snap", snap), ("--mask", mask), ("--variance", variance)) if value is not None
    ]
    if alone and len(images) > 1:
        raise click.UsageError(f"{alone[0]} belongs to one image; got {len(images)} images.")
    configure_logging()
    # Everything heavy loads here, so that --help stays quick.
    from firstlight.cli.image_job import ImageFiles, ImageJob, SearchArea
    from firstlight.cli.run_images import run_images

    job = ImageJob(
        output=output,
        refcat=refcat,
        photometry_refcat=photometry_refcat,
        instrument=instrument,
        area=SearchArea(ra=ra, dec=dec, radius=radius, scale_low=scale_low, scale_high=scale_high),
        ignore_wcs=ignore_wcs,
        stop_after=stop_after,
        config_files=config_files,
        settings=settings,
        with_page=not no_page,
    )
    return run_images([ImageFiles(path, snap=snap, hdu=hdu, mask=mask, variance=variance) for path in images], job=job)


def _require_together(first: float | None, second: float | None, *, names: str) -> None:
    if (first is None) != (second is None):
        raise click.UsageError(f"{names} belong together; give both.")
