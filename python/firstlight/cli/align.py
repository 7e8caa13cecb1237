"""``firstlight align``: bring images onto the pixels of another."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options

FILE = click.Path(path_type=Path)


@click.command(context_settings={"max_content_width": 110})
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=FILE)
@click.option("--to", "reference", required=True, type=FILE, metavar="REFERENCE", help="Image whose pixels are wanted.")
@click.option(
    "-o", "--output", required=True, type=FILE, metavar="DIR", help="Folder for the results; made if missing."
)
@click.option("--instrument", metavar="NAME|FILE", help="Camera; without it, recognised from each header.")
@click.option("--ignore-wcs", is_flag=True, help="Align by the stars, as if no header had a WCS.")
@click.option("-C", "config_files", multiple=True, metavar="FILE", help="YAML file with settings; may be repeated.")
@click.option("-c", "settings", multiple=True, metavar="LABEL:PATH=VALUE", help="One setting; may be repeated.")
@log_options
def align(
    images: tuple[Path, ...],
    reference: Path,
    output: Path,
    instrument: str | None,
    ignore_wcs: bool,
    config_files: tuple[str, ...],
    settings: tuple[str, ...],
) -> int:
    """Bring images onto the pixels of REFERENCE.

    Where both have a WCS it says where each pixel goes (LanczosAlignTask); where one has none, the patterns of the
    stars do (PatternAlignTask). The table at the end tells which it was. Fluxes are kept: a star has as many counts as
    before, also where pixels become larger or smaller. Plain FITS images are taken, and what 'process' wrote.

    \b
    Try it:
      firstlight simulate -o sim --seed 1 --epochs 2 --header-wcs exact
      firstlight align sim/epoch_1.fits --to sim/epoch_0.fits -o aligned

    \b
    Images without a WCS, another method, another setting:
      firstlight align night/*.fits --to night/best.fits -o aligned
      firstlight align a.fits --to b.fits -o aligned -c align:task=ExactAlignTask
      firstlight align a.fits --to b.fits -o aligned -c align:lobes=4

    \b
    DIR gets, for image NAME.fits:
      NAME_aligned.fits   image, mask, variance, PSF and WCS on the pixels of REFERENCE;
                          NaN and NO_DATA in the mask where nothing was measured
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    # Everything heavy loads here, so that --help stays quick.
    from firstlight.cli.align_images import AlignJob, align_images

    return align_images(
        AlignJob(
            images=images,
            reference=reference,
            output=output,
            instrument=instrument,
            ignore_wcs=ignore_wcs,
            config_files=config_files,
            settings=settings,
        )
    )
