"""``firstlight difference``: subtract one image from another and list what changed."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options

FILE = click.Path(path_type=Path)


@click.command(context_settings={"max_content_width": 110})
@click.argument("science", metavar="SCIENCE", type=FILE)
@click.argument("template", metavar="[TEMPLATE]", type=FILE, required=False)
@click.option("--survey", metavar="NAME", help="In place of TEMPLATE: a survey on the network, or auto.")
@click.option(
    "-o", "--output", required=True, type=FILE, metavar="DIR", help="Folder for the results; made if missing."
)
@click.option("--instrument", metavar="NAME|FILE", help="Camera; without it, recognised from each header.")
@click.option("--hdu", metavar="N", help="Number or name of the FITS extension of SCIENCE.  [default: the first image]")
@click.option("--template-hdu", metavar="N", help="The same of TEMPLATE.")
@click.option("--mask", type=FILE, metavar="F", help="FITS mask of SCIENCE.")
@click.option("--template-mask", type=FILE, metavar="F", help="FITS mask of TEMPLATE.")
@click.option("--variance", type=FILE, metavar="F", help="FITS variance of SCIENCE.")
@click.option("--template-variance", type=FILE, metavar="F", help="FITS variance of TEMPLATE.")
@click.option("--stop-after", metavar="PASS", help="End after this pass, e.g. registration or subtract.")
@click.option("-C", "config_files", multiple=True, metavar="FILE", help="YAML file with settings; may be repeated.")
@click.option("-c", "settings", multiple=True, metavar="LABEL:PATH=VALUE", help="One setting; may be repeated.")
@click.option("--no-page", is_flag=True, help="Do not draw the page.")
@log_options
def difference(
    science: Path,
    template: Path | None,
    survey: str | None,
    output: Path,
    instrument: str | None,
    hdu: str | None,
    template_hdu: str | None,
    mask: Path | None,
    template_mask: Path | None,
    variance: Path | None,
    template_variance: Path | None,
    stop_after: str | None,
    config_files: tuple[str, ...],
    settings: tuple[str, ...],
    no_page: bool,
) -> int:
    """Subtract TEMPLATE from SCIENCE and list what changed.

    Both are FITS images of the same field with a WCS, on any pixels. TEMPLATE is brought onto the pixels of SCIENCE,
    which is never resampled, and made to look like it. An image that 'firstlight process' wrote is taken as it is; of
    any other, in counts, the sky is subtracted and the PSF measured first.

    \b
    Try it:
      firstlight simulate -o sim --seed 1 --epochs 2
      firstlight process sim/epoch_*.fits --refcat sim/refcat.parquet -o cal
      firstlight difference cal/epoch_1_image.fits cal/epoch_0_image.fits -o diff

    \b
    Two images straight from elsewhere, with a WCS in their headers:
      firstlight difference new.fits old.fits -o diff

    \b
    No template at hand: a cutout of LS, SDSS, DES, PS1, SkyMapper or 2MASS, here the first that shows the sky in the
    band of SCIENCE, or one by name. It stays in DIR as NAME_survey.fits:
      firstlight difference new.fits --survey auto -o diff
      firstlight difference new.fits --survey SDSS/r -o diff

    \b
    The WCS of one is wrong or missing; another method; another threshold:
      firstlight difference new.fits old.fits -o diff -c difference:align.task=PatternAlignTask
      firstlight difference new.fits old.fits -o diff -c difference:subtract.task=ZogySubtractTask
      firstlight difference new.fits old.fits -o diff -c difference:detect.threshold=6

    \b
    DIR gets, for SCIENCE called NAME.fits:
      NAME_difference.fits           difference, mask, variance, PSF, WCS
      NAME_template.fits             the template as it was subtracted
      NAME_kernel.fits               what one image was convolved with, and its components
      NAME_candidates.parquet        what changed: places, fluxes, dipoles, trails, flags
      NAME_kernel_stars.parquet      stars by which the images were matched
      NAME_difference_summary.json   numbers, quality gates, times, versions
      NAME_difference.png            one page to look at: maps, kernel, best and worst candidates

    A result of which a step failed keeps what was made before it; 'status' in the summary says so.
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    # Everything heavy loads here, so that --help stays quick.
    from firstlight.cli.difference_images import DifferenceJob, run_difference, survey_path
    from firstlight.cli.image_job import ImageFiles

    if (template is None) == (survey is None):
        raise click.UsageError("Give either TEMPLATE or --survey.")
    if survey is not None and (template_hdu or template_mask or template_variance):
        raise click.UsageError("--template-hdu, --template-mask and --template-variance belong to TEMPLATE.")
    files = ImageFiles(science, hdu=hdu, mask=mask, variance=variance)
    job = DifferenceJob(
        science=files,
        template=ImageFiles(
            template or survey_path(output, files), hdu=template_hdu, mask=template_mask, variance=template_variance
        ),
        survey=survey,
        output=output,
        instrument=instrument,
        stop_after=stop_after,
        config_files=config_files,
        settings=settings,
        with_page=not no_page,
    )
    return run_difference(job)
