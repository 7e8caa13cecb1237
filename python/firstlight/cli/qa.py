"""``firstlight qa``: the pages of processed images, drawn again from their products."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options

FILE = click.Path(path_type=Path)


@click.command(context_settings={"max_content_width": 110})
@click.argument("results", metavar="DIR|SUMMARY...", nargs=-1, required=True, type=FILE)
@click.option("-o", "--output", type=FILE, metavar="DIR", help="Folder for the pages.  [default: that of each summary]")
@log_options
def qa(results: tuple[Path, ...], output: Path | None) -> None:
    """Draw the pages of images that 'firstlight process' has processed.

    Each page shows what a calibration scientist checks: the image and its rejected pixels, the sky models, PSF sizes
    and ellipticities with their residuals, aperture corrections, fluxes, astrometry, zero point, depth, what each
    selection cut, the gates with what to do when one warns, times and settings. It is one HTML file that needs
    nothing else.

    SUMMARY is a NAME_summary.json; DIR stands for all that it holds.

    \b
      firstlight process *.fits -o out --refcat gaia.parquet --no-page
      firstlight qa out
      firstlight qa out/m67_summary.json -o pages
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    # Everything heavy loads here, so that --help stays quick.
    from firstlight.cli.page_files import read_page_content, summaries_in
    from firstlight.cli.products import SUFFIXES, prepare_folder
    from firstlight.qa.page import write_page

    summaries = [path for result in results for path in summaries_in(result)]
    if output is not None:
        prepare_folder(output)
    for summary in summaries:
        stem = summary.name.removesuffix(SUFFIXES["summary"])
        page = (output or summary.parent) / f"{stem}{SUFFIXES['page']}"
        write_page(read_page_content(summary), page)
        click.echo(page)
